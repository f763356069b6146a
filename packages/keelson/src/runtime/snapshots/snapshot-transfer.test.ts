import { describe, expect, it } from "vitest";
import { isRuntimeMessage, type RuntimeMessage } from "../../codec/frame-runtime-message.ts";
import { ProtocolViolation } from "../../core/assert.ts";
import { LogCompactedError, type RaftError } from "../../errors.ts";
import { snapshotFiles } from "../../storage/snapshots/index.ts";
import type { SnapshotPolicy } from "../shared/options.ts";
import { RETRY_MS, STORED_ATTEMPTS_MAX } from "./snapshot-fetcher.ts";
import { TRANSFER_IDLE_MS } from "./snapshot-sender.ts";
import { SnapshotCluster, type SnapshotNode } from "../test/snapshot-cluster.ts";

const BY_HAND = { everyEntries: Infinity, everyBytes: Infinity, keepEntries: 0 };

interface Behind {
  readonly cluster: SnapshotCluster;
  readonly leader: SnapshotNode;
  /** Isolated. Its log ends long before the leader's begins, so that it needs a snapshot. */
  readonly behind: SnapshotNode;
  /** Every message between the runtimes, in the order of sending. */
  readonly sent: RuntimeMessage[];
}

/**
 * Three nodes, one of them far behind; the state has about `kib` KiB. `thirdKeepsLog`: the third node has
 * taken no snapshot, so its log reaches back to what the one behind lacks.
 */
async function oneBehind(
  kib = 1,
  policy: Partial<SnapshotPolicy> = BY_HAND,
  {
    thirdKeepsLog = false,
    ...options
  }: { readonly seed?: number; readonly onDisk?: boolean; readonly thirdKeepsLog?: boolean } = {},
): Promise<Behind> {
  const cluster = await SnapshotCluster.of(["a", "b", "c"], {
    policy: { ...BY_HAND, ...policy },
    ...options,
  });
  const leader = await cluster.leader();
  await cluster.write(3, leader);
  await cluster.converge();
  const behind = cluster.other(leader);
  cluster.isolate(behind.id);
  await cluster.finish(Promise.all(Array.from({ length: kib }, () => leader.raft.write("x".repeat(1000)))));
  for (const node of cluster.nodes.values()) {
    if (node === behind || (thirdKeepsLog && node !== leader)) continue;
    await cluster.until(() => node.raft.metrics().appliedIndex === leader.raft.metrics().lastIndex, "both");
    await cluster.finish(node.raft.snapshot());
  }
  const sent: RuntimeMessage[] = [];
  for (const node of cluster.nodes.values()) {
    node.transport.filter = (_, { message }) => {
      if (isRuntimeMessage(message)) sent.push(message);
      return true;
    };
  }
  return { cluster, leader, behind, sent };
}

interface FailedInstallation extends Behind {
  /** Whether a file is the snapshot that `behind` has received. */
  readonly isReceived: (path: string) => boolean;
}

/**
 * The node that is behind has fetched the leader's snapshot, and could not open it to install it. The third
 * node has an older one.
 */
async function failedInstallation(): Promise<FailedInstallation> {
  const behindAll = await oneBehind(10);
  const { cluster, leader, behind } = behindAll;
  await cluster.write(3, leader);
  await cluster.finish(leader.raft.snapshot());
  const isReceived = (path: string): boolean => path.endsWith(".received");
  let isOver = false;
  let renames = 0;
  cluster.machine(behind.id).files.intercept = ({ type, path }) => {
    if (type === "rename") renames += 1;
    if (type !== "open" || renames === 0 || isOver || !isReceived(path)) return null;
    isOver = true;
    return { type: "error", code: "EMFILE" };
  };
  cluster.net.heal();
  await cluster.until(() => isOver, "the failed installation");
  await cluster.until(() => behind.raft.metrics().snapshots?.receiving === null, "the end of the transfer");
  return { ...behindAll, isReceived };
}

