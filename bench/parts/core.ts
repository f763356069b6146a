/**
 * The core alone: commands per second of CPU time that three nodes in one thread commit, without payloads,
 * disks or sockets. Keelson's side is bench/core.ts. Each value has a process of its own.
 */
import { execFileSync } from "node:child_process";
import path from "node:path";

import { commitOf, machineFacts } from "../lib/machine.ts";
import type { BenchOptions } from "../lib/options.ts";
import { build, pinnedVersion } from "../lib/peer-builds.ts";
import type { Measure, Report, Row } from "../lib/report.ts";
import { alternate } from "../lib/statistics.ts";

const BATCHES = [1, 16, 256, 1024];
const BATCHES_SHORT = [1, 256];
/** The ratio to the best rival that a batch of this size should reach. */
const TARGETS: Readonly<Record<number, number>> = { 1: 0.5, 16: 1, 256: 3, 1024: 5 };

const RATE: Measure = {
  ...{ name: "Commands", unit: "million per CPU second, by commands in a batch", better: "higher" },
  ...{ digits: 3, hasChart: true },
};

interface Subject {
  readonly name: string;
  readonly title: string;
  /** What prints the commands per second. */
  readonly commandOf: (batch: number, ms: number) => readonly string[];
}

export async function benchCore(options: BenchOptions): Promise<Report> {
  const subjects = [keelson(), ...noraft(options)];
  const rows: Row[] = [];
  for (const batch of options.points ?? (options.short ? BATCHES_SHORT : BATCHES)) {
    const values = await alternate(subjects, options.rounds, ({ name, commandOf }, round) => {
      const [program = "", ...args] = commandOf(batch, options.ms);
      const millions = Number(execFileSync(program, args, { encoding: "utf8" })) / 1e6;
      console.log(`round ${round + 1}, ${name}, batches of ${batch}: ${millions.toFixed(3)} M/s`);
      return Promise.resolve(millions);
    });
    const byName = Object.fromEntries([...values].map(([{ name }, all]) => [name, all]));
    const row = { measure: RATE.name, point: String(batch), values: byName };
    const target = TARGETS[batch];
    rows.push(target === undefined ? row : { ...row, target });
  }
  return {
    part: "core",
    title: "The core",
    command: options.command,
    commit: commitOf(),
    date: new Date().toISOString().slice(0, 10),
    machine: machineFacts(),
    subjects: Object.fromEntries(subjects.map(({ name, title }) => [name, title])),
    measures: [RATE],
    rows,
    notes: [],
  };
}

function keelson(): Subject {
  const root = path.join(import.meta.dirname, "../..");
  const program = path.join(root, "bench/core.ts");
  return {
    name: "keelson",
    title: "Keelson",
    commandOf: (batch, ms) => [process.execPath, program, "measure", root, String(batch), String(ms)],
  };
}

function noraft({ peers, cache }: BenchOptions): Subject[] {
  if (peers !== undefined && !peers.includes("noraft")) return [];
  const program = build({ peer: "noraft", target: "." }, cache);
  if (program === null) return [];
  const title = `noraft (${pinnedVersion("noraft", "noraft")})`;
  return [{ name: "noraft", title, commandOf: (batch, ms) => [program, String(batch), String(ms)] }];
}
