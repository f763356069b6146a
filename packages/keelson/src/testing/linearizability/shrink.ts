import type { Model, ModelState } from "./model.ts";
import type { DoneOperation, Operation, UnknownOperation } from "./operation.ts";
import { SearchBudget } from "./search-budget.ts";
import type { SearchLimits } from "./search.ts";

/** A part of a history that has no legal order. */
export interface IllegalPart<Input, Output> {
  /**
   * The required operations. If `smallest`, each is needed: without any one of them, the rest has a legal
   * order.
   */
  readonly required: readonly DoneOperation<Input, Output>[];
  /**
   * Operations that may have taken effect or not. Without them, the part would be illegal for another reason.
   */
  readonly optional: readonly UnknownOperation<Input>[];
  /** False if a limit ended the shrinking: there may be a smaller part. */
  readonly smallest: boolean;
}

/**
 * Shrinks an illegal history. Leaving out a write would make every read of its value illegal, and so hide the
 * real reason. So first, as many operations as possible get an unknown outcome, which only allows more
 * orders. Then operations of unknown outcome are left out, as long as each of the other operations stays
 * needed: if one were no longer needed, the reason would have changed.
 */
export class Shrinker<State extends ModelState, Input, Output> {
  readonly #model: Model<State, Input, Output>;
  readonly #budget: SearchBudget;

  /** `stepsMax` limits all searches together, `limits` each of them. */
  constructor(model: Model<State, Input, Output>, limits: SearchLimits, stepsMax: number) {
    this.#model = model;
    this.#budget = new SearchBudget(limits, stepsMax);
  }

  /** The operations must have no legal order. */
  shrink(operations: readonly Operation<Input, Output>[]): IllegalPart<Input, Output> {
    const prefix = this.#shortestPrefix(operations);
    const required = prefix
      .filter((operation) => operation.outcome === "done")
      .sort((a, b) => a.returnedAt - b.returnedAt);
    const optional = prefix.filter((operation) => operation.outcome === "unknown");
    const relaxed = this.#relax(required, optional);
    const kept = this.#leaveOut(relaxed.required, relaxed.optional);
    return { required: relaxed.required, optional: kept, smallest: !this.#budget.isExhausted };
  }

  /**
   * The operations up to the first return after which there is no legal order; calls that had not returned by
   * then get an unknown outcome.
   */
  #shortestPrefix(operations: readonly Operation<Input, Output>[]): Operation<Input, Output>[] {
    const returns = operations
      .filter((operation) => operation.outcome === "done")
      .map(({ returnedAt }) => returnedAt)
      .sort((a, b) => a - b);
    // Whatever extends an illegal prefix is illegal, too, so a binary search finds the shortest one.
    let low = 0;
    let high = returns.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#isIllegal(prefixUntil(operations, returns[middle] ?? 0))) high = middle;
      else low = middle + 1;
    }
    return prefixUntil(operations, returns[high] ?? 0);
  }

  /**
   * Gives as many operations as possible an unknown outcome: first tries halves, then quarters, and so on
   * down to single ones.
   */
  #relax(
    required: readonly DoneOperation<Input, Output>[],
    optional: readonly UnknownOperation<Input>[],
  ): { required: readonly DoneOperation<Input, Output>[]; optional: readonly UnknownOperation<Input>[] } {
    let kept = required;
    let unknown = optional;
    for (const [from, to] of this.#chunks(() => kept.length)) {
      const rest = [...kept.slice(0, from), ...kept.slice(to)];
      const looser = [...unknown, ...this.#unknowns(kept.slice(from, to))];
      if (!this.#isIllegal([...rest, ...looser])) continue;
      kept = rest;
      unknown = looser;
    }
    return { required: kept, optional: unknown };
  }

  /** Leaves out operations of unknown outcome as long as every required one stays needed. */
  #leaveOut(
    required: readonly DoneOperation<Input, Output>[],
    optional: readonly UnknownOperation<Input>[],
  ): readonly UnknownOperation<Input>[] {
    let kept = optional;
    for (const [from, to] of this.#chunks(() => kept.length)) {
      const rest = [...kept.slice(0, from), ...kept.slice(to)];
      if (this.#areAllNeeded(required, rest)) kept = rest;
    }
    return kept;
  }

  #areAllNeeded(
    required: readonly DoneOperation<Input, Output>[],
    optional: readonly UnknownOperation<Input>[],
  ): boolean {
    return required.every((one, at) => {
      const others = [...required.slice(0, at), ...required.slice(at + 1)];
      return this.#isLegal([...others, ...this.#unknowns([one]), ...optional]);
    });
  }

  /**
   * The ranges to try to leave out: large ones first, and from the end. `length` is how many are left at that
   * time. One round of each size is enough: an operation that was needed among more operations is needed
   * among fewer.
   */
  *#chunks(length: () => number): Generator<readonly [from: number, to: number]> {
    for (let size = Math.ceil(length() / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
      // Removing a range doesn't move what is before it.
      for (let to = length(); to > 0; to -= size) yield [Math.max(0, to - size), to];
    }
  }

  #unknowns(operations: readonly DoneOperation<Input, Output>[]): UnknownOperation<Input>[] {
    return operations.filter(({ input, output }) => !this.#model.isEffectless(input, output)).map(asUnknown);
  }

  #isIllegal(operations: readonly Operation<Input, Output>[]): boolean {
    return this.#budget.run(this.#model, operations).verdict === "illegal";
  }

  #isLegal(operations: readonly Operation<Input, Output>[]): boolean {
    return this.#budget.run(this.#model, operations).verdict === "linearizable";
  }
}

/**
 * The history as known at a time: without later calls, and with an unknown outcome for operations that return
 * later.
 */
function prefixUntil<Input, Output>(
  operations: readonly Operation<Input, Output>[],
  time: number,
): Operation<Input, Output>[] {
  return operations
    .filter(({ calledAt, outcome }) => calledAt <= time && outcome !== "not-done")
    .map((operation) =>
      operation.outcome === "done" && operation.returnedAt > time ? asUnknown(operation) : operation,
    );
}

/** The operation with an unknown outcome. */
export function asUnknown<Input>({
  id,
  client,
  input,
  calledAt,
}: Operation<Input, unknown>): UnknownOperation<Input> {
  return { id, client, input, calledAt, outcome: "unknown" };
}