function snapshotIndex({ raft }: SnapshotNode): number {
  return raft.metrics().snapshots?.newest?.index ?? 0;
}

function snapshotBytes({ raft }: SnapshotNode): number {
  return raft.metrics().snapshots?.newest?.bytes ?? 0;
}

function bytesRequested(sent: readonly RuntimeMessage[]): number {
  return requestsIn(sent).reduce((sum, { bytes }) => sum + bytes, 0);
}

function isFetching({ raft }: SnapshotNode): boolean {
  return raft.metrics().snapshots?.receiving?.phase === "fetching";
}

function requestsIn(sent: readonly RuntimeMessage[]): { readonly offset: number; readonly bytes: number }[] {
  return sent.flatMap((message) =>
    message.type === "snapshot-request" && message.bytes > 0 ? [message] : [],
  );
}

describe("a snapshot transfer", () => {
  it("shows its progress on both nodes, and requests each chunk once", async () => {
    const { cluster, leader, behind, sent } = await oneBehind(200, { fetchBytesPerSecond: 100_000 });
    cluster.net.heal();
    await cluster.until(() => (behind.raft.metrics().snapshots?.receiving?.bytesDone ?? 0) > 50_000, "half");
    const { receiving } = behind.raft.metrics().snapshots ?? {};
    const { newest, sending } = leader.raft.metrics().snapshots ?? {};
    expect(receiving).toMatchObject({ from: leader.id, phase: "fetching", bytesTotal: newest?.bytes });
    expect(sending).toMatchObject([{ to: behind.id, index: newest?.index, bytesTotal: newest?.bytes }]);
    await cluster.converge();
    await cluster.advance(100);
    expect(behind.raft.metrics().snapshots).toMatchObject({ receiving: null, installed: 1, newest });
    expect(leader.raft.metrics().snapshots?.sending).toEqual([]);
    const offsets = requestsIn(sent).map(({ offset }) => offset);
    expect(new Set(offsets).size).toBe(offsets.length);
    await cluster.close();
  });

  it("keeps to the receiver's rate limit", async () => {
    const { cluster, behind, leader } = await oneBehind(100, { fetchBytesPerSecond: 20_000 });
    const startedAt = cluster.world.clock.now();
    cluster.net.heal();
    await cluster.until(() => behind.raft.metrics().snapshots?.installed === 1, "the snapshot");
    const seconds = (cluster.world.clock.now() - startedAt) / 1000;
    const bytes = leader.raft.metrics().snapshots?.newest?.bytes ?? 0;
    expect(bytes / seconds).toBeLessThan(23_000);
    expect(bytes / seconds).toBeGreaterThan(15_000);
    await cluster.close();
  });

  it("keeps to the receiver's rate limit when chunks are lost and requested again (Z17)", async () => {
    const limit = 20_000;
    const { cluster, leader, behind, sent } = await oneBehind(100, { fetchBytesPerSecond: limit });
    // For a while all chunks are lost. Their bytes were on the network all the same.
    let isLosing = true;
    leader.transport.filter = (_, { message }) =>
      !isLosing || message.type !== "snapshot-chunk" || message.payload.length === 0;
    cluster.net.heal();
    await cluster.until(() => bytesRequested(sent) > 0, "the first request of a chunk");
    await cluster.advance(8_000);
    expect(bytesRequested(sent)).toBeGreaterThan(6 * limit);
    expect(bytesRequested(sent)).toBeLessThan(9 * limit);
    isLosing = false;
    await cluster.until(() => behind.raft.metrics().snapshots?.installed === 1, "the snapshot");
    await cluster.close();
  });

  it("completes although the network loses, duplicates and reorders chunks (S6)", async () => {
    for (const seed of [1, 2]) {
      const { cluster, behind } = await oneBehind(150, { fetchBytesPerSecond: 200_000 }, { seed });
      cluster.net.lossRate = 0.2;
      cluster.net.duplicateRate = 0.2;
      cluster.net.delayMs = { min: 0.5, max: 30 };
      cluster.net.heal();
      await cluster.until(() => behind.raft.metrics().snapshots?.installed === 1, "the snapshot");
      cluster.net.lossRate = 0;
      await cluster.leader();
      await cluster.write(1);
      await cluster.converge();
      await cluster.close();
    }
  });

  it("requests a lost chunk again, and no other", async () => {
    const { cluster, leader, behind, sent } = await oneBehind(200, { fetchBytesPerSecond: 200_000 });
    const second = 50_000;
    let lost = 0;
    leader.transport.filter = (_, { message }) =>
      message.type !== "snapshot-chunk" || message.offset !== second || ++lost > 1;
    cluster.net.heal();
    const startedAt = cluster.world.clock.now();
    await cluster.until(() => behind.raft.metrics().snapshots?.installed === 1, "the snapshot");
    expect(cluster.world.clock.now() - startedAt).toBeLessThan(1_000 + 3 * RETRY_MS);
    const offsets = requestsIn(sent).map(({ offset }) => offset);
    expect(offsets.filter((offset) => offset === second)).toHaveLength(2);
    expect(offsets.filter((offset) => offset === 0)).toHaveLength(1);
    await cluster.close();
  });

  it("resumes where it was after a lost connection", async () => {
    const { cluster, behind, sent } = await oneBehind(200, { fetchBytesPerSecond: 50_000 });
    cluster.net.heal();
    const done = (): number => behind.raft.metrics().snapshots?.receiving?.bytesDone ?? 0;
    await cluster.until(() => done() > 100_000, "half");
    cluster.isolate(behind.id);
    const asked = requestsIn(sent).length;
    await cluster.advance(5_000);
    cluster.net.heal();
    sent.splice(0);
    await cluster.until(() => behind.raft.metrics().snapshots?.installed === 1, "the snapshot");
    expect(Math.min(...requestsIn(sent).map(({ offset }) => offset))).toBeGreaterThan(90_000);
    expect(asked).toBeGreaterThan(3);
    await cluster.write(1);
    await cluster.converge();
    await cluster.close();
  });

  it("resumes with the bytes on disk after the receiver restarts", async () => {
    const { cluster, behind, sent } = await oneBehind(600, { fetchBytesPerSecond: 200_000 });
    cluster.net.heal();
    await cluster.until(() => (behind.raft.metrics().snapshots?.receiving?.bytesDone ?? 0) > 400_000, "half");
    await cluster.finish(behind.raft.close());
    sent.splice(0);
    const again = await cluster.open(behind.id);
    again.transport.filter = (_, { message }) => !isRuntimeMessage(message) || sent.push(message) > 0;
    await cluster.until(() => again.raft.metrics().snapshots?.installed === 1, "the snapshot");
    expect(Math.min(...requestsIn(sent).map(({ offset }) => offset))).toBeGreaterThan(250_000);
    await cluster.converge();
    await cluster.close();
  });

  it("ends when the entries come from another leader's log, and leaves nothing behind (Q3)", async () => {
    const policy = { ...BY_HAND, fetchBytesPerSecond: 50_000 };
    const { cluster, leader, behind, sent } = await oneBehind(200, policy, { thirdKeepsLog: true });
    const third = cluster.other(leader, behind);
    cluster.net.heal();
    await cluster.until(() => (behind.raft.metrics().snapshots?.receiving?.bytesDone ?? 0) > 0, "a part");
    await cluster.finish(leader.raft.transferLeadership(third.id));
    expect(isFetching(behind)).toBe(true);
    const index = third.raft.metrics().lastIndex;
    await cluster.until(() => behind.raft.metrics().appliedIndex >= index, "the entries");
    expect(behind.raft.metrics().snapshots).toMatchObject({ receiving: null, installed: 0 });
    const requests = requestsIn(sent).length;
    await cluster.advance(5_000);
    expect(requestsIn(sent).length).toBe(requests);
    expect(leader.raft.metrics().snapshots?.sending).toEqual([]);
    const files = cluster.machine(behind.id).files.paths();
    expect(files.filter((path) => path.includes("incoming"))).toEqual([]);
    await cluster.close();
  });

  it("begins again with another node's snapshot when its source is gone for good (S6)", async () => {
    const { cluster, leader, behind } = await oneBehind(100, { fetchBytesPerSecond: 50_000 });
    cluster.net.heal();
    await cluster.until(
      () => (behind.raft.metrics().snapshots?.receiving?.bytesDone ?? 0) > 30_000,
      "a part",
    );
    await cluster.crash(leader.id);
    await cluster.leader();
    await cluster.write(1);
    await cluster.converge();
    expect(behind.raft.metrics().snapshots?.installed).toBe(1);
    await cluster.close();
  });

  it("does not install a snapshot that is damaged at its source, which takes a new one (S6)", async () => {
    const { cluster, leader, behind } = await oneBehind(50);
    const { files } = cluster.machine(leader.id);
    const path = files.paths().find((one) => one.endsWith(".taken")) ?? "";
    files.damage(path, 10_000, Uint8Array.of(1, 2, 3));
    cluster.net.heal();
    await cluster.write(1, leader);
    await cluster.until(() => behind.raft.metrics().snapshots?.installed === 1, "another snapshot", 120_000);
    await cluster.converge();
    expect(cluster.messages.join("\n")).toContain("did not arrive as it was written");
    expect(cluster.messages.join("\n")).toContain("It is thrown away, and another one is taken");
    await cluster.close();
  });

  it("fails on a receiver without disk space, which keeps running and fetches it when there is space (S15)", async () => {
    const { cluster, behind } = await oneBehind(50);
    const { files } = cluster.machine(behind.id);
    files.intercept = ({ type, path }) =>
      type === "write" && path.startsWith("/snapshots") ? { type: "error", code: "ENOSPC" } : null;
    cluster.net.heal();
    await cluster.advance(10_000);
    expect(behind.raft.metrics()).toMatchObject({ role: "follower", snapshots: { installed: 0 } });
    const told = cluster.messages.filter((text) => text.includes("ENOSPC")).length;
    expect(told).toBeGreaterThan(1);
    expect(told).toBeLessThan(10);
    files.intercept = null;
    await cluster.until(() => behind.raft.metrics().snapshots?.installed === 1, "the snapshot");
    await cluster.converge();
    await cluster.close();
  });

  it("begins again if the source announces fewer bytes than have been received", async () => {
    const { cluster, leader, behind } = await oneBehind(1000, { ...BY_HAND, fetchBytesPerSecond: 600_000 });
    cluster.net.heal();
    const bytesDone = (): number => behind.raft.metrics().snapshots?.receiving?.bytesDone ?? 0;
    await cluster.until(() => bytesDone() > 500_000, "half of the snapshot");
    await cluster.finish(behind.raft.close());
    let isAltered = false;
    leader.transport.filter = (_, { message }) => {
      if (message.type !== "snapshot-chunk" || isAltered) return true;
      isAltered = true;
      Object.assign(message, { size: 5_000 });
      return true;
    };
    const again = await cluster.open(behind.id);
    await cluster.until(() => again.raft.metrics().snapshots?.installed === 1, "the installation");
    expect(isAltered).toBe(true);
    expect(cluster.messages.join("\n")).toMatch(/announces 5000 bytes, and \d+ are here/);
    await cluster.converge();
    await cluster.close();
  });

  it("ignores chunks, requests and ends that belong to no transfer (S7)", async () => {
    const { cluster, leader, behind } = await oneBehind(100, { fetchBytesPerSecond: 30_000 });
    cluster.net.heal();
    await cluster.until(() => isFetching(behind), "the transfer");
    const id = "0".repeat(32);
    const payload = new Uint8Array(1000).fill(7);
    const stray = (from: string): RuntimeMessage[] => [
      { type: "snapshot-chunk", from, id, size: 10_000, offset: 0, payload },
      { type: "snapshot-chunk", from, id: "x", size: 1, offset: 1, payload: new Uint8Array(0) },
      { type: "snapshot-request", from, id, index: 1, offset: 0, bytes: 1000 },
      { type: "snapshot-request", from, id: null, index: 2 ** 40, offset: 0, bytes: 1000 },
      { type: "snapshot-request", from, id: null, index: 0, offset: 2 ** 40, bytes: 1000 },
      { type: "snapshot-gone", from, id },
      { type: "snapshot-gone", from, id: null },
      { type: "snapshot-end", from, id, intact: false },
    ];
    for (const from of cluster.nodes.values()) {
      for (const to of cluster.nodes.values()) {
        if (from === to) continue;
        for (const message of stray(from.id)) from.transport.send(to.id, { message, records: [] });
      }
    }
    await cluster.write(1, leader);
    await cluster.converge();
    expect(behind.raft.metrics().snapshots?.installed).toBe(1);
    await cluster.close();
  });

  it("keeps the leader's log after the snapshot, so that the receiver can continue from it (S12)", async () => {
    const { cluster, leader, behind } = await oneBehind(100, { fetchBytesPerSecond: 30_000 });
    const offered = leader.raft.metrics().snapshots?.newest?.index ?? 0;
    cluster.net.heal();
    await cluster.until(() => isFetching(behind), "the transfer");
    await cluster.write(5, leader);
    await cluster.finish(leader.raft.snapshot());
    await cluster.write(5, leader);
    expect(isFetching(behind)).toBe(true);
    // The leader has taken a newer snapshot meanwhile; without the transfer it would have compacted up to it.
    expect(leader.raft.metrics().snapshots?.newest?.index).toBeGreaterThan(offered);
    await cluster.write(5, leader);
    await cluster.converge();
    expect(behind.raft.metrics().snapshots?.installed).toBe(1);
    await cluster.until(() => leader.raft.metrics().firstIndex > offered + 1, "the log to be cut after all");
    await cluster.close();
  });

  it("keeps no more log than `transferKeepBytes`, and none for a receiver that is gone (S12)", async () => {
    const policy = {
      everyEntries: 10,
      keepEntries: 0,
      fetchBytesPerSecond: 100_000,
      transferKeepBytes: 2_000,
    };
    const { cluster, leader, behind } = await oneBehind(100, policy);
    cluster.net.heal();
    await cluster.until(() => isFetching(behind), "the transfer");
    const { firstIndex } = leader.raft.metrics();
    await cluster.write(20, leader);
    await cluster.finish(leader.raft.snapshot());
    expect(leader.raft.metrics().firstIndex).toBe(firstIndex);
    await cluster.write(50, leader);
    await cluster.finish(leader.raft.snapshot());
    expect(leader.raft.metrics().firstIndex).toBeGreaterThan(firstIndex + 50);
    expect(isFetching(behind)).toBe(true);
    cluster.isolate(behind.id);
    await cluster.advance(2 * TRANSFER_IDLE_MS);
    expect(leader.raft.metrics().snapshots?.sending).toEqual([]);
    cluster.net.heal();
    await cluster.converge();
    await cluster.close();
  });
});

