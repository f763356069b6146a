import { describe, expect, it } from "vitest";
import { decodeMembership, encodeMembership } from "../../codec/config.ts";
import { configOf } from "../../core/config.ts";
import { seededRandom } from "../../environment/simulated/simulated-clock.ts";
import { simulatedEnvironment } from "../../environment/simulated/simulated-environment.ts";
import { SimulatedFiles } from "../../environment/simulated/simulated-files.ts";
import { CorruptSnapshotError, DirectoryLockedError, InvalidOptionError } from "../../errors.ts";
import { beganWith } from "../../codec/cluster-id.ts";
import { openSnapshotFile, snapshotFiles } from "../snapshots/index.ts";
import { inspectWal } from "./inspect-wal.ts";
import { restoreWal, type RestoreOptions } from "./restore-wal.ts";

const BACKUP = "/backups/monday";
const LOG = "/data/n1/log";
const SNAPSHOTS = "/data/n1/snapshots";
const POSITION = { index: 70, term: 4 };
const SESSIONS = Uint8Array.of(1, 2, 3);
const STATE = new Uint8Array(600_000).map((_, at) => at % 251);

function environmentOf(files: SimulatedFiles, seed = 1) {
  return simulatedEnvironment({ files: files.mount(), seed });
}

/** A disk with a backup: a snapshot of another cluster. */
async function diskWithBackup(): Promise<SimulatedFiles> {
  const files = new SimulatedFiles();
  const environment = environmentOf(files);
  const store = snapshotFiles("/elsewhere");
  await store.open(environment);
  const membership = encodeMembership({
    config: configOf(["a", "b"]),
    members: new Map(["a", "b"].map((id) => [id, { address: `${id}:1` }])),
    removed: ["n1"],
  });
  const draft = await store.create({ clusterId: "old", position: POSITION, membership }, [SESSIONS]);
  await draft.write(STATE);
  await draft.finish();
  await store.close();
  const [name = ""] = await environment.files.list("/elsewhere");
  await environment.files.makeDirectory("/backups");
  await environment.files.rename(`/elsewhere/${name}`, BACKUP);
  await environment.files.syncDirectory("/backups");
  await environment.files.syncDirectory("/elsewhere");
  return files;
}

function restore(files: SimulatedFiles, changes: Partial<RestoreOptions> = {}) {
  return restoreWal({
    ...{ snapshot: BACKUP, log: LOG, snapshots: SNAPSHOTS, nodeId: "n1", address: "h:1" },
    environment: environmentOf(files),
    ...changes,
  });
}

async function bytesOf(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return Buffer.concat(parts);
}

