import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { FileSystem } from "../../environment/environment.ts";
import { seededRandom } from "../../environment/simulated/simulated-clock.ts";
import { SimulatedFiles, type FileOperation } from "../../environment/simulated/simulated-files.ts";
import { simulatedEnvironment } from "../../environment/simulated/simulated-environment.ts";
import { nodeFiles } from "../../environment/node/node-files.ts";
import { describeLogStore } from "../../testing/suites/log-store-suite.ts";
import type { LogStore, StoredLog } from "../log-store.ts";
import { SECTOR_BYTES } from "./batch-format.ts";
import { wal } from "./index.ts";
import { baseAt, entries, observe, write } from "./test/model.ts";

describeLogStore(
  "the log on disk, on a disk in memory,",
  async () => ({
    environment: simulatedEnvironment({ files: new SimulatedFiles() }),
    store: () => wal("/data/a", { segmentBytes: 16 * 1024 }),
  }),
  { describe, it },
);

describeLogStore(
  "the log on disk, on a real disk,",
  async () => {
    const directory = await mkdtemp(join(tmpdir(), "keelson-wal-"));
    return {
      environment: simulatedEnvironment({ files: nodeFiles() }),
      store: () => wal(join(directory, "log"), { segmentBytes: 64 * 1024 }),
      dispose: () => rm(directory, { recursive: true }),
    };
  },
  { describe, it },
);

const DIRECTORY = "/data/a";
const FIRST = `${DIRECTORY}/0000000000000001.wal`;
const ANYONE = { nodeId: "a", clusterId: null };

interface Line {
  readonly level: string;
  readonly text: string;
  readonly fields?: Readonly<Record<string, unknown>> | undefined;
}

interface Opened {
  readonly store: LogStore;
  readonly found: StoredLog;
  readonly lines: readonly Line[];
}

async function openLog(files: SimulatedFiles, clusterId: string | null = null): Promise<Opened> {
  const lines: Line[] = [];
  const store = wal(DIRECTORY, { segmentBytes: 4096 });
  store.logTo?.((level, text, fields) => void lines.push({ level, text, fields }));
  const environment = simulatedEnvironment({ files: files.mount() });
  return { store, found: await store.open({ nodeId: "a", clusterId }, environment), lines };
}

/** Makes every operation of this kind fail. */
function failing(type: FileOperation["type"], code = "EIO"): SimulatedFiles["intercept"] {
  return (operation) => (operation.type === type ? { type: "error", code } : null);
}

/** Counts the files that are opened and not closed, from the call on. */
function countOpen(files: SimulatedFiles): () => number {
  let open = 0;
  files.intercept = ({ type }) => {
    if (type === "open") open += 1;
    if (type === "close") open -= 1;
    return null;
  };
  return () => open;
}

describe("the WAL's options", () => {
  it("are refused if invalid, with the valid range", () => {
    expect(() => wal("")).toThrow("has no name");
    for (const segmentBytes of [0, -1, 4095, 1024 ** 3 + 1, Infinity, Number.NaN]) {
      expect(() => wal("/data/a", { segmentBytes })).toThrow(
        `segmentBytes is ${String(segmentBytes)}; it must be from 4096 to 1073741824`,
      );
    }
    for (const segmentBytes of [4096, 4097, 1024 ** 3]) {
      expect(() => wal("/data/a", { segmentBytes })).not.toThrow();
    }
  });

  it("are rounded so that segments have whole sectors", async () => {
    const files = new SimulatedFiles();
    const store = wal(DIRECTORY, { segmentBytes: 4097 });
    await store.open(ANYONE, simulatedEnvironment({ files }));
    expect(files.contents(FIRST).length).toBe(4096 + SECTOR_BYTES);
    await store.close();
  });

  it("require a node id of 1 to 255 characters, before anything is created", async () => {
    const files = new SimulatedFiles();
    for (const nodeId of ["", "n".repeat(256)]) {
      const opening = wal(DIRECTORY).open({ nodeId, clusterId: null }, simulatedEnvironment({ files }));
      await expect(opening).rejects.toMatchObject({ code: "INVALID_OPTION" });
    }
    expect(files.operations).toBe(0);
    const longest = wal(DIRECTORY, { segmentBytes: 4096 });
    await longest.open({ nodeId: "n".repeat(255), clusterId: null }, simulatedEnvironment({ files }));
    await longest.close();
  });
});

