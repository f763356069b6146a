// Every public call against every way in which its node can end, in the turn of the call and later: each call
// settles, in bounded time, and says nothing that may turn out to be wrong.
import { describe, expect, it } from "vitest";
import type { TransportHost } from "../../transport/transport.ts";
import { RaftError, type Outcome } from "../../errors.ts";
import type { Environment } from "../../environment/environment.ts";
import type { SnapshotStore } from "../../storage/snapshot-store.ts";
import { Raft } from "../raft.ts";
import type { ResumableSession, Session } from "../sessions/index.ts";
import { Journal } from "../test/journal.ts";
import { TestCluster, type TestNode } from "../test/test-cluster.ts";

/** An isolated leader of three: nothing that it proposes is committed, and nobody answers it. */
interface Rig {
  readonly cluster: TestCluster;
  readonly node: TestNode;
  readonly raft: Raft<string, number>;
  readonly session: Session<string, number>;
  readonly resumable: ResumableSession<string, number>;
  /** When set, the clock throws at its next use within the driver: the node fails inside of the call. */
  readonly clock: { isBroken: boolean };
  /** Given to every call of the table. */
  readonly abort: AbortController;
}

/** A call that is pending on the isolated leader. */
interface PublicCall {
  /** The method of `Raft` that it is about. */
  readonly method: string;
  readonly begin: (rig: Rig) => Promise<unknown>;
  /** Its outcome when the node ends. A call may also end as "not-done" if it has proposed nothing. */
  readonly outcome: Outcome;
}

const NEVER = new Promise<never>(() => undefined);

const CALLS: Readonly<Record<string, PublicCall>> = {
  write: {
    method: "write",
    begin: ({ raft, abort: { signal } }) => raft.write("y", { signal }),
    outcome: "unknown",
  },
  writeWithIndex: {
    method: "writeWithIndex",
    begin: ({ raft, abort: { signal } }) => raft.writeWithIndex("y", { signal }),
    outcome: "unknown",
  },
  openSession: {
    method: "openSession",
    begin: ({ raft, abort: { signal } }) => raft.openSession({ signal }),
    outcome: "unknown",
  },
  beginSession: {
    method: "beginSession",
    begin: ({ raft, abort: { signal } }) => raft.beginSession({ signal }),
    outcome: "unknown",
  },
  endSession: {
    method: "endSession",
    begin: ({ raft, session, abort: { signal } }) => raft.endSession(session.id, { signal }),
    outcome: "unknown",
  },
  "a session's write": {
    method: "openSession",
    begin: ({ session, abort: { signal } }) => session.write("y", { signal }),
    outcome: "unknown",
  },
  "a session's close": {
    method: "openSession",
    begin: ({ session, abort: { signal } }) => session.close({ signal }),
    outcome: "unknown",
  },
  openResumableSession: {
    method: "openResumableSession",
    begin: ({ raft, abort: { signal } }) => raft.openResumableSession({ signal }),
    outcome: "unknown",
  },
  "a resumable session's write": {
    method: "openResumableSession",
    begin: ({ resumable, abort: { signal } }) => resumable.write(resumable.reserve(), "y", { signal }),
    outcome: "unknown",
  },
  "a resumable session's close": {
    method: "openResumableSession",
    begin: ({ resumable, abort: { signal } }) => resumable.close({ signal }),
    outcome: "unknown",
  },
  "resumeSession of a state without pending numbers": {
    method: "resumeSession",
    begin: ({ raft, resumable, abort: { signal } }) =>
      raft.resumeSession({ ...resumable.state, pending: [] }, { signal }),
    outcome: "not-done",
  },
  "a linearizable read": {
    method: "read",
    begin: ({ raft, abort: { signal } }) => raft.read(() => 1, { signal }),
    outcome: "not-done",
  },
  "a stale read whose query hangs": {
    method: "read",
    begin: ({ raft, abort: { signal } }) => raft.read(() => NEVER, { consistency: "stale", signal }),
    outcome: "not-done",
  },
  "a lease read whose query hangs": {
    method: "read",
    begin: ({ raft, abort: { signal } }) => raft.read(() => NEVER, { consistency: "lease", signal }),
    outcome: "not-done",
  },
  addLearner: {
    method: "addLearner",
    begin: ({ raft, abort: { signal } }) => raft.addLearner("d", "d:1", { signal }),
    outcome: "unknown",
  },
  "changeMembership of learners": {
    method: "changeMembership",
    begin: ({ raft, abort: { signal } }) => raft.changeMembership({ add: { d: "d:1" } }, { signal }),
    outcome: "unknown",
  },
  "changeMembership of voters": {
    method: "changeMembership",
    begin: ({ raft, node, cluster, abort: { signal } }) =>
      raft.changeMembership({ remove: cluster.followers(node).map(({ id }) => id) }, { signal }),
    outcome: "unknown",
  },
  transferLeadership: {
    method: "transferLeadership",
    begin: ({ raft, abort: { signal } }) => raft.transferLeadership(undefined, { signal }),
    outcome: "unknown",
  },
  snapshot: {
    method: "snapshot",
    begin: ({ raft, abort: { signal } }) => raft.snapshot({ signal }),
    outcome: "unknown",
  },
};

