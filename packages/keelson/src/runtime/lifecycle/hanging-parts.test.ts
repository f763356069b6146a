// A state machine or a snapshot store that hangs: its node must not lead, and must stop after a time limit
// (Z15).
import { describe, expect, it } from "vitest";
import type { SnapshotStore } from "../../storage/snapshot-store.ts";
import type { RaftError } from "../../errors.ts";
import { memorySnapshots, snapshotFiles } from "../../storage/snapshots/index.ts";
import type { StateMachineHost } from "../shared/index.ts";
import { Journal } from "../test/journal.ts";
import { SnapshotCluster, type SnapshotNode } from "../test/snapshot-cluster.ts";
import { TestCluster } from "../test/test-cluster.ts";

const THREE = ["a", "b", "c"];
const BY_HAND = { everyEntries: Infinity, everyBytes: Infinity, keepEntries: 2 };
const TIMINGS = { stateStallMs: 3000, stateTimeoutMs: 10_000 };
const NEVER = new Promise<never>(() => undefined);

/** Opening a node moves the time by itself. */
async function rejectionOf(opening: Promise<unknown>): Promise<RaftError> {
  const [result] = await Promise.allSettled([opening]);
  if (result.status === "fulfilled") throw new Error("it was opened");
  return result.reason as RaftError;
}

