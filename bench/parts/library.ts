/**
 * The library, durable: three processes on this machine, each with its log on disk and TCP between them, one
 * sync before each acknowledgement, commands of 256 bytes, and W writers in the leader's process. Keelson
 * against etcd's Raft library and hashicorp/raft, each with its own log and transport.
 */
import path from "node:path";

import { commitOf, machineFacts } from "../lib/machine.ts";
import type { BenchOptions } from "../lib/options.ts";
import { build, pinnedVersion } from "../lib/peer-builds.ts";
import type { Measure, Report, Row } from "../lib/report.ts";
import { alternate } from "../lib/statistics.ts";
import { LibraryCluster, type Costs, type Launch } from "../library/library-cluster.ts";
import type { Figures } from "../library/protocol.ts";

const COMMAND_BYTES = 256;
const WARM_UP_MS = 500;
/** A job before the first that counts. */
const HEATING_MS = 2000;
const HEATING_WRITERS = 64;
const WRITERS = [1, 16, 64, 256, 1024];
const WRITERS_SHORT = [1, 64];

type Result = Figures & Costs;

interface MeasureOf extends Measure {
  readonly valueOf: (result: Result) => number;
  readonly target?: number;
}

const MEASURES: readonly MeasureOf[] = [
  {
    ...{ name: "Writes", unit: "per second", better: "higher", digits: 0, hasChart: true, target: 1 },
    valueOf: ({ writes, ms }) => (writes / ms) * 1000,
  },
  { name: "p50", unit: "ms", better: "lower", digits: 2, hasChart: false, valueOf: ({ p50 }) => p50 },
  {
    name: "p99",
    unit: "ms",
    better: "lower",
    digits: 1,
    hasChart: true,
    target: 1,
    valueOf: ({ p99 }) => p99,
  },
  {
    ...{
      name: "CPU of all members",
      unit: "s per 100,000 writes",
      better: "lower",
      digits: 1,
      hasChart: false,
    },
    // CPU time is counted from the start of the warm-up, so the writes of the warm-up are estimated.
    valueOf: ({ cpuSeconds, writes, ms }) => (cpuSeconds * 100_000) / (writes * (1 + WARM_UP_MS / ms)),
  },
  {
    name: "Leader resident",
    unit: "MiB",
    better: "lower",
    digits: 0,
    hasChart: false,
    valueOf: ({ leaderMib }) => leaderMib,
  },
];

interface Subject {
  readonly name: string;
  readonly title: string;
  readonly launch: Launch;
}

interface Rival {
  readonly name: string;
  readonly title: string;
  readonly peer: string;
  readonly module: string;
  readonly env?: Readonly<Record<string, string>>;
}

const RIVALS: readonly Rival[] = [
  { name: "etcd-raft", title: "etcd-raft", peer: "etcd-raft", module: "go.etcd.io/raft/v3" },
  {
    ...{ name: "hashicorp-wal", title: "hashicorp/raft, raft-wal", peer: "hashicorp-raft" },
    ...{ module: "github.com/hashicorp/raft", env: { BENCH_STORE: "wal" } },
  },
  {
    ...{ name: "hashicorp-boltdb", title: "hashicorp/raft, BoltDB", peer: "hashicorp-raft" },
    ...{ module: "github.com/hashicorp/raft", env: { BENCH_STORE: "boltdb" } },
  },
];

export async function benchLibrary(options: BenchOptions): Promise<Report> {
  const subjects = [keelson(), ...rivals(options)];
  const points = options.points ?? (options.short ? WRITERS_SHORT : WRITERS);
  const results = new Map<string, Result[]>();
  const keyOf = (subject: string, writers: number): string => `${subject} ${writers}`;
  await alternate(subjects, options.rounds, async (subject, round) => {
    // A new cluster a round: no subject runs while another is measured, and none has an older log.
    await using cluster = await LibraryCluster.start(subject.launch, options.data);
    // The JIT compilers of those that have one, and the first segments' files.
    const heating = { writers: HEATING_WRITERS, warmUpMs: 0, ms: options.short ? options.ms : HEATING_MS };
    await cluster.run({ ...heating, bytes: COMMAND_BYTES });
    let last = 0;
    for (const writers of points) {
      const job = { writers, warmUpMs: WARM_UP_MS, ms: options.ms, bytes: COMMAND_BYTES };
      const result = await cluster.run(job);
      const key = keyOf(subject.name, writers);
      results.set(key, [...(results.get(key) ?? []), result]);
      last = (result.writes / result.ms) * 1000;
      console.log(
        `round ${round + 1}, ${subject.name}, ${writers} writers: ${last.toFixed(0)} writes/s, ` +
          `p50 ${result.p50.toFixed(2)} ms, p99 ${result.p99.toFixed(1)} ms`,
      );
    }
    return last;
  });
  const rows = MEASURES.flatMap(({ name, valueOf, target }) =>
    points.map((writers): Row => {
      const values = subjects.map((subject) => [
        subject.name,
        (results.get(keyOf(subject.name, writers)) ?? []).map(valueOf),
      ]);
      const row = {
        measure: name,
        point: String(writers),
        values: Object.fromEntries(values) as Row["values"],
      };
      return target === undefined ? row : { ...row, target };
    }),
  );
  return {
    part: "library",
    title: "The library, durable",
    command: options.command,
    commit: commitOf(),
    date: new Date().toISOString().slice(0, 10),
    machine: machineFacts(),
    subjects: Object.fromEntries(subjects.map(({ name, title }) => [name, title])),
    measures: MEASURES.map(({ name, unit, better, digits, hasChart }) => ({
      name,
      unit,
      better,
      digits,
      hasChart,
    })),
    rows,
    notes: [],
  };
}

function keelson(): Subject {
  const program = path.join(import.meta.dirname, "../library/keelson-member.ts");
  return { name: "keelson", title: "Keelson", launch: { command: process.execPath, args: [program] } };
}

function rivals({ peers, cache }: BenchOptions): Subject[] {
  const wanted = RIVALS.filter(
    ({ name, peer }) => peers === undefined || peers.some((one) => one === name || one === peer),
  );
  return wanted.flatMap(({ name, title, peer, module, env }) => {
    const program = build({ peer, target: "." }, cache);
    if (program === null) return [];
    const launch = { command: program, args: [], ...(env === undefined ? {} : { env }) };
    return [{ name, title: `${title} (${pinnedVersion(peer, module)})`, launch }];
  });
}
