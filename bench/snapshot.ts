/**
 * How a large state moves to a new node, and what memory that takes: one server of the key-value store is
 * filled, and a second one joins it as a learner while writes go on. Both are real processes on this machine.
 *
 * `npm run bench:snapshot -- [--mib 1024] [--value-kib 64] [--rate BYTES] [--data DIR]`
 */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { once } from "node:events";
import { createServer } from "node:net";
import { cpus, tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const MAIN = fileURLToPath(new URL("../packages/kv/src/main.ts", import.meta.url));
const KIB = 1024;
const MIB = KIB * KIB;

/** The number of concurrent puts while the first node is filled. */
const WRITERS = 8;

/** How often memory is measured. */
const SAMPLE_MS = 50;

interface Status {
  readonly applied: number;
  readonly last: number;
  readonly snapshots: {
    readonly newest: { readonly index: number; readonly bytes: number } | null;
    readonly receiving: { readonly phase: string; readonly bytesDone: number } | null;
    readonly installed: number;
  } | null;
}

const { values } = parseArgs({
  options: {
    mib: { type: "string", default: "1024" },
    "value-kib": { type: "string", default: "64" },
    rate: { type: "string" },
    data: { type: "string" },
  },
});
const root = mkdtempSync(path.join(values.data ?? tmpdir(), "keelson-snapshot-"));
const children: ChildProcess[] = [];
async function measure(bytes: number, valueBytes: number): Promise<void> {
  const [raft1 = 0, line1 = 0, http1 = 0, raft2 = 0, line2 = 0, http2 = 0] = await freePorts(6);
  console.log(`Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? ""}`);
  const serveLeader = async (): Promise<ChildProcess> => {
    const child = serve("n1", line1, http1, ["--peers", `n1=127.0.0.1:${raft1}`]);
    await until("a leader", async () => (await fetch(`http://127.0.0.1:${http1}/readyz`)).ok);
    return child;
  };
  let leader = await serveLeader();
  const filling = await timed(() => fill(http1, bytes, valueBytes));
  console.log(`filled with ${bytes / MIB} MiB in values of ${valueBytes / KIB} KiB: ${seconds(filling)}`);

  const taking = new Memory(leader);
  const took = await timed(() => fetch(`http://127.0.0.1:${http1}/snapshot`, { method: "POST" }));
  const { snapshots } = await statusOf(http1);
  console.log(
    `a snapshot of ${((snapshots?.newest?.bytes ?? 0) / MIB).toFixed(0)} MiB: ${seconds(took)}; leader ${taking.stop()}`,
  );

  // A new process, so that its memory shows the transfer alone, and not the filling before it.
  leader.kill("SIGTERM");
  await once(leader, "exit");
  leader = await serveLeader();
  const atRest = new Memory(leader).stop();
  const before = new Memory(leader);
  const writing = writeOn(http1);
  const rate = values.rate === undefined ? [] : ["--snapshot-fetch-rate", values.rate];
  const join = ["--join", `http://127.0.0.1:${http1}`, "--listen", `127.0.0.1:${raft2}`];
  const begun = performance.now();
  const learner = serve("n2", line2, http2, [...join, ...rate]);
  const after = new Memory(learner);
  const phases = new Map<string, number>();
  await until(
    "the new node to catch up",
    async () => {
      const [one, two] = await Promise.all([statusOf(http1), statusOf(http2).catch(() => null)]);
      const phase = two?.snapshots?.receiving?.phase;
      if (phase !== undefined) phases.set(phase, performance.now() - begun);
      return two !== null && two.snapshots?.installed === 1 && two.applied >= one.last - 100;
    },
    3_600_000,
  );
  const tookMs = performance.now() - begun;
  const written = await writing.stop();
  const parts = [...phases].map(([phase, until]) => `${phase} until ${seconds(until)}`).join(", ");
  console.log(`the new node caught up: ${seconds(tookMs)} (${parts})`);
  console.log(
    `meanwhile ${written.count} puts, the slowest ${written.slowestMs.toFixed(0)} ms, ${written.failed} failed`,
  );
  console.log(`memory at rest: leader ${atRest}`);
  console.log(`memory at most: leader ${before.stop()}; new node ${after.stop()}`);
}

function serve(id: string, line: number, http: number, more: readonly string[]): ChildProcess {
  const own = ["--id", id, "--data", path.join(root, id), "--log-level", "warn"];
  const ports = ["--line", `127.0.0.1:${line}`, "--http", `127.0.0.1:${http}`];
  const args = ["--conditions=source", MAIN, "serve", ...own, ...ports, ...more];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "inherit", "inherit"] });
  children.push(child);
  return child;
}

