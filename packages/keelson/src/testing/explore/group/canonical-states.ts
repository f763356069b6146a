// Chooses one state for all states that differ only in the names of nodes.
import { HISTORY, HOSTS, COUNTS, isLess, type GroupState } from "./group-state.ts";
import type { StepCache } from "./step-cache.ts";

/** The one state that stands for all states that differ from it only in names. */
export interface CanonicalState {
  readonly state: GroupState;
  /** The renaming that led to it, as a number of `StepCache.renamings`. */
  readonly renaming: number;
}

/** Finds the canonical state of a state. */
export class CanonicalStates {
  readonly #cache: StepCache;
  readonly #nodes: number;
  /**
   * Whether every renaming is allowed, so that one of them puts the hosts in the order of their signatures.
   */
  readonly #isSymmetric: boolean;
  /**
   * By place: the signatures of the state that is being renamed. A field only so that it isn't allocated each
   * time.
   */
  readonly #signatures: number[] = [];

  constructor(cache: StepCache) {
    this.#cache = cache;
    this.#nodes = cache.bounds.nodes;
    this.#isSymmetric = cache.bounds.change === "none";
  }

  /**
   * The least of a state's renamed versions. If every renaming is allowed, only those are compared whose
   * hosts are in the order of their signatures.
   */
  of(state: GroupState): CanonicalState {
    let best: number[] | null = null;
    let bestRenaming = 0;
    for (let place = 0; place < this.#nodes; place++) {
      this.#signatures[place] = this.#cache.facts(state[HOSTS + place] ?? -1).signature;
    }
    for (const [by, renaming] of this.#cache.renamings.entries()) {
      if (this.#isSymmetric && !this.#isOrdered(by)) continue;
      const candidate = this.#renamed(state, by, renaming);
      if (best !== null && !isLess(candidate, best)) continue;
      best = candidate;
      bestRenaming = by;
    }
    return { state: best ?? state, renaming: bestRenaming };
  }

  /** Whether a renaming puts the hosts in order of their signatures. */
  #isOrdered(by: number): boolean {
    const origin = this.#cache.inverses[by] ?? [];
    for (let place = 1; place < origin.length; place++) {
      const before = this.#signatures[origin[place - 1] ?? -1] ?? 0;
      if (before > (this.#signatures[origin[place] ?? -1] ?? 0)) return false;
    }
    return true;
  }

  #renamed(state: GroupState, by: number, renaming: readonly number[]): number[] {
    const { hosts, messages, histories } = this.#cache;
    const first = HOSTS + this.#nodes;
    const after = [histories.renamed(by, state[HISTORY] ?? -1), ...state.slice(COUNTS, HOSTS)];
    for (let place = 0; place < this.#nodes; place++) {
      after[HOSTS + (renaming[place] ?? -1)] = hosts.renamed(by, state[HOSTS + place] ?? -1);
    }
    for (let at = first; at < state.length; at++) {
      const message = messages.renamed(by, state[at] ?? -1);
      let to = at;
      for (; to > first && (after[to - 1] ?? -1) > message; to--) after[to] = after[to - 1] ?? -1;
      after[to] = message;
    }
    return after;
  }
}