describe("a follower that installs a snapshot", () => {
  it("discards its own uncommitted entries, and ends the calls that wait for them (S1, S13)", async () => {
    const cluster = await SnapshotCluster.of(["a", "b", "c"], { policy: BY_HAND });
    const deposed = await cluster.leader();
    await cluster.write(3, deposed);
    await cluster.converge();
    cluster.isolate(deposed.id);
    const options = { timeoutMs: Infinity };
    const pending = Array.from({ length: 60 }, (_, n) => deposed.raft.write(`lost ${String(n)}`, options));
    const outcomes = Promise.allSettled(pending);
    await cluster.until(() => deposed.raft.metrics().role !== "leader", "the old leader to step down");
    const others = [...cluster.nodes.values()].filter((node) => node !== deposed);
    const leading = (): SnapshotNode | undefined =>
      others.find(({ raft }) => raft.metrics().role === "leader");
    await cluster.until(() => leading() !== undefined, "a new leader");
    const leader = leading()!;
    await cluster.write(30, leader);
    for (const { raft } of others) {
      await cluster.until(() => raft.metrics().appliedIndex === leader.raft.metrics().lastIndex, "both");
      await cluster.finish(raft.snapshot());
    }
    cluster.net.heal();
    const settled = await cluster.finish(outcomes, 5_000);
    const errors = settled.map((outcome) =>
      outcome.status === "rejected" ? (outcome.reason as RaftError).code : null,
    );
    // The snapshot covers the first indexes: their outcome is unknown. The entries after it are lost for
    // certain.
    expect(new Set(errors)).toEqual(new Set(["OUTCOME_UNKNOWN", "COMMAND_LOST"]));
    expect(errors.indexOf("COMMAND_LOST")).toBe(errors.lastIndexOf("OUTCOME_UNKNOWN") + 1);
    const lines = await cluster.converge();
    expect(lines.join()).not.toContain("lost");
    expect(deposed.raft.metrics()).toMatchObject({ snapshots: { installed: 1 }, pendingEntries: 0 });
    await cluster.write(3);
    await cluster.converge();
    await cluster.close();
  });

  it("knows at once that the snapshot's entries are committed (S17)", async () => {
    const { cluster, leader, behind } = await oneBehind(10);
    const { index } = leader.raft.metrics().snapshots?.newest ?? { index: 0 };
    cluster.net.heal();
    await cluster.until(() => behind.raft.metrics().snapshots?.installed === 1, "the snapshot");
    expect(behind.raft.metrics().commitIndex).toBeGreaterThanOrEqual(index);
    expect(behind.raft.metrics().durableIndex).toBeGreaterThanOrEqual(index);
    await cluster.close();
  });

  it("applies nothing and serves no read while the state is being restored", async () => {
    const { cluster, behind } = await oneBehind(10);
    behind.journal.beforeEachLine = () => cluster.sleep(500);
    cluster.net.heal();
    const phase = (): string | undefined => behind.raft.metrics().snapshots?.receiving?.phase;
    await cluster.until(() => phase() === "installing", "the installation");
    const seen: number[] = [];
    const stale = behind.raft.read(() => seen.push(behind.journal.lines.length), { consistency: "stale" });
    const linearizable = behind.raft.read(() => seen.push(behind.journal.lines.length));
    await cluster.write(3);
    expect([phase(), seen]).toEqual(["installing", []]);
    await cluster.finish(Promise.all([stale, linearizable]));
    expect(Math.min(...seen)).toBeGreaterThan(10);
    await cluster.converge();
    await cluster.close();
  });

  it("closes quickly in the middle of an installation, and finishes it after a restart", async () => {
    const { cluster, behind } = await oneBehind(10);
    behind.journal.beforeEachLine = () => cluster.sleep(100_000);
    cluster.net.heal();
    await cluster.until(
      () => behind.raft.metrics().snapshots?.receiving?.phase === "installing",
      "the installation",
    );
    const startedAt = cluster.world.clock.now();
    await cluster.finish(behind.raft.close());
    expect(cluster.world.clock.now() - startedAt).toBeLessThan(2_000);
    const again = await cluster.open(behind.id);
    expect(again.journal.restores).toBe(1);
    await cluster.converge();
    await cluster.close();
  });

  it.each(["EMFILE", "EIO"])(
    "goes on, or stops, after one %s at any operation on the snapshot's files, and never stays paused (Z9)",
    async (code) => {
      let goneOn = 0;
      for (let at = 1; ; at++) {
        const { cluster, behind } = await oneBehind(10);
        let operations = 0;
        cluster.machine(behind.id).files.intercept = ({ path }) => {
          if (!path.startsWith("/snapshots")) return null;
          operations += 1;
          return operations === at ? { type: "error", code } : null;
        };
        cluster.net.heal();
        const end = { stopped: false };
        void behind.raft.stopped.then(() => (end.stopped = true));
        await cluster.until(
          () => end.stopped || behind.raft.metrics().snapshots?.installed === 1,
          `an end after ${code} at operation ${String(at)}`,
        );
        // All operations of an installation have had their turn.
        const isOver = operations < at;
        if (end.stopped) await cluster.open(behind.id);
        else goneOn += 1;
        await cluster.write(3);
        await cluster.converge();
        await cluster.close();
        if (isOver) break;
      }
      expect(goneOn).toBeGreaterThan(5);
    },
  );

  it("installs the snapshot that it has, if a new leader offers an older one after a failed attempt (Z9)", async () => {
    const { cluster, leader, behind, sent } = await failedInstallation();
    const other = cluster.other(leader, behind);
    expect(snapshotIndex(other)).toBeLessThan(snapshotIndex(leader));
    await cluster.crash(leader.id);
    await cluster.until(() => behind.raft.metrics().snapshots?.installed === 1, "the installation");
    expect(snapshotIndex(behind)).toBe(snapshotIndex(leader));
    expect(bytesRequested(sent)).toBe(snapshotBytes(leader));
    await cluster.open(leader.id);
    await cluster.write(3);
    await cluster.converge();
    await cluster.close();
  });

  it("fetches the snapshot again if the disk cannot read the copy that it has (Z9)", async () => {
    const { cluster, leader, behind, sent, isReceived } = await failedInstallation();
    let renames = 0;
    cluster.machine(behind.id).files.intercept = ({ type, path }) => {
      if (type === "rename") renames += 1;
      return type === "read" && isReceived(path) && renames === 0 ? { type: "error", code: "EIO" } : null;
    };
    await cluster.until(() => behind.raft.metrics().snapshots?.installed === 1, "the installation");
    expect(bytesRequested(sent)).toBe(2 * snapshotBytes(leader));
    expect(cluster.messages.filter((text) => /could not be installed: EIO/.test(text))).toHaveLength(
      STORED_ATTEMPTS_MAX,
    );
    await cluster.converge();
    await cluster.close();
  });

  it("fetches the snapshot again if the copy that it has is damaged meanwhile (Z9, S6)", async () => {
    const { cluster, leader, behind, sent, isReceived } = await failedInstallation();
    const { files } = cluster.machine(behind.id);
    const file = files.paths().find(isReceived) ?? "";
    const at = files.contents(file).length - 2_000;
    files.damage(file, at, Uint8Array.of((files.contents(file)[at] ?? 0) ^ 1));
    await cluster.until(() => behind.raft.metrics().snapshots?.installed === 1, "the installation");
    expect(bytesRequested(sent)).toBe(2 * snapshotBytes(leader));
    await cluster.converge();
    await cluster.close();
  });

  it("returns the snapshot that waits to be installed to a caller that asks for one", async () => {
    const { cluster, leader, behind } = await failedInstallation();
    const taken = await cluster.finish(behind.raft.snapshot());
    expect(taken.index).toBe(snapshotIndex(leader));
    await cluster.until(() => behind.raft.metrics().snapshots?.installed === 1, "the installation");
    await cluster.converge();
    await cluster.close();
  });

  it("stops if an assertion fails while it receives a snapshot", async () => {
    const { cluster, behind } = await oneBehind(10);
    await cluster.finish(behind.raft.close());
    const store = Object.assign(snapshotFiles("/snapshots"), {
      receive: () => Promise.reject(new ProtocolViolation("two snapshots are received at once")),
    });
    const again = await cluster.open(behind.id, { policy: null, snapshots: { store, ...BY_HAND } });
    cluster.net.heal();
    const error = await cluster.finish(again.raft.stopped);
    expect(error?.message).toMatch(/must not, so the node stops: two snapshots are received at once/);
    await cluster.open(behind.id);
    await cluster.converge();
    await cluster.close();
  });

  it("closes the state machine although the file of an incoming snapshot cannot be closed", async () => {
    const { cluster, behind } = await oneBehind(10, { ...BY_HAND, fetchBytesPerSecond: 10_000 });
    cluster.net.heal();
    await cluster.until(() => (behind.raft.metrics().snapshots?.receiving?.bytesDone ?? 0) > 0, "a chunk");
    cluster.machine(behind.id).files.intercept = ({ type, path }) =>
      type === "close" && path.includes("incoming") ? { type: "error", code: "EIO" } : null;
    await cluster.finish(behind.raft.close());
    expect(behind.journal.isClosed).toBe(true);
    cluster.machine(behind.id).files.intercept = null;
    await cluster.open(behind.id);
    await cluster.converge();
    await cluster.close();
  });

  it("stops if the state machine cannot restore the snapshot", async () => {
    const { cluster, behind } = await oneBehind(10);
    behind.journal.restore = () => Promise.reject(new Error("no room for it"));
    cluster.net.heal();
    const error = await cluster.finish(behind.raft.stopped);
    expect(error?.message).toMatch(/could not restore the snapshot of entry \d+, so the node stops: no room/);
    await cluster.open(behind.id);
    await cluster.converge();
    await cluster.close();
  });

  it("answers a retried session command from the snapshot's session table (K5)", async () => {
    const { cluster, leader, behind } = await oneBehind(10);
    const opened = await cluster.finish(leader.raft.beginSession());
    const session = { id: opened.id, sequence: 1, lowestUnanswered: 1 };
    const first = await cluster.finish(leader.raft.write("once", { session }));
    await cluster.finish(leader.raft.snapshot());
    cluster.net.heal();
    await cluster.until(() => behind.raft.metrics().snapshots?.installed === 1, "the snapshot");
    await cluster.converge();
    await cluster.finish(leader.raft.transferLeadership(behind.id));
    expect(await cluster.finish(behind.raft.write("once", { session }))).toBe(first);
    await cluster.converge();
    expect(behind.journal.lines.filter((line) => line.endsWith("once"))).toHaveLength(1);
    await cluster.close();
  });
});

describe("a reader of committed commands", () => {
  it("gets LogCompactedError when the log is compacted past its place, and cannot begin before the log (S11)", async () => {
    const cluster = await SnapshotCluster.of(["a"], { policy: BY_HAND });
    const { raft } = await cluster.leader();
    await cluster.write(5);
    const reader = raft.committed();
    expect((await cluster.finish(reader.next())).value).toMatchObject({ command: "w1" });
    await cluster.finish(raft.snapshot());
    await cluster.write(5);
    await cluster.finish(raft.snapshot());
    const rest: unknown[] = [];
    const drained = (async (): Promise<void> => {
      for await (const { command } of reader) rest.push(command);
    })();
    await expect(cluster.finish(drained)).rejects.toThrow(LogCompactedError);
    expect(() => raft.committed({ from: 1 })).toThrow(
      /from is 1; it should be a whole number from \d+ on, where the log begins/,
    );
    await cluster.write(1);
    const next = raft.committed();
    expect((await cluster.finish(next.next())).value).toMatchObject({ command: "w11" });
    await cluster.close();
  });
});
