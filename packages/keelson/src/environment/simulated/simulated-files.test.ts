import { beforeEach, describe, expect, it } from "vitest";
import type { FileHandle } from "../environment.ts";
import { seededRandom } from "./simulated-clock.ts";
import { SimulatedFiles, type FileFault } from "./simulated-files.ts";

const PATH = "/d/f";
let files: SimulatedFiles;
let handle: FileHandle;

beforeEach(async () => {
  files = new SimulatedFiles();
  await files.makeDirectory("/d");
  handle = await files.open(PATH, "create");
  await files.syncDirectory("/d");
});

/** The different states that crashes with many seeds leave, as text. */
function outcomes(look: (disk: SimulatedFiles) => unknown): Set<string> {
  const seen = new Set<string>();
  for (let seed = 1; seed < 200; seed++) {
    const disk = files.copy();
    disk.crash(seededRandom(seed));
    seen.add(JSON.stringify(look(disk)));
  }
  return seen;
}

function sectorsOf(disk: SimulatedFiles): number[] {
  const bytes = disk.contents(PATH);
  return Array.from({ length: bytes.length / 512 }, (_, at) => bytes[at * 512]!);
}

function sectors(...values: number[]): Uint8Array {
  return Buffer.concat(values.map((value) => Buffer.alloc(512, value)));
}

async function isPending(promise: Promise<unknown>): Promise<boolean> {
  const waited = new Promise((resolve) => setImmediate(resolve, "waited"));
  return (await Promise.race([promise, waited])) === "waited";
}