/**
 * Methods that end by themselves, or whose end is not an outcome; they have tests of their own below or
 * elsewhere.
 */
const OTHER_METHODS = [
  "constructor",
  // The opened node is what this test is about; `initialize` and the streams are below.
  ...["initialize", "initialized", "changes", "committed"],
  ...["staleness", "leader", "removed", "metrics", "stopped", "close"],
];

/** A way in which the node ends. */
interface End {
  /** What happens before the call, in its turn. */
  readonly before?: (rig: Rig) => Promise<void> | void;
  /** What happens after the call, in its turn or later. */
  readonly after: (rig: Rig) => Promise<void> | void;
}

const ENDS: Readonly<Record<string, End>> = {
  "a close in the same turn": { after: ({ raft }) => void raft.close() },
  "a close later": {
    after: async ({ cluster, raft }) => {
      await cluster.advance(5);
      void raft.close();
    },
  },
  "a failure in the same turn": { after: breakProtocol },
  "a failure later": {
    after: async (rig) => {
      await rig.cluster.advance(5);
      breakProtocol(rig);
    },
  },
  "a failure while it closes": {
    after: (rig) => {
      void rig.raft.close();
      breakProtocol(rig);
    },
  },
  "a close while log and transport hang": {
    before: ({ node }) => {
      node.log.holdsWrites = true;
      node.transport.closeHangs = true;
    },
    after: async ({ cluster, raft }) => {
      await cluster.advance(5);
      void raft.close();
    },
  },
  "a failure because the log hangs": {
    before: ({ node, raft }) => {
      node.log.holdsWrites = true;
      raft.write("hangs").catch(() => undefined);
    },
    after: () => undefined,
  },
  "a failure because the state machine hangs": {
    before: async ({ cluster, node, raft }) => {
      // It hangs in a command that is committed; the calls after it aren't.
      cluster.net.heal();
      node.journal.beforeApply = () => NEVER;
      raft.write("hangs").catch(() => undefined);
      await cluster.until(() => raft.metrics().commitIndex === raft.metrics().lastIndex, "the commit");
      cluster.isolate(node.id);
    },
    after: () => undefined,
  },
  "a failure because the snapshot store hangs": {
    before: ({ raft }) => {
      raft.snapshot().catch(() => undefined);
    },
    after: () => undefined,
  },
};

const SNAPSHOTS_THAT_HANG: SnapshotStore = {
  newest: null,
  open: () => Promise.resolve({ newest: null, damaged: [] }),
  create: () => NEVER,
  receive: () => NEVER,
  read: () => Promise.resolve(null),
  discard: () => Promise.resolve(),
  close: () => Promise.resolve(),
};

