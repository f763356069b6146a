/** Three processes of one library, started anew for each round. See protocol.ts. */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync } from "node:fs";
import path from "node:path";
import { createInterface, type Interface } from "node:readline";

import { freePorts } from "../../scripts/lib/free-ports.ts";
import { endWithUs, removeFolder, removeWithUs } from "../lib/leftovers.ts";
import { cpuSecondsOf, residentMibOf } from "../lib/processes.ts";
import type { Figures, Job, LeaderReport } from "./protocol.ts";

const MEMBERS = 3;
/** A library that elects no leader within this time is broken. */
const LEADER_MS_MAX = 30_000;
/** How much longer than its time a job may take. */
const JOB_SLACK_MS = 60_000;
/** After the election: followers connect, and files of the first segment are made. */
const SETTLE_MS = 1000;

export interface Launch {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export interface Costs {
  /** Of all members, since the last job began. */
  readonly cpuSeconds: number;
  readonly leaderMib: number;
  readonly followerMib: number;
}

interface MemberProcess {
  readonly child: ChildProcess;
  readonly lines: Interface;
}

export class LibraryCluster implements AsyncDisposable {
  readonly #root: string;
  readonly #members: readonly MemberProcess[];
  #leader: MemberProcess | null = null;
  #answer: { resolve: (figures: Figures) => void; reject: (error: Error) => void } | null = null;

  private constructor(root: string, members: readonly MemberProcess[]) {
    this.#root = root;
    this.#members = members;
  }

  /** `data` is the folder for the logs: it should be on the disk that is measured. */
  static async start({ command, args, env }: Launch, data: string): Promise<LibraryCluster> {
    const root = removeWithUs(mkdtempSync(path.join(data, "keelson-bench-")));
    const ports = (await freePorts(MEMBERS)).join(",");
    const members = Array.from({ length: MEMBERS }, (_, at) => {
      const own = [String(at + 1), path.join(root, String(at + 1)), ports];
      const child = endWithUs(
        spawn(command, [...args, ...own], {
          stdio: ["pipe", "pipe", "inherit"],
          env: { ...process.env, ...env },
        }),
      );
      return { child, lines: createInterface({ input: child.stdout }) };
    });
    const cluster = new LibraryCluster(root, members);
    try {
      await cluster.#awaitLeader();
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
    return cluster;
  }

  async #awaitLeader(): Promise<void> {
    const elected = new Promise<void>((resolve, reject) => {
      for (const member of this.#members) {
        member.lines.on("line", (line) => {
          const message = JSON.parse(line) as Figures | LeaderReport;
          if ("leader" in message) {
            // The jobs' writers run in one process: a leader that lost its leadership can't go on.
            this.#answer?.reject(new Error("the leader changed during a job"));
            this.#leader = member;
            resolve();
          } else this.#answer?.resolve(message);
        });
        member.child.on("exit", (code) => {
          const error = new Error(`a member ended with code ${code ?? "none"}`);
          this.#answer?.reject(error);
          reject(error);
        });
        member.child.on("error", reject);
      }
    });
    await within(elected, LEADER_MS_MAX, "no leader was elected");
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  }

  async run(job: Job): Promise<Figures & Costs> {
    const leader = this.#leader;
    if (leader === null) throw new Error("there is no leader");
    const cpuBefore = this.#cpuSeconds();
    const figures = new Promise<Figures>((resolve, reject) => {
      this.#answer = { resolve, reject };
    });
    leader.child.stdin?.write(`${JSON.stringify(job)}\n`);
    const done = await within(figures, job.warmUpMs + job.ms + JOB_SLACK_MS, "a job did not end");
    this.#answer = null;
    const followers = this.#members.filter((member) => member !== leader);
    return {
      ...done,
      cpuSeconds: this.#cpuSeconds() - cpuBefore,
      leaderMib: residentMibOf(leader.child.pid ?? 0),
      followerMib: Math.max(...followers.map(({ child }) => residentMibOf(child.pid ?? 0))),
    };
  }

  #cpuSeconds(): number {
    return this.#members.reduce((sum, { child }) => sum + cpuSecondsOf(child.pid ?? 0), 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      this.#members.map(({ child }) => {
        child.removeAllListeners("exit");
        const ended = new Promise((resolve) => child.once("exit", resolve));
        const isRunning = child.exitCode === null && child.signalCode === null && child.pid !== undefined;
        child.kill("SIGKILL");
        return isRunning ? ended : Promise.resolve();
      }),
    );
    removeFolder(this.#root);
  }
}

async function within<T>(promise: Promise<T>, ms: number, failure: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`${failure} within ${ms} ms`));
    }, ms);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
