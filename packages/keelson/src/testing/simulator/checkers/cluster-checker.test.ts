import { describe, expect, it } from "vitest";
import { encodeMembership } from "../../../codec/config.ts";
import { encodeRecord, EntryKind } from "../../../codec/record.ts";
import { configOf, membersOf, type ClusterConfig } from "../../../core/config.ts";
import type { LogWrite } from "../../../storage/log-store.ts";
import { ClusterChecker } from "./cluster-checker.ts";
import { LeaseChecker } from "./lease-checker.ts";
import type { NodeStatus } from "./node-status.ts";

const LIMITS = {
  preVote: true,
  electionTimeoutMinMs: 100,
  electionTimeoutMaxMs: 200,
  isDriftBounded: true,
  pendingEntriesMax: 3,
  pendingBytesMax: 100,
  withoutMajorityMsMax: 500,
  storageStallMsMax: 300,
  stateStallMsMax: 700,
  stateTimeoutMsMax: 2500,
  storageTimeoutMsMax: 1700,
  keepsLogForReceivers: true,
  clockRateMax: 1,
  stableAfterMs: Infinity,
};
const STATUS: NodeStatus = {
  role: "follower",
  term: 1,
  commitIndex: 0,
  appliedIndex: 0,
  lastIndex: 9,
  config: configOf(["a", "b", "c", "d"]),
  members: [],
  pendingEntries: 0,
  pendingBytes: 0,
};

function entry(index: number, term: number, text = ""): LogWrite {
  const record = encodeRecord(index, term, EntryKind.command, new TextEncoder().encode(text));
  return { hardState: null, truncateFrom: null, records: [record] };
}

/** A configuration entry; the store ids of these members are known, and these were removed. */
function config(
  index: number,
  term: number,
  parts: Partial<ClusterConfig>,
  storeIdsOf: string[] = [],
  removed: string[] = [],
): LogWrite {
  const whole = { ...configOf([]), ...parts };
  const members = new Map(
    membersOf(whole).map((id) => [
      id,
      { address: `${id}:1`, ...(storeIdsOf.includes(id) ? { storeId: `store of ${id}` } : {}) },
    ]),
  );
  const payload = encodeMembership({ config: whole, members, removed });
  const record = encodeRecord(index, term, EntryKind.config, payload);
  return { hardState: null, truncateFrom: null, records: [record] };
}

function put(checker: ClusterChecker, id: string, write: LogWrite): void {
  checker.stores.submitted(id, write);
  checker.stores.durable(id, checker.stores.incarnation(id), write);
}

function heard(id: string): NodeStatus["members"][number] {
  return { id, match: 0, active: true };
}

/** Each of them voted for it in term 1, durably. */
function elect(checker: ClusterChecker, candidate: string, voters: readonly string[]): void {
  const hardState = { term: 1, votedFor: candidate };
  for (const id of voters) put(checker, id, { hardState, truncateFrom: null, records: [] });
}

