import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

/** How a process ended. */
export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A running `keelson` process with its output. */
export class Keelson {
  readonly child: ChildProcess;
  readonly ended: Promise<Ending>;
  #stdout = "";
  #stderr = "";

  /** `stderr`: the file that its standard error is written to, instead of being kept for `stderr`. */
  constructor(args: readonly string[], options: { readonly cwd?: string; readonly stderr?: number } = {}) {
    this.child = spawn(process.execPath, ["--conditions=source", MAIN, ...args], {
      cwd: options.cwd,
      // If the test's process is killed, the channel closes, and the process stops by itself.
      stdio: ["ignore", "pipe", options.stderr ?? "pipe", "ipc"],
      // A process group of its own, as a shell gives to each command.
      detached: true,
    });
    this.child.stdout?.setEncoding("utf8").on("data", (text: string) => (this.#stdout += text));
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => (this.#stderr += text));
    this.ended = once(this.child, "close").then(([code, signal]) => ({
      code: code as number | null,
      signal: signal as NodeJS.Signals | null,
    }));
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  get isRunning(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Sends SIGINT as a terminal does at Ctrl-C: to the whole process group. */
  interrupt(): void {
    process.kill(-this.pid, "SIGINT");
  }

  /**
   * Sends a signal. Resolves when the process has ended, or at once for signals that pause or continue it.
   */
  async kill(signal: NodeJS.Signals): Promise<void> {
    if (!this.isRunning) return;
    this.child.kill(signal);
    if (signal !== "SIGSTOP" && signal !== "SIGCONT") await this.ended;
  }
}

/** Runs `keelson`, and resolves when it has ended. */
export async function run(
  args: readonly string[],
): Promise<Ending & { readonly stdout: string; readonly stderr: string }> {
  const keelson = new Keelson(args);
  const ending = await keelson.ended;
  return { ...ending, stdout: keelson.stdout, stderr: keelson.stderr };
}

/** Waits until the condition holds; checks every 20 ms. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 20_000,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await pause(20);
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
