/**
 * What memory the servers hold under a long load: a cluster of three real server processes, and clients that
 * put values over HTTP, each its next one when the last is answered. Prints the resident memory of each node
 * over time, beside the limits, and fails if a node exceeds its limit.
 *
 * `npm run bench:memory -- [--puts 270000] [--keys 100000] [--bytes 256] [--clients 64] [--samples 10]
 * [--data DIR]`
 *
 * Linux only: resident memory is read from /proc.
 */
import { randomBytes } from "node:crypto";
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { cpus, tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { freePorts } from "../scripts/lib/free-ports.ts";

/** The built program, as it is installed: running the sources takes 20 MiB more, for the compiler. */
const MAIN = fileURLToPath(new URL("../packages/kv/dist/main.js", import.meta.url));
const MIB = 1024 * 1024;

/** The most resident memory that a node may have at any sample. */
const LEADER_MIB_MAX = 200;
const FOLLOWER_MIB_MAX = 170;

const LEADER_TIMEOUT_MS = 60_000;
const RETRY_MS = 200;

interface ServerNode {
  readonly id: string;
  readonly httpPort: number;
  readonly process: ChildProcess;
}

/** One line of the table. */
interface Sample {
  readonly puts: number;
  readonly seconds: number;
  readonly leader: string;
  /** In MiB, by node. */
  readonly resident: ReadonlyMap<string, number>;
}

const { values } = parseArgs({
  options: {
    puts: { type: "string", default: "270000" },
    keys: { type: "string", default: "100000" },
    bytes: { type: "string", default: "256" },
    clients: { type: "string", default: "64" },
    samples: { type: "string", default: "10" },
    data: { type: "string" },
  },
});
const putsTotal = Number(values.puts);
const keys = Number(values.keys);
/** Random: LevelDB would compress anything else, and its mapped files would look smaller than they are. */
const value = randomBytes(Number(values.bytes));
const root = mkdtempSync(path.join(values.data ?? tmpdir(), "keelson-memory-"));
const nodes: ServerNode[] = [];

/** Resolves with whether all nodes stayed within their limits. */
async function run(): Promise<boolean> {
  await startServers();
  let leader = await findLeader();
  console.log(`Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? ""}`);
  console.log(
    `${putsTotal} puts of ${value.length} bytes over ${keys} keys by ${values.clients} clients; resident memory in MiB`,
  );
  const header = ["puts", "seconds", ...nodes.map(({ id }) => id), "leader", "followers at most"];
  console.log(header.map((text, at) => text.padStart(widthOf(at))).join(" "));
  const begun = performance.now();
  const progress = { started: 0, done: 0, isExceeded: false };
  const sampleEvery = Math.max(1, Math.ceil(putsTotal / Number(values.samples)));
  const sample = (): void => {
    const resident = new Map(nodes.map((node) => [node.id, residentMib(node.process)]));
    const seconds = (performance.now() - begun) / 1000;
    if (!print({ puts: progress.done, seconds, leader: leader.id, resident })) progress.isExceeded = true;
  };
  sample();
  const client = async (): Promise<void> => {
    let connection = await Connection.open(leader.httpPort);
    while (progress.started < putsTotal) {
      const key = `key-${progress.started++ % keys}`;
      while (!(await connection.put(key).catch(() => false))) {
        connection.close();
        await pause(RETRY_MS);
        leader = await findLeader();
        connection = await Connection.open(leader.httpPort);
      }
      progress.done += 1;
      if (progress.done % sampleEvery === 0) sample();
    }
    connection.close();
  };
  await Promise.all(Array.from({ length: Number(values.clients) }, client));
  console.log(
    `${((putsTotal / (performance.now() - begun)) * 1000).toFixed(0)} puts/s; CPU seconds of ${nodes.map((node) => `${node.id}: ${cpuSeconds(node.process).toFixed(0)}`).join(", ")}`,
  );
  console.log(
    `${progress.isExceeded ? "NOT WITHIN" : "within"} the limits: leader ${LEADER_MIB_MAX} MiB, followers ${FOLLOWER_MIB_MAX} MiB`,
  );
  return !progress.isExceeded;
}

/** Prints a line. Returns whether all nodes are within their limits. */
function print({ puts, seconds, leader, resident }: Sample): boolean {
  const followers = [...resident].filter(([id]) => id !== leader).map(([, mib]) => mib);
  const [leaderMib, followerMib] = [resident.get(leader) ?? 0, Math.max(...followers)];
  const isWithin = leaderMib <= LEADER_MIB_MAX && followerMib <= FOLLOWER_MIB_MAX;
  const figures = [puts, seconds.toFixed(0), ...[...resident.values()].map((mib) => mib.toFixed(0))];
  const row = [...figures, `${leader} ${leaderMib.toFixed(0)}`, followerMib.toFixed(0)];
  const text = row.map((cell, at) => String(cell).padStart(widthOf(at))).join(" ");
  console.log(isWithin ? text : `${text}  over the limit`);
  return isWithin;
}

function widthOf(column: number): number {
  return column >= nodes.length + 2 ? 18 : 9;
}

/** VmRSS: what the process holds in physical memory, its mapped files included. */
function residentMib({ pid }: ChildProcess): number {
  const status = readFileSync(`/proc/${String(pid)}/status`, "utf8");
  return (Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024) / MIB;
}

/** User and system time, all threads. */
function cpuSeconds({ pid }: ChildProcess): number {
  const fields =
    readFileSync(`/proc/${String(pid)}/stat`, "utf8")
      .split(") ")[1]
      ?.split(" ") ?? [];
  // The clock ticks of /proc are hundredths of a second on every Linux that Node runs on.
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function startServers(): Promise<void> {
  const ids = ["n1", "n2", "n3"];
  const ports = await freePorts(ids.length * 3);
  const at = (place: number): string => `127.0.0.1:${ports[place] ?? 0}`;
  const peers = ids.map((id, place) => `${id}=${at(place)}`).join(",");
  for (const [place, id] of ids.entries()) {
    const own = ["--id", id, "--data", path.join(root, id), "--log-level", "warn", "--peers", peers];
    const addresses = ["--listen", at(place), "--line", at(3 + place), "--http", at(6 + place)];
    const args = [MAIN, "serve", ...own, ...addresses];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "inherit", "inherit"] });
    nodes.push({ id, httpPort: ports[6 + place] ?? 0, process: child });
  }
}

