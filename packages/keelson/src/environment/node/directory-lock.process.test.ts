import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { lockDirectory } from "./directory-lock.ts";
import { pidNamespace } from "./test/pid-namespace.ts";

const MODULE = new URL("./directory-lock.ts", import.meta.url).href;

// Takes the lock at a given time, prints the outcome, and holds the lock. The mode is "" for the default.
const HOLDER = `
  const { lockDirectory } = await import(${JSON.stringify(MODULE)});
  const [directory, startAt, mode] = process.argv.slice(1);
  while (Date.now() < Number(startAt)) {}
  try {
    await lockDirectory(directory, mode || undefined);
    process.stdout.write("held\\n");
    setInterval(() => {}, 1000);
  } catch (error) {
    process.stdout.write(error.code + "\\n");
  }
`;

let directory: string;
let children: ChildProcess[] = [];

beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), "keelson-lock-"));
});

afterEach(async () => {
  for (const child of children) child.kill("SIGKILL");
  children = [];
  await rm(directory, { recursive: true });
});

/** `within`: the command that runs the program, such as `unshare`. */
interface StartOptions {
  readonly startAt?: number;
  readonly mode?: string;
  readonly within?: readonly string[];
}

function start({ startAt = 0, mode = "", within = [] }: StartOptions = {}): {
  child: ChildProcess;
  answer: Promise<string>;
} {
  const [program, ...args] = [
    ...within,
    process.execPath,
    "--conditions=source",
    "--disable-warning=ExperimentalWarning",
    "--input-type=module",
    "-e",
    HOLDER,
    directory,
    String(startAt),
    mode,
  ];
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  return { child, answer: once(child.stdout, "data").then(([data]) => String(data).trim()) };
}

async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const exit = once(child, "exit");
  child.kill("SIGKILL");
  await exit;
}

const FILES = ["lock.db", "lock.holder"];

async function refusalOf(attempt: Promise<unknown>): Promise<Error & { code: string }> {
  return (await attempt.then(() => new Error("it was taken")).catch((error: unknown) => error)) as Error & {
    code: string;
  };
}

describe("lockDirectory", () => {
  it("lets one process at a time hold the lock, and names the holder to others", async () => {
    const lock = await lockDirectory(directory);
    const refused = await refusalOf(lockDirectory(directory));
    expect(refused.code).toBe("ELOCKED");
    expect(refused.message).toContain(`${directory} is in use by process ${String(process.pid)} on `);
    await lock.release();
    await lock.release();
    await (await lockDirectory(directory)).release();
    expect(await readdir(directory)).toEqual(FILES);
  });

  it("refuses processes in other PID namespaces, which can't see the holder's process id (Z1)", async () => {
    const within = pidNamespace();
    const first = start({ within });
    expect(await first.answer).toBe("held");
    expect(await start({ within }).answer).toBe("ELOCKED");
    expect(await start({ within, mode: "shared" }).answer).toBe("ELOCKED");
    expect((await refusalOf(lockDirectory(directory))).message).toMatch(/is in use by process \d+ on /);
    await killed(first.child);
    await (await lockDirectory(directory)).release();
  });

  it("refuses other processes until the holder is killed, and is free right after", async () => {
    const first = start();
    expect(await first.answer).toBe("held");
    await expect(lockDirectory(directory)).rejects.toMatchObject({ code: "ELOCKED" });
    expect(await start().answer).toBe("ELOCKED");
    await killed(first.child);
    await (await lockDirectory(directory)).release();
  });

  it("is not lost when another attempt of the same process fails, also under another path", async () => {
    const lock = await lockDirectory(directory);
    const alias = `${directory}-alias`;
    await symlink(directory, alias);
    try {
      for (const name of [directory, alias]) {
        await expect(lockDirectory(name)).rejects.toMatchObject({ code: "ELOCKED" });
        await expect(lockDirectory(name, "shared")).rejects.toMatchObject({ code: "ELOCKED" });
      }
      expect(await start().answer).toBe("ELOCKED");
    } finally {
      await rm(alias);
    }
    await lock.release();
  });

  it("lets exactly one of many processes that start at once take over the lock of a killed one", async () => {
    for (let round = 0; round < 2; round++) {
      const startAt = Date.now() + 700;
      const started = Array.from({ length: 5 }, () => start({ startAt }));
      const answers = await Promise.all(started.map(({ answer }) => answer));
      expect(answers.toSorted()).toEqual(["ELOCKED", "ELOCKED", "ELOCKED", "ELOCKED", "held"]);
      await Promise.all(started.map(({ child }) => killed(child)));
    }
  });

  it("lets exactly one of many attempts in one process take the lock", async () => {
    for (let round = 0; round < 5; round++) {
      const attempts = await Promise.allSettled(Array.from({ length: 6 }, () => lockDirectory(directory)));
      const held = attempts.filter((attempt) => attempt.status === "fulfilled");
      expect(held.length).toBe(1);
      await held[0]?.value.release();
    }
  });

  it("can be shared by processes that read, and refuses one that writes meanwhile", async () => {
    await (await lockDirectory(directory)).release();
    const lock = await lockDirectory(directory, "shared");
    const reader = start({ mode: "shared" });
    expect(await reader.answer).toBe("held");
    const refused = await refusalOf(lockDirectory(directory));
    expect([refused.code, refused.message]).toEqual([
      "ELOCKED",
      expect.stringMatching(/is in use by another process that reads it/),
    ]);
    await killed(reader.child);
    expect(await start().answer).toBe("ELOCKED");
    await lock.release();
    const writer = start();
    expect(await writer.answer).toBe("held");
    await expect(lockDirectory(directory, "shared")).rejects.toMatchObject({ code: "ELOCKED" });
  });

  it("changes nothing in a directory that is only read", async () => {
    await (await lockDirectory(directory, "shared")).release();
    expect(await readdir(directory)).toEqual([]);
  });

  it("leaves its files behind, and no name of the holder", async () => {
    await (await lockDirectory(directory)).release();
    const contents = await Promise.all(FILES.map((name) => readFile(path.join(directory, name), "utf8")));
    expect(contents).toEqual(["", ""]);
  });

  it("removes the lock files of earlier versions when it has the lock, and leaves other files alone", async () => {
    const former = `lock-${String(process.pid)}-12345-${"0".repeat(32)}-0000000000000000.held`;
    for (const name of [former, "lock-me"]) await writeFile(path.join(directory, name), "");
    const holder = start({ mode: "shared" });
    expect(await holder.answer).toBe("held");
    await killed(holder.child);
    expect(await readdir(directory)).toContain(former);
    await (await lockDirectory(directory)).release();
    expect(await readdir(directory)).toEqual(["lock-me", ...FILES]);
  });

  it("names what is wrong when the lock can't be taken and nobody holds it", async () => {
    const missing = path.join(directory, "none");
    expect(await refusalOf(lockDirectory(missing))).toMatchObject({ code: "ENOENT" });
    await writeFile(
      path.join(directory, "lock.db"),
      "something else, and long enough to be looked at ".repeat(20),
    );
    const refused = await refusalOf(lockDirectory(directory));
    expect([refused.code, refused.message]).toEqual([
      "EINVAL",
      expect.stringMatching(/lock\.db is no lock file of this program/),
    ]);
  });
});
