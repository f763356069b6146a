/** One node of the demo: its process, its addresses, and the command that starts it again. */
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import * as v from "valibot";
import { DEMO_NODES, type DemoOptions } from "./demo-options.ts";
import { StartError, reasonOf } from "../../shared/errors.ts";

const HOST = "127.0.0.1";

/** If the node's log file (`logFile`) is larger than this, it is emptied when the node starts. */
const LOG_BYTES_MAX = 10 * 1024 * 1024;

/** How long a node may take to answer `GET /status`. */
const STATUS_MS_MAX = 1000;
/** How long a node has to end after SIGTERM. Then it is killed. */
const CLOSE_MS_MAX = 5000;
const EXIT_POLL_MS = 50;

const NodeStatus: v.GenericSchema<unknown, NodeStatus> = v.object({
  id: v.string(),
  pid: v.pipe(v.number(), v.integer(), v.minValue(1)),
  role: v.string(),
  term: v.number(),
  leader: v.nullable(v.object({ id: v.string() })),
});

/** What the demo uses of a node's `GET /status`. */
export interface NodeStatus {
  readonly id: string;
  readonly pid: number;
  readonly role: string;
  readonly term: number;
  readonly leader: { readonly id: string } | null;
}

/** How the process of a node ended. */
export interface NodeExit {
  readonly pid: number;
  /** In words: "killed by SIGKILL". */
  readonly how: string;
}

/**
 * A node of the demo. Its process is one that this object started, or, after that has ended, one that the
 * user started in another terminal.
 */
export class DemoNode {
  readonly id: string;
  /** Where the node listens: for other nodes, for lines, and for HTTP. */
  readonly raft: string;
  readonly line: string;
  readonly http: string;
  /** The data directory. */
  readonly directory: string;
  readonly #serveArgs: readonly string[];
  /** The process that `start` started. null: it isn't running. */
  #child: ChildProcess | null = null;

  constructor(
    id: string,
    addresses: { raft: string; line: string; http: string },
    directory: string,
    peers: string,
    peerFlags: readonly string[],
  ) {
    this.id = id;
    this.raft = addresses.raft;
    this.line = addresses.line;
    this.http = addresses.http;
    this.directory = directory;
    this.#serveArgs = [
      ...["serve", "--id", id, "--peers", peers, "--data", directory],
      ...["--line", this.line, "--http", this.http, ...peerFlags],
    ];
  }

  /** Where the process's stdout and stderr go. */
  get logFile(): string {
    return path.join(this.directory, "server.log");
  }

  /** The process that this object started. null: it isn't running. */
  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  /** The command by which the user starts the node again, in the working directory of the demo. */
  get command(): string {
    // Under `npm start`, neither `keelson` nor the right version of Node may be on the path. npm has both.
    const program =
      process.env["npm_lifecycle_event"] === "start"
        ? ["npm", "run", "keelson", "--"]
        : [process.execPath, ...execArgv(), mainFile()];
    return [...program, ...this.#serveArgs].map(quoted).join(" ");
  }

  /** Starts the process. `onExit` is called once, when it has ended or could not be started. */
  start(onExit: (exit: NodeExit) => void): void {
    const log = this.#openLog();
    const child = spawn(process.execPath, [...execArgv(), mainFile(), ...this.#serveArgs], {
      // When this process ends, the channel closes and the node stops, even if this process was killed.
      stdio: ["ignore", log, log, "ipc"],
      // A process group of its own: Ctrl-C reaches only this process, which then stops the nodes in order.
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

  /** The node's status. null: it doesn't answer, or another node answers at its address. */
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

  /** The last error that the node printed before it ended. null: none. */
  lastError(): string | null {
    try {
      const words = readFileSync(this.logFile, "utf8").split("\n");
      return words.findLast((line) => line.startsWith("keelson: "))?.slice("keelson: ".length) ?? null;
    } catch {
      return null;
    }
  }

  /**
   * Stops the node, and resolves when its process has ended. `otherPid`: the process that the user started.
   * That one gets SIGTERM but isn't killed.
   */
  async stop(otherPid: number | null): Promise<void> {
    const pid = this.pid ?? otherPid;
    if (pid === null || !signalTo(pid, "SIGTERM")) return;
    const deadline = performance.now() + CLOSE_MS_MAX;
    while (isAlive(pid, this.#child)) {
      // Don't kill a process that the user started.
      if (performance.now() > deadline && (this.pid === null || !signalTo(pid, "SIGKILL"))) return;
      await new Promise((resolve) => setTimeout(resolve, EXIT_POLL_MS));
    }
  }

  /** Kills the process that this object started. */
  kill(): void {
    this.#child?.kill("SIGKILL");
  }

  /** Opens the log file, and returns its descriptor. */
  #openLog(): number {
    try {
      mkdirSync(this.directory, { recursive: true });
      const size = statSync(this.logFile, { throwIfNoEntry: false })?.size ?? 0;
      return openSync(this.logFile, size > LOG_BYTES_MAX ? "w" : "a");
    } catch (error) {
      throw new StartError(`cannot use ${this.directory} for data: ${reasonOf(error)}`, { cause: error });
    }
  }
}

/** The nodes n1, n2, ... on consecutive ports. */
export function demoNodes(options: DemoOptions): DemoNode[] {
  const { data, raftPort, linePort, httpPort } = options;
  const numbers = Array.from({ length: DEMO_NODES }, (_, at) => at);
  const peers = numbers.map((at) => `n${at + 1}=${HOST}:${raftPort + at}`).join(",");
  return numbers.map((at) => {
    const id = `n${at + 1}`;
    const addresses = {
      raft: `${HOST}:${raftPort + at}`,
      line: `${HOST}:${linePort + at}`,
      http: `${HOST}:${httpPort + at}`,
    };
    return new DemoNode(id, addresses, path.join(data, id), peers, peerFlagsOf(id, options));
  });
}

/** The flags of `serve` that protect the connections between nodes. */
function peerFlagsOf(id: string, { peerSecretFile, peerTls }: DemoOptions): string[] {
  const flags = peerSecretFile === null ? [] : ["--peer-secret-file", peerSecretFile];
  if (peerTls === null) return flags;
  const file = (name: string): string => path.join(peerTls, name);
  return [
    ...flags,
    ...["--peer-tls-cert", file(`${id}.pem`), "--peer-tls-key", file(`${id}.key`)],
    ...["--peer-tls-ca", file("ca.pem")],
  ];
}

/** The program's entry point beside this file: main.ts in the source, main.js in the build. */
function mainFile(): string {
  const here = fileURLToPath(import.meta.url);
  return path.join(path.dirname(here), "..", "..", `main${path.extname(here)}`);
}

/** The flags of Node for the nodes. A debugger's port can be taken only once, so the nodes get none. */
function execArgv(): string[] {
  return process.execArgv.filter((argument) => !argument.startsWith("--inspect"));
}

function isAlive(pid: number, child: ChildProcess | null): boolean {
  if (child?.pid === pid) return child.exitCode === null && child.signalCode === null;
  return signalTo(pid, 0);
}

/** Sends a signal; 0 only tests the process. False: there is no such process. */
function signalTo(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

/** The argument, quoted for a POSIX shell if it needs to be. */
function quoted(argument: string): string {
  return /^[A-Za-z0-9_./:=,@%+-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", `'\\''`)}'`;
}
