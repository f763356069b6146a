/** The options that all parts of the benchmark share. */
import { tmpdir } from "node:os";
import { parseArgs } from "node:util";

import { cacheFolder } from "./peer-builds.ts";
import type { RoundLimits } from "./statistics.ts";

export interface BenchOptions {
  /** The smallest run that still exercises everything; its figures mean little. */
  readonly short: boolean;
  /** Writes the results into docs/. */
  readonly update: boolean;
  readonly rounds: RoundLimits;
  /** The measured time of one point of one subject. */
  readonly ms: number;
  /** The points that a part measures (writers, clients, batches), or undefined for the part's own. */
  readonly points: readonly number[] | undefined;
  /** The rivals to measure; undefined for all. */
  readonly peers: readonly string[] | undefined;
  readonly cache: string;
  /** The folder for logs and databases. */
  readonly data: string;
  /** As typed, for the report. */
  readonly command: string;
}

export function readOptions(part: string, args: readonly string[]): BenchOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      short: { type: "boolean", default: false },
      update: { type: "boolean", default: false },
      rounds: { type: "string" },
      seconds: { type: "string" },
      points: { type: "string" },
      peers: { type: "string" },
      cache: { type: "string" },
      data: { type: "string" },
    },
  });
  if (values.short && values.update) throw new Error("the figures of --short are not for the documents");
  const rounds = Number(values.rounds ?? (values.short ? 1 : 5));
  const seconds = Number(values.seconds ?? (values.short ? 0.3 : 3));
  if (!(rounds >= 1) || !(seconds > 0)) throw new Error("--rounds is 1 or more, --seconds above 0");
  const typed = args.filter((arg, at) => !/^--(cache|data|update)\b/.test(arg) && !isValueOfPath(args, at));
  return {
    short: values.short,
    update: values.update,
    rounds: { min: Math.min(rounds, 3), max: rounds, spreadMax: 0.03 },
    ms: seconds * 1000,
    points: values.points?.split(",").map(Number),
    peers: values.peers === "none" ? [] : values.peers?.split(","),
    cache: cacheFolder(values.cache),
    data: values.data ?? tmpdir(),
    command: ["npm run bench --", part, ...typed].join(" "),
  };
}

/** Paths of this machine stay out of the report. */
function isValueOfPath(args: readonly string[], at: number): boolean {
  return /^--(cache|data)$/.test(args[at - 1] ?? "");
}