describe("SimulatedFiles", () => {
  it("keeps what was synced in a crash, and any part of the other sectors", async () => {
    await handle.write([sectors(1, 1, 1)], 0);
    await handle.dataSync();
    await handle.write([sectors(2, 2)], 512);
    expect(sectorsOf(files)).toEqual([1, 2, 2]);
    expect([...outcomes(sectorsOf)].sort()).toEqual(["[1,1,1]", "[1,1,2]", "[1,2,1]", "[1,2,2]"]);
  });

  it("keeps a durable write in a crash, and promises nothing for other writes to the file", async () => {
    await handle.write([sectors(1, 1, 1, 1)], 0);
    await handle.dataSync();
    await handle.write([sectors(2)], 0);
    await handle.writeDurably([sectors(3), sectors(3)], 512);
    await handle.write([sectors(4)], 1536);
    const four = ["[1,3,3,1]", "[1,3,3,4]", "[2,3,3,1]", "[2,3,3,4]"];
    expect([...outcomes(sectorsOf)].sort()).toEqual(four);
    await handle.writeDurably([sectors(5, 5)], 2048);
    expect([...outcomes(sectorsOf)].sort()).toEqual(four.map((text) => text.replace("]", ",5,5]")));
  });

  it("loses a durable write whose sync fails, although a later sync succeeds", async () => {
    await handle.writeDurably([sectors(1, 1)], 0);
    await handle.write([sectors(3)], 512);
    files.intercept = ({ type }) => (type === "data-sync" ? { type: "failed-sync", code: "EIO" } : null);
    await expect(handle.writeDurably([sectors(2)], 0)).rejects.toMatchObject({ code: "EIO" });
    files.intercept = null;
    await handle.dataSync();
    expect(sectorsOf(files)).toEqual([2, 3]);
    expect([...outcomes(sectorsOf)]).toEqual(["[1,3]"]);
  });

  it("may lose a size that was not synced in a crash", async () => {
    await handle.allocate(1024);
    await handle.dataSync();
    await handle.allocate(4096);
    expect([...outcomes((disk) => disk.contents(PATH).length)].sort()).toEqual(["1024", "4096"]);
  });

  it("keeps the names that were synced in a crash, and any part of the other changes", async () => {
    await files.open("/d/new", "create");
    await files.rename(PATH, "/d/renamed");
    expect(await files.list("/d")).toEqual(["new", "renamed"]);
    const seen = outcomes((disk) => disk.paths());
    expect([...seen].sort()).toEqual([
      '["/d/f","/d/new"]',
      '["/d/f"]',
      '["/d/new","/d/renamed"]',
      '["/d/renamed"]',
    ]);
    await files.syncDirectory("/d");
    expect([...outcomes((disk) => disk.paths())]).toEqual(['["/d/new","/d/renamed"]']);
  });

  it("crashes in the same way with the same seed", async () => {
    await handle.write([sectors(1, 2, 3, 4, 5, 6, 7)], 0);
    const crashed = [1, 2].map(() => {
      const disk = files.copy();
      disk.crash(seededRandom(3));
      return sectorsOf(disk);
    });
    expect(crashed[0]).toEqual(crashed[1]);
  });

  it("keeps everything when only the process ends, whose calls then never settle", async () => {
    const mounted = files.mount();
    const lock = await mounted.lock("/d");
    await handle.write([sectors(1)], 0);
    files.kill();
    expect(sectorsOf(files)).toEqual([1]);
    expect(await isPending(handle.write([sectors(2)], 0))).toBe(true);
    expect(await isPending(mounted.remove(PATH))).toBe(true);
    expect(sectorsOf(files)).toEqual([1]);
    await files.mount().lock("/d");
    // A release by the process that has ended does not free the lock of the running one.
    await lock.release();
    await expect(files.lock("/d")).rejects.toMatchObject({ code: "ELOCKED" });
  });

  it("does a fault instead of an operation", async () => {
    const faults: FileFault[] = [
      { type: "error", code: "EIO" },
      { type: "short-write", bytes: 600, code: "ENOSPC" },
      { type: "hang" },
    ];
    files.intercept = ({ type }) => (type === "write" ? (faults.shift() ?? null) : null);
    await expect(handle.write([sectors(1, 1)], 0)).rejects.toMatchObject({ code: "EIO" });
    expect(files.contents(PATH).length).toBe(0);
    await expect(handle.write([sectors(2, 2)], 0)).rejects.toMatchObject({ code: "ENOSPC" });
    expect(files.contents(PATH).length).toBe(600);
    expect(await isPending(handle.write([sectors(3, 3)], 0))).toBe(true);
    expect(files.contents(PATH).length).toBe(600);
  });

  it("loses what a failed sync should have written, although later syncs succeed", async () => {
    await handle.write([sectors(1)], 0);
    await handle.dataSync();
    await handle.write([sectors(2)], 0);
    files.intercept = ({ type }) => (type === "data-sync" ? { type: "failed-sync", code: "EIO" } : null);
    await expect(handle.dataSync()).rejects.toMatchObject({ code: "EIO" });
    files.intercept = null;
    await handle.dataSync();
    expect(sectorsOf(files)).toEqual([2]);
    expect([...outcomes(sectorsOf)]).toEqual(["[1]"]);
  });

  it("completes reads and writes that the operating system does in parts", async () => {
    let calls = 0;
    files.intercept = ({ type }) => {
      calls += 1;
      return ["read", "write"].includes(type) ? { type: "short-transfer", bytes: 500 } : null;
    };
    await handle.write([sectors(1), sectors(2, 3)], 0);
    expect(calls).toBe(4);
    const target = new Uint8Array(1536);
    expect(await handle.read(target, 0)).toBe(1536);
    expect(calls).toBe(8);
    expect(Buffer.from(target)).toEqual(sectors(1, 2, 3));
    expect(await handle.read(target, 1000)).toBe(536);
  });

  describe("with a lost write", () => {
    /** Makes a file of three sectors: the first is durable, the second is written and lost. */
    async function lose(elsewhereBy: number | null, forgotten = false): Promise<void> {
      await handle.write([sectors(1, 0, 0, 0)], 0);
      await handle.dataSync();
      files.intercept = ({ type }) =>
        type === "write" ? { type: "lost-write", elsewhereBy, forgotten } : null;
      await handle.write([sectors(2)], 512);
      files.intercept = null;
    }

    it("shows it until a crash, which loses it if a later write was synced", async () => {
      await lose(null);
      expect(sectorsOf(files)).toEqual([1, 2, 0, 0]);
      await handle.write([sectors(3)], 1024);
      await handle.dataSync();
      expect(sectorsOf(files)).toEqual([1, 2, 3, 0]);
      expect([...outcomes(sectorsOf)]).toEqual(["[1,0,3,0]"]);
    });

    it("keeps it in a crash if no later write was synced", async () => {
      await lose(null);
      await handle.dataSync();
      expect([...outcomes(sectorsOf)]).toEqual(["[1,2,0,0]"]);
      await handle.write([sectors(3)], 1024);
      expect([...outcomes(sectorsOf)].sort()).toEqual(["[1,2,0,0]", "[1,2,3,0]"]);
    });

    it("no longer shows it once its loss is final, if it is forgotten", async () => {
      await lose(null, true);
      expect(sectorsOf(files)).toEqual([1, 2, 0, 0]);
      await handle.write([sectors(3)], 1024);
      await handle.dataSync();
      expect(sectorsOf(files)).toEqual([1, 0, 3, 0]);
    });

    it("may put it elsewhere, over other bytes", async () => {
      await lose(-512);
      await handle.write([sectors(3)], 1024);
      await handle.dataSync();
      expect([...outcomes(sectorsOf)]).toEqual(["[2,0,3,0]"]);
      await lose(10_000);
      expect([...outcomes(sectorsOf)]).toEqual(["[1,2,0,0]"]);
    });

    it("keeps what was written in its place later", async () => {
      await lose(null);
      await handle.write([sectors(4)], 512);
      await handle.dataSync();
      expect([...outcomes(sectorsOf)]).toEqual(["[1,4,0,0]"]);
    });
  });

  it("does nothing after a power cut until the crash", async () => {
    files.intercept = ({ type }) => (type === "write" ? { type: "power-cut" } : null);
    expect(await isPending(handle.write([sectors(1)], 0))).toBe(true);
    files.intercept = null;
    expect(await isPending(files.list("/d"))).toBe(true);
    files.crash(() => 0.99);
    expect(await files.list("/d")).toEqual(["f"]);
  });

  it("fails with the error codes of a file system", async () => {
    await expect(files.open(PATH, "create")).rejects.toMatchObject({ code: "EEXIST" });
    await expect(files.open("/d/none", "write")).rejects.toMatchObject({ code: "ENOENT" });
    await expect(files.open("/none/f", "create")).rejects.toMatchObject({ code: "ENOENT" });
    await expect(files.list("/none")).rejects.toMatchObject({ code: "ENOENT" });
    await expect(files.remove("/d/none")).rejects.toMatchObject({ code: "ENOENT" });
    const reader = await files.open(PATH, "read");
    await expect(reader.write([sectors(1)], 0)).rejects.toMatchObject({ code: "EBADF" });
    await handle.close();
    await expect(handle.size()).rejects.toMatchObject({ code: "EBADF" });
  });

  it("damages only the visible contents of bytes that are not durable", async () => {
    await handle.write([Uint8Array.of(1, 2, 3)], 0);
    files.damage(PATH, 1, Uint8Array.of(9));
    expect([...files.contents(PATH)]).toEqual([1, 9, 3]);
    files.crash(() => 0);
    expect([...files.contents(PATH)]).toEqual([]);
  });
});
