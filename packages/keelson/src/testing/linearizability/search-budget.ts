import type { Model, ModelState } from "./model.ts";
import type { Operation } from "./operation.ts";
import { Search, type SearchLimits, type SearchResult } from "./search.ts";

/**
 * Steps that several searches share. Shrinking and explaining one history takes many searches: with a limit
 * on each of them alone, they could go on for hours.
 */
export class SearchBudget {
  readonly #limits: SearchLimits;
  #stepsLeft: number;
  #isExhausted = false;

  /** `stepsMax` limits all searches together, `limits` each of them. */
  constructor(limits: SearchLimits, stepsMax: number) {
    this.#limits = limits;
    this.#stepsLeft = stepsMax;
  }

  /** Whether a limit ended a search, or kept it from beginning. */
  get isExhausted(): boolean {
    return this.#isExhausted;
  }

  /** Runs a search with the steps that are left. It is undecided at once if none are. */
  run<State extends ModelState, Input, Output>(
    model: Model<State, Input, Output>,
    operations: readonly Operation<Input, Output>[],
    keepBest = false,
  ): SearchResult {
    const stepsMax = Math.min(this.#limits.stepsMax, this.#stepsLeft);
    const result: SearchResult =
      stepsMax > 0
        ? new Search(model, operations, { ...this.#limits, stepsMax }, keepBest).run()
        : { verdict: "undecided", steps: 0, order: [], limit: "stepsMax" };
    // Preparing a search takes time for each operation, also if it is decided in a few steps.
    this.#stepsLeft -= result.steps + operations.length;
    this.#isExhausted ||= result.verdict === "undecided";
    return result;
  }
}
