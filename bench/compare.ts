/**
 * Compares the durable writes of checkouts of this repository, such as two commits. A cluster of each is
 * alive during the whole run, and the job of `bench/write.ts` is given to one after the other: what else the
 * machine does hits all of them alike. Prints the medians of the rounds, and the CPU of all three members for
 * each write. A checkout needs its own `node_modules/keelson`.
 *
 * `npm run bench:compare -- [--writers 1,64] [--rounds 15] [--ms 800] [--bytes 256] DIR DIR...`
 */
import { fork, type ChildProcess } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";

import { freePorts } from "../scripts/lib/free-ports.ts";
import { medianOf } from "./lib/statistics.ts";

const MEMBERS = ["n1", "n2", "n3"];

/** The part of each job that `bench/write.ts` doesn't count. It costs CPU all the same. */
const WARM_UP_MS = 500;

/** /proc counts CPU time in units of so many microseconds. */
const TICK_US = 10_000;

/** A job takes its time and little more. After this a member is taken for dead, and the run ends. */
const JOB_OVERTIME_MS = 30_000;

interface Figures {
  readonly writes: number;
  readonly ms: number;
  readonly p50: number;
  readonly p99: number;
}

interface Cluster {
  readonly directory: string;
  readonly members: readonly ChildProcess[];
  readonly leader: ChildProcess;
}

/** One row for each round: writes/s, p50, p99, user and kernel time of a write in microseconds. */
type Round = readonly number[];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    writers: { type: "string", default: "1,64" },
    rounds: { type: "string", default: "15" },
    ms: { type: "string", default: "800" },
    bytes: { type: "string", default: "256" },
  },
});
const root = mkdtempSync(path.join(tmpdir(), "keelson-compare-"));
const started: ChildProcess[] = [];
try {
  const clusters: Cluster[] = [];
  for (const directory of positionals) clusters.push(await startCluster(path.resolve(directory)));
  for (const writers of values.writers.split(",").map(Number)) {
    const job = { writers, ms: Number(values.ms), bytes: Number(values.bytes) };
    const rounds = clusters.map((): Round[] => []);
    for (const cluster of clusters) await measure(cluster, job);
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const [at, cluster] of clusters.entries()) rounds[at]?.push(await measure(cluster, job));
    }
    for (const [at, { directory }] of clusters.entries()) {
      const median = (column: number): number => medianOf((rounds[at] ?? []).map((row) => row[column] ?? 0));
      console.log(
        `${writers} writers, ${directory}: ${median(0).toFixed(0)} writes/s, p50 ${median(1).toFixed(2)} ms, ` +
          `p99 ${median(2).toFixed(1)} ms, CPU ${median(3).toFixed(1)} µs user, ${median(4).toFixed(1)} µs kernel`,
      );
    }
  }
} finally {
  for (const member of started) member.kill("SIGKILL");
  rmSync(root, { recursive: true, force: true });
}

async function startCluster(directory: string): Promise<Cluster> {
  const ports = await freePorts(MEMBERS.length);
  const data = mkdtempSync(path.join(root, "cluster-"));
  const members = MEMBERS.map((name) =>
    fork(path.join(directory, "bench/write.ts"), ["node", name, path.join(data, name), ports.join(",")], {
      cwd: directory,
      execArgv: ["--conditions=source"],
    }),
  );
  started.push(...members);
  const leader = await Promise.race(
    members.map(async (member) => {
      await messageOf(member, "string", JOB_OVERTIME_MS);
      return member;
    }),
  );
  return { directory, members, leader };
}

async function measure({ members, leader }: Cluster, job: { readonly ms: number }): Promise<Round> {
  const before = cpuOf(members);
  const answer = messageOf(leader, "object", job.ms + WARM_UP_MS + JOB_OVERTIME_MS);
  leader.send(job);
  const { writes, ms, p50, p99 } = (await answer) as Figures;
  const after = cpuOf(members);
  const all = (writes * (ms + WARM_UP_MS)) / ms;
  const perWrite = (at: 0 | 1): number => ((after[at] - before[at]) * TICK_US) / all;
  return [(writes / ms) * 1000, p50, p99, perWrite(0), perWrite(1)];
}

/**
 * The next message of a member with this type: a text says that it leads, an object has the figures of a job.
 * Rejects if the member ends, or sends none in time.
 */
function messageOf(member: ChildProcess, type: "string" | "object", timeoutMs: number): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const end = (): void => {
      clearTimeout(timer);
      member.off("exit", fail);
      member.off("message", onMessage);
    };
    const fail = (): void => {
      end();
      reject(new Error("a member ended, or did not answer in time"));
    };
    const onMessage = (message: unknown): void => {
      if (typeof message !== type) return;
      end();
      resolve(message);
    };
    const timer = setTimeout(fail, timeoutMs);
    member.on("exit", fail);
    member.on("message", onMessage);
  });
}

/** User and kernel time of all members, in ticks. */
function cpuOf(members: readonly ChildProcess[]): readonly [number, number] {
  const sum: [number, number] = [0, 0];
  for (const { pid } of members) {
    const fields =
      readFileSync(`/proc/${String(pid)}/stat`, "utf8")
        .split(") ")
        .at(-1)
        ?.split(" ") ?? [];
    sum[0] += Number(fields[11]);
    sum[1] += Number(fields[12]);
  }
  return sum;
}
