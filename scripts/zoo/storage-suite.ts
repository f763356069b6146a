// Promises of log, snapshots and locks that no simulated run tests. The zoo uses them: each case rejects if
// its promise isn't kept.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

import { encodeMembership } from "../../packages/keelson/src/codec/config.ts";
import { encodeRecord, EntryKind } from "../../packages/keelson/src/codec/record.ts";
import { configOf } from "../../packages/keelson/src/core/config.ts";
import { ORIGIN } from "../../packages/keelson/src/core/position.ts";
import { lockDirectory } from "../../packages/keelson/src/environment/node/directory-lock.ts";
import { seededRandom } from "../../packages/keelson/src/environment/simulated/simulated-clock.ts";
import {
  simulatedEnvironment,
  simulatedWorld,
} from "../../packages/keelson/src/environment/simulated/simulated-environment.ts";
import { SimulatedFiles } from "../../packages/keelson/src/environment/simulated/simulated-files.ts";
import { Raft } from "../../packages/keelson/src/runtime/index.ts";
import { encodeRecords } from "../../packages/keelson/src/runtime/sessions/index.ts";
import { memorySnapshots, snapshotFiles } from "../../packages/keelson/src/storage/snapshots/index.ts";
import type { SnapshotStore, StoredSnapshot } from "../../packages/keelson/src/storage/snapshot-store.ts";
import { forceNewCluster, restoreWal, wal } from "../../packages/keelson/src/storage/wal/index.ts";
import { tcp } from "../../packages/keelson/src/transport/tcp/index.ts";

const LOG = "/data/log";
const SNAPSHOTS = "/data/snapshots";
const IDS = ["a", "b", "c"];
const MEMBERSHIP = encodeMembership({
  config: configOf(IDS),
  members: new Map(IDS.map((id) => [id, { address: `${id}:7001` }])),
});

function promise(isKept: boolean, text: string): void {
  if (!isKept) throw new Error(text);
}

async function isRefused(attempt: Promise<unknown>): Promise<boolean> {
  return attempt.then(
    () => false,
    () => true,
  );
}

async function take(store: SnapshotStore, index: number): Promise<StoredSnapshot> {
  const header = { clusterId: "c", position: { index, term: 3 }, membership: MEMBERSHIP };
  const draft = await store.create(header, [encodeRecords(new Map())]);
  await draft.write(new Uint8Array(300_000).fill(index));
  return await draft.finish();
}

/** A snapshot in another store, and its file's bytes. */
async function sent(index: number): Promise<{ readonly id: string; readonly bytes: Uint8Array }> {
  const store = memorySnapshots();
  await store.open(simulatedEnvironment({ seed: 77 }));
  const { id, bytes } = await take(store, index);
  const reader = await store.read(id);
  return { id, bytes: (await reader?.read(0, bytes)) ?? new Uint8Array(0) };
}

async function receive(store: SnapshotStore, { id, bytes }: Awaited<ReturnType<typeof sent>>): Promise<void> {
  const incoming = await store.receive(id, bytes.length);
  await incoming.write(bytes.subarray(incoming.offset));
  await incoming.finish();
}

async function opened(files: SimulatedFiles): Promise<SnapshotStore> {
  const store = snapshotFiles(SNAPSHOTS);
  await store.open(simulatedEnvironment({ files: files.mount(), seed: files.operations + 1 }));
  return store;
}

async function locks(): Promise<void> {
  const directory = await mkdtemp(path.join(tmpdir(), "keelson-zoo-"));
  try {
    const lock = await lockDirectory(directory);
    for (const mode of ["exclusive", "shared"] as const) {
      promise(
        await isRefused(lockDirectory(directory, mode)),
        `a locked directory was locked again, ${mode}`,
      );
    }
    await lock.release();
    const shared = await lockDirectory(directory, "shared");
    promise(await isRefused(lockDirectory(directory)), "a directory was locked while it is read");
    await shared.release();
  } finally {
    await rm(directory, { recursive: true });
  }
}

async function keepsOtherVersions(): Promise<void> {
  const files = new SimulatedFiles();
  await take(await opened(files), 5);
  files.kill();
  const [file = ""] = files.paths();
  files.damage(file, 3, Uint8Array.of(99));
  const store = await opened(files).catch(() => null);
  if (store !== null) await take(store, 9);
  promise(files.paths().includes(file), "a snapshot of a later version was removed");
}