async function findLeader(): Promise<ServerNode> {
  const end = performance.now() + LEADER_TIMEOUT_MS;
  while (performance.now() < end) {
    for (const node of nodes) {
      try {
        const response = await fetch(`http://127.0.0.1:${node.httpPort}/status`, {
          signal: AbortSignal.timeout(1000),
        });
        const { role } = (await response.json()) as { readonly role: string };
        if (role === "leader") return node;
      } catch {
        // It is starting, or busy: ask the next one.
      }
    }
    await pause(RETRY_MS);
  }
  throw new Error(`no leader within ${LEADER_TIMEOUT_MS / 1000} s`);
}

/**
 * One client's connection: a put at a time, over plain sockets, so that the load costs less than the servers'
 * work.
 */
class Connection {
  readonly #socket: Socket;
  #received = "";
  #answer: ((isDone: boolean) => void) | null = null;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => {
      this.#onData(text);
    });
    socket.on("close", () => {
      this.#answer?.(false);
    });
    socket.on("error", () => undefined);
  }

  static async open(port: number): Promise<Connection> {
    const socket = connect(port, "127.0.0.1");
    await new Promise<void>((resolve) => {
      socket.once("connect", resolve);
      socket.once("error", () => {
        resolve();
      });
    });
    return new Connection(socket);
  }

  /** Resolves with whether the value was written. */
  put(key: string): Promise<boolean> {
    if (this.#socket.destroyed) return Promise.resolve(false);
    this.#socket.write(
      `PUT /kv/${key} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ${value.length}\r\n\r\n${value.toString("latin1")}`,
      "latin1",
    );
    return new Promise((resolve) => {
      this.#answer = resolve;
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #onData(text: string): void {
    this.#received += text;
    const headEnd = this.#received.indexOf("\r\n\r\n");
    if (headEnd === -1) return;
    const length = Number(/content-length: (\d+)/i.exec(this.#received)?.[1] ?? 0);
    if (this.#received.length < headEnd + 4 + length) return;
    const isDone = /^HTTP\/1\.1 2/.test(this.#received);
    this.#received = "";
    this.#answer?.(isDone);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

// At the end: a class can't be used before its declaration was run.
try {
  process.exitCode = (await run()) ? 0 : 1;
} finally {
  for (const node of nodes) node.process.kill("SIGKILL");
  rmSync(root, { recursive: true, force: true });
}
