/**
 * The hot parts alone, by CPU time, and a guard against becoming slower: each is divided by a reference loop
 * that was measured in the same round, since the time of a loop alone says more about the machine than about
 * Keelson. The part fails if a ratio falls below its limit.
 */
import { execFileSync } from "node:child_process";
import path from "node:path";

import { commitOf, machineFacts } from "../lib/machine.ts";
import type { BenchOptions } from "../lib/options.ts";
import type { Measure, Report, Row } from "../lib/report.ts";
import { alternate, medianOf, ratiosOf } from "../lib/statistics.ts";

const ROOT = path.join(import.meta.dirname, "../..");
const MEASURE_WORK = path.join(ROOT, "bench/micro/measure-work.ts");
const CORE = path.join(ROOT, "bench/core.ts");

interface Work {
  readonly name: string;
  readonly args: (ms: number) => readonly string[];
  /**
   * The smallest ratio to the reference loop that passes: about two fifths of the ratio when the limit was
   * set. On a busy machine a single ratio of the same commit may be half of the next; the median of three
   * rounds varies less. What the guard is for, such as work that became quadratic, or a path that no longer
   * compiles to fast code, costs more.
   */
  readonly ratioMin: number;
}

const REFERENCE = "reference";

const WORKS: readonly Work[] = [
  {
    name: "a record to bytes and back",
    args: (ms) => [MEASURE_WORK, "record", String(ms)],
    ratioMin: 12,
  },
  {
    name: "the core, commands in batches of 16",
    args: (ms) => [CORE, "measure", ROOT, "16", String(ms)],
    ratioMin: 24,
  },
  {
    name: "the core, commands in batches of 256",
    args: (ms) => [CORE, "measure", ROOT, "256", String(ms)],
    ratioMin: 150,
  },
];

const RATE: Measure = {
  ...{ name: "Rate", unit: "per second of CPU time", better: "higher", digits: 0, hasChart: false },
};
const RATIO: Measure = {
  ...{ name: "Ratio to the reference loop", unit: "of the same round", better: "higher", digits: 2 },
  hasChart: false,
};

export async function benchMicro(options: BenchOptions): Promise<Report> {
  const reference = { name: REFERENCE, args: (ms: number) => [MEASURE_WORK, REFERENCE, String(ms)] };
  const rounds = options.short ? { min: 3, max: 3, spreadMax: 0 } : options.rounds;
  const measured = await alternate([reference, ...WORKS], rounds, ({ args }) =>
    Promise.resolve(Number(execFileSync(process.execPath, args(options.ms), { encoding: "utf8" }))),
  );
  const valuesOf = (name: string): readonly number[] =>
    [...measured].find(([subject]) => subject.name === name)?.[1] ?? [];
  const row = (measure: string, point: string, values: readonly number[]): Row => ({
    ...{ measure, point, values: { keelson: values } },
  });
  const ratios = WORKS.map(({ name, ratioMin }) => ({
    ...{ name, ratioMin, values: ratiosOf(valuesOf(name), valuesOf(REFERENCE)) },
  }));
  return {
    part: "micro",
    title: "The hot parts",
    command: options.command,
    commit: commitOf(),
    date: new Date().toISOString().slice(0, 10),
    machine: machineFacts(),
    subjects: { keelson: "Keelson" },
    measures: [RATE, RATIO],
    rows: [
      ...[REFERENCE, ...WORKS.map(({ name }) => name)].map((name) => row(RATE.name, name, valuesOf(name))),
      ...ratios.map(({ name, values }) => row(RATIO.name, name, values)),
    ],
    notes: ratios.map(({ name, ratioMin }) => `Limit for ${name}: ${ratioMin}.`),
    failures: ratios
      .filter(({ values, ratioMin }) => !(medianOf(values) >= ratioMin))
      .map(({ name, values, ratioMin }) => `${name}: ${medianOf(values).toFixed(2)} is below ${ratioMin}`),
  };
}
