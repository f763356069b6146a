import * as fc from "fast-check";
import { describe, expect, it } from "vitest";

import { PendingActions, type PendingActionsImage } from "./pending-actions.ts";
import type { AppendAction } from "./action.ts";
import type { Message } from "./message.ts";
import { ABC } from "./test/script.ts";

/** A disk that holds one mark per entry, and does exactly what an append says. */
class NaiveDisk {
  entries: number[] = [];

  write({ truncateFrom, from }: AppendAction, marks: readonly number[]): void {
    if (truncateFrom !== null) this.entries.length = Math.min(this.entries.length, truncateFrom - 1);
    expect(from, "entries are written right after the last stored one").toBe(this.entries.length + 1);
    this.entries.push(...marks);
  }
}

const anyStep = fc.oneof(
  fc.record({ type: fc.constant("append" as const), count: fc.integer({ min: 1, max: 4 }) }),
  fc.record({ type: fc.constant("truncate" as const), count: fc.nat(5) }),
  fc.record({ type: fc.constant("take" as const), count: fc.constant(0) }),
);

const vote: Message = { type: "request-vote-reply", from: "a", term: 1, granted: true };
const heartbeat: Message = { type: "read-index", from: "a", term: 1, id: 7 };

describe("pending actions", () => {
  it("merge appends and truncations, in any order, into one write that makes the disk equal the log", () => {
    fc.assert(
      fc.property(fc.array(anyStep, { maxLength: 30 }), (steps) => {
        const actions = new PendingActions();
        const disk = new NaiveDisk();
        let log: number[] = [];
        let mark = 0;
        const take = (): void => {
          const { append } = actions.take(null);
          if (append !== null) disk.write(append, log.slice(append.from - 1, append.to - 1));
          expect(disk.entries).toEqual(log);
        };
        for (const { type, count } of steps) {
          if (type === "append") {
            actions.append(log.length + 1, log.length + 1 + count);
            for (let n = 0; n < count; n++) log.push((mark += 1));
          } else if (type === "truncate" && count > 0 && log.length > 0) {
            const index = Math.max(1, log.length + 1 - count);
            actions.truncate(index);
            log = log.slice(0, index - 1);
          } else if (type === "take") take();
        }
        take();
      }),
      { numRuns: 1000 },
    );
  });

  it("do not remove entries that were never written", () => {
    const actions = new PendingActions();
    actions.append(1, 6);
    actions.truncate(4);
    actions.append(4, 9);
    expect(actions.take(null).append).toEqual({ truncateFrom: null, from: 1, to: 9 });
  });

  it("need no write if they have none, and are returned once", () => {
    const actions = new PendingActions();
    actions.saveHardState({ term: 1, votedFor: "a" });
    actions.append(1, 2);
    actions.send("b", heartbeat);
    actions.sendAfterPersist("b", vote);
    actions.commit({ term: 1, index: 1 });
    actions.read(3, 1);
    actions.sendSnapshot("c");
    actions.sendSnapshot("c");
    const first = actions.take(5);
    expect(first.needsPersist).toBe(true);
    expect([...first].map(({ type }) => type)).toEqual([
      "set-timer",
      "send",
      "save-hard-state",
      "append-entries",
      "send-after-persist",
      "commit",
      "read",
      "send-snapshot",
    ]);
    const second = actions.take(5);
    expect(second.persistId).toBe(first.persistId + 1);
    expect(second.needsPersist).toBe(false);
    expect([...second]).toEqual([{ type: "set-timer", deadline: 5 }]);
  });

  it("drop votes of a term that was left before they were taken", () => {
    const actions = new PendingActions();
    actions.saveHardState({ term: 1, votedFor: "b" });
    actions.sendAfterPersist("b", vote);
    actions.send("b", heartbeat);
    actions.saveHardState({ term: 1, votedFor: "b" });
    expect(actions.capture().messagesAfterPersist).toHaveLength(1);
    actions.saveHardState({ term: 2, votedFor: null });
    const taken = actions.take(null);
    expect(taken.hardState).toEqual({ term: 2, votedFor: null });
    expect(taken.messagesAfterPersist).toEqual([]);
    expect(taken.messages).toHaveLength(1);
  });

  it("are copied by a capture: taking them from one copy does not change the other", () => {
    const actions = new PendingActions();
    actions.append(3, 5);
    actions.send("b", heartbeat);
    const twin = new PendingActions();
    twin.restore(actions.capture());
    expect(twin.take(9)).toStrictEqual(actions.take(9));
  });
});

