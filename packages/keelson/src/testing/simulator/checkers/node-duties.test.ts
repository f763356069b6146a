import { describe, expect, it } from "vitest";

import type { Actions, AddressedMessage } from "../../../core/action.ts";
import { configOf } from "../../../core/config.ts";
import type { EntryRange, Message } from "../../../core/message.ts";
import { RaftNode } from "../../../core/node.ts";
import { TERM_JUMP_MAX, type LogPosition } from "../../../core/position.ts";
import type { DutySettings } from "./duty.ts";
import { NodeDuties } from "./node-duties.ts";

const SETTINGS = {
  ...{ electionTimeoutMinMs: 400, electionTimeoutMaxMs: 800, heartbeatMs: 80 },
  ...{ window: null, storageStallMs: 1_600, checkQuorum: true, clockDriftMax: 0.05 },
};

type Changes = Partial<Omit<Actions, typeof Symbol.iterator>>;

/** A core with the checker beside it. `take` shows the checker other actions than the core's. */
class Watched {
  readonly core: RaftNode;
  readonly #duties: NodeDuties;
  now = 10_000;

  constructor(voters: readonly string[], lastTerm = 1, window: DutySettings["window"] = null) {
    const config = configOf(voters);
    this.core = RaftNode.restart({
      ...{ id: "a", random: () => 0.5, preVote: false, now: 0 },
      hardState: { term: lastTerm, votedFor: null },
      log: {
        ...{ base: { term: 0, index: 0 }, baseConfig: configOf([]), lastIndex: 3 },
        terms: [{ index: 1, term: 1 }],
        configs: [{ index: 1, config }],
      },
    });
    this.#duties = new NodeDuties(this.core, { ...SETTINGS, window }, 0);
  }

  receive(message: Message): void {
    this.core.handleMessage(message, this.now);
    this.#duties.stepped({ type: "message", message, now: this.now });
  }

  timeOut(): void {
    this.core.handleTimeout(this.now);
    this.#duties.stepped({ type: "timeout", now: this.now });
  }

  transfer(to: string | null): void {
    const answer = this.core.transferLeadership(to, this.now);
    this.#duties.stepped({ type: "transfer", to, answer, now: this.now });
  }

  stall(): void {
    this.core.handleServiceStall(true, this.now);
    this.#duties.stepped({ type: "stall", isStalled: true, now: this.now });
  }

  read(): number {
    const id = this.core.readIndex(this.now);
    this.#duties.stepped({ type: "read", id, now: this.now });
    return id;
  }

  persist(persistId: number): void {
    this.core.handlePersisted(persistId, this.now);
    this.#duties.stepped({ type: "persisted", persistId, now: this.now });
  }

  take(change: (actions: Actions) => Changes = () => ({})): Actions {
    const actions = this.core.takeActions();
    const { messages, messagesAfterPersist, reads, installSnapshot, timer, hardState, append } = actions;
    const { persistId, commit, snapshots, needsPersist } = actions;
    const own = {
      ...{ messages, messagesAfterPersist, reads, installSnapshot, timer, hardState, append },
      ...{ persistId, commit, snapshots, needsPersist },
    };
    this.#duties.stepped({ type: "take", actions: { ...own, ...change(actions) } as Actions });
    return actions;
  }

  /** Takes actions, and all writes are durable at once, until nothing is left to write. */
  settle(): void {
    for (;;) {
      const { needsPersist, persistId } = this.take();
      if (!needsPersist) return;
      this.persist(persistId);
    }
  }

  /** Makes it the leader of the next term, by the vote of b. */
  lead(): void {
    this.timeOut();
    this.settle();
    this.receive({ type: "request-vote-reply", from: "b", term: this.core.term, granted: true });
    this.settle();
  }

  leaseRead(answer = this.core.leaseIndex(this.now)): void {
    this.#duties.stepped({ type: "lease-read", answer, now: this.now });
  }

  acknowledge(from: string, match = this.core.log.last.index, round = 1): void {
    const outcome = { accepted: true, match } as const;
    const { term } = this.core;
    this.receive({ type: "append-entries-reply", from, term, round, outcome });
  }
}

/** Actions without the messages of one type. */
function without(type: Message["type"], to?: string): (actions: Actions) => Changes {
  const isOther = ({ message, to: receiver }: AddressedMessage): boolean =>
    message.type !== type || (to !== undefined && receiver !== to);
  return ({ messages, messagesAfterPersist }) => ({
    messages: messages.filter(isOther),
    messagesAfterPersist: messagesAfterPersist.filter(isOther),
  });
}

function entries(prev: LogPosition, lastIndex = prev.index, term = 2): EntryRange {
  const terms = lastIndex === prev.index ? [] : [{ index: prev.index + 1, term }];
  return { prev, lastIndex, terms, configs: [] };
}

function heartbeat(round: number, range = entries({ term: 1, index: 3 }), term = 2): Message {
  return { type: "append-entries", from: "b", term, entries: range, commit: 0, round };
}

const END = { term: 1, index: 3 };