describe("opening the WAL", () => {
  it("is refused while the same object is open, or being opened", async () => {
    const store = wal(DIRECTORY, { segmentBytes: 4096 });
    const environment = simulatedEnvironment({ files: new SimulatedFiles() });
    const opening = store.open(ANYONE, environment);
    const refused = {
      code: "DIRECTORY_LOCKED",
      message: expect.stringContaining("this same object") as unknown,
    };
    await expect(store.open(ANYONE, environment)).rejects.toMatchObject(refused);
    await opening;
    await expect(store.open(ANYONE, environment)).rejects.toMatchObject(refused);
    await store.close();
    await store.open(ANYONE, environment);
    await store.close();
  });

  it("names the process that holds the directory", async () => {
    const files = new SimulatedFiles();
    const { store } = await openLog(files);
    await expect(openLog(files)).rejects.toMatchObject({
      code: "DIRECTORY_LOCKED",
      message: `ELOCKED: ${DIRECTORY}`,
      cause: { code: "ELOCKED" },
    });
    await store.close();
  });

  it("reports the disk's error whatever fails, releases everything, and can be repeated", async () => {
    const steps = ["make-directory", "lock", "list", "open", "sync-directory", "read", "data-sync"] as const;
    for (const exists of [false, true]) {
      for (const type of steps) {
        if (!exists && type === "read") continue;
        const files = new SimulatedFiles();
        if (exists) await (await openLog(files)).store.close();
        const store = wal(DIRECTORY, { segmentBytes: 4096 });
        const environment = simulatedEnvironment({ files });
        files.intercept = failing(type);
        await expect(store.open(ANYONE, environment)).rejects.toMatchObject({
          code: "STORAGE_FAILED",
          outcome: "not-done",
          message: expect.stringContaining(`the log in ${DIRECTORY} could not be opened: EIO`) as unknown,
          cause: { code: "EIO" },
        });
        files.intercept = null;
        expect((await store.open(ANYONE, environment)).lastIndex).toBe(0);
        await store.close();
      }
    }
  });

  it("does not report a locked directory if the disk fails", async () => {
    const files: FileSystem = {
      ...new SimulatedFiles().mount(),
      lock: () => Promise.reject(new Error("no such device")),
    };
    await expect(wal(DIRECTORY).open(ANYONE, simulatedEnvironment({ files }))).rejects.toMatchObject({
      code: "STORAGE_FAILED",
    });
  });

  it("binds a log to a cluster once", async () => {
    const files = new SimulatedFiles();
    await (await openLog(files)).store.close();
    let writes = 0;
    files.intercept = ({ type }) => {
      if (type === "write") writes += 1;
      return null;
    };
    const { store, found } = await openLog(files, "c");
    expect([found.clusterId, writes]).toEqual(["c", 1]);
    await store.close();
    for (const clusterId of ["c", null]) {
      writes = 0;
      const again = await openLog(files, clusterId);
      // Only the last batch is written again, because it may not have been durable.
      expect([again.found.clusterId, writes]).toEqual(["c", 1]);
      await again.store.close();
    }
  });

  it("rejects if the log can't be bound, and releases everything", async () => {
    const files = new SimulatedFiles();
    await (await openLog(files)).store.close();
    const opened = countOpen(files);
    const { intercept } = files;
    files.intercept = (operation) => intercept?.(operation) ?? failing("write")?.(operation) ?? null;
    await expect(openLog(files, "c")).rejects.toMatchObject({ code: "STORAGE_FAILED", outcome: "unknown" });
    expect(opened()).toBe(0);
    files.intercept = null;
    const { store, found } = await openLog(files);
    expect(found.clusterId).toBe(null);
    await store.close();
  });

  it("leaves no file open after it is closed again", async () => {
    const files = new SimulatedFiles();
    const opened = countOpen(files);
    for (let round = 0; round < 3; round++) {
      const { store, found } = await openLog(files);
      const next = found.lastIndex + 1;
      await write({ records: entries(next, next + 20, 1, 500) }).onStore(store);
      expect(opened()).toBeGreaterThan(0);
      await store.close();
      expect(opened()).toBe(0);
    }
  });

  it("makes the last batch durable although a failed sync had dropped it", async () => {
    const files = new SimulatedFiles();
    const { store } = await openLog(files);
    await write({ records: entries(1, 3, 1) }).onStore(store);
    files.intercept = ({ type }) => (type === "data-sync" ? { type: "failed-sync", code: "EIO" } : null);
    await expect(write({ records: entries(3, 5, 1) }).onStore(store)).rejects.toThrow("EIO");
    files.intercept = null;
    files.kill();
    const { found } = await openLog(files);
    expect(found.lastIndex).toBe(4);
    files.crash(() => 0);
    expect((await openLog(files)).found.lastIndex).toBe(4);
  });

  it("reports where it removed a torn write, and the last entry that remains", async () => {
    const files = new SimulatedFiles();
    const { store } = await openLog(files);
    await write({ records: entries(1, 3, 1) }).onStore(store);
    files.intercept = ({ type }) =>
      type === "write" ? { type: "short-write", bytes: 700, code: "ENOSPC" } : null;
    await expect(write({ records: entries(3, 9, 1, 300) }).onStore(store)).rejects.toThrow("ENOSPC");
    files.intercept = null;
    files.kill();
    const { found, lines } = await openLog(files);
    expect(found.lastIndex).toBe(2);
    expect(lines).toEqual([
      {
        level: "warn",
        text: expect.stringContaining("interrupted, and is cut off") as unknown,
        fields: { file: FIRST, offset: 2 * SECTOR_BYTES, lastIndex: 2 },
      },
    ]);
  });
});