class SnapshotJournal extends Journal {
  async *snapshot(): AsyncGenerator<Uint8Array> {
    yield await Promise.resolve(new Uint8Array(1));
  }

  restore(): Promise<void> {
    return Promise.reject(new Error("not in this test"));
  }
}

/**
 * `callTimeoutMs`: by default longer than any test, so that a call that settles does so because of what it
 * tests.
 */
async function setUp(callTimeoutMs = 60_000, catchUpTimeoutMs = 300_000): Promise<Rig> {
  const clock = { isBroken: false };
  const cluster = new TestCluster(1, {
    timings: {
      callTimeoutMs,
      catchUpTimeoutMs,
      storageTimeoutMs: 2000,
      stateStallMs: 500,
      stateTimeoutMs: 2000,
    },
    // Older records are read from the log.
    limits: { cacheBytesMax: 1 },
  });
  const ids = ["a", "b", "c"];
  for (const id of ids) {
    await cluster.open(id, {
      journal: new SnapshotJournal(),
      snapshots: { store: SNAPSHOTS_THAT_HANG, everyEntries: Infinity, everyBytes: Infinity },
      environment: breakable(cluster.world.environment(id), clock),
    });
  }
  await cluster.finish(Promise.all(ids.map((id) => cluster.raft(id).initialize(cluster.members(ids)))));
  const node = await cluster.leader();
  const session = await cluster.finish(node.raft.openSession());
  const resumable = await cluster.finish(node.raft.openResumableSession());
  await cluster.finish(node.raft.write("x"));
  cluster.isolate(node.id);
  return { cluster, node, raft: node.raft, session, resumable, clock, abort: new AbortController() };
}

/** An environment whose clock throws once for the driver when `isBroken` is set. */
function breakable(environment: Environment, clock: { isBroken: boolean }): Environment {
  return {
    ...environment,
    now: () => {
      if (clock.isBroken && new Error().stack?.includes("/loop/driver.ts") === true) {
        clock.isBroken = false;
        throw new Error("the clock broke");
      }
      return environment.now();
    },
  };
}

/**
 * Gives the node a message that no correct node sends: of another leader in its own term. It fails in this
 * turn.
 */
function breakProtocol({ raft, node: { transport }, cluster }: Rig): void {
  const { term, id, clusterId } = raft.metrics();
  const other = [...cluster.nodes.keys()].find((one) => one !== id) ?? "";
  const host = {
    clusterId: () => clusterId,
    self: { id: other, storeId: `store-${other}`, info: "", priority: 0 },
  } as unknown as TransportHost;
  const entries = { prev: { term: 0, index: 0 }, lastIndex: 0, terms: [], configs: [] };
  const message = { type: "append-entries", from: other, term, entries, commit: 0, round: 1 } as const;
  void transport.receive(host, `${other}:1`, { message, records: [] });
}

/** The error with which the call ends within the time that a node takes to end. */
async function endOf(cluster: TestCluster, call: Promise<unknown>, limitMs = 5000): Promise<unknown> {
  const [result] = await cluster.finish(Promise.allSettled([call]), limitMs);
  if (result.status === "fulfilled") throw new Error(`it resolved with ${String(result.value)}`);
  return result.reason;
}

describe("every public call", () => {
  it("is in the table of this test", () => {
    const methods = Object.getOwnPropertyNames(Raft.prototype);
    const covered = new Set([...Object.values(CALLS).map(({ method }) => method), ...OTHER_METHODS]);
    expect(methods.filter((method) => !covered.has(method))).toEqual([]);
  });
});

