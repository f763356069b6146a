/**
 * The server against etcd's, three members each, driven by the same load generator (peers/etcd/load): puts,
 * linearizable gets and a mix of one put to nine gets, at 1 to 1,000 clients, and the resident memory and CPU
 * time that a fixed number of puts takes. Both servers run with their defaults. All clients talk to the
 * leader.
 */
import { commitOf, machineFacts } from "../lib/machine.ts";
import type { BenchOptions } from "../lib/options.ts";
import { build, pinnedVersion } from "../lib/peer-builds.ts";
import type { Measure, Report, Row } from "../lib/report.ts";
import { alternate } from "../lib/statistics.ts";
import { EtcdCluster } from "../server/etcd-cluster.ts";
import { KeelsonCluster } from "../server/keelson-cluster.ts";
import { Load, type LoadFigures, type LoadJob } from "../server/load.ts";
import type { ServerCluster } from "../server/server-cluster.ts";

const VALUE_BYTES = 256;
const KEYS = 10_000;
const WARM_UP_MS = 500;
const CLIENTS = [1, 64, 256, 1000];
const CLIENTS_SHORT = [1, 16];

/** The ratios of CPU time and resident memory that puts should reach. */
const CPU_TARGET = { clients: 64, ratio: 0.25 };
const RESIDENT_TARGET = 1.25;

/** Of one cluster. One that changes its leader more often than this doesn't do the work that is measured. */
const REPEATED_MAX = 5;

/** Before the first job that counts. */
const HEATING_MS = 2000;
const HEATING_CLIENTS = 64;

interface Work {
  readonly name: string;
  /** The part of the operations that are reads. */
  readonly reads: number;
  /** The targets of the ratio of operations per second, by the number of clients. */
  readonly targets: Readonly<Record<number, number>>;
}

const WORKS: readonly Work[] = [
  { name: "Puts", reads: 0, targets: { 1: 2, 64: 6, 256: 8, 1000: 10 } },
  { name: "Gets", reads: 1, targets: { 1: 3, 64: 6, 1000: 8 } },
  { name: "Mix of 1 put to 9 gets", reads: 0.9, targets: {} },
];

interface Result extends LoadFigures {
  readonly memberCpuSeconds: number;
  readonly leaderMib: number;
  readonly followerMib: number;
}

interface MeasureOf extends Omit<Measure, "name"> {
  readonly name: string;
  readonly valueOf: (result: Result) => number;
}

const MEASURES: readonly MeasureOf[] = [
  {
    ...{ name: "", unit: "per second", better: "higher", digits: 0, hasChart: true },
    valueOf: ({ count, ms }) => (count / ms) * 1000,
  },
  {
    ...{ name: ", p50", unit: "ms", better: "lower", digits: 2, hasChart: false },
    valueOf: ({ p50 }) => p50,
  },
  {
    ...{ name: ", p99", unit: "ms", better: "lower", digits: 1, hasChart: true },
    valueOf: ({ p99 }) => p99,
  },
  {
    ...{ name: ", CPU of all members", unit: "s per 100,000", better: "lower", digits: 1, hasChart: false },
    valueOf: (result) => per100k(result.memberCpuSeconds, result),
  },
  {
    ...{ name: ", load generator's CPU", unit: "cores busy", better: "lower", digits: 2, hasChart: false },
    valueOf: ({ cpuSeconds, ms }) => cpuSeconds / ((ms + WARM_UP_MS) / 1000),
  },
  {
    ...{ name: ", leader resident", unit: "MiB", better: "lower", digits: 0, hasChart: false },
    valueOf: ({ leaderMib }) => leaderMib,
  },
  {
    ...{ name: ", follower resident", unit: "MiB", better: "lower", digits: 0, hasChart: false },
    valueOf: ({ followerMib }) => followerMib,
  },
];

/** CPU time is counted from the start of the warm-up, so the operations of the warm-up are estimated. */
function per100k(seconds: number, { count, ms }: Result): number {
  return (seconds * 100_000) / (count * (1 + WARM_UP_MS / ms));
}

interface Subject {
  readonly name: "keelson" | "etcd";
  readonly title: string;
  readonly start: () => Promise<ServerCluster>;
}

