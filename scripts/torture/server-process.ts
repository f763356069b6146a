import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../../packages/kv/src/main.ts", import.meta.url));

/** How long a server may take to end in order. If it takes longer, that is a failure. */
const CLOSE_MS_MAX = 30_000;

/**
 * A `keelson serve` process with its own directory, started and ended many times. Its log is appended to a
 * file.
 */
export class ServerProcess {
  readonly id: string;
  readonly logFile: string;
  readonly #command: readonly string[];
  readonly #onSurprise: (text: string) => void;
  #child: ChildProcess | null = null;
  #isPaused = false;
  #isEndExpected = false;
  #isRetired = false;
  #hasGivenUp = false;
  /**
   * Whether the process may end by itself or fail to start: while its disk is full, or while it joins or
   * leaves.
   */
  mayStop = false;

  /**
   * `prefix` is the beginning of the command line. `onSurprise` is called when the process ends unexpectedly.
   */
  constructor(
    id: string,
    prefix: readonly string[],
    args: readonly string[],
    logFile: string,
    onSurprise: (text: string) => void,
  ) {
    this.id = id;
    this.logFile = logFile;
    this.#command = [...prefix, process.execPath, "--conditions=source", MAIN, "serve", ...args];
    this.#onSurprise = onSurprise;
  }

  get isRunning(): boolean {
    return this.#child !== null;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** Whether it ended by itself, as it was allowed to, and was not restarted. */
  get hasGivenUp(): boolean {
    return this.#hasGivenUp;
  }

  /** From now on it is never started again. */
  retire(): void {
    this.#isRetired = true;
  }

  start(): void {
    if (this.#child !== null || this.#isRetired) return;
    this.#hasGivenUp = false;
    const log = openSync(this.logFile, "a");
    const [command = "", ...args] = this.#command;
    // The server notices through the channel that this process has ended. It runs in a process group of its
    // own: the kernel sends SIGHUP to a group that loses its terminal while one of its processes is stopped,
    // as our faults do.
    const child = spawn(command, args, { stdio: ["ignore", log, log, "ipc"], detached: true });
    closeSync(log);
    this.#child = child;
    this.#isEndExpected = false;
    this.#isPaused = false;
    child.once("error", (error) => {
      this.#onSurprise(`${this.id} cannot be started: ${error.message}`);
    });
    child.once("exit", (code, signal) => {
      if (this.#child === child) this.#child = null;
      this.#isPaused = false;
      if (this.#isEndExpected) return;
      this.#hasGivenUp = true;
      if (this.mayStop) return;
      this.#onSurprise(
        `${this.id} ended by itself (${signal ?? `exit code ${String(code)}`}); see ${this.logFile}`,
      );
    });
  }

  /** Sends SIGKILL, so that it can't write anything more. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** Sends SIGTERM, and waits until it has closed in order. */
  async close(): Promise<void> {
    this.resume();
    const child = this.#child;
    const timer = setTimeout(() => {
      this.#onSurprise(
        `${this.id} did not end within ${CLOSE_MS_MAX / 1000} s of SIGTERM; see ${this.logFile}`,
      );
      child?.kill("SIGKILL");
    }, CLOSE_MS_MAX);
    await this.#end("SIGTERM");
    clearTimeout(timer);
  }

  pause(): void {
    this.#isPaused = this.#child?.kill("SIGSTOP") ?? false;
  }

  resume(): void {
    this.#child?.kill("SIGCONT");
    this.#isPaused = false;
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child === null) return;
    this.#isEndExpected = true;
    const ended = once(child, "exit");
    child.kill(signal);
    await ended;
  }
}