describe.each(Object.entries(CALLS))("%s", (name, { begin, outcome }) => {
  it("waits as long as the node goes on", async () => {
    const rig = await setUp();
    let isSettled = false;
    const settle = (): void => {
      isSettled = true;
    };
    begin(rig).then(settle, settle);
    await rig.cluster.advance(100);
    expect(isSettled).toBe(false);
  });

  it.each(Object.entries(ENDS))("ends with %s", async (_end, { before, after }) => {
    const rig = await setUp();
    await before?.(rig);
    const { lastIndex } = rig.raft.metrics();
    const call = begin(rig);
    call.catch(() => undefined);
    await after(rig);
    const error = await endOf(rig.cluster, call);
    expect(error).toBeInstanceOf(RaftError);
    if ((error as RaftError).outcome !== outcome) {
      expect((error as RaftError).outcome).toBe("not-done");
      // A snapshot isn't proposed, so the log can't show that nothing was done.
      expect(name).not.toBe("snapshot");
      expect(rig.raft.metrics().lastIndex).toBe(lastIndex);
    }
    await rig.cluster.finish(rig.raft.stopped);
  });

  it("is refused after the end, as a call that did nothing", async () => {
    const rig = await setUp();
    await rig.cluster.finish(rig.raft.close());
    expect(await endOf(rig.cluster, begin(rig))).toMatchObject({ code: "CLOSED", outcome: "not-done" });
  });
});

describe("a call whose signal is aborted", () => {
  describe.each(Object.entries(CALLS))("%s", (_name, { begin, outcome }) => {
    it.each(["before it is made", "in the same turn", "later"])("ends, %s (Z10)", async (when) => {
      const rig = await setUp();
      const reason = new Error("enough");
      if (when === "before it is made") rig.abort.abort(reason);
      const { lastIndex } = rig.raft.metrics();
      const call = begin(rig);
      call.catch(() => undefined);
      if (when === "later") await rig.cluster.advance(5);
      rig.abort.abort(reason);
      const error = await endOf(rig.cluster, call, 10);
      expect((error as RaftError).code).toMatch(/^(ABORTED|OUTCOME_UNKNOWN)$/);
      expect((error as RaftError).cause).toBe(reason);
      if (when === "before it is made") {
        expect(error).toMatchObject({ outcome: "not-done" });
        expect(rig.raft.metrics().lastIndex).toBe(lastIndex);
      } else if ((error as RaftError).outcome !== outcome) {
        expect((error as RaftError).outcome).toBe("not-done");
        expect(rig.raft.metrics().lastIndex).toBe(lastIndex);
      }
      // The node goes on, and ends in good order.
      expect(rig.raft.metrics().role).not.toBe("stopped");
      await rig.cluster.finish(rig.raft.close());
    });
  });
});

/** What a removal doesn't end: it is no matter of the cluster, and ends with the node. */
const CALLS_OF_THE_NODE_ALONE = /query hangs|^snapshot/;

const REMOVED_CALL_TIMEOUT_MS = 3000;

/** The others elect a leader, remove the node, and let it know. */
async function remove({ cluster, node, raft }: Rig): Promise<void> {
  const leader = await cluster.leader(node.id);
  await cluster.finish(leader.raft.changeMembership({ remove: [node.id] }));
  cluster.net.heal();
  await cluster.until(() => !raft.metrics().config.voters.includes(node.id), "the removal to be heard");
}

describe("a call on a node that is removed from the cluster", () => {
  describe.each(Object.entries(CALLS))("%s", (name, { begin }) => {
    it.each(["before the call", "after it"])("ends, with the removal %s (Z10)", async (when) => {
      const rig = await setUp(REMOVED_CALL_TIMEOUT_MS, REMOVED_CALL_TIMEOUT_MS);
      const { cluster, raft } = rig;
      if (when === "before the call") await remove(rig);
      const call = begin(rig);
      call.catch(() => undefined);
      if (when === "after it") await remove(rig);
      if (CALLS_OF_THE_NODE_ALONE.test(name)) {
        await cluster.advance(5);
        void raft.close();
      }
      const [result] = await cluster.finish(Promise.allSettled([call]), 2 * REMOVED_CALL_TIMEOUT_MS);
      // The leader that the node knows by now may make the call, as for a node that hasn't been added yet.
      if (result.status === "fulfilled") expect(name).not.toMatch(/hangs/);
      else expect(result.reason).toBeInstanceOf(RaftError);
      await cluster.finish(raft.close());
    });
  });
});