async function isDurableAfterFailedSync(): Promise<void> {
  const files = new SimulatedFiles();
  const snapshot = await sent(5);
  const store = await opened(files);
  files.intercept = ({ type }) => (type === "data-sync" ? { type: "failed-sync", code: "EIO" } : null);
  await isRefused(receive(store, snapshot));
  files.intercept = null;
  files.kill();
  await receive(await opened(files), snapshot);
  files.crash(seededRandom(1));
  const reader = await (await opened(files)).read(snapshot.id);
  await reader?.verify();
  promise(reader !== null, "a snapshot that was acknowledged is gone");
}

async function abortsAfterRename(): Promise<void> {
  const files = new SimulatedFiles();
  const store = await opened(files);
  const header = { clusterId: "c", position: { index: 5, term: 3 }, membership: MEMBERSHIP };
  const draft = await store.create(header, []);
  files.intercept = ({ type }) => (type === "sync-directory" ? { type: "error", code: "EIO" } : null);
  await isRefused(draft.finish());
  await draft.abort();
  promise(files.paths().length === 0, "a snapshot that was aborted is still there");
}

async function forgetsDiscarded(): Promise<void> {
  const store = await opened(new SimulatedFiles());
  const { id } = await take(store, 5);
  const reader = await store.read(id);
  await store.discard(id);
  promise(store.newest === null, "a discarded snapshot is the newest");
  await reader?.close();
}

async function restoresAgain(): Promise<void> {
  const files = new SimulatedFiles();
  await take(await opened(files), 5);
  files.kill();
  const environment = simulatedEnvironment({ files: files.mount() });
  const [snapshot = ""] = files.paths();
  const options = {
    snapshot,
    log: "/new/log",
    snapshots: "/new/snapshots",
    nodeId: "n",
    address: "n:1",
    environment,
  };
  files.intercept = ({ type, path: file }) =>
    type === "data-sync" && file.startsWith("/new/log") ? { type: "error", code: "EIO" } : null;
  promise(await isRefused(restoreWal(options)), "a restore succeeded without a log");
  files.intercept = null;
  await restoreWal(options);
}

async function recoversOverHalfInstalled(): Promise<void> {
  const world = simulatedWorld();
  const files = new SimulatedFiles();
  const environment = world.environment("c", files.mount());
  const log = wal(LOG);
  await log.open({ nodeId: "c", clusterId: "c" }, environment);
  const records = [encodeRecord(1, 1, EntryKind.config, MEMBERSHIP)];
  await log.append({ hardState: { term: 3, votedFor: "a" }, truncateFrom: null, records });
  await log.close();
  const store = await opened(files);
  await receive(store, await sent(9));
  await store.close();
  await forceNewCluster(LOG, { snapshots: SNAPSHOTS, environment });
  let raft: Raft<string, string> | null = null;
  void Raft.open<string, string>({
    id: "c",
    stateMachine: {
      codec: {
        encode: (text) => Buffer.from(text),
        decode: (bytes) => Buffer.from(bytes).toString(),
        encodeResult: (text) => Buffer.from(text),
        decodeResult: (bytes) => Buffer.from(bytes).toString(),
      },
      open: () => ORIGIN,
      apply: (command) => command,
      async *snapshot() {
        yield* [];
      },
      restore: async (state) => {
        for await (const _ of state);
      },
    },
    log: wal(LOG),
    snapshots: { store: snapshotFiles(SNAPSHOTS) },
    transport: tcp({ listen: "c:7001" }),
    environment,
  }).then((opened) => (raft = opened));
  await world.clock.runUntil(() => raft?.metrics().role === "leader", 20_000, "a leader after a recovery");
}

/** The promises, each with its test. */
export const STORAGE_CASES: readonly { readonly name: string; readonly run: () => Promise<void> }[] = [
  { name: "a directory is locked once", run: locks },
  { name: "a snapshot of a later version stays", run: keepsOtherVersions },
  { name: "a snapshot received over a failed sync is durable", run: isDurableAfterFailedSync },
  { name: "an aborted snapshot leaves no file", run: abortsAfterRename },
  { name: "a discarded snapshot is not the newest", run: forgetsDiscarded },
  { name: "a restore that failed can be repeated", run: restoresAgain },
  { name: "a recovery over a half-installed snapshot gives a leader", run: recoversOverHalfInstalled },
];
