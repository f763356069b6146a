import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import * as v from "valibot";
import { DEMO_NODES, type DemoOptions } from "./demo-options.ts";
import { StartError } from "../../shared/errors.ts";

const HOST = "127.0.0.1";

/** A node's log for people begins anew when it is larger than this. */
const LOG_BYTES_MAX = 10 * 1024 * 1024;

/** How long a node may take to say how it is. */
const STATUS_MS_MAX = 1000;
/** How long a node has to close in order, before it is killed. */
const CLOSE_MS_MAX = 5000;
const GONE_POLL_MS = 50;

const NodeStatus = v.object({
  id: v.string(),
  pid: v.pipe(v.number(), v.integer(), v.minValue(1)),
  role: v.string(),
  term: v.number(),
  leader: v.nullable(v.object({ id: v.string() })),
});

/** What a node says of itself at /status. */
export type NodeStatus = v.InferOutput<typeof NodeStatus>;

/** How the process of a node ended. */
export interface NodeExit {
  readonly pid: number;
  /** In words: "killed by SIGKILL". */
  readonly how: string;
}

/** One node of the demonstration: the process that runs it, ours or one that a person started. */
export class DemoNode {
  readonly id: string;
  readonly raft: string;
  readonly line: string;
  readonly http: string;
  readonly directory: string;
  readonly #serveArgs: readonly string[];
  #child: ChildProcess | null = null;

  constructor(
    id: string,
    addresses: { raft: string; line: string; http: string },
    directory: string,
    peers: string,
  ) {
    this.id = id;
    this.raft = addresses.raft;
    this.line = addresses.line;
    this.http = addresses.http;
    this.directory = directory;
    this.#serveArgs = [
      ...["serve", "--id", id, "--peers", peers, "--data", directory],
      ...["--line", this.line, "--http", this.http],
    ];
  }

  get logFile(): string {
    return path.join(this.directory, "server.log");
  }

  /** The process that we started, while it runs. */
  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  /** What a person types, in the folder where this process was started, to start the node again. */
  get command(): string {
    // Under `npm start` there may be no `keelson` to call, and no Node of the right version either; npm knows both.
    const program =
      process.env["npm_lifecycle_event"] === "start"
        ? ["npm", "run", "keelson", "--"]
        : [process.execPath, ...execArgv(), mainFile()];
    return [...program, ...this.#serveArgs].map(quoted).join(" ");
  }

  /** Starts the process; `onExit` is called once when it has ended, however it ended. */
  start(onExit: (exit: NodeExit) => void): void {
    const log = this.#openLog();
    const child = spawn(process.execPath, [...execArgv(), mainFile(), ...this.#serveArgs], {
      // The channel tells the node when we are gone, even if we were killed.
      stdio: ["ignore", log, log, "ipc"],
      // Out of the terminal's reach: Ctrl-C goes to us alone, and we stop the nodes in order.
      detached: true,
    });
    closeSync(log);
    this.#child = child;
    let isEnded = false;
    const ended = (how: string): void => {
      if (isEnded) return;
      isEnded = true;
      this.#child = null;
      onExit({ pid: child.pid ?? 0, how });
    };
    child.once("exit", (code, signal) => {
      ended(signal === null ? `ended with code ${String(code)}` : `killed by ${signal}`);
    });
    child.once("error", (error) => {
      ended(error.message);
    });
  }

  /** null: it does not answer, or what answers there is not this node. */
  async status(): Promise<NodeStatus | null> {
    try {
      const response = await fetch(`http://${this.http}/status`, {
        signal: AbortSignal.timeout(STATUS_MS_MAX),
      });
      const status = v.safeParse(NodeStatus, await response.json());
      return status.success && status.output.id === this.id ? status.output : null;
    } catch {
      return null;
    }
  }

  /** What the node last said of why it could not go on; null: nothing. */
  lastWords(): string | null {
    try {
      const words = readFileSync(this.logFile, "utf8").split("\n");
      return words.findLast((line) => line.startsWith("keelson: "))?.slice("keelson: ".length) ?? null;
    } catch {
      return null;
    }
  }

  /** Has the process close, and resolves when it is gone. `otherPid`: of one that a person started. */
  async stop(otherPid: number | null): Promise<void> {
    const pid = this.pid ?? otherPid;
    if (pid === null || !signalTo(pid, "SIGTERM")) return;
    const deadline = performance.now() + CLOSE_MS_MAX;
    while (isAlive(pid, this.#child)) {
      // A person's process is theirs to kill.
      if (performance.now() > deadline && (this.pid === null || !signalTo(pid, "SIGKILL"))) return;
      await new Promise((resolve) => setTimeout(resolve, GONE_POLL_MS));
    }
  }

  kill(): void {
    this.#child?.kill("SIGKILL");
  }

  #openLog(): number {
    try {
      mkdirSync(this.directory, { recursive: true });
      const size = statSync(this.logFile, { throwIfNoEntry: false })?.size ?? 0;
      return openSync(this.logFile, size > LOG_BYTES_MAX ? "w" : "a");
    } catch (error) {
      throw new StartError(
        `cannot use ${this.directory} for data: ${error instanceof Error ? error.message : String(error)}`,
        { cause: error },
      );
    }
  }
}

/** The nodes n1, n2, ... on consecutive ports. */
export function demoNodes({ data, raftPort, linePort, httpPort }: DemoOptions): DemoNode[] {
  const numbers = Array.from({ length: DEMO_NODES }, (_, at) => at);
  const peers = numbers.map((at) => `n${at + 1}=${HOST}:${raftPort + at}`).join(",");
  return numbers.map((at) => {
    const id = `n${at + 1}`;
    const addresses = {
      raft: `${HOST}:${raftPort + at}`,
      line: `${HOST}:${linePort + at}`,
      http: `${HOST}:${httpPort + at}`,
    };
    return new DemoNode(id, addresses, path.join(data, id), peers);
  });
}

/** The program's entry point beside this file: main.ts in the source, main.js in the build. */
function mainFile(): string {
  const here = fileURLToPath(import.meta.url);
  return path.join(path.dirname(here), "..", "..", `main${path.extname(here)}`);
}

/** A debugger's port can be had once. */
function execArgv(): string[] {
  return process.execArgv.filter((argument) => !argument.startsWith("--inspect"));
}

function isAlive(pid: number, child: ChildProcess | null): boolean {
  if (child?.pid === pid) return child.exitCode === null && child.signalCode === null;
  return signalTo(pid, 0);
}

/** False: there is no such process any more. */
function signalTo(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

/** For a POSIX shell. */
function quoted(argument: string): string {
  return /^[A-Za-z0-9_./:=,@%+-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", `'\\''`)}'`;
}