describe("the WAL, once closed,", () => {
  it("refuses all calls", async () => {
    const { store } = await openLog(new SimulatedFiles());
    await store.close();
    const closed = { code: "CLOSED" };
    await expect(store.read(1, 1, 1)).rejects.toMatchObject(closed);
    await expect(write({}).onStore(store)).rejects.toMatchObject(closed);
    await expect(store.compact(baseAt(1, 1))).rejects.toMatchObject(closed);
    await expect(store.reset(baseAt(1, 1))).rejects.toMatchObject(closed);
    await expect(store.setClusterId("c")).rejects.toMatchObject(closed);
    expect(() => store.bytesBetween(1, 1)).toThrow(expect.objectContaining(closed));
  });

  it("can be closed again, and before it was opened", async () => {
    const files = new SimulatedFiles();
    const unopened = wal(DIRECTORY);
    await unopened.close();
    const { store } = await openLog(files);
    const first = store.close();
    expect(store.close()).toBe(first);
    await first;
    expect((await openLog(files)).found.lastIndex).toBe(0);
  });

  it("is closed even if removing its files failed, which is reported as a warning", async () => {
    const files = new SimulatedFiles();
    const { store, lines } = await openLog(files);
    await write({ records: entries(1, 3, 1) }).onStore(store);
    files.intercept = failing("close");
    await store.close();
    files.intercept = null;
    expect(lines).toEqual([
      {
        level: "warn",
        text: `the log in ${DIRECTORY} was not closed in good order: EIO: ${DIRECTORY}/prepared.tmp`,
        fields: undefined,
      },
    ]);
    expect((await openLog(files)).found.lastIndex).toBe(2);
  });

  it("works without a log", async () => {
    const files = new SimulatedFiles();
    const store = wal(DIRECTORY, { segmentBytes: 4096 });
    await store.open(ANYONE, simulatedEnvironment({ files }));
    files.intercept = failing("close");
    await store.close();
  });
});

describe("a new WAL", () => {
  it("has a random store id of its own", async () => {
    const names = new Set<string>();
    for (const seed of [1, 2, 3]) {
      const store = wal(DIRECTORY, { segmentBytes: 4096 });
      const { storeId } = await store.open(
        ANYONE,
        simulatedEnvironment({ files: new SimulatedFiles(), seed }),
      );
      expect(storeId).toMatch(/^[0-9a-f]{32}$/);
      names.add(storeId);
      await store.close();
    }
    expect(names.size).toBe(3);
    const random = seededRandom(1);
    const bytes = Array.from({ length: 16 }, () => Math.floor(random() * 256));
    expect(names).toContain(Buffer.from(bytes).toString("hex"));
  });

  it("keeps the identity it was opened with, and the writes", async () => {
    const files = new SimulatedFiles();
    const { store, found } = await openLog(files, "c");
    expect(found).toMatchObject({ clusterId: "c", lastIndex: 0 });
    await write({ hardState: { term: 3, votedFor: "b" }, records: entries(1, 3, 3) }).onStore(store);
    await store.close();
    const again = await openLog(files);
    expect(await observe(again.found, again.store)).toMatchObject({
      clusterId: "c",
      hardState: { term: 3, votedFor: "b" },
      entries: { length: 2 },
    });
    await again.store.close();
  });
});