describe("restoreWal", () => {
  it("creates a one-member cluster with the backup's state and sessions, without its members", async () => {
    const files = await diskWithBackup();
    const told: (readonly [number, number])[] = [];
    const restored = await restore(files, {
      onProgress: (...progress) => void told.push(progress),
      clusterName: "orders",
    });
    expect(restored.position).toEqual(POSITION);
    const found = await inspectWal(LOG, { environment: environmentOf(files) });
    expect(found).toMatchObject({
      nodeId: "n1",
      clusterId: restored.clusterId,
      base: POSITION,
      last: POSITION,
      hardState: { term: 4, votedFor: null },
    });
    const alone = { config: configOf(["n1"]), members: new Map([["n1", { address: "h:1" }]]) };
    expect(found.memberships.map(({ membership }) => membership)).toEqual([alone]);
    expect(restored.clusterId).toMatch(/^orders\/[0-9a-f]{32}\+[0-9a-f]{16}$/);
    expect(beganWith(restored.clusterId, encodeMembership(alone))).toBe(true);

    const store = snapshotFiles(SNAPSHOTS);
    const { newest } = await store.open(environmentOf(files));
    expect(newest).toMatchObject({ clusterId: restored.clusterId, position: POSITION });
    expect(decodeMembership(newest?.membership ?? new Uint8Array(0))).toEqual(alone);
    const reader = await store.read(newest?.id ?? "");
    expect(Buffer.compare(await bytesOf(reader!.state()), STATE)).toBe(0);
    const stored: Uint8Array[] = [];
    for await (const chunk of reader!.sessions()) stored.push(chunk);
    expect(stored).toEqual([SESSIONS]);
    expect(told.at(-1)).toEqual([restored.bytes * 2, restored.bytes * 2]);
    expect(told.map(([done]) => done)).toEqual(told.map(([done]) => done).sort((a, b) => a - b));
  });

  it("gives the cluster another id each time", async () => {
    const files = await diskWithBackup();
    const first = await restore(files, { environment: environmentOf(files, 1) });
    const other = {
      log: "/data/n2/log",
      snapshots: "/data/n2/snapshots",
      environment: environmentOf(files, 2),
    };
    expect((await restore(files, other)).clusterId).not.toBe(first.clusterId);
  });

  it("rejects and writes nothing if a byte of the backup is wrong or missing (S6)", async () => {
    const { length } = (await diskWithBackup()).contents(BACKUP);
    for (const at of [0, 20, 300, Math.floor(length / 2), length - 1]) {
      const damaged = await diskWithBackup();
      damaged.damage(BACKUP, at, Uint8Array.of((damaged.contents(BACKUP)[at] ?? 0) ^ 0x10));
      await expect(restore(damaged), String(at)).rejects.toThrow(CorruptSnapshotError);
      expect(damaged.paths()).toEqual([BACKUP]);
      const cut = await diskWithBackup();
      const handle = await cut.mount().open(BACKUP, "write");
      await handle.truncate(at);
      await expect(restore(cut), String(at)).rejects.toThrow(CorruptSnapshotError);
      expect(cut.paths()).toEqual([BACKUP]);
    }
  });

  it("never overwrites anything", async () => {
    for (const directory of [LOG, SNAPSHOTS]) {
      const files = await diskWithBackup();
      await files.mount().makeDirectory(directory);
      await files.mount().open(`${directory}/x`, "create");
      await expect(restore(files)).rejects.toThrow(`${directory} is not empty`);
    }
  });

  it("leaves nothing behind if it fails, whichever operation fails, and can be repeated", async () => {
    let failures = 0;
    for (let at = 1; ; at++) {
      const files = await diskWithBackup();
      const first = files.operations;
      files.intercept = ({ number }) => (number - first === at ? { type: "error", code: "EIO" } : null);
      const failed = await restore(files).then(
        () => false,
        () => true,
      );
      files.intercept = null;
      if (failed) {
        failures += 1;
        expect(files.paths(), `operation ${String(at)}`).toEqual([BACKUP]);
        await restore(files);
      } else if (files.operations - first < at) break;
      files.crash(seededRandom(at));
      const { base } = await inspectWal(LOG, { environment: environmentOf(files) });
      expect(base).toEqual(POSITION);
      const store = snapshotFiles(SNAPSHOTS);
      expect((await store.open(environmentOf(files))).newest?.position).toEqual(POSITION);
    }
    expect(failures).toBeGreaterThan(20);
  });

  it("says so if it can't remove what it wrote before it failed", async () => {
    const files = await diskWithBackup();
    files.intercept = ({ type, path }) =>
      type === "remove" || (type === "data-sync" && path.startsWith(LOG))
        ? { type: "error", code: "EIO" }
        : null;
    await expect(restore(files)).rejects.toThrow(
      /EIO.*and what was written until then could not be removed \(.*Delete .*log and .*snapshots before/,
    );
  });

  it("is refused while another process has one of the directories open, and changes nothing", async () => {
    for (const directory of [LOG, SNAPSHOTS]) {
      const files = await diskWithBackup();
      const mounted = files.mount();
      await mounted.makeDirectory(directory);
      const lock = await mounted.lock(directory);
      await expect(restore(files)).rejects.toThrow(DirectoryLockedError);
      expect(files.paths()).toEqual([BACKUP]);
      await lock.release();
      await restore(files);
    }
  });

  it("rejects if there is no backup, or the address is invalid", async () => {
    const files = await diskWithBackup();
    await expect(restore(files, { snapshot: "/none" })).rejects.toThrow(
      new InvalidOptionError("there is no file /none"),
    );
    await expect(restore(files, { address: "h" })).rejects.toThrow(/address is "h"/);
  });

  it("never leaves a log without the snapshot, wherever the power fails", async () => {
    let unfinished = 0;
    for (let at = 1; ; at++) {
      const files = await diskWithBackup();
      const first = files.operations;
      let cut = (): void => undefined;
      const isCut = new Promise<boolean>((resolve) => {
        cut = () => resolve(true);
      });
      files.intercept = ({ number }) => {
        if (number - first !== at) return null;
        cut();
        return { type: "power-cut" };
      };
      const happened = await Promise.race([isCut, restore(files).then(() => false)]);
      await new Promise((resolve) => setImmediate(resolve));
      files.intercept = null;
      if (!happened) break;
      files.crash(seededRandom(at));
      const isLogged = files.paths().some((path) => path.startsWith(LOG) && path.endsWith(".wal"));
      if (!isLogged) {
        unfinished += 1;
        continue;
      }
      const store = snapshotFiles(SNAPSHOTS);
      const { newest } = await store.open(environmentOf(files));
      expect(newest?.position).toEqual(POSITION);
      await store.close();
      const { base } = await inspectWal(LOG, { environment: environmentOf(files) });
      expect([0, POSITION.index]).toContain(base.index);
    }
    expect(unfinished).toBeGreaterThan(5);
  });
});

describe("openSnapshotFile", () => {
  it("reads a snapshot without a store", async () => {
    const files = await diskWithBackup();
    const reader = await openSnapshotFile(BACKUP, environmentOf(files));
    expect(reader.snapshot).toMatchObject({ clusterId: "old", position: POSITION });
    await reader.verify();
    await reader.close();
  });
});
