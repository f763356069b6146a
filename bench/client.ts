/**
 * What a call of `KvClient` costs, over HTTP and in the binary protocol, in the same run and alternating:
 * calls per second, and the CPU time of the client's process alone for each call. The server is one real node
 * in a process of its own, with its log on disk; with one node, it is the protocols that differ most.
 *
 * `npm run bench:client -- [--callers 64,1000] [--seconds 3] [--bytes 256] [--rounds 3] [--data DIR]`
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { KvClient, KvClientError } from "keelson-kv";

import { freePorts } from "../scripts/lib/free-ports.ts";

const PROTOCOLS = ["http", "binary"] as const;
const OPERATIONS = ["put", "get"] as const;
type Protocol = (typeof PROTOCOLS)[number];
type Operation = (typeof OPERATIONS)[number];

/** The first part of each measurement, which warms up and is not counted. */
const WARM_UP_MS = 500;
/** Keys that are written and read. */
const KEYS = 1000;
/** How long the server may take to elect itself. */
const READY_MS_MAX = 30_000;
const MAIN = fileURLToPath(new URL("../packages/kv/src/main.ts", import.meta.url));

interface Figures {
  readonly perSecond: number;
  /** CPU time of this process for each call, in microseconds: user and system. */
  readonly cpuUs: number;
}

await main();

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      callers: { type: "string", default: "64,1000" },
      seconds: { type: "string", default: "3" },
      bytes: { type: "string", default: "256" },
      rounds: { type: "string", default: "3" },
      data: { type: "string" },
    },
  });
  const root = mkdtempSync(path.join(values.data ?? tmpdir(), "keelson-bench-"));
  const [peer = 0, line = 0, http = 0] = await freePorts(3);
  const at = (port: number): string => `127.0.0.1:${port}`;
  const flags = ["--id", "n1", "--peers", `n1=${at(peer)}`, "--data", root, "--line", at(line)];
  const server = spawn(
    process.execPath,
    ["--conditions=source", MAIN, "serve", ...flags, "--http", at(http)],
    { stdio: "ignore" },
  );
  try {
    await ready(at(http));
    console.log(
      `KvClient: 1 node on ${cpus().length} cores (${cpus()[0]?.model ?? "?"}), values of ${values.bytes} bytes, ` +
        `median of ${values.rounds} rounds of ${values.seconds} s, alternating`,
    );
    console.log("operation  callers  protocol   calls/s   client CPU per call");
    const value = new Uint8Array(Number(values.bytes));
    for (const operation of OPERATIONS) {
      for (const callers of values.callers.split(",").map(Number)) {
        const found = new Map<Protocol, Figures[]>(PROTOCOLS.map((protocol) => [protocol, []]));
        for (let round = 0; round < Number(values.rounds); round++)
          for (const protocol of PROTOCOLS) {
            const job = { operation, callers, value, ms: Number(values.seconds) * 1000 };
            found.get(protocol)?.push(await measure(at(http), protocol, job));
          }
        for (const [protocol, figures] of found) {
          const perSecond = median(figures.map((one) => one.perSecond)).toFixed(0);
          const cpuUs = median(figures.map((one) => one.cpuUs)).toFixed(1);
          console.log(
            `${operation.padEnd(9)}  ${String(callers).padStart(7)}  ${protocol.padEnd(8)}  ${perSecond.padStart(8)}   ${cpuUs.padStart(8)} µs`,
          );
        }
      }
    }
  } finally {
    server.kill("SIGTERM");
    if (server.exitCode === null && server.signalCode === null) await once(server, "close");
    rmSync(root, { recursive: true, force: true });
  }
}

interface Job {
  readonly operation: Operation;
  readonly callers: number;
  readonly value: Uint8Array;
  readonly ms: number;
}

/** Each caller makes its next call when the last has been answered. */
async function measure(node: string, protocol: Protocol, job: Job): Promise<Figures> {
  const client = new KvClient({ nodes: [node], protocol: protocol === "http" ? "http" : "auto" });
  let calls = 0;
  let failed = 0;
  let isEnding = false;
  const caller = async (number: number): Promise<void> => {
    for (let at = number; !isEnding; at += 7) {
      const key = `key${at % KEYS}`;
      try {
        if (job.operation === "put") await client.put(key, job.value);
        else await client.get(key);
        calls += 1;
      } catch (error) {
        // On a machine that is too slow, calls reach their time limit.
        if (!(error instanceof KvClientError)) throw error;
        failed += 1;
      }
    }
  };
  const callers = Array.from({ length: job.callers }, (_, number) => caller(number));
  await passed(WARM_UP_MS);
  if (client.protocols().get(node) !== protocol) throw new Error(`the server doesn't speak ${protocol}`);
  const [callsBefore, cpuBefore, begun] = [calls, process.cpuUsage(), performance.now()];
  await passed(job.ms);
  const [done, { user, system }, ms] = [
    calls - callsBefore,
    process.cpuUsage(cpuBefore),
    performance.now() - begun,
  ];
  isEnding = true;
  await Promise.all(callers);
  await client.close();
  if (failed > 0) console.log(`${failed} ${job.operation}s over ${protocol} failed`);
  return { perSecond: (done * 1000) / ms, cpuUs: (user + system) / done };
}

async function ready(node: string): Promise<void> {
  const client = new KvClient({ nodes: [node], timeoutMs: READY_MS_MAX });
  for (let key = 0; key < KEYS; key++) await client.put(`key${key}`, "begin");
  await client.close();
}

function passed(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function median(figures: readonly number[]): number {
  return figures.toSorted((a, b) => a - b)[figures.length >> 1] ?? NaN;
}
