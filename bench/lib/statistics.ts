/**
 * The statistics of the benchmark: medians and spread of few values, ratios of values that were measured in
 * the same round, and the order and the end of the rounds. Pure, except for the measurements that the caller
 * passes in.
 */

export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export interface RoundLimits {
  readonly min: number;
  readonly max: number;
  /**
   * Rounds end early, after `min` of them, when every subject's middle half of values lies within this part
   * of its median.
   */
  readonly spreadMax: number;
}

/** The median of an even number of values is the mean of the two in the middle. */
export function medianOf(values: readonly number[]): number {
  return quantileOf(values, 0.5);
}

/** Interpolates between neighbours. NaN for no values: no figure must look like a measured zero. */
export function quantileOf(values: readonly number[], quantile: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const place = (sorted.length - 1) * quantile;
  const below = sorted[Math.floor(place)] ?? Number.NaN;
  const above = sorted[Math.ceil(place)] ?? Number.NaN;
  return below + (above - below) * (place - Math.floor(place));
}

export function summaryOf(values: readonly number[]): Summary {
  return { median: medianOf(values), min: quantileOf(values, 0), max: quantileOf(values, 1) };
}

/**
 * The ratios of two subjects, round by round. The machine's speed drifts between rounds, and drifts less
 * within one, so the ratio of one round's values says more than the ratio of two medians. A round that one of
 * them lacks counts for neither.
 */
export function ratiosOf(ours: readonly number[], theirs: readonly number[]): number[] {
  const rounds = Math.min(ours.length, theirs.length);
  return Array.from({ length: rounds }, (_, round) => (ours[round] ?? 0) / (theirs[round] ?? 0)).filter(
    (ratio) => Number.isFinite(ratio),
  );
}

/** The width of the middle half of the values, as a part of their median. */
export function spreadOf(values: readonly number[]): number {
  return (quantileOf(values, 0.75) - quantileOf(values, 0.25)) / medianOf(values);
}

/**
 * Measures the subjects in turn, A B C A B C: each round has one value of each, so that whatever disturbs the
 * machine for longer than a round disturbs all. Every second round runs backwards (C B A), since the first of
 * a round may find another machine than the last, such as a full page cache. Returns the values by subject.
 *
 * `measure` returns what decides about the end of the rounds: one figure, higher or lower.
 */
export async function alternate<S>(
  subjects: readonly S[],
  limits: RoundLimits,
  measure: (subject: S, round: number) => Promise<number>,
): Promise<Map<S, number[]>> {
  const values = new Map<S, number[]>(subjects.map((subject) => [subject, []]));
  for (let round = 0; round < limits.max; round++) {
    if (round >= limits.min && [...values.values()].every((each) => spreadOf(each) <= limits.spreadMax))
      break;
    for (const subject of round % 2 === 0 ? subjects : subjects.toReversed())
      values.get(subject)?.push(await measure(subject, round));
  }
  return values;
}