describe("a pending write", () => {
  function appendAfter(...steps: ((actions: PendingActions) => void)[]): AppendAction | null {
    const actions = new PendingActions();
    for (const step of steps) step(actions);
    return actions.take(null).append;
  }

  it("grows with later appends, and keeps its truncation", () => {
    expect(appendAfter((actions) => actions.append(3, 5))).toEqual({ truncateFrom: null, from: 3, to: 5 });
    expect(
      appendAfter(
        (actions) => actions.append(3, 5),
        (actions) => actions.append(5, 9),
      ),
    ).toEqual({ truncateFrom: null, from: 3, to: 9 });
    expect(
      appendAfter(
        (actions) => actions.truncate(3),
        (actions) => actions.append(3, 9),
      ),
    ).toEqual({ truncateFrom: 3, from: 3, to: 9 });
  });

  it("shrinks with a truncation, and removes stored entries if that goes further", () => {
    expect(
      appendAfter(
        (actions) => actions.append(3, 9),
        (actions) => actions.truncate(5),
      ),
    ).toEqual({ truncateFrom: null, from: 3, to: 5 });
    expect(
      appendAfter(
        (actions) => actions.append(3, 5),
        (actions) => actions.truncate(7),
      ),
    ).toEqual({ truncateFrom: null, from: 3, to: 5 });
    expect(
      appendAfter(
        (actions) => actions.append(3, 9),
        (actions) => actions.truncate(3),
      ),
    ).toEqual({ truncateFrom: 3, from: 3, to: 3 });
    expect(
      appendAfter(
        (actions) => actions.truncate(4),
        (actions) => actions.append(4, 6),
        (actions) => actions.truncate(2),
      ),
    ).toEqual({ truncateFrom: 2, from: 2, to: 2 });
  });

  it("drops what a snapshot covers, and is empty if that is everything", () => {
    const write = (actions: PendingActions): void => actions.append(3, 9);
    // A write that begins later is unchanged, and keeps its truncation.
    expect(appendAfter(write, (actions) => actions.dropCovered(1))).toEqual({
      truncateFrom: null,
      from: 3,
      to: 9,
    });
    expect(
      appendAfter(
        (actions) => actions.truncate(3),
        (actions) => actions.append(3, 9),
        (actions) => actions.dropCovered(1),
      ),
    ).toEqual({ truncateFrom: 3, from: 3, to: 9 });
    expect(appendAfter(write, (actions) => actions.dropCovered(2))).toEqual({
      truncateFrom: null,
      from: 3,
      to: 9,
    });
    expect(appendAfter(write, (actions) => actions.dropCovered(3))).toEqual({
      truncateFrom: null,
      from: 4,
      to: 9,
    });
    expect(appendAfter(write, (actions) => actions.dropCovered(7))).toEqual({
      truncateFrom: null,
      from: 8,
      to: 9,
    });
    expect(appendAfter(write, (actions) => actions.dropCovered(8))).toBe(null);
    expect(appendAfter(write, (actions) => actions.dropCovered(20))).toBe(null);
    expect(appendAfter((actions) => actions.dropCovered(20))).toBe(null);
    // The stored log is empty then, so there is nothing to remove from it.
    expect(
      appendAfter(
        (actions) => actions.truncate(3),
        (actions) => actions.append(3, 9),
        (actions) => actions.dropCovered(5),
      ),
    ).toEqual({ truncateFrom: null, from: 6, to: 9 });
  });

  it("is empty once the whole log was replaced", () => {
    expect(
      appendAfter(
        (actions) => actions.append(3, 9),
        (actions) => actions.dropAppend(),
      ),
    ).toBe(null);
  });
});

describe("pending actions when the node enters a new term", () => {
  const votes: readonly Message[] = [
    { type: "pre-vote", from: "a", term: 1, round: 1, last: { term: 1, index: 1 } },
    { type: "pre-vote-reply", from: "a", term: 1, granted: true, round: 1 },
    { type: "request-vote", from: "a", term: 1, last: { term: 1, index: 1 }, transfer: false },
    vote,
  ];

  it("lose requests for votes and votes, and nothing else", () => {
    for (const message of votes) {
      const actions = new PendingActions();
      actions.saveHardState({ term: 1, votedFor: null });
      actions.send("b", message);
      actions.send("b", heartbeat);
      actions.saveHardState({ term: 2, votedFor: null });
      expect(actions.take(null).messages.map(({ message: { type } }) => type)).toEqual(["read-index"]);
    }
  });

  it("are kept if they were taken before the new term, or if the term is the same", () => {
    const actions = new PendingActions();
    actions.send("b", vote);
    actions.sendAfterPersist("b", vote);
    // The first term or vote to be saved: earlier messages rely on nothing that is lost.
    actions.saveHardState({ term: 2, votedFor: null });
    actions.saveHardState({ term: 2, votedFor: "b" });
    const taken = actions.take(null);
    expect([taken.messages.length, taken.messagesAfterPersist.length]).toEqual([1, 1]);
  });
});