describe("a state machine that hangs", () => {
  it.each(["apply", "flush"] as const)(
    "in %s costs its node the leadership, and stops it with an error that names the call (Z15)",
    async (method) => {
      const cluster = await TestCluster.of(THREE, 1, { timings: TIMINGS });
      const leader = await cluster.leader();
      if (method === "apply") leader.journal.beforeApply = () => NEVER;
      else leader.journal.flush = () => NEVER;
      const hung = leader.raft.write("hangs");
      hung.catch(() => undefined);
      await cluster.advance(2900);
      // Slow is not stalled (O1).
      expect(leader.raft.metrics()).toMatchObject({ role: "leader", stalled: null });
      const next = await cluster.leader(leader.id);
      expect(leader.raft.metrics().role).toBe("follower");
      const call = method === "apply" ? /^applying entry \d+$/ : /^flushing entry \d+$/;
      expect(leader.raft.metrics().stalled).toMatchObject({
        part: "state-machine",
        call: expect.stringMatching(call) as string,
      });
      expect(await cluster.finish(next.raft.write("goes on"))).toBe(2);
      const error = await cluster.finish(leader.raft.stopped, 20_000);
      expect(error).toMatchObject({ code: "STATE_MACHINE_FAILED" });
      expect(error?.message).toMatch(
        /^the state machine hangs: (applying|flushing) entry \d+ has made no progress for 10000 ms, so the node stops$/,
      );
      expect(await cluster.failure(hung)).toMatchObject({ outcome: "unknown" });
      expect(cluster.messages.filter((text) => text.includes("makes no progress"))).toHaveLength(1);
      // Its leadership isn't missed for longer than an election takes.
      expect(await cluster.finish(next.raft.write("still"))).toBe(3);
    },
  );

  it("doesn't campaign while it is stalled, and leads again when it goes on (Z15)", async () => {
    const cluster = await TestCluster.of(THREE, 1, { timings: { ...TIMINGS, stateTimeoutMs: Infinity } });
    const leader = await cluster.leader();
    const hang = Promise.withResolvers<undefined>();
    leader.journal.beforeApply = () => hang.promise;
    leader.raft.write("slow").catch(() => undefined);
    const next = await cluster.leader(leader.id);
    await cluster.finish(next.raft.write("x"));
    // Without the others it would campaign, if it could.
    const { elections } = leader.raft.metrics().counters;
    for (const { id } of cluster.followers(leader)) cluster.isolate(id);
    await cluster.advance(10_000);
    expect(leader.raft.metrics().counters.elections).toBe(elections);
    expect(leader.raft.metrics()).toMatchObject({ role: "follower", stalled: { part: "state-machine" } });
    leader.journal.beforeApply = null;
    hang.resolve(undefined);
    await cluster.until(() => leader.raft.metrics().role === "pre-candidate", "a campaign");
    expect(leader.raft.metrics().stalled).toBeNull();
    expect(cluster.messages.join("\n")).toMatch(/the state machine goes on after a stall: applying entry/);
  });

  it("is noticed by a query's call to its database too (Z15)", async () => {
    let host: StateMachineHost | undefined;
    class Watched extends Journal {
      override open(_identity?: unknown, given?: StateMachineHost): ReturnType<Journal["open"]> {
        host = given;
        return super.open();
      }
    }
    const cluster = new TestCluster(1, { timings: TIMINGS });
    for (const id of THREE) await cluster.open(id, { journal: new Watched() });
    await cluster.finish(Promise.all(THREE.map((id) => cluster.raft(id).initialize(cluster.members(THREE)))));
    await cluster.leader();
    // `host` is that of the node that was opened last, whichever node leads.
    const node = cluster.node("c");
    void node.raft
      .read(() => host?.watch("reading a key", () => NEVER), { consistency: "stale" })
      .catch(() => undefined);
    await cluster.until(() => node.raft.metrics().stalled !== null, "a stall");
    expect(node.raft.metrics().stalled).toMatchObject({ call: "reading a key" });
    const error = await cluster.finish(node.raft.stopped, 20_000);
    expect(error?.message).toContain("the state machine hangs: reading a key has made no progress");
    const next = await cluster.leader("c");
    expect(await cluster.finish(next.raft.write("goes on"))).toBe(1);
  });

  it("lets a sole voter lead on, and stops it after the time limit", async () => {
    const cluster = await TestCluster.of(["a"], 1, { timings: TIMINGS });
    const { raft, journal } = await cluster.leader();
    journal.beforeApply = () => NEVER;
    raft.write("hangs").catch(() => undefined);
    await cluster.advance(5000);
    expect(raft.metrics()).toMatchObject({ role: "leader", stalled: { part: "state-machine" } });
    expect(await cluster.finish(raft.stopped)).toMatchObject({ code: "STATE_MACHINE_FAILED" });
  });

  it("while it is opened ends the opening, and is closed if it opens after all", async () => {
    const cluster = new TestCluster(1, { timings: TIMINGS });
    const opened = Promise.withResolvers<undefined>();
    class Slow extends Journal {
      override open(): never {
        return opened.promise.then(() => super.open()) as never;
      }
    }
    const journal = new Slow();
    const error = await rejectionOf(cluster.open("a", { journal }));
    expect(error).toMatchObject({ code: "STATE_MACHINE_FAILED", outcome: "not-done" });
    expect(error.message).toBe(
      "the state machine hangs: opening it has made no progress for 10000 ms, so the node is not opened",
    );
    expect(journal.isClosed).toBe(false);
    opened.resolve(undefined);
    await cluster.advance(1);
    expect(journal.isClosed).toBe(true);
  });

  it("isn't given up while opening it makes progress", async () => {
    const cluster = new TestCluster(1, { timings: TIMINGS });
    const { clock } = cluster.world;
    class Long extends Journal {
      override open(_identity?: unknown, host?: StateMachineHost): never {
        const steps = async (): Promise<unknown> => {
          for (let n = 0; n < 8; n++) {
            await new Promise<void>((resolve) => clock.setTimer(2000, resolve));
            host?.progress();
          }
          return super.open();
        };
        return steps() as never;
      }
    }
    await cluster.open("a", { journal: new Long() });
    expect(clock.now()).toBeGreaterThan(TIMINGS.stateTimeoutMs);
    expect(cluster.messages.join()).not.toContain("makes no progress");
  });
});

const HANGING_CHUNKS = { [Symbol.asyncIterator]: () => ({ next: () => NEVER }) };

/** A snapshot store whose calls can be made to hang, by name. */
class HangingStore {
  readonly hanging = new Set<string>();
  readonly store: SnapshotStore;

  constructor(store: SnapshotStore) {
    this.store = this.#wrap(store);
  }