describe("ClusterChecker", () => {
  it("reports a second leader in one term (ES)", () => {
    const checker = new ClusterChecker(LIMITS);
    elect(checker, "a", ["a", "b", "c"]);
    checker.statuses.step("a", { ...STATUS, role: "leader" }, 0);
    expect(() => checker.statuses.step("b", { ...STATUS, role: "leader" }, 0)).toThrow(
      "ES: term 1 has two leaders",
    );
  });

  it("reports a leader without a majority of durable votes, or without its own term on disk (ES, PBR)", () => {
    const checker = new ClusterChecker(LIMITS);
    const leads = { ...STATUS, role: "leader" };
    expect(() => checker.statuses.step("a", leads, 0)).toThrow(
      "PBR: a leads term 1, and on its disk is term 0",
    );
    elect(checker, "a", ["a", "b"]);
    expect(() => checker.statuses.step("a", leads, 0)).toThrow(
      "ES: a leads term 1 without the durable votes",
    );
    elect(checker, "a", ["c"]);
    expect(() => checker.statuses.step("a", leads, 0)).not.toThrow();
  });

  it("accepts that a stopped node's last turn never reached its store", () => {
    const checker = new ClusterChecker(LIMITS);
    put(checker, "b", config(1, 1, { voters: ["a", "b"] }));
    put(checker, "b", entry(2, 1, "old"));
    put(checker, "a", config(1, 1, { voters: ["a", "b"] }));
    put(checker, "a", entry(2, 2, "new"));
    const AB = { config: configOf(["a", "b"]), lastIndex: 2 };
    checker.statuses.step("b", { ...STATUS, ...AB, commitIndex: 1 }, 0);
    const replaced = { ...STATUS, ...AB, commitIndex: 2, durableIndex: 1 };
    expect(() => checker.statuses.step("b", { ...replaced, role: "stopped" }, 0)).not.toThrow();
    expect(() => checker.statuses.step("b", { ...replaced, role: "stopped", durableIndex: 2 }, 0)).toThrow(
      "CQ: b",
    );
    expect(() => checker.statuses.step("b", replaced, 0)).toThrow("CQ: b commits 2 without a majority");
  });

  it("judges what a node takes during an installation once its store has been given it", () => {
    const checker = new ClusterChecker(LIMITS);
    for (const id of ["a", "b"]) put(checker, id, config(1, 1, { voters: ["a", "b", "c"] }));
    put(checker, "c", config(1, 1, { voters: ["a", "b", "c"] }));
    put(checker, "c", entry(2, 1, "old"));
    for (const id of ["a", "b"]) put(checker, id, entry(2, 2, "new"));
    const committed = { ...STATUS, config: configOf(["a", "b", "c"]), lastIndex: 2, commitIndex: 2 };
    checker.statuses.step("a", committed, 0);
    const installing = { ...committed, durableIndex: 1, isInstalling: true };
    expect(() => checker.statuses.step("c", installing, 0)).not.toThrow();
    expect(() => checker.statuses.step("c", { ...installing, isInstalling: false }, 0)).toThrow(
      "SMS: c commits",
    );
  });

  it("counts a commit's majority from what stores reported as durable (CQ)", () => {
    const checker = new ClusterChecker(LIMITS);
    const first = config(1, 1, { voters: ["a", "b", "c", "d"] });
    put(checker, "a", first);
    put(checker, "b", first);
    checker.stores.submitted("c", first);
    const commits = { ...STATUS, commitIndex: 1 };
    expect(() => checker.statuses.step("a", commits, 0)).toThrow("CQ: a commits 1 without a majority");
    checker.stores.durable("c", checker.stores.incarnation("c"), first);
    expect(() => checker.statuses.step("a", commits, 0)).not.toThrow();
  });

  it("requires both majorities while the configuration is joint (CQ)", () => {
    const checker = new ClusterChecker(LIMITS);
    const joint = { voters: ["a", "d", "e"], outgoingVoters: ["a", "b", "c"] };
    const first = config(1, 1, joint);
    for (const id of ["a", "b", "c"]) put(checker, id, first);
    const commits = { ...STATUS, config: { ...joint, learners: [] }, commitIndex: 1 };
    expect(() => checker.statuses.step("a", commits, 0)).toThrow("without a majority of {a b c -> a d e}");
    put(checker, "d", first);
    expect(() => checker.statuses.step("a", commits, 0)).not.toThrow();
  });

  it("accepts a commit counted by the log's last configuration only after a committed configuration entry (CQ)", () => {
    const checker = new ClusterChecker(LIMITS);
    const last = config(3, 1, { voters: ["a"] }, [], ["b", "c"]);
    const writes = [config(1, 1, { voters: ["a", "b", "c"] }), entry(2, 1), last];
    for (const id of ["a", "b"]) for (const write of writes.slice(0, 1)) put(checker, id, write);
    const status = { ...STATUS, lastIndex: 3, config: configOf(["a"]) };
    for (const write of writes.slice(1)) put(checker, "a", write);
    expect(() => checker.statuses.step("a", { ...status, commitIndex: 2 }, 0)).not.toThrow();
    const other = new ClusterChecker(LIMITS);
    for (const write of writes) put(other, "a", write);
    expect(() => other.statuses.step("a", { ...status, commitIndex: 2 }, 0)).toThrow(
      "CQ: a commits 1 without",
    );
  });

  it("reports a configuration in force that isn't the log's last one (CFG)", () => {
    const checker = new ClusterChecker(LIMITS);
    put(checker, "a", config(1, 1, { voters: ["a", "b"] }));
    put(checker, "a", config(2, 1, { voters: ["a", "b"], learners: ["c"] }));
    const stale = { ...STATUS, lastIndex: 2, config: configOf(["a", "b"]) };
    expect(() => checker.statuses.step("a", stale, 0)).toThrow(
      "CFG: a acts on {a b}; its log says {a b, learners c}",
    );
    expect(() =>
      checker.statuses.step("a", { ...stale, config: configOf(["a", "b"], ["c"]) }, 0),
    ).not.toThrow();
  });

  it("reports a candidate that is neither a voter nor a voter whose removal is uncommitted (M18)", () => {
    const checker = new ClusterChecker(LIMITS);
    put(checker, "a", config(1, 1, { voters: ["a", "b"] }));
    put(checker, "b", config(1, 1, { voters: ["a", "b"] }));
    put(checker, "a", config(2, 1, { voters: ["b"] }, [], ["a"]));
    put(checker, "b", config(2, 1, { voters: ["b"] }, [], ["a"]));
    const leaving = { ...STATUS, role: "candidate", lastIndex: 2, config: configOf(["b"]) };
    expect(() => checker.statuses.step("a", { ...leaving, commitIndex: 1 }, 0)).not.toThrow();
    expect(() => checker.statuses.step("a", { ...leaving, commitIndex: 2 }, 0)).toThrow("ES: a campaigns");
  });

  it("counts the acknowledgements of a lost disk, and expects the new disk to be empty", () => {
    const checker = new ClusterChecker(LIMITS);
    const first = config(1, 1, { voters: ["a", "b", "c"] }, ["b"]);
    for (const id of ["a", "b"]) put(checker, id, first);
    expect(checker.history.knowsStoreId("a", "b")).toBe(false);
    checker.stores.diskLost("b");
    checker.statuses.step(
      "a",
      { ...STATUS, lastIndex: 1, config: configOf(["a", "b", "c"]), commitIndex: 1 },
      0,
    );
    expect(checker.history.committed.length).toBe(1);
    expect([
      checker.history.knowsStoreId("a", "b"),
      checker.history.knowsStoreId("a", "c"),
      checker.history.knowsStoreId("b", "b"),
    ]).toEqual([true, false, false]);
    expect(checker.stores.endOf("b")).toBe(1);
  });

  it("accepts that a node whose disk became an older copy votes again, once, and lacks entries (Z20)", () => {
    const checker = new ClusterChecker(LIMITS);
    const vote = (votedFor: string): void => {
      put(checker, "b", { hardState: { term: 1, votedFor }, truncateFrom: null, records: [] });
    };
    put(checker, "b", config(1, 1, { voters: ["a", "b"] }));
    vote("a");
    expect(() => {
      vote("c");
    }).toThrow("ES: b voted for a and for c in term 1");
    checker.stores.rolledBack("b");
    const copy = { clusterId: null, storeId: "s", hardState: { term: 0, votedFor: null } };
    const base = { position: { index: 0, term: 0 }, config: new Uint8Array(0) };
    const stored = { ...copy, base: base.position, lastIndex: 0 } as never;
    expect(() => {
      checker.stores.opened("b", stored, []);
    }).not.toThrow();
    vote("c");
    expect(checker.history.hasVotedFor("b", 1, "a")).toBe(true);
    expect(checker.history.hasVotedFor("b", 1, "c")).toBe(true);
    expect(() => {
      vote("a");
    }).toThrow("ES: b voted for c and for a in term 1");
  });

  it("reports two payloads at one position (LM)", () => {
    const checker = new ClusterChecker(LIMITS);
    put(checker, "a", entry(1, 1, "x"));
    expect(() => checker.stores.submitted("b", entry(1, 1, "y"))).toThrow("LM: b holds another entry 1@1");
  });

  it("reports a read that differs from what was written (DUR)", () => {
    const checker = new ClusterChecker(LIMITS);
    const [one, two, other] = [entry(1, 1), entry(2, 1), entry(2, 1, "other")];
    for (const write of [one, two]) put(checker, "a", write);
    const given = checker.stores.expect("a", 1, 3);
    const second = checker.stores.expect("a", 2, 3);
    expect(() => checker.stores.read("a", 1, [...one.records, ...two.records], given)).not.toThrow();
    expect(() => checker.stores.read("a", 2, two.records, second)).not.toThrow();
    expect(() => checker.stores.read("a", 2, other.records, second)).toThrow(
      "DUR: the store of a returns another entry 2",
    );
    expect(() => checker.stores.read("a", 1, two.records, given)).toThrow("DUR");
  });

  it("reports a command in the committed stream that differs from the applied one (SMS)", () => {
    const checker = new ClusterChecker(LIMITS);
    for (const index of [1, 2, 3]) {
      put(checker, "a", entry(index, 1));
      checker.applies.applying("a", { index, term: 1 }, `{${String(index)}}`);
    }
    const at = (index: number) => ({ index, term: 1 });
    expect(() => checker.applies.delivered("a", at(2), "{2}", 1)).not.toThrow();
    expect(() => checker.applies.delivered("a", at(3), "{3}", 1)).toThrow("left out the command at 2");
    expect(() => checker.applies.delivered("a", at(2), "{1}", 1)).toThrow("SMS: a tells of {1} at 2");
    expect(() => checker.applies.delivered("a", at(2), "{2}", 2)).toThrow("SMS: a tells of 2 after 2");
    expect(checker.history.lastCommand("a")).toBe(3);
  });

  it("reports a command that was left out (SMS)", () => {
    const checker = new ClusterChecker(LIMITS);
    put(checker, "a", entry(1, 1));
    put(checker, "a", entry(2, 1));
    expect(() => checker.applies.applying("a", { index: 2, term: 1 }, "{}")).toThrow(
      "SMS: a applies 2 and has left out",
    );
    checker.applies.restored("a", 1);
    expect(() => checker.applies.applying("a", { index: 2, term: 1 }, "{}")).not.toThrow();
  });

  it("reports a leader that stays without hearing from a majority, unless it is excused (STABLE)", () => {
    const checker = new ClusterChecker(LIMITS);
    elect(checker, "a", ["a", "b", "c"]);
    const alone = { ...STATUS, role: "leader", members: [{ id: "a", voter: true, match: 1, active: true }] };
    checker.statuses.step("a", alone, 0);
    checker.statuses.step("a", alone, 1_000);
    checker.statuses.excuse("a");
    checker.statuses.step("a", alone, 2_000);
    expect(() => checker.statuses.step("a", alone, 2_501)).toThrow("STABLE: a goes on leading term 1");
  });

  it("reports a leader that stays while its disk stalls, unless it is the sole voter (D11)", () => {
    const checker = new ClusterChecker(LIMITS);
    elect(checker, "a", ["a", "b", "c"]);
    const leads = { ...STATUS, role: "leader", members: STATUS.config.voters.map(heard) };
    checker.statuses.step("a", leads, 0);
    checker.stores.submitted("a", entry(1, 1));
    checker.statuses.step("a", leads, 10);
    checker.statuses.step("a", { ...leads, config: configOf(["a"]) }, 400);
    checker.statuses.step("a", leads, 410);
    checker.statuses.step("a", leads, 710);
    expect(() => checker.statuses.step("a", leads, 711)).toThrow("STABLE: a goes on leading, and its disk");
  });

  it.each([
    ["part", "hungCall", LIMITS.stateTimeoutMsMax, "and a part of it hangs for"],
    ["log", "hungLogCall", LIMITS.storageTimeoutMsMax, "and its log hangs for"],
  ])(
    "reports a node that goes on while one call to its %s hangs, unless it is excused (FAILSTOP)",
    (...row) => {
      const [, field, limitMs, reason] = row;
      const checker = new ClusterChecker(LIMITS);
      const call = {};
      const step = (hung: object | null, now: number, role = "follower"): void => {
        checker.statuses.step("a", { ...STATUS, role, [field]: hung }, now);
      };
      step({}, 0);
      step(call, 1);
      step(call, limitMs + 1);
      step(call, limitMs + 2, "stopped");
      step(call, limitMs + 3);
      step(null, limitMs + 4);
      step(call, limitMs + 5);
      checker.statuses.excuse("a");
      step(call, 2 * limitMs);
      step(call, 3 * limitMs);
      expect(() => {
        step(call, 3 * limitMs + 1);
      }).toThrow(`FAILSTOP: a goes on, ${reason} ${String(limitMs + 1)} ms`);
    },
  );

  it("reports a node that takes a removal for its end before that is committed (CFG)", () => {
    const checker = new ClusterChecker(LIMITS);
    const status = { ...STATUS, config: configOf(["b"]), lastIndex: 2, removedAt: 2 };
    expect(() => checker.statuses.step("a", { ...status, appliedIndex: 1, commitIndex: 1 }, 0)).toThrow(
      "CFG: a counts as removed by entry 2, and knows 1 to be committed",
    );
  });

  it("reports a log compacted beyond the applied index or the snapshot (ORD)", () => {
    const checker = new ClusterChecker(LIMITS);
    const status = { ...STATUS, firstIndex: 3, newestSnapshot: 2 };
    expect(() => checker.statuses.step("a", status, 0)).toThrow(
      "ORD: a forgot 2 entries; applied 0, snapshot 2",
    );
    const other = new ClusterChecker(LIMITS);
    const applied = { ...status, appliedIndex: 2, commitIndex: 2 };
    expect(() => other.statuses.step("a", { ...applied, newestSnapshot: null }, 0)).toThrow("snapshot 0");
    expect(() => other.statuses.step("a", applied, 0)).not.toThrow();
  });

  it("reports a configuration that forgets a removed member (M10)", () => {
    const checker = new ClusterChecker(LIMITS);
    put(checker, "a", config(1, 1, { voters: ["a", "b"] }));
    put(checker, "a", config(2, 1, { voters: ["a"] }, [], ["b"]));
    expect(() => checker.stores.submitted("a", config(3, 1, { voters: ["a"], learners: ["c"] }))).toThrow(
      "CFG: the log of a forgets at 3 that b was removed",
    );
  });

  it("reports a log's base that isn't committed, or that has another membership (ORD, CFG)", () => {
    const checker = new ClusterChecker(LIMITS);
    const first = config(1, 1, { voters: ["a", "b"] });
    for (const id of ["a", "b"]) put(checker, id, first);
    const base = (voters: string[], index: number) => ({
      position: { index, term: 1 },
      config: encodeMembership({
        config: configOf(voters),
        members: new Map(voters.map((id) => [id, { address: `${id}:1` }])),
      }),
    });
    expect(() => checker.stores.replacing("a", base(["a", "b"], 1), false)).toThrow(
      "ORD: the log of a begins after 1@1",
    );
    checker.statuses.step("a", { ...STATUS, lastIndex: 1, config: configOf(["a", "b"]), commitIndex: 1 }, 0);
    expect(() => checker.stores.replacing("a", base(["a"], 1), false)).toThrow(
      'CFG: a has {"version":1,"voters":["a"]',
    );
    expect(() => checker.stores.replacing("c", base(["a", "b"], 1), true)).not.toThrow();
    checker.stores.replaced("c", base(["a", "b"], 1));
    expect(checker.stores.endOf("c")).toBe(2);
  });

  it("reports queues over their limits (BOUND)", () => {
    const checker = new ClusterChecker(LIMITS);
    expect(() => checker.statuses.step("a", { ...STATUS, pendingEntries: 4 }, 0)).toThrow(
      "BOUND: a has 4 proposals",
    );
    for (const forwardedBytes of [101, -1]) {
      expect(() => checker.statuses.step("a", { ...STATUS, forwardedBytes }, 0)).toThrow(
        "BOUND: a has passed on",
      );
    }
  });
});

