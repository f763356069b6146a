/** Keelson's member for the `library` part: the library as its users install it. See protocol.ts. */
import { createInterface } from "node:readline";

import { Raft, type StateMachine } from "keelson";
import { wal } from "keelson/storage/wal";
import { tcp } from "keelson/transport/tcp";

import type { Figures, Job } from "./protocol.ts";

const [id = "", directory = "", ports = ""] = process.argv.slice(2);
const members = Object.fromEntries(ports.split(",").map((port, at) => [String(at + 1), `127.0.0.1:${port}`]));
const raft = await Raft.open({
  id,
  stateMachine: counter(),
  log: wal(directory),
  transport: tcp({ listen: members[id] ?? "" }),
});
void serve();
await raft.initialize(members);
for await (const change of raft.changes()) {
  if (change.type === "leader" && change.leader === id) console.log(JSON.stringify({ leader: true }));
}

async function serve(): Promise<void> {
  for await (const line of createInterface({ input: process.stdin }))
    console.log(JSON.stringify(await runWriters(JSON.parse(line) as Job)));
  process.exit();
}

async function runWriters({ writers, warmUpMs, ms, bytes }: Job): Promise<Figures> {
  const command = new Uint8Array(bytes).fill(7);
  const began = performance.now() + warmUpMs;
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
  return {
    writes: latencies.length,
    ms: elapsed,
    p50: quantile(0.5),
    p99: quantile(0.99),
    max: latencies.at(-1) ?? 0,
  };
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