  #wrap<T extends object>(target: T): T {
    return new Proxy(target, {
      get: (object, name) => {
        const value: unknown = Reflect.get(object, name, object);
        if (typeof value !== "function") return value;
        return (...args: unknown[]): unknown => {
          if (this.hanging.has(String(name)))
            return /state|sessions/.test(String(name)) ? HANGING_CHUNKS : NEVER;
          const result: unknown = Reflect.apply(value, object, args);
          if (!(result instanceof Promise)) return result;
          return result.then((one: unknown) => (isPart(one) ? this.#wrap(one) : one));
        };
      },
    });
  }
}

/** Whether this is a draft, an incoming snapshot or a reader. */
function isPart(value: unknown): value is object {
  return typeof value === "object" && value !== null && ("finish" in value || "verify" in value);
}

async function threeOf(
  options: { readonly stores?: Map<string, HangingStore> } = {},
): Promise<SnapshotCluster> {
  const cluster = new SnapshotCluster({ policy: BY_HAND, timings: TIMINGS });
  for (const id of THREE) {
    const hanging = new HangingStore(snapshotFiles("/snapshots"));
    options.stores?.set(id, hanging);
    await cluster.open(id, { snapshots: { store: hanging.store, ...BY_HAND } });
  }
  const members = Object.fromEntries(THREE.map((id) => [id, `${id}:1`]));
  await cluster.finish(Promise.all(THREE.map((id) => cluster.raft(id).initialize(members))));
  return cluster;
}

/** Cuts one node off and compacts the others' logs, so that it needs a snapshot; resolves with that node. */
async function leaveBehind(cluster: SnapshotCluster): Promise<SnapshotNode> {
  const leader = await cluster.leader();
  await cluster.write(4, leader);
  await cluster.converge();
  const behind = cluster.other(leader);
  cluster.isolate(behind.id);
  await cluster.write(20, leader);
  for (const { id, raft } of cluster.nodes.values()) {
    if (id === behind.id) continue;
    await cluster.until(() => raft.metrics().appliedIndex === leader.raft.metrics().lastIndex, "both");
    await cluster.finish(raft.snapshot());
  }
  return behind;
}

describe("a state machine that hangs over a snapshot", () => {
  it("while it is read costs the leadership, and stops the node (Z15)", async () => {
    const cluster = await threeOf();
    const leader = await cluster.leader();
    await cluster.write(4, leader);
    leader.journal.beforeEachLine = () => NEVER;
    const taking = leader.raft.snapshot();
    taking.catch(() => undefined);
    await cluster.until(() => leader.raft.metrics().role === "follower", "the leader to step down");
    expect(leader.raft.metrics().stalled).toMatchObject({ part: "state-machine" });
    const error = await cluster.finish(leader.raft.stopped);
    expect(error?.message).toContain("the state machine hangs: reading the state for a snapshot");
    await expect(taking).rejects.toMatchObject({ code: "STATE_MACHINE_FAILED", outcome: "unknown" });
  });

  it("while it restores one stops the node, whose other calls go unanswered (Z15)", async () => {
    const cluster = await threeOf();
    const behind = await leaveBehind(cluster);
    behind.journal.beforeEachLine = () => NEVER;
    cluster.net.heal();
    const error = await cluster.finish(behind.raft.stopped, 120_000);
    expect(error?.message).toMatch(
      /^the state machine hangs: restoring the snapshot of entry \d+ has made no/,
    );
  });

  it("doesn't count as hanging while chunks go on, however long it takes in total", async () => {
    const cluster = await threeOf();
    const behind = await leaveBehind(cluster);
    const leader = await cluster.leader();
    const slowly = (): Promise<void> => cluster.sleep(2500);
    behind.journal.beforeEachLine = slowly;
    leader.journal.beforeEachLine = slowly;
    // The state is restored in blocks of 256 KiB.
    for (let n = 0; n < 7; n++) await cluster.finish(leader.raft.write("x".repeat(200 * 1024)));
    const { clock } = cluster.world;
    let began = clock.now();
    await cluster.finish(leader.raft.snapshot(), 200_000);
    expect(clock.now() - began).toBeGreaterThan(2 * TIMINGS.stateTimeoutMs);
    cluster.net.heal();
    const phase = (): string | undefined => behind.raft.metrics().snapshots?.receiving?.phase;
    await cluster.until(() => phase() === "installing", "the installation", 200_000);
    began = clock.now();
    await cluster.until(() => behind.raft.metrics().snapshots?.installed === 1, "its end", 200_000);
    expect(clock.now() - began).toBeGreaterThan(TIMINGS.stateTimeoutMs + TIMINGS.stateStallMs);
    expect(cluster.messages.filter((text) => text.includes("no progress"))).toEqual([]);
  });
});

describe("a snapshot store that hangs", () => {
  it.each([
    ["create", "beginning a snapshot"],
    ["write", "writing to a snapshot"],
    ["finish", "finishing a snapshot"],
  ])("in %s while a snapshot is taken costs the leadership, and stops the node (Z15)", async (call, what) => {
    const stores = new Map<string, HangingStore>();
    const cluster = await threeOf({ stores });
    const leader = await cluster.leader();
    await cluster.write(4, leader);
    stores.get(leader.id)?.hanging.add(call);
    const taking = leader.raft.snapshot();
    taking.catch(() => undefined);
    await cluster.until(() => leader.raft.metrics().role === "follower", "the leader to step down");
    expect(leader.raft.metrics().stalled).toMatchObject({ part: "snapshot-store", call: what });
    const error = await cluster.finish(leader.raft.stopped);
    expect(error).toMatchObject({ code: "STORAGE_FAILED" });
    expect(error?.message).toContain(`the snapshot store hangs: ${what} has made no progress for 10000 ms`);
    await expect(taking).rejects.toMatchObject({ code: "STORAGE_FAILED", outcome: "unknown" });
  });

  it.each([
    ["receive", "beginning to receive a snapshot"],
    ["write", "writing to a received snapshot"],
    ["finish", "checking a received snapshot"],
    ["read", "opening a snapshot"],
    ["sessions", "reading the sessions in a snapshot"],
    // The state machine waits for it, and isn't blamed.
    ["state", "reading the state in a snapshot"],
  ])("in %s stops a node that fetches and installs a snapshot (Z15)", async (call, what) => {
    const stores = new Map<string, HangingStore>();
    const cluster = await threeOf({ stores });
    const behind = await leaveBehind(cluster);
    stores.get(behind.id)?.hanging.add(call);
    cluster.net.heal();
    const error = await cluster.finish(behind.raft.stopped, 120_000);
    expect(error?.message).toContain(`the snapshot store hangs: ${what} has made no progress`);
  });

  it.each(["read", "verify"])(
    "in %s on a leader makes another node send the snapshot (Z15)",
    async (call) => {
      const stores = new Map<string, HangingStore>();
      const cluster = await threeOf({ stores });
      const behind = await leaveBehind(cluster);
      const leader = await cluster.leader();
      const store = stores.get(leader.id);
      // A snapshot of its own is sent without being verified.
      if (call === "verify") {
        await cluster.crash(leader.id);
        const again = new HangingStore(snapshotFiles("/snapshots"));
        again.hanging.add(call);
        await cluster.open(leader.id, { snapshots: { store: again.store, ...BY_HAND } });
        await cluster.leader();
      } else {
        store?.hanging.add(call);
      }
      cluster.net.heal();
      await cluster.until(
        () => behind.raft.metrics().snapshots?.installed === 1,
        "the installation",
        120_000,
      );
    },
  );

  it("in its file, though the store reports nothing, is named by the operation (Z15)", async () => {
    const cluster = await threeOf();
    const leader = await cluster.leader();
    await cluster.write(4, leader);
    const { files } = cluster.machine(leader.id);
    files.intercept = ({ type, path }) =>
      type === "data-sync" && path.includes("/snapshots") ? { type: "hang" } : null;
    leader.raft.snapshot().catch(() => undefined);
    const error = await cluster.finish(leader.raft.stopped);
    expect(error?.message).toContain("the snapshot store hangs: finishing a snapshot");
  });

  it("while it is opened ends the opening, and closes the log again", async () => {
    const cluster = new TestCluster(1, { timings: TIMINGS });
    const { store, hanging } = new HangingStore(memorySnapshots());
    hanging.add("open");
    class Journaling extends Journal {
      snapshot(): AsyncIterable<Uint8Array> {
        throw new Error("not in this test");
      }
      restore(): Promise<void> {
        return NEVER;
      }
    }
    const error = await rejectionOf(cluster.open("a", { journal: new Journaling(), snapshots: { store } }));
    expect(error).toMatchObject({ code: "STORAGE_FAILED", outcome: "not-done" });
    expect(error.message).toContain("the snapshot store hangs: opening it has made no progress");
    await cluster.open("a");
  });
});
