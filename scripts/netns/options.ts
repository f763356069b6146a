import { parseArgs } from "node:util";

export interface NetnsOptions {
  /** The sizes of the clusters, one run for each. */
  readonly sizes: readonly number[];
  readonly seed: number;
  readonly isShort: boolean;
  /** Runs only phases with this text in their name; null: all. */
  readonly only: string | null;
  readonly seconds: number;
}

export const NETNS_HELP = `Usage: npm run netns [-- [--short] [--nodes N] [--only TEXT] [--seconds S] [--seed S]]

Servers on hosts of their own, in network namespaces: links are cut both ways and one way, delayed, lossy and
reordered, one after another, while clients write and read. Every answer is checked. Needs Linux and root.

  --short      three nodes and the phases that matter most, for CI
  --nodes N    3 or 5 (default: first 3, then 5)
  --only TEXT  only the phases with TEXT in their name
  --seconds S  how long each phase lasts (default 6, with --short 3)
  --seed S     of the clients' calls and the relay's losses (default: drawn, and printed)

Exits with 0 if all held or it can't run here (then one line says why), with 1 if something didn't hold.`;

/** @returns null if only the help was asked for; throws an Error that says what is wrong */
export function parseNetnsOptions(args: readonly string[]): NetnsOptions | null {
  const { values } = parseArgs({
    args: [...args],
    options: {
      short: { type: "boolean", default: false },
      nodes: { type: "string" },
      only: { type: "string" },
      seconds: { type: "string" },
      seed: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return null;
  const { nodes, short: isShort } = values;
  if (nodes !== undefined && nodes !== "3" && nodes !== "5")
    throw new Error(`--nodes is 3 or 5, not "${nodes}"`);
  const seconds = Number(values.seconds ?? (isShort ? 3 : 6));
  if (!(seconds > 0 && seconds <= 600)) throw new Error("--seconds is a number above 0, up to 600");
  const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
  if (!Number.isSafeInteger(seed) || seed < 0) throw new Error("--seed is a whole number");
  const sizes = nodes === undefined ? (isShort ? [3] : [3, 5]) : [Number(nodes)];
  return { sizes, seed, isShort, only: values.only ?? null, seconds };
}