describe("a call within which the node fails", () => {
  // The others don't reach the driver in their own turn.
  const calls = Object.entries(CALLS).filter(([name]) => !/hangs|snapshot/.test(name));

  it.each(calls)("ends: %s", async (_name, { begin }) => {
    const rig = await setUp();
    rig.clock.isBroken = true;
    const call = begin(rig);
    call.catch(() => undefined);
    const error = await endOf(rig.cluster, call);
    expect(error).toMatchObject({ code: "NODE_FAILED" });
    expect((error as RaftError).outcome).not.toBe("done");
  });
});

describe("initialize", () => {
  const setUpFresh = async (): Promise<{ cluster: TestCluster; node: TestNode; call: Promise<void> }> => {
    const cluster = new TestCluster(1, { timings: { storageTimeoutMs: 2000 } });
    const node = await cluster.open("a");
    node.log.holdsWrites = true;
    const call = node.raft.initialize({ a: "a:1" });
    call.catch(() => undefined);
    return { cluster, node, call };
  };

  it.each(["a close in the same turn", "a close later"])("ends with %s", async (when) => {
    const { cluster, node, call } = await setUpFresh();
    if (when.endsWith("later")) await cluster.advance(5);
    void node.raft.close();
    expect(await endOf(cluster, call)).toMatchObject({ code: "CLOSED", outcome: "unknown" });
  });

  it("ends with a log that hangs, and so does each that waits behind it", async () => {
    const { cluster, node, call } = await setUpFresh();
    const second = node.raft.initialize({ a: "a:1" });
    second.catch(() => undefined);
    const expected = { code: "STORAGE_FAILED", outcome: "unknown" };
    expect(await endOf(cluster, call)).toMatchObject(expected);
    expect(await endOf(cluster, second)).toMatchObject(expected);
  });

  it("ends with a log that fails", async () => {
    const { cluster, node, call } = await setUpFresh();
    node.log.writeFailure = new Error("EIO");
    node.log.releaseWrites();
    expect(await endOf(cluster, call)).toMatchObject({ code: "STORAGE_FAILED", outcome: "unknown" });
  });
});

describe("a stream", () => {
  it.each(Object.entries(ENDS))("of changes ends with %s", async (_end, { before, after }) => {
    const rig = await setUp();
    const changes = rig.raft.changes();
    for (let known = 0; known < 3; known++) await changes.next();
    await before?.(rig);
    const types: string[] = [];
    const read = (async () => {
      for await (const { type } of changes) types.push(type);
    })();
    await after(rig);
    await rig.cluster.finish(read, 5000);
    expect(types.at(-1)).toBe("stopped");
  });

  it.each(Object.entries(ENDS))("of committed commands ends with %s", async (_end, { before, after }) => {
    const rig = await setUp();
    await before?.(rig);
    const committed = rig.raft.committed({ from: rig.raft.metrics().appliedIndex + 1 });
    const next = committed.next();
    next.catch(() => undefined);
    await after(rig);
    const [result] = await rig.cluster.finish(Promise.allSettled([next]), 5000);
    if (result.status === "fulfilled") expect(result.value.done).toBe(true);
    else expect(result.reason).toBeInstanceOf(RaftError);
  });

  it("of committed commands ends with its node also while a read from the log hangs", async () => {
    const { cluster, raft, node } = await setUp();
    const committed = raft.committed();
    node.log.holdsReads = true;
    const next = committed.next();
    await cluster.advance(5);
    void raft.close();
    expect(await cluster.finish(next, 5000)).toMatchObject({ done: true });
  });
});
