import { describe, expect, it } from "vitest";
import { encodeMembership } from "../../codec/config.ts";
import { configOf } from "../../core/config.ts";
import { simulatedEnvironment } from "../../environment/simulated/simulated-environment.ts";
import { SimulatedFiles } from "../../environment/simulated/simulated-files.ts";
import { DirectoryLockedError, StorageFailedError } from "../../errors.ts";
import { inspectSnapshots, snapshotFiles, type SnapshotStore } from "./index.ts";

const DIRECTORY = "/data/a/snapshots";
const config = configOf(["a", "b"], ["c"]);
const members = new Map(["a", "b", "c"].map((id) => [id, { address: `${id}:1` }]));
const membership = encodeMembership({ config, members });

/** A store with a snapshot of entry 7. It stays open, like that of a running node. */
async function storeWithSnapshot() {
  const files = new SimulatedFiles();
  const environment = simulatedEnvironment({ files: files.mount() });
  const store = snapshotFiles(DIRECTORY);
  await store.open(environment);
  const draft = await store.create({ clusterId: "c", position: { term: 3, index: 7 }, membership }, [
    Uint8Array.of(1, 2),
  ]);
  await draft.write(new Uint8Array(1000));
  const snapshot = await draft.finish();
  return { environment, store, snapshot, path: `${DIRECTORY}/${await nameIn(environment.files)}` };
}

async function nameIn(files: { list: (directory: string) => Promise<readonly string[]> }): Promise<string> {
  const name = (await files.list(DIRECTORY)).find((one) => one.startsWith("snapshot-"));
  if (name === undefined) throw new Error("there is no snapshot");
  return name;
}

async function begun(store: SnapshotStore): Promise<void> {
  const header = { clusterId: "c", position: { term: 3, index: 9 }, membership };
  await (await store.create(header, [])).write(new Uint8Array(10));
  await (await store.receive("ab".repeat(16), 5000)).suspend();
}

/** Where a file says which version of the format it has. */
const VERSION_AT = 3;

describe("inspectSnapshots", () => {
  it("reports what each snapshot holds, while the store is open", async () => {
    const { environment, snapshot, path } = await storeWithSnapshot();
    expect(await inspectSnapshots(DIRECTORY, { running: true, environment })).toEqual([
      {
        ...{ file: path, kind: "taken", bytes: snapshot.bytes, stateBytes: 1000 },
        ...{ damage: null, otherVersion: null },
        header: {
          id: snapshot.id,
          clusterId: "c",
          position: { term: 3, index: 7 },
          membership: { config, members },
        },
        sessions: Uint8Array.of(1, 2),
      },
    ]);
  });

  it("lists snapshots that are being taken or received, without reading them", async () => {
    const { environment, store } = await storeWithSnapshot();
    await begun(store);
    const found = await inspectSnapshots(DIRECTORY, { running: true, environment });
    expect(found.map(({ kind, header, damage }) => [kind, header === null, damage])).toEqual([
      ["draft", true, null],
      ["incoming", true, null],
      ["taken", false, null],
    ]);
  });

  it("reports every flipped byte, in the middle of a file too, which a store doesn't check when it opens", async () => {
    const { environment, snapshot, path } = await storeWithSnapshot();
    for (let at = 0; at < snapshot.bytes; at++) {
      // The version of the format is a case of its own.
      if (at === VERSION_AT) continue;
      const handle = await environment.files.open(path, "write");
      const byte = new Uint8Array(1);
      await handle.read(byte, at);
      await handle.write([Uint8Array.of((byte[0] ?? 0) ^ 4)], at);
      const [found] = await inspectSnapshots(DIRECTORY, { running: true, environment });
      expect(found?.damage, `byte ${String(at)}`).toContain(`the snapshot ${path} is damaged at byte `);
      await handle.write([byte], at);
      await handle.close();
    }
    const [found] = await inspectSnapshots(DIRECTORY, { running: true, environment });
    expect(found?.damage).toBeNull();
  });

  it("reports a file of another version of the format as one that may be intact", async () => {
    const { environment, path } = await storeWithSnapshot();
    const handle = await environment.files.open(path, "write");
    await handle.write([Uint8Array.of(1)], VERSION_AT);
    await handle.close();
    expect(await inspectSnapshots(DIRECTORY, { running: true, environment })).toMatchObject([
      { damage: expect.stringContaining("has version 1") as string, otherVersion: 1, header: null },
    ]);
  });

  it("is refused while a store is open, unless asked to read nevertheless", async () => {
    const { environment, store } = await storeWithSnapshot();
    await expect(inspectSnapshots(DIRECTORY, { environment })).rejects.toThrow(DirectoryLockedError);
    await store.close();
    expect(await inspectSnapshots(DIRECTORY, { environment })).toHaveLength(1);
    await store.open(environment);
  });

  it("reports a file that was cut short, or has another snapshot's name", async () => {
    const { environment, snapshot, path } = await storeWithSnapshot();
    const other = path.replace("-0000000000000007-", "-0000000000000008-");
    await environment.files.rename(path, other);
    expect((await inspectSnapshots(DIRECTORY, { running: true, environment }))[0]?.damage).toMatch(
      /has the name of another$/,
    );
    await environment.files.rename(other, path);
    const handle = await environment.files.open(path, "write");
    await handle.truncate(snapshot.bytes - 1);
    await handle.close();
    expect((await inspectSnapshots(DIRECTORY, { running: true, environment }))[0]?.damage).toMatch(
      /it ends too early$/,
    );
  });

  it("finds no snapshots where there is no directory, and rejects if the directory can't be read", async () => {
    const environment = simulatedEnvironment({ files: new SimulatedFiles().mount() });
    expect(await inspectSnapshots("/none", { environment })).toEqual([]);
    const broken = { ...environment.files, list: () => Promise.reject(new Error("EIO: i/o error")) };
    await expect(
      inspectSnapshots("/x", { running: true, environment: { ...environment, files: broken } }),
    ).rejects.toThrow(
      new StorageFailedError("the snapshots in /x could not be read: EIO: i/o error", "not-done"),
    );
  });

  it("leaves out a snapshot that is removed while it is read", async () => {
    const { environment } = await storeWithSnapshot();
    const gone = Object.assign(new Error("gone"), { code: "ENOENT" });
    const files = { ...environment.files, list: environment.files.list.bind(environment.files) };
    const going = { ...files, open: () => Promise.reject(gone) };
    expect(
      await inspectSnapshots(DIRECTORY, { running: true, environment: { ...environment, files: going } }),
    ).toEqual([]);
  });
});
