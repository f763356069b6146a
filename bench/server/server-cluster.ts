/** What the parts of the benchmark that measure servers need of a cluster of three, whoever's servers. */
import type { ChildProcess } from "node:child_process";

import { removeFolder } from "../lib/leftovers.ts";
import { cpuSecondsOf, residentMibOf } from "../lib/processes.ts";

export const MEMBERS = 3;
/** A cluster that elects no leader within this time is broken. */
const LEADER_MS_MAX = 30_000;
const ASK_AGAIN_MS = 50;
/** After the election, so that what a start costs isn't measured. */
const SETTLE_MS = 1000;

export interface Server {
  readonly process: ChildProcess;
  /** Where clients reach it: host:port. */
  readonly address: string;
  /** Asks the server itself. Rejects while it can't answer. */
  readonly leads: () => Promise<boolean>;
}

export class ServerCluster implements AsyncDisposable {
  readonly #root: string;
  readonly #servers: readonly Server[];
  #leader: Server | null = null;

  /** `root` is the folder of its data, and is removed in the end. */
  protected constructor(root: string, servers: readonly Server[]) {
    this.#root = root;
    this.#servers = servers;
  }

  get leaderAddress(): string {
    return this.#leaderServer().address;
  }

  get leaderProcess(): ChildProcess {
    return this.#leaderServer().process;
  }

  get addresses(): readonly string[] {
    return this.#servers.map(({ address }) => address);
  }

  protected async settle(): Promise<void> {
    try {
      await this.findLeader();
    } catch (error) {
      await this[Symbol.asyncDispose]();
      throw error;
    }
    await pause(SETTLE_MS);
  }

  async findLeader(): Promise<void> {
    const end = performance.now() + LEADER_MS_MAX;
    while (performance.now() < end) {
      for (const server of this.#servers) {
        if (!(await server.leads().catch(() => false))) continue;
        this.#leader = server;
        return;
      }
      await pause(ASK_AGAIN_MS);
    }
    throw new Error(`no leader within ${LEADER_MS_MAX / 1000} s`);
  }

  #leaderServer(): Server {
    if (this.#leader === null) throw new Error("no leader was found yet");
    return this.#leader;
  }

  /** Of all members since they began. */
  cpuSeconds(): number {
    return this.#servers.reduce((sum, server) => sum + cpuSecondsOf(server.process.pid ?? 0), 0);
  }

  resident(): { leaderMib: number; followerMib: number } {
    const leader = this.#leaderServer();
    const followers = this.#servers.filter((server) => server !== leader);
    return {
      leaderMib: residentMibOf(leader.process.pid ?? 0),
      followerMib: Math.max(...followers.map((server) => residentMibOf(server.process.pid ?? 0))),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      this.#servers.map(async ({ process }) => {
        if (process.pid === undefined || process.exitCode !== null || process.signalCode !== null) return;
        const ended = new Promise((resolve) => process.once("exit", resolve));
        process.kill("SIGKILL");
        await ended;
      }),
    );
    removeFolder(this.#root);
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
