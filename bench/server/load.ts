/** The load generator's process (peers/etcd/load): jobs go in and figures come out, a JSON object a line. */
import { spawn, type ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";

import { endWithUs } from "../lib/leftovers.ts";

/** How much longer than its time a job may take. */
const SLACK_MS = 60_000;

export interface LoadJob {
  readonly clients: number;
  readonly warmUpMs: number;
  readonly ms: number;
  readonly bytes: number;
  readonly keys: number;
  /** The part of the operations that are linearizable reads. */
  readonly reads: number;
}

/** Of the operations that began after the warm-up. Latencies are in milliseconds. */
export interface LoadFigures {
  readonly count: number;
  readonly ms: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  /** The generator's own, warm-up included. */
  readonly cpuSeconds: number;
}

export class Load implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess, lines: AsyncIterator<string>) {
    this.#child = child;
    this.#lines = lines;
  }

  static start(program: string, kind: "etcd" | "http", address: string): Load {
    const child = endWithUs(spawn(program, [kind, address], { stdio: ["pipe", "pipe", "inherit"] }));
    return new Load(child, createInterface({ input: child.stdout })[Symbol.asyncIterator]());
  }

  async run(job: LoadJob): Promise<LoadFigures> {
    this.#child.stdin?.write(`${JSON.stringify(job)}\n`);
    // Killing a generator that hangs ends its output, and so the wait.
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), job.warmUpMs + job.ms + SLACK_MS);
    const line = await this.#lines.next();
    clearTimeout(timer);
    if (line.done === true)
      throw new Error("the load generator ended: an operation failed, or took too long");
    return JSON.parse(line.value) as LoadFigures;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGKILL");
    await ended;
  }
}
