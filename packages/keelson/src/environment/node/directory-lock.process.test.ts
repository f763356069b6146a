import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { lockDirectory } from "./directory-lock.ts";

const MODULE = new URL("./directory-lock.ts", import.meta.url).href;

// Takes the lock at a given time, prints the outcome, and holds the lock.
const HOLDER = `
  const { lockDirectory } = await import(${JSON.stringify(MODULE)});
  const [directory, startAt] = process.argv.slice(1);
  while (Date.now() < Number(startAt)) {}
  try {
    await lockDirectory(directory);
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

function start(startAt = 0): { child: ChildProcess; answer: Promise<string> } {
  const args = [
    "--disable-warning=ExperimentalWarning",
    "--input-type=module",
    "-e",
    HOLDER,
    directory,
    String(startAt),
  ];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  return { child, answer: once(child.stdout, "data").then(([data]) => String(data).trim()) };
}

async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const exit = once(child, "exit");
  child.kill("SIGKILL");
  await exit;
}

describe("lockDirectory", () => {
  it("lets one process at a time hold the lock, and names the holder to others", async () => {
    const lock = await lockDirectory(directory);
    const refused = await lockDirectory(directory).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: "ELOCKED" });
    expect((refused as Error).message).toContain(`process ${String(process.pid)}`);
    await lock.release();
    await (await lockDirectory(directory)).release();
    expect(await readdir(directory)).toEqual([]);
  });

  it("refuses other processes until the holder is killed, and is free right after", async () => {
    const first = start();
    expect(await first.answer).toBe("held");
    await expect(lockDirectory(directory)).rejects.toMatchObject({ code: "ELOCKED" });
    expect(await start().answer).toBe("ELOCKED");
    await killed(first.child);
    const lock = await lockDirectory(directory);
    expect((await readdir(directory)).length).toBe(2);
    await lock.release();
  });

  it("lets exactly one of many processes that start at once take over the lock of a killed one", async () => {
    for (let round = 0; round < 2; round++) {
      const startAt = Date.now() + 700;
      const started = Array.from({ length: 5 }, () => start(startAt));
      const answers = await Promise.all(started.map(({ answer }) => answer));
      expect(answers.toSorted()).toEqual(["ELOCKED", "ELOCKED", "ELOCKED", "ELOCKED", "held"]);
      await Promise.all(started.map(({ child }) => killed(child)));
    }
  });

  it("lets exactly one of many attempts in one process take the lock", async () => {
    for (let round = 0; round < 20; round++) {
      const attempts = await Promise.allSettled(Array.from({ length: 6 }, () => lockDirectory(directory)));
      const held = attempts.filter((attempt) => attempt.status === "fulfilled");
      expect(held.length).toBe(1);
      await held[0]?.value.release();
    }
  });

  it("is free when another process has got the process id of a holder that has ended", async () => {
    const stranger = `lock-${String(process.pid)}-12345-${"0".repeat(32)}-0000000000000000.held`;
    await writeFile(path.join(directory, stranger), "");
    await (await lockDirectory(directory)).release();
    expect(await readdir(directory)).toEqual([]);
  });

  it("leaves other files in the directory alone", async () => {
    await writeFile(path.join(directory, "lock-me"), "");
    await (await lockDirectory(directory)).release();
    expect(await readdir(directory)).toEqual(["lock-me"]);
  });
});
