import { randomBytes } from "node:crypto";
import fs from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { FileLock } from "../environment.ts";

/**
 * A lock on a directory that is free again as soon as its holder is dead, however it died, and that
 * no two processes get at once. Node offers no lock of the kernel's, so processes lock by names.
 *
 * Each that wants the lock creates a file of its own, whose name says which process it is, and only
 * then looks for the others. Of two processes, at least one therefore sees the other. Whoever sees a
 * live holder gives up; of several that only want the lock, the one whose name comes first waits for
 * the others to give up or die. A process never takes over another's file, and a dead process's file
 * can be removed by anyone at any time, because its name is never used again: there is no moment at
 * which a stale lock is half taken over.
 *
 * Processes in different containers cannot see each other, nor can machines that share a volume;
 * whoever lets them share a directory must see to it that only one runs.
 */
export async function lockDirectory(directory: string): Promise<FileLock> {
  const self = await describeSelf();
  const wanted = path.join(directory, nameOf(self, "wanted"));
  const held = path.join(directory, nameOf(self, "held"));
  const release = async (): Promise<void> => {
    await fs.rm(held, { force: true });
    await fs.rm(wanted, { force: true });
  };
  await fs.writeFile(wanted, "", { flag: "wx" });
  try {
    await waitForTurn(directory, self);
    // Besides the first file, not in place of it: a listing taken during a rename may show neither name.
    await fs.writeFile(held, "", { flag: "wx" });
  } catch (error) {
    await release();
    throw error;
  }
  return { release };
}

/** How long to wait for another process that is about to give up. */
const TURN_WAIT_MS_MAX = 2000;
const TURN_POLL_MS = 5;

type Claim = "wanted" | "held";

/** One attempt of one process to hold the lock; no other attempt ever has the same fields. */
interface Claimant {
  readonly pid: number;
  /** When the process began, in clock ticks since the machine did; "0" where that is not known. */
  readonly started: string;
  /** Which run of the machine. */
  readonly boot: string;
  readonly random: string;
}

const NAME_PATTERN = /^lock-(\d+)-(\d+)-([0-9a-f]+)-([0-9a-f]+)\.(wanted|held)$/;

function nameOf(claimant: Claimant, claim: Claim): string {
  return `lock-${String(claimant.pid)}-${claimant.started}-${claimant.boot}-${claimant.random}.${claim}`;
}

async function describeSelf(): Promise<Claimant> {
  return {
    pid: process.pid,
    started: (await startOf(process.pid)) ?? "0",
    boot: await bootId(),
    random: randomBytes(8).toString("hex"),
  };
}

async function waitForTurn(directory: string, self: Claimant): Promise<void> {
  const deadline = performance.now() + TURN_WAIT_MS_MAX;
  for (;;) {
    const others = await livingOthers(directory, self);
    const holder = others.find((other) => other.claim === "held");
    if (holder !== undefined) throw lockedBy(directory, holder);
    const rival = others[0];
    if (rival === undefined) return;
    const first = others.every((other) => self.random < other.random);
    if (!first || performance.now() > deadline) throw lockedBy(directory, rival);
    await sleep(TURN_POLL_MS);
  }
}

type Found = Claimant & { readonly claim: Claim };

/** The others that live; the files of those that do not are removed. */
async function livingOthers(directory: string, self: Claimant): Promise<Found[]> {
  const others: Found[] = [];
  for (const name of await fs.readdir(directory)) {
    const match = NAME_PATTERN.exec(name);
    if (match === null) continue;
    const [, pid = "", started = "", boot = "", random = "", claim] = match;
    const found = { pid: Number(pid), started, boot, random, claim: claim as Claim };
    if (found.random === self.random) continue;
    if (await isAlive(found, self.boot)) others.push(found);
    else await fs.rm(path.join(directory, name), { force: true });
  }
  return others;
}

async function isAlive(claimant: Claimant, boot: string): Promise<boolean> {
  if (claimant.boot !== boot) return false;
  try {
    process.kill(claimant.pid, 0);
  } catch (error) {
    // EPERM: it is there, and somebody else's.
    if (!(error instanceof Error && "code" in error && error.code === "EPERM")) return false;
  }
  // The number may have been given to another process since.
  const started = await startOf(claimant.pid);
  return started === null ? claimant.started === "0" : started === claimant.started;
}

/** When the process began, as Linux tells it; null: unknown, or the process is dead and only not yet buried. */
async function startOf(pid: number): Promise<string | null> {
  const stat = await readIfThere(`/proc/${String(pid)}/stat`);
  if (stat === null) return null;
  // The second field is the program's name in brackets, and may have spaces and brackets itself.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const state = fields[0] ?? "";
  return state === "Z" || state === "X" ? null : (fields[19] ?? null);
}

async function bootId(): Promise<string> {
  const id = await readIfThere("/proc/sys/kernel/random/boot_id");
  return id === null ? "0" : id.trim().replaceAll("-", "");
}

async function readIfThere(file: string): Promise<string | null> {
  try {
    return await fs.readFile(file, "utf8");
  } catch {
    return null;
  }
}

function lockedBy(directory: string, holder: Found): Error {
  const file = path.join(directory, nameOf(holder, holder.claim));
  const text =
    `${directory} is in use by process ${String(holder.pid)}. Stop that process first. ` +
    `If it is no process of this program, remove ${file}`;
  return Object.assign(new Error(text), { code: "ELOCKED" });
}