/** Puts random values, which can't be compressed. */
async function fill(http: number, bytes: number, valueBytes: number): Promise<void> {
  const count = Math.ceil(bytes / valueBytes);
  let next = 0;
  const writer = async (): Promise<void> => {
    while (next < count) {
      const value = new Uint8Array(valueBytes);
      for (let at = 0; at < valueBytes; at += 65_536) crypto.getRandomValues(value.subarray(at, at + 65_536));
      await put(http, `key-${next++}`, value);
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, writer));
}

/** Puts small values, one after another, until stopped. */
function writeOn(http: number): {
  stop(): Promise<{ count: number; slowestMs: number; failed: number }>;
} {
  const loopState = { isStopped: false };
  const figures = { count: 0, slowestMs: 0, failed: 0 };
  const value = new Uint8Array(100).fill(1);
  const loop = (async () => {
    while (!loopState.isStopped) {
      const ms = await timed(() => put(http, `more-${figures.count % 1000}`, value)).catch(() => {
        figures.failed += 1;
        return 0;
      });
      figures.count += 1;
      figures.slowestMs = Math.max(figures.slowestMs, ms);
    }
  })();
  return {
    stop: async () => {
      loopState.isStopped = true;
      await loop;
      return figures;
    },
  };
}

async function put(http: number, key: string, value: Uint8Array<ArrayBuffer>): Promise<void> {
  const answer = await fetch(`http://127.0.0.1:${http}/kv/${key}`, { method: "PUT", body: value });
  await answer.arrayBuffer();
  if (!answer.ok) throw new Error(`PUT ${key}: ${answer.status}`);
}

async function statusOf(http: number): Promise<Status> {
  return (await (await fetch(`http://127.0.0.1:${http}/status`)).json()) as Status;
}

/**
 * Measures a process's memory meanwhile: all resident memory, and the part of it that doesn't belong to
 * mapped files.
 */
class Memory {
  readonly #timer: NodeJS.Timeout;
  #resident = 0;
  #own = 0;

  constructor({ pid }: ChildProcess) {
    const look = (): void => {
      try {
        const text = readFileSync(`/proc/${pid}/status`, "utf8");
        this.#resident = Math.max(this.#resident, kibIn(text, "VmRSS"));
        this.#own = Math.max(this.#own, kibIn(text, "RssAnon"));
      } catch {
        // The process has ended, or this isn't Linux.
      }
    };
    look();
    this.#timer = setInterval(look, SAMPLE_MS);
  }

  stop(): string {
    clearInterval(this.#timer);
    const mib = (kib: number): string => (kib / KIB).toFixed(0);
    return `${mib(this.#resident)} MiB resident (${mib(this.#own)} MiB without mapped files)`;
  }
}

function kibIn(status: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1] ?? 0);
}

async function timed(run: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await run();
  return performance.now() - begun;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

async function until(what: string, holds: () => Promise<boolean>, timeoutMs = 60_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await holds().catch(() => false))) {
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => new Promise((resolve) => server.once("listening", resolve))));
  const ports = servers.map((server) => {
    const address = server.address();
    return address !== null && typeof address === "object" ? address.port : 0;
  });
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

try {
  await measure(Number(values.mib) * MIB, Number(values["value-kib"]) * KIB);
} finally {
  for (const child of children) child.kill("SIGKILL");
  rmSync(root, { recursive: true, force: true });
}