describe("LeaseChecker", () => {
  const FOLLOWER = { isLeader: false, term: 2, hasVoted: false };
  const asked = { type: "pre-vote", from: "b", term: 2, round: 1, last: { term: 1, index: 1 } } as const;
  const granted = { type: "pre-vote-reply", from: "a", term: 2, round: 1, granted: true } as const;
  const heard = {
    type: "append-entries",
    from: "c",
    term: 2,
    entries: { prev: { term: 0, index: 0 }, lastIndex: 0, terms: [], configs: [] },
    commit: 0,
    round: 1,
  } as const;

  it("reports a pre-vote granted while the node hears its leader (STABLE)", () => {
    const checker = new LeaseChecker(100, true);
    checker.received(heard, { ...FOLLOWER, now: 0 });
    checker.receiving(asked, { ...FOLLOWER, now: 99 });
    expect(() => checker.sending("b", granted)).toThrow("STABLE: a helps b");
  });

  it("accepts a pre-vote asked for after the lease ended, even if it is granted late", () => {
    const checker = new LeaseChecker(100, true);
    checker.received(heard, { ...FOLLOWER, now: 0 });
    checker.receiving(asked, { ...FOLLOWER, now: 100 });
    checker.received(heard, { ...FOLLOWER, now: 101 });
    checker.receiving(asked, { ...FOLLOWER, now: 102 });
    expect(() => checker.sending("b", granted)).not.toThrow();
  });

  it("accepts a vote for the node that the leader asked to take over", () => {
    const checker = new LeaseChecker(100, true);
    checker.received(heard, { ...FOLLOWER, now: 0 });
    const [term, last] = [3, { term: 1, index: 1 }];
    const vote = { type: "request-vote", from: "b", term, last } as const;
    const given = { type: "request-vote-reply", from: "a", term, granted: true } as const;
    checker.receiving({ ...vote, transfer: true }, { ...FOLLOWER, now: 1 });
    expect(() => checker.sending("b", given)).not.toThrow();
    checker.received({ ...heard, term: 3 }, { ...FOLLOWER, term: 3, now: 2 });
    checker.receiving({ ...vote, term: 4, transfer: false }, { ...FOLLOWER, term: 3, now: 3 });
    expect(() => checker.sending("b", { ...given, term: 4 })).toThrow("STABLE");
  });

  it("reports a vote given while the node hears its leader, in a term that it has entered before (STABLE)", () => {
    const [term, last] = [3, { term: 1, index: 1 }];
    const vote = { type: "request-vote", from: "b", term, last, transfer: false } as const;
    const given = { type: "request-vote-reply", from: "a", term, granted: true } as const;
    const checker = new LeaseChecker(100, true);
    checker.received(heard, { ...FOLLOWER, now: 0 });
    checker.receiving(vote, { ...FOLLOWER, term: 3, hasVoted: true, now: 1 });
    expect(() => checker.sending("b", given)).not.toThrow();
    const other = new LeaseChecker(100, true);
    other.received(heard, { ...FOLLOWER, now: 0 });
    other.receiving(vote, { ...FOLLOWER, term: 3, now: 99 });
    expect(() => other.sending("b", given)).toThrow("STABLE: a helps b");
  });
});
