/** Counts which pairs of features came together in the same run, and after how many runs. */
import type { Feature } from "../../packages/keelson/src/testing/simulator/index.ts";

/** How often two features were in the same run. `why`: no run can have both; null: a run can. */
export interface PairCount {
  readonly a: Feature;
  readonly b: Feature;
  readonly count: number;
  readonly why: string | null;
}

/** After how many runs a share of the possible pairs had met; null: not yet. */
export interface Milestone {
  readonly percent: number;
  readonly runs: number | null;
}

/** See the file's header. */
export class PairTally {
  readonly #features: readonly Feature[];
  readonly #whyNever: (a: Feature, b: Feature) => string | null;
  readonly #counts = new Map<string, number>();
  /** After which run each pair met first, in order of time. */
  readonly #firstRuns: number[] = [];
  #runs = 0;

  /** Features that aren't among these are left out. */
  constructor(features: readonly Feature[], whyNever: (a: Feature, b: Feature) => string | null) {
    this.#features = features;
    this.#whyNever = whyNever;
  }

  /** One more run, in which these came together. */
  add(met: readonly string[]): void {
    this.#runs += 1;
    const present = this.#features.filter((feature) => met.includes(feature));
    for (const [at, a] of present.entries())
      for (const b of present.slice(at + 1)) {
        const key = keyOf(a, b);
        const count = this.#counts.get(key) ?? 0;
        this.#counts.set(key, count + 1);
        if (count === 0 && this.#whyNever(a, b) === null) this.#firstRuns.push(this.#runs);
      }
  }

  /** Every pair, possible or not, each once. */
  pairs(): PairCount[] {
    return this.#features.flatMap((a, at) =>
      this.#features.slice(at + 1).map((b) => ({ a, b, count: this.count(a, b), why: this.#whyNever(a, b) })),
    );
  }

  count(a: Feature, b: Feature): number {
    return this.#counts.get(keyOf(a, b)) ?? this.#counts.get(keyOf(b, a)) ?? 0;
  }

  milestone(percent: number): Milestone {
    const possible = this.pairs().filter(({ why }) => why === null).length;
    const needed = Math.ceil((possible * percent) / 100);
    return { percent, runs: this.#firstRuns[needed - 1] ?? null };
  }
}

function keyOf(a: Feature, b: Feature): string {
  return `${a}\n${b}`;
}
