import { spawn } from "node:child_process";

export interface Outcome {
  readonly code: number;
  /** Standard output and error, as they came. */
  readonly output: string;
  readonly seconds: number;
}

export interface RunOptions {
  readonly cwd?: string;
  /** Default: this process's environment. */
  readonly env?: NodeJS.ProcessEnv;
  /** The command is killed, and has failed, when it takes longer. */
  readonly secondsMax: number;
  /**
   * Given, the command has a process group of its own, and the time limit kills all that it has started too:
   * npm leaves its children behind, and they would keep the output open. Ctrl-C doesn't reach such a group.
   * The caller aborts this signal instead, which interrupts the group.
   */
  readonly interrupt?: AbortSignal;
}

/** Runs a command to its end and keeps what it prints. */
export function run(command: string, args: readonly string[], options: RunOptions): Promise<Outcome> {
  const started = performance.now();
  const { interrupt } = options;
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: options.env,
      stdio: ["ignore", "pipe", "pipe"],
      detached: interrupt !== undefined,
    });
    const kill = (signal: NodeJS.Signals) => {
      if (interrupt === undefined) child.kill(signal);
      else killGroup(child.pid, signal);
    };
    const onInterrupt = () => {
      kill("SIGINT");
    };
    interrupt?.addEventListener("abort", onInterrupt);
    let output = "";
    const keep = (chunk: Buffer) => {
      output += chunk.toString();
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    const timer = setTimeout(() => {
      output += `\nkilled: it took longer than ${options.secondsMax} s\n`;
      kill("SIGKILL");
    }, options.secondsMax * 1000);
    const end = (code: number) => {
      clearTimeout(timer);
      interrupt?.removeEventListener("abort", onInterrupt);
      resolve({ code, output, seconds: (performance.now() - started) / 1000 });
    };
    child.on("error", (error) => {
      output += `\n${error.message}\n`;
      end(1);
    });
    child.on("close", (code) => {
      end(code ?? 1);
    });
  });
}

/** @param leader The process id of the group's first process; undefined: it did not start. */
function killGroup(leader: number | undefined, signal: NodeJS.Signals): void {
  if (leader === undefined) return;
  try {
    process.kill(-leader, signal);
  } catch {
    // All of the group have ended.
  }
}
