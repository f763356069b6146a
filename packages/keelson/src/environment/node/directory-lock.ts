// The lock that keeps two processes from using one data directory.
import { randomBytes } from "node:crypto";
import fs from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { FileLock } from "../environment.ts";

/**
 * Locks a directory: at most one process holds the lock, and it is free as soon as its holder has ended, in
 * whatever way. Two nodes on one data directory would overwrite each other's log. Node offers no lock of the
 * kernel, and a lock file that is simply created stays behind when its process is killed, so the lock is made
 * of file names:
 *
 * 1. A process that wants the lock creates a file of its own, `lock-<claimant>.wanted`, whose name identifies
 *    the process and this attempt. No other attempt ever uses that name.
 * 2. Only then it lists the directory. Of two processes that want the lock, at least one therefore sees the
 *    other.
 * 3. It removes the files of claimants that are no longer running. Any process may do so at any time, because
 *    those names are never used again; so a stale lock is never in a half-removed state that two processes
 *    could both take.
 * 4. If another claimant holds the lock, it fails with `ELOCKED`. If others only want it, the one with the
 *    smallest random part waits for them to fail, for at most `TURN_WAIT_MS_MAX`; the others fail.
 * 5. When it sees no other, it creates `lock-<claimant>.held`, and has the lock.
 *
 * Limits: processes in different containers, and on different machines that share a volume, don't see each
 * other's process ids. If they share a directory, the operator must make sure that only one of them runs.
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
    // A second file instead of a rename: a listing that another process takes during a rename may show
    // neither name.
    await fs.writeFile(held, "", { flag: "wx" });
  } catch (error) {
    await release();
    throw error;
  }
  return { release };
}

/** How long the first of several claimants waits for the others to fail. They take a few milliseconds. */
const TURN_WAIT_MS_MAX = 2000;
/** How often it looks. */
const TURN_POLL_MS = 5;

/** The two files of a claimant; one that has the lock has both. */
type Claim = "wanted" | "held";

/**
 * One attempt of one process to get the lock. Its fields together are unique, also across restarts of the
 * machine.
 */
interface Claimant {
  readonly pid: number;
  /**
   * When the process started, in clock ticks since the machine's start; "0" where the system doesn't tell.
   */
  readonly started: string;
  /**
   * The machine's boot id: after a restart, all earlier process ids mean nothing. "0" where the system has
   * none.
   */
  readonly boot: string;
  /** Tells attempts of one process apart, and decides who goes first when several want the lock. */
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

/** A claimant whose file was found, and which of its two files. */
type Found = Claimant & { readonly claim: Claim };

/** The other claimants whose process is running. Removes the files of all others. */
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
    // EPERM: the process exists, but belongs to another user.
    if (!(error instanceof Error && "code" in error && error.code === "EPERM")) return false;
  }
  // The system may have given the process id to another process since. That one started at another time.
  const started = await startOf(claimant.pid);
  return started === null ? claimant.started === "0" : started === claimant.started;
}

/**
 * When the process started, from Linux's /proc; null: unknown, or it has ended and its parent hasn't
 * collected it yet.
 */
async function startOf(pid: number): Promise<string | null> {
  const stat = await readIfThere(`/proc/${String(pid)}/stat`);
  if (stat === null) return null;
  // The second field is the program's name in parentheses. It may contain spaces and parentheses itself.
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
