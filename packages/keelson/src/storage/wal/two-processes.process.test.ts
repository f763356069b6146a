import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { nodeEnvironment } from "../../environment/node/node-environment.ts";
import { pidNamespace } from "../../environment/node/test/pid-namespace.ts";
import { wal } from "./index.ts";

const PROGRAM = path.join(import.meta.dirname, "test", "append-until-killed.ts");

let directory: string;
let children: ChildProcess[] = [];

beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), "keelson-two-"));
});

afterEach(async () => {
  await Promise.all(children.map(killed));
  children = [];
  await rm(directory, { recursive: true });
});

const OPTIONS = ["--conditions=source", "--disable-warning=ExperimentalWarning"];

interface Writer {
  readonly child: ChildProcess;
  /** What it has printed so far. */
  readonly lines: string[];
}

/** Starts the program in a PID namespace of its own, where it sees no other process. */
function start(): Writer {
  const command = [process.execPath, ...OPTIONS, PROGRAM, directory];
  const [program = "", ...args] = [...pidNamespace(), ...command];
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  const lines: string[] = [];
  let rest = "";
  child.stdout.on("data", (data: Buffer) => {
    const parts = `${rest}${data.toString()}`.split("\n");
    rest = parts.pop() ?? "";
    lines.push(...parts);
  });
  return { child, lines };
}

async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, "exit");
  // `unshare --kill-child` kills the program with itself.
  child.kill("SIGKILL");
  await exit;
}

async function until(condition: () => boolean, what: string): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    if (tries > 1500) throw new Error(`${what} did not come about`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

it("a process in another PID namespace is refused before it touches a log that is in use, and no acknowledged entry is lost (Z1)", async () => {
  const first = start();
  await until(() => first.lines.length > 20, "the first process's writes");
  const second = start();
  await until(() => second.lines.length > 0, "the second process's answer");
  const before = first.lines.length;
  await until(() => first.lines.length > before + 100, "further writes of the first process");
  await killed(first.child);
  expect(second.lines).toEqual([
    expect.stringMatching(/^DIRECTORY_LOCKED: .* is in use by process \d+ on .*, since .*another container$/),
  ]);
  const acknowledged = Number(first.lines.at(-1));
  const log = wal(directory);
  const found = await log.open({ nodeId: "a", clusterId: "c" }, nodeEnvironment());
  await log.close();
  expect(found.lastIndex).toBeGreaterThanOrEqual(acknowledged);
});