describe("a node that is asked (DUTY)", () => {
  it("answers in the same turn", () => {
    const questions: readonly (readonly [Message, Message["type"]])[] = [
      [{ type: "pre-vote", from: "b", term: 1, round: 1, last: END }, "pre-vote-reply"],
      [{ type: "request-vote", from: "b", term: 2, last: END, transfer: false }, "request-vote-reply"],
      // Terms that are further ahead are dropped.
      [{ type: "pre-vote", from: "b", term: 1 + TERM_JUMP_MAX, round: 1, last: END }, "pre-vote-reply"],
      [
        { type: "request-vote", from: "b", term: 1 + TERM_JUMP_MAX, last: END, transfer: false },
        "request-vote-reply",
      ],
      [{ type: "read-index", from: "b", term: 1, id: 7 }, "read-index-reply"],
      [heartbeat(1, entries({ term: 0, index: 0 }), 0), "append-entries-reply"],
    ];
    for (const [question, answer] of questions) {
      const node = new Watched(["a", "b", "c"]);
      node.receive(question);
      expect(() => node.take(without(answer))).toThrow(`owes b a ${answer}`);
      const good = new Watched(["a", "b", "c"]);
      good.receive(question);
      good.settle();
    }
  });

  it("grants the pre-vote that it may grant", () => {
    const node = new Watched(["a", "b", "c"]);
    node.receive({ type: "pre-vote", from: "b", term: 1, round: 1, last: END });
    const refusal = { type: "pre-vote-reply", from: "a", term: 1, round: 1, granted: false } as const;
    const refused = () => ({ messages: [{ to: "b", message: refusal }] });
    expect(() => node.take(refused)).toThrow("refuses b a pre-vote that it may grant");
  });
});

describe("a follower (DUTY)", () => {
  it("acknowledges each round, and what is durable of its leader's log", () => {
    const node = new Watched(["a", "b", "c"]);
    node.receive(heartbeat(1));
    node.persist(node.take().persistId);
    expect(() => node.take(without("append-entries-reply"))).toThrow(
      "doesn't answer round 1 of its leader b",
    );
    const other = new Watched(["a", "b", "c"]);
    other.receive(heartbeat(1));
    other.settle();
    other.receive(heartbeat(1, entries(END, 5)));
    other.persist(other.take().persistId);
    expect(() => other.take(without("append-entries-reply"))).toThrow("up to 5 of its leader's log, and ack");
  });

  it("hands on the offer of a snapshot that it needs", () => {
    const node = new Watched(["a", "b", "c"]);
    const last = { term: 2, index: 90 };
    const config = configOf(["a", "b", "c"]);
    node.receive({ type: "install-snapshot", from: "b", term: 2, last, config, round: 1 });
    expect(() => node.take(() => ({ installSnapshot: null }))).toThrow("needs the snapshot up to 90");
  });

  it("ends its clients' reads once, and when they expire or their leader is gone", () => {
    const node = new Watched(["a", "b", "c"]);
    node.receive(heartbeat(1));
    node.settle();
    const id = node.read();
    expect(() => node.take(() => ({ timer: null }))).toThrow("wait beyond 10800");
    expect(() => node.take(() => ({ reads: [{ id: id + 1, index: 3 }] }))).toThrow("or wasn't asked it");
    node.receive(heartbeat(1, undefined, 3));
    node.receive({ ...heartbeat(1, undefined, 4), from: "c" });
    expect(() => node.take(() => ({ reads: [] }))).toThrow("and b of term 2 is gone");
  });
});

describe("a voter that hears no leader (DUTY)", () => {
  it("stands for election, and asks to be woken in time", () => {
    const node = new Watched(["a", "b", "c"]);
    expect(() => node.take(() => ({ timer: 10_801 }))).toThrow("wants to be woken at 10801");
    node.timeOut();
    expect(() => node.take(without("request-vote"))).toThrow("doesn't stand for election");
  });
});

