/**
 * The throughput of `Raft.write`: three processes on this machine, each with its log on disk and TCP between
 * them, and W writers at once in the leader's process, each writing its next command when the last is
 * applied.
 *
 * `npm run bench:write -- [--writers 1,16,256] [--seconds 5] [--bytes 256] [--rounds 3] [--data DIR]`
 */
import { fork, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";

import { Raft, type StateMachine } from "keelson";
import { wal } from "keelson/storage/wal";
import { tcp } from "keelson/transport/tcp";

import { freePorts } from "../scripts/lib/free-ports.ts";

const NODES = ["n1", "n2", "n3"];

/** The first part of each measurement, which warms up and is not counted. */
const WARM_UP_MS = 500;

interface Job {
  readonly writers: number;
  readonly ms: number;
  readonly bytes: number;
}

interface Figures {
  readonly writes: number;
  readonly ms: number;
  readonly p50: number;
  readonly p99: number;
}

const [mode, id = "", directory = "", ports = ""] = process.argv.slice(2);
if (mode === "node") await runNode(id, directory, ports.split(",").map(Number));
else await main();

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      writers: { type: "string", default: "1,16,256" },
      seconds: { type: "string", default: "5" },
      bytes: { type: "string", default: "256" },
      rounds: { type: "string", default: "3" },
      data: { type: "string" },
    },
  });
  const root = mkdtempSync(path.join(values.data ?? tmpdir(), "keelson-bench-"));
  const ports = await freePorts(NODES.length);
  const nodes = NODES.map((node) =>
    fork(import.meta.filename, ["node", node, path.join(root, node), ports.join(",")]),
  );
  try {
    const leader = await Promise.race(nodes.map(leads));
    const job = { ms: Number(values.seconds) * 1000, bytes: Number(values.bytes) };
    console.log(
      `Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? ""}; commands of ${job.bytes} bytes`,
    );
    for (const writers of values.writers.split(",").map(Number)) {
      const rounds: Figures[] = [];
      for (let round = 0; round < Number(values.rounds); round++)
        rounds.push(await measure(leader, { ...job, writers }));
      rounds.sort((a, b) => a.writes / a.ms - b.writes / b.ms);
      const rates = rounds.map(({ writes, ms }) => Math.round((writes / ms) * 1000));
      const median = rounds[Math.floor(rounds.length / 2)];
      console.log(
        `${writers} writers: ${rates[Math.floor(rates.length / 2)]} writes/s ` +
          `(of ${rounds.length} rounds ${rates[0]} to ${rates.at(-1)}), ` +
          `p50 ${median?.p50.toFixed(2)} ms, p99 ${median?.p99.toFixed(2)} ms`,
      );
    }
  } finally {
    for (const node of nodes) node.kill("SIGKILL");
    rmSync(root, { recursive: true, force: true });
  }
}

function leads(node: ChildProcess): Promise<ChildProcess> {
  return new Promise((resolve, reject) => {
    node.on("message", (message) => {
      if (message === "leader") resolve(node);
    });
    node.on("exit", (code) => {
      reject(new Error(`a node ended with code ${code}`));
    });
  });
}

function measure(leader: ChildProcess, job: Job): Promise<Figures> {
  leader.send(job);
  return new Promise((resolve) => {
    leader.once("message", (figures) => {
      resolve(figures as Figures);
    });
  });
}

async function runNode(node: string, directory: string, ports: readonly number[]): Promise<void> {
  const members = Object.fromEntries(NODES.map((name, at) => [name, `127.0.0.1:${ports[at]}`]));
  const raft = await Raft.open({
    id: node,
    stateMachine: counter(),
    log: wal(directory),
    transport: tcp({ listen: members[node] ?? "" }),
  });
  process.on("message", (job) => {
    void runWriters(raft, job as Job).then((figures) => process.send?.(figures));
  });
  process.on("disconnect", () => process.exit());
  await raft.initialize(members);
  for await (const change of raft.changes()) {
    if (change.type === "leader" && change.leader === node) process.send?.("leader");
  }
}

async function runWriters(raft: Raft<Uint8Array, number>, { writers, ms, bytes }: Job): Promise<Figures> {
  const command = new Uint8Array(bytes).fill(7);
  const began = performance.now() + WARM_UP_MS;
  const end = began + ms;
  const latencies: number[] = [];
  const writer = async (): Promise<void> => {
    for (let at = performance.now(); at < end;) {
      await raft.write(command);
      const now = performance.now();
      if (at >= began) latencies.push(now - at);
      at = now;
    }
  };
  await Promise.all(Array.from({ length: writers }, writer));
  const elapsed = performance.now() - began;
  latencies.sort((a, b) => a - b);
  const quantile = (q: number): number => latencies[Math.floor(latencies.length * q)] ?? 0;
  return { writes: latencies.length, ms: elapsed, p50: quantile(0.5), p99: quantile(0.99) };
}

/** The smallest state machine: it counts. */
function counter(): StateMachine<Uint8Array, number> {
  let count = 0;
  return {
    codec: { encode: (command) => command, decode: (bytes) => bytes },
    open: () => ({ term: 0, index: 0 }),
    apply: () => (count += 1),
  };
}
