import fs from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { nodeFiles } from "./node-files.ts";

let directory: string;
const files = nodeFiles();

beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), "keelson-files-"));
});

afterEach(async () => {
  vi.restoreAllMocks();
  await rm(directory, { recursive: true });
});

describe("nodeFiles", () => {
  it("writes chunks at any position, and reads them back", async () => {
    const file = path.join(directory, "f");
    const handle = await files.open(file, "create");
    const chunks = Array.from({ length: 3000 }, (_, at) => Buffer.from(`${String(at)},`));
    await handle.write(chunks, 10);
    await handle.write([Buffer.from("start")], 0);
    await handle.write([], 0);
    await handle.dataSync();
    const expected = Buffer.concat([Buffer.from("start"), Buffer.alloc(5), ...chunks]);
    expect(await readFile(file)).toEqual(expected);
    expect(await handle.size()).toBe(expected.length);

    const target = new Uint8Array(20);
    expect(await handle.read(target, expected.length - 8)).toBe(8);
    expect(Buffer.from(target.subarray(0, 8))).toEqual(expected.subarray(-8));
    await handle.close();
  });

  it("allocates zeros, and leaves existing bytes alone", async () => {
    const handle = await files.open(path.join(directory, "f"), "create");
    await handle.write([Buffer.from("abc")], 0);
    await handle.allocate(2_500_000);
    await handle.allocate(100);
    expect(await handle.size()).toBe(2_500_000);
    const bytes = await readFile(path.join(directory, "f"));
    expect(bytes.subarray(0, 3).toString()).toBe("abc");
    expect(bytes.subarray(3).every((byte) => byte === 0)).toBe(true);
    await handle.truncate(2);
    expect(await handle.size()).toBe(2);
    await handle.close();
  });

  it("completes a write that the system does in parts [D6]", async () => {
    const file = path.join(directory, "f");
    const handle = await files.open(file, "create");
    const { write, writev } = fs;
    type Callback = (error: Error | null, count: number) => void;
    vi.spyOn(fs, "write").mockImplementation(((
      fd: number,
      data: Uint8Array,
      at: number,
      length: number,
      position: number,
      done: Callback,
    ) => {
      write(fd, data, at, Math.min(length, 3), position, done);
    }) as never);
    vi.spyOn(fs, "writev").mockImplementation(((
      fd: number,
      chunks: Uint8Array[],
      position: number,
      done: Callback,
    ) => {
      writev(fd, [Buffer.concat(chunks).subarray(0, 7)], position, done);
    }) as never);
    await handle.write([Buffer.from("hello "), Buffer.from("wide "), Buffer.from("world")], 0);
    expect((await readFile(file)).toString()).toBe("hello wide world");
    await handle.close();
  });

  it("rejects a write that makes no progress", async () => {
    const handle = await files.open(path.join(directory, "f"), "create");
    vi.spyOn(fs, "write").mockImplementation((...all: unknown[]) => {
      (all[5] as (error: null, count: number) => void)(null, 0);
    });
    await expect(handle.write([Buffer.from("x")], 0)).rejects.toThrow(/wrote nothing/);
    await handle.close();
  });

  describe("a durable write", () => {
    /** What `statfs` says of ext4. */
    const EXT4 = 0xef53n;

    /** The flags of each descriptor that data was written to, and the number of syncs. */
    function watch(fileSystem: bigint): { readonly flags: Map<number, number>; syncs: number } {
      const seen = { flags: new Map<number, number>(), syncs: 0 };
      const { write, fdatasync } = fs;
      vi.spyOn(fs.promises, "statfs").mockResolvedValue({ type: fileSystem } as never);
      vi.spyOn(fs, "write").mockImplementation((fd: number, ...rest: unknown[]) => {
        const info = fs.readFileSync(`/proc/self/fdinfo/${String(fd)}`, "utf8");
        seen.flags.set(fd, parseInt(/flags:\s*(\d+)/.exec(info)?.[1] ?? "", 8));
        (write as (...all: unknown[]) => void)(fd, ...rest);
      });
      vi.spyOn(fs, "fdatasync").mockImplementation(((fd: number, done: () => void) => {
        seen.syncs += 1;
        fdatasync(fd, done);
      }) as never);
      return seen;
    }

    /** Elsewhere there are no such descriptors to look at. */
    function onLinux(title: string, run: () => Promise<void>): void {
      it(title, () => (process.platform === "linux" ? run() : Promise.resolve()));
    }

    onLinux("is one call, through a descriptor of its own, also after a rename", async () => {
      const seen = watch(EXT4);
      const file = path.join(directory, "f");
      const handle = await files.open(file, "create");
      await handle.allocate(4096);
      seen.flags.clear();
      await files.rename(file, `${file}2`);
      await (await files.open(file, "create")).close();
      await Promise.all([
        handle.writeDurably([Buffer.from("hello")], 0),
        handle.writeDurably([Buffer.from("world")], 5),
      ]);
      expect((await readFile(`${file}2`)).subarray(0, 11).toString()).toBe("helloworld\0");
      expect(seen.syncs).toBe(0);
      const [[fd, flags] = [0, 0], ...others] = [...seen.flags];
      expect(others).toEqual([]);
      expect(flags & fs.constants.O_DSYNC).not.toBe(0);
      await handle.close();
      expect(fs.existsSync(`/proc/self/fd/${String(fd)}`)).toBe(false);
    });

    onLinux("is a write and a sync if it is large", async () => {
      const seen = watch(EXT4);
      const handle = await files.open(path.join(directory, "f"), "create");
      await handle.writeDurably([new Uint8Array(64 * 1024)], 0);
      expect(seen.syncs).toBe(0);
      await handle.writeDurably([new Uint8Array(64 * 1024), new Uint8Array(1)], 0);
      expect(seen.syncs).toBe(1);
      await handle.close();
    });

    onLinux("is a write and a sync on a file system where that promises more", async () => {
      // FUSE.
      const seen = watch(0x65735546n);
      const handle = await files.open(path.join(directory, "f"), "create");
      await handle.writeDurably([Buffer.from("hello")], 0);
      await handle.writeDurably([Buffer.from("world")], 5);
      expect(seen.syncs).toBe(2);
      expect([...seen.flags.values()].map((flags) => flags & fs.constants.O_DSYNC)).toEqual([0]);
      await handle.close();
    });

    it.each(["darwin", "win32", "freebsd"])("is a write and a sync on %s", async (platform) => {
      vi.spyOn(process, "platform", "get").mockReturnValue(platform as NodeJS.Platform);
      const sync = vi.spyOn(fs, "fdatasync");
      const handle = await files.open(path.join(directory, "f"), "create");
      await handle.writeDurably([Buffer.from("hello")], 0);
      expect(sync).toHaveBeenCalledOnce();
      await handle.close();
    });

    onLinux("is a write and a sync if the descriptor can't be opened, or is another file's", async () => {
      const seen = watch(EXT4);
      const other = path.join(directory, "other");
      await (await files.open(other, "create")).close();
      const { open } = fs;
      for (const target of [path.join(directory, "none"), other]) {
        const handle = await files.open(path.join(directory, `f${String(seen.syncs)}`), "create");
        vi.spyOn(fs, "open").mockImplementationOnce(((_: string, flags: number, done: () => void) => {
          open(target, flags, done);
        }) as never);
        await handle.writeDurably([Buffer.from("hello")], 0);
        await handle.close();
      }
      expect(seen.syncs).toBe(2);
      expect(fs.readFileSync(other)).toHaveLength(0);
    });
  });

  it("fails with the system's error codes", async () => {
    const file = path.join(directory, "f");
    await expect(files.open(file, "read")).rejects.toMatchObject({ code: "ENOENT" });
    await expect(files.open(file, "write")).rejects.toMatchObject({ code: "ENOENT" });
    await (await files.open(file, "create")).close();
    await expect(files.open(file, "create")).rejects.toMatchObject({ code: "EEXIST" });
    const reader = await files.open(file, "read");
    await expect(reader.write([Buffer.from("x")], 0)).rejects.toMatchObject({ code: "EBADF" });
    await reader.close();
    await expect(files.remove(path.join(directory, "none"))).rejects.toMatchObject({ code: "ENOENT" });
    await expect(files.list(path.join(directory, "none"))).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("rejects making a directory where a file is, and where there can be none", async () => {
    const file = path.join(directory, "f");
    await (await files.open(file, "create")).close();
    await expect(files.makeDirectory(file)).rejects.toMatchObject({ code: "EEXIST" });
    await expect(files.makeDirectory(path.join(file, "deep"))).rejects.toMatchObject({ code: "ENOTDIR" });
    // No directory can be made in /proc. On a system without it, use a path below a file.
    const nowhere = fs.existsSync("/proc/self") ? "/proc/keelson/deep" : path.join(file, "deep");
    await expect(files.makeDirectory(nowhere)).rejects.toMatchObject({ syscall: "mkdir" });
  });

  it("lists files, renames one over another, and removes one", async () => {
    const at = (name: string): string => path.join(directory, "deep", "er", name);
    await files.makeDirectory(path.join(directory, "deep", "er"));
    await files.makeDirectory(path.join(directory, "deep", "er"));
    for (const name of ["a", "b"]) {
      const handle = await files.open(at(name), "create");
      await handle.write([Buffer.from(name)], 0);
      await handle.close();
    }
    await files.rename(at("a"), at("b"));
    await files.syncDirectory(path.join(directory, "deep", "er"));
    expect(await files.list(path.join(directory, "deep", "er"))).toEqual(["b"]);
    expect((await readFile(at("b"))).toString()).toBe("a");
    await files.remove(at("b"));
    expect(await files.list(path.join(directory, "deep", "er"))).toEqual([]);
  });
});
