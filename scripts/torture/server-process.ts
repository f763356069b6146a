import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../../packages/kv/src/main.ts", import.meta.url));

/** How long a server may take to end in order; then something is wrong with it. */
const CLOSE_MS_MAX = 30_000;

/** One `keelson serve` on a directory of its own, started and ended many times. Its log is appended to a file. */
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
  /** While its disk is full, or it joins or leaves, it may stop, or not start, at any time. */
  mayStop = false;

  /** `prefix`: what to begin the command with. `onSurprise`: told when it ends and nobody made it. */
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

  /** It ended by itself, as it may, and was not started since. */
  get hasGivenUp(): boolean {
    return this.#hasGivenUp;
  }

  /** It is not started any more, whoever may ask for it. */
  retire(): void {
    this.#isRetired = true;
  }

  start(): void {
    if (this.#child !== null || this.#isRetired) return;
    this.#hasGivenUp = false;
    const log = openSync(this.logFile, "a");
    const [command = "", ...args] = this.#command;
    // Through the channel it notices when we are gone. In a process group of its own: to a group that has
    // lost its terminal while one of it is stopped, as by our own faults, the system sends SIGHUP.
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

  /** SIGKILL: it gets no chance to write anything. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** SIGTERM, and waits until it has closed in order. */
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