describe("a leader (DUTY)", () => {
  it("sends each round to all members, and asks to be woken for the next one", () => {
    const node = new Watched(["a", "b", "c"]);
    node.lead();
    node.now += 80;
    node.timeOut();
    expect(() => node.take(without("append-entries", "c"))).toThrow("has begun round 2, and sends c nothing");
    const other = new Watched(["a", "b", "c"]);
    other.lead();
    expect(() => other.take(() => ({ timer: null }))).toThrow("its next heartbeat is due at 10080");
  });

  it("begins a round when it is due", () => {
    const node = new Watched(["a", "b", "c"]);
    node.lead();
    node.now += 80;
    node.timeOut();
    expect(() => node.take(without("append-entries"))).toThrow("owes a heartbeat");
  });

  it("commits what a majority holds, and counts what it is told", () => {
    const node = new Watched(["a", "b", "c"]);
    node.lead();
    Object.defineProperty(node.core, "commitIndex", { value: 3 });
    node.acknowledge("b");
    expect(() => node.take()).toThrow("has 4 on a majority, and has committed 3");
    const other = new Watched(["a", "b", "c"]);
    other.lead();
    const before = other.core.progress("b");
    Object.defineProperty(other.core, "progress", { value: () => before });
    expect(() => {
      other.acknowledge("b");
    }).toThrow("hears that b holds 4, and counts 0");
  });

  it("replicates to every member, what the window allows", () => {
    const node = new Watched(["a", "b", "c"]);
    node.lead();
    node.acknowledge("b");
    node.settle();
    const progress = node.core.progress("b");
    let shown: typeof progress = { ...progress!, next: 4 };
    Object.defineProperty(node.core, "progress", { value: () => shown });
    expect(() => node.take()).toThrow("sends b nothing from 4 on");
    shown = undefined;
    expect(() => node.take()).toThrow("replicates nothing to the member b");
  });

  it("sends no more than a smaller window allows", () => {
    const bytes = 8 * 1024 * 1024;
    const shown = (underWay: number, inflightMessagesMax: number, inflightBytesMax: number) => () => {
      const node = new Watched(["a", "b"], 1, { inflightMessagesMax, inflightBytesMax });
      node.lead();
      node.acknowledge("b");
      node.settle();
      for (let n = 0; n < underWay; n++) {
        node.core.proposeCommand(node.now);
        node.settle();
      }
      const progress = node.core.progress("b");
      Object.defineProperty(node.core, "progress", { value: () => ({ ...progress!, next: 4 }) });
      node.take();
    };
    expect(shown(1, 2, bytes)).toThrow("sends b nothing from 4 on");
    expect(shown(2, 2, bytes)).not.toThrow();
    expect(shown(0, 2, 1)).toThrow("sends b nothing from 4 on");
    expect(shown(1, 2, 1)).not.toThrow();
  });

  it("gives up its term only if it hears no majority", () => {
    const node = new Watched(["a", "b", "c"]);
    node.lead();
    node.acknowledge("b");
    node.settle();
    Object.defineProperty(node.core, "role", { value: "follower" });
    expect(() => {
      node.timeOut();
    }).toThrow("gives up term 2, and a majority answers it");
  });

  it("asks a voter that answers to take over when it steps down", () => {
    const steppingDown = (): Watched => {
      const node = new Watched(["a", "b", "c"]);
      node.lead();
      node.acknowledge("b");
      node.settle();
      // c is silent for too long, and b has just answered.
      node.now += 799;
      node.acknowledge("b");
      node.now += 1;
      node.stall();
      return node;
    };
    const asks = (to: string) => () => ({
      messages: [{ to, message: { type: "timeout-now", from: "a", term: 2 } as const }],
    });
    expect(() => steppingDown().take()).not.toThrow();
    expect(() => steppingDown().take(without("timeout-now"))).toThrow("asks no one to take over");
    expect(() => steppingDown().take(asks("c"))).toThrow(
      "asks c to take over, which doesn't answer or can't",
    );
  });

  it("hands over to the voter that holds most, and asks it in each round", () => {
    const node = new Watched(["a", "b", "c"]);
    node.lead();
    node.acknowledge("b");
    node.acknowledge("c", 3);
    node.settle();
    Object.defineProperty(node.core, "transferLeadership", { value: () => ({ to: "c" }) });
    expect(() => {
      node.transfer(null);
    }).toThrow("hands over to c, and b holds more of the log");
    const other = new Watched(["a", "b", "c"]);
    other.lead();
    other.acknowledge("b");
    other.settle();
    other.transfer("b");
    other.take(without("timeout-now"));
    other.acknowledge("c");
    expect(() => other.take()).toThrow("doesn't ask b to take over");
  });

  it("has a lease while a majority answers its rounds, however quickly they follow each other", () => {
    const node = new Watched(["a", "b", "c"]);
    node.lead();
    node.leaseRead(null);
    node.acknowledge("b");
    node.settle();
    // The lease may wait for a round that began after the last answer.
    node.leaseRead(null);
    node.now += 80;
    node.timeOut();
    node.settle();
    node.read();
    node.settle();
    node.acknowledge("b", undefined, 3);
    node.settle();
    node.leaseRead();
    expect(() => {
      node.leaseRead(null);
    }).toThrow("has no lease at 10080 ms, and a majority has answered the rounds since 10000");
    node.now = 10_000 + 361;
    node.leaseRead();
    node.now = 10_000 + 362;
    node.leaseRead(null);
  });

  it("has no lease during a transfer, and none after it asked another node to take over", () => {
    const node = new Watched(["a", "b", "c"]);
    node.lead();
    node.acknowledge("b");
    node.settle();
    node.now += 80;
    node.timeOut();
    node.settle();
    node.acknowledge("b", undefined, 2);
    node.settle();
    expect(() => {
      node.leaseRead(null);
    }).toThrow("has no lease");
    node.transfer("b");
    node.leaseRead();
    node.settle();
    Object.defineProperty(node.core, "transferTarget", { value: null });
    node.leaseRead();
  });

  it("that is the sole voter needs no answers for a lease", () => {
    const node = new Watched(["a"]);
    node.timeOut();
    node.settle();
    node.leaseRead();
    expect(() => {
      node.leaseRead(null);
    }).toThrow("is the sole voter");
  });
});