export async function benchServer(options: BenchOptions): Promise<Report> {
  const load = build({ peer: "etcd", target: "load" }, options.cache);
  if (load === null)
    throw new Error("the load generator is a Go program: without it there is no measurement");
  const subjects = subjectsOf(options);
  const points = options.points ?? (options.short ? CLIENTS_SHORT : CLIENTS);
  let repeated = 0;
  const results = new Map<string, Result[]>();
  const keyOf = (subject: string, work: string, clients: number): string => `${subject} ${work} ${clients}`;
  await alternate(subjects, options.rounds, async ({ name, start }, round) => {
    await using cluster = await start();
    await using driver = new Driver(cluster, load, name === "etcd" ? "etcd" : "http");
    const job = { clients: HEATING_CLIENTS, warmUpMs: 0, bytes: VALUE_BYTES, keys: KEYS };
    await driver.run({ ...job, ms: options.short ? options.ms : HEATING_MS, reads: 0 });
    let last = 0;
    for (const work of WORKS) {
      for (const clients of points) {
        const own = { ...job, clients, warmUpMs: WARM_UP_MS, ms: options.ms, reads: work.reads };
        const result = await driver.run(own);
        const key = keyOf(name, work.name, clients);
        results.set(key, [...(results.get(key) ?? []), result]);
        last = (result.count / result.ms) * 1000;
        console.log(
          `round ${round + 1}, ${name}, ${work.name}, ${clients} clients: ${last.toFixed(0)}/s, ` +
            `p50 ${result.p50.toFixed(2)} ms, p99 ${result.p99.toFixed(1)} ms`,
        );
      }
    }
    repeated += driver.repeated;
    return last;
  });
  const measures = WORKS.flatMap((work) =>
    MEASURES.map((measure) => ({ ...measure, name: work.name + measure.name, suffix: measure.name, work })),
  );
  const rows = measures.flatMap(({ name, suffix, work, valueOf }) =>
    points.map((clients): Row => {
      const values = subjects.map((subject) => [
        subject.name,
        (results.get(keyOf(subject.name, work.name, clients)) ?? []).map(valueOf),
      ]);
      const row = {
        measure: name,
        point: String(clients),
        values: Object.fromEntries(values) as Row["values"],
      };
      const target = targetOf(work, suffix, clients);
      return target === undefined ? row : { ...row, target };
    }),
  );
  return {
    part: "server",
    title: "The server against etcd",
    command: options.command,
    commit: commitOf(),
    date: new Date().toISOString().slice(0, 10),
    machine: machineFacts(),
    subjects: Object.fromEntries(subjects.map(({ name, title }) => [name, title])),
    measures: measures.map(({ name, unit, better, digits, hasChart }) => ({
      name,
      unit,
      better,
      digits,
      hasChart,
    })),
    rows,
    notes:
      repeated === 0
        ? []
        : [
            `Jobs that were repeated because the leader changed while they ran (too little CPU time): ${repeated}.`,
          ],
  };
}

function targetOf(work: Work, suffix: string, clients: number): number | undefined {
  if (suffix === "") return work.targets[clients];
  if (suffix === ", p50" || suffix === ", p99") return 1;
  if (work.reads > 0) return undefined;
  if (suffix.endsWith("resident")) return RESIDENT_TARGET;
  return suffix === ", CPU of all members" && clients === CPU_TARGET.clients ? CPU_TARGET.ratio : undefined;
}

/** Runs jobs against a cluster's leader, with a load generator that is started anew if the leader changes. */
class Driver implements AsyncDisposable {
  readonly #cluster: ServerCluster;
  readonly #program: string;
  readonly #kind: "etcd" | "http";
  #load: Load;
  /** The number of jobs that failed and were repeated. */
  repeated = 0;

  constructor(cluster: ServerCluster, program: string, kind: "etcd" | "http") {
    this.#cluster = cluster;
    this.#program = program;
    this.#kind = kind;
    this.#load = Load.start(program, kind, cluster.leaderAddress);
  }

  async run(job: LoadJob): Promise<Result> {
    for (;;) {
      const cpuBefore = this.#cluster.cpuSeconds();
      try {
        const figures = await this.#load.run(job);
        const memberCpuSeconds = this.#cluster.cpuSeconds() - cpuBefore;
        return { ...figures, memberCpuSeconds, ...this.#cluster.resident() };
      } catch (error) {
        if (this.repeated === REPEATED_MAX) throw error;
        this.repeated++;
        await this.#load[Symbol.asyncDispose]();
        await this.#cluster.findLeader();
        this.#load = Load.start(this.#program, this.#kind, this.#cluster.leaderAddress);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#load[Symbol.asyncDispose]();
  }
}

function subjectsOf({ cache, data, peers }: BenchOptions): Subject[] {
  const keelson: Subject = {
    name: "keelson",
    title: "Keelson, HTTP",
    start: () => KeelsonCluster.start(data),
  };
  if (peers !== undefined && !peers.includes("etcd")) return [keelson];
  const server = build({ peer: "etcd", target: "server" }, cache);
  if (server === null) return [keelson];
  const title = `etcd ${pinnedVersion("etcd", "go.etcd.io/etcd/server/v3")}`;
  return [keelson, { name: "etcd", title, start: () => EtcdCluster.start(server, data) }];
}
