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
}

/** Runs a command to its end and keeps what it prints. */
export function run(command: string, args: readonly string[], options: RunOptions): Promise<Outcome> {
  const started = performance.now();
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: options.env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    const keep = (chunk: Buffer) => {
      output += chunk.toString();
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    const timer = setTimeout(() => {
      output += `\nkilled: it took longer than ${options.secondsMax} s\n`;
      child.kill("SIGKILL");
    }, options.secondsMax * 1000);
    const end = (code: number) => {
      clearTimeout(timer);
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