describe("a batch of actions", () => {
  it("needs a report that it is durable if it has a term, entries, or messages that wait", () => {
    for (const [step, needsPersist] of [
      [(actions) => actions.saveHardState({ term: 1, votedFor: null }), true],
      [(actions) => actions.append(1, 2), true],
      [(actions) => actions.sendAfterPersist("b", vote), true],
      [(actions) => actions.send("b", vote), false],
      [(actions) => actions.commit({ term: 1, index: 1 }), false],
      [(actions) => actions.read(1, null), false],
    ] as readonly (readonly [(actions: PendingActions) => void, boolean])[]) {
      const actions = new PendingActions();
      step(actions);
      expect(actions.take(null).needsPersist).toBe(needsPersist);
    }
  });

  it("is numbered from 1, and its number is known before it is taken", () => {
    const actions = new PendingActions();
    expect(actions.persistId).toBe(1);
    expect(actions.take(null).persistId).toBe(1);
    expect(actions.persistId).toBe(2);
  });

  it("names each follower that needs a snapshot once, and none if the node stopped leading", () => {
    const actions = new PendingActions();
    actions.sendSnapshot("b");
    actions.sendSnapshot("c");
    actions.sendSnapshot("b");
    expect(actions.capture().snapshots).toEqual(["b", "c"]);
    actions.dropSnapshotOffers();
    expect(actions.take(null).snapshots).toEqual([]);
  });

  it("has the offer of a snapshot last when it is iterated", () => {
    const actions = new PendingActions();
    const offer = {
      type: "install-snapshot",
      from: "b",
      term: 3,
      last: { term: 2, index: 9 },
      round: 1,
    } as const;
    actions.installSnapshot({ ...offer, config: ABC });
    actions.sendSnapshot("c");
    actions.read(4, null);
    const taken = actions.take(7);
    expect([...taken]).toEqual([
      { type: "set-timer", deadline: 7 },
      { type: "read", id: 4, index: null },
      { type: "send-snapshot", to: "c" },
      { type: "install-snapshot", offer: { ...offer, config: ABC } },
    ]);
    expect(taken.installSnapshot).toMatchObject(offer);
    expect(actions.take(7).installSnapshot).toBe(null);
  });

  it("keeps every field when it is captured and revived", () => {
    const image: PendingActionsImage = {
      persistId: 5,
      hardState: { term: 3, votedFor: "a" },
      append: { truncateFrom: 2, from: 2, to: 4 },
      messages: [{ to: "b", message: heartbeat }],
      messagesAfterPersist: [{ to: "c", message: vote }],
      commit: { term: 2, index: 1 },
      reads: [{ id: 1, index: null }],
      snapshots: ["c"],
      installSnapshot: {
        type: "install-snapshot",
        from: "b",
        term: 3,
        last: { term: 2, index: 9 },
        round: 1,
        config: ABC,
      },
    };
    const actions = new PendingActions();
    actions.restore(image);
    expect(actions.capture()).toEqual(image);
    actions.send("x", vote);
    expect(image.messages).toHaveLength(1);
  });

  it("doesn't change when more is collected", () => {
    const actions = new PendingActions();
    const collect = (): void => {
      actions.append(1, 2);
      actions.append(2, 3);
      actions.send("b", heartbeat);
      actions.sendAfterPersist("c", vote);
      actions.read(1, 2);
      actions.sendSnapshot("c");
    };
    const empty = actions.take(null);
    collect();
    const full = actions.take(null);
    const before = structuredClone([...full]);
    collect();
    expect([...empty]).toEqual([{ type: "set-timer", deadline: null }]);
    expect(empty.needsPersist).toBe(false);
    expect([...full]).toEqual(before);
  });

  it("leaves a captured image as it is when more is collected, by the original or a revived copy", () => {
    const actions = new PendingActions();
    actions.append(1, 2);
    const image = actions.capture();
    const revived = new PendingActions();
    revived.restore(image);
    actions.append(2, 9);
    expect(image.append).toEqual({ truncateFrom: null, from: 1, to: 2 });
    revived.append(2, 4);
    expect(image.append).toEqual({ truncateFrom: null, from: 1, to: 2 });
    expect(actions.capture().append).toEqual({ truncateFrom: null, from: 1, to: 9 });
  });
});
