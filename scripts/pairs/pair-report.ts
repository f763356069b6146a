/** The text of a tally of pairs: the figures, what never met, and the matrix. */
import type { Feature } from "../../packages/keelson/src/testing/simulator/index.ts";
import type { PairTally } from "./pair-tally.ts";

/** What the figures are of. */
export interface PairRuns {
  readonly from: number;
  readonly seeds: number;
  /** Only the plans were counted. */
  readonly isPlanned: boolean;
  /** With the plans that are made for rare pairs. */
  readonly isSteered: boolean;
}

/** The command that counts these runs and writes them to the page. */
export function commandOf({ from, seeds, isPlanned, isSteered }: PairRuns): string {
  const options = [...(isPlanned ? ["--planned"] : []), ...(isSteered ? [] : ["--unsteered"]), "--docs"];
  return `npm run sim:pairs -- --from ${String(from)} --seeds ${String(seeds)} ${options.join(" ")}`;
}

const PERCENTS = [50, 90, 95, 99, 100];

/** The figures, one per line. */
export function figuresOf(tally: PairTally, { from, seeds, isPlanned }: PairRuns): string[] {
  const pairs = tally.pairs();
  const possible = pairs.filter(({ why }) => why === null);
  const met = possible.filter(({ count }) => count > 0).length;
  const share = ((100 * met) / Math.max(1, possible.length)).toFixed(1);
  const milestones = PERCENTS.map((percent) => tally.milestone(percent))
    .filter(({ runs }) => runs !== null)
    .map(({ percent, runs }) => `${String(percent)} % after ${String(runs)}`);
  return [
    `${String(seeds)} ${isPlanned ? "plans" : "runs"} from seed ${String(from)}: ` +
      `${String(possible.length)} pairs are possible, ${String(met)} met (${share} %), ` +
      `${String(possible.length - met)} never met, and ${String(pairs.length - possible.length)} can't meet`,
    `${milestones.join(", ")} ${isPlanned ? "plans" : "runs"}`,
  ];
}

/** For each feature, the possible pairs with it that never met. A pair is named once. */
export function neverMet(tally: PairTally): string[] {
  const lines = new Map<Feature, Feature[]>();
  for (const { a, b, count, why } of tally.pairs())
    if (why === null && count === 0) lines.set(a, [...(lines.get(a) ?? []), b]);
  return [...lines].map(([a, others]) => `${a}: ${others.join(", ")}`);
}

/** The pairs that no run can have: how many, by the reason. */
export function reasonsOf(tally: PairTally): string[] {
  const counts = new Map<string, number>();
  for (const { why } of tally.pairs()) if (why !== null) counts.set(why, (counts.get(why) ?? 0) + 1);
  return [...counts].sort((x, y) => y[1] - x[1]).map(([why, count]) => `${String(count)}: ${why}`);
}

/**
 * One line for each feature. Its n-th character is its pair with the feature of line n: `1` to `9` runs had
 * both, `+` more, `-` none, and `.` no run can.
 */
export function matrixOf(tally: PairTally, features: readonly Feature[]): string[] {
  const width = Math.max(...features.map(({ length }) => length));
  const cells = new Map(tally.pairs().map(({ a, b, count, why }) => [`${a}\n${b}`, cellOf(count, why)]));
  return features.map((a, at) => {
    const row = features.slice(0, at).map((b) => cells.get(`${b}\n${a}`) ?? "?");
    return `${String(at + 1).padStart(3)} ${a.padEnd(width)} ${row.join("")}`.trimEnd();
  });
}

function cellOf(count: number, why: string | null): string {
  if (why !== null) return ".";
  if (count === 0) return "-";
  return count > 9 ? "+" : String(count);
}
