import type { Model, ModelState } from "./model.ts";
import type { DoneOperation, Operation, UnknownOperation } from "./operation.ts";
import { Search, type SearchLimits } from "./search.ts";

/** A part of a history that no order explains. */
export interface IllegalPart<Input, Output> {
  /** Each of them is needed: without any one of them, the rest has an order (if `smallest`). */
  readonly required: readonly DoneOperation<Input, Output>[];
  /** They may have taken effect or not; without them, the part would be illegal for another reason. */
  readonly optional: readonly UnknownOperation<Input>[];
  /** False if a limit ended the shrinking, so that there may be a smaller part. */
  readonly smallest: boolean;
}

/**
 * Makes an illegal history small. What is left out must not make a lie of the rest: without the
 * write, any read of its value would be "illegal". So an operation is first made one of unknown
 * outcome, which allows more orders and never fewer; when no more can be, those of unknown outcome
 * are left out as long as every other operation stays needed, which it would not if the reason of
 * the illegality had changed.
 */
export class Shrinker<State extends ModelState, Input, Output> {
  readonly #model: Model<State, Input, Output>;
  readonly #limits: SearchLimits;
  #stepsLeft: number;
  #undecided = false;

  /** `stepsMax` is for all searches together, `limits` for each. */
  constructor(model: Model<State, Input, Output>, limits: SearchLimits, stepsMax: number) {
    this.#model = model;
    this.#limits = limits;
    this.#stepsLeft = stepsMax;
  }

  /** The operations must be illegal. */
  shrink(operations: readonly Operation<Input, Output>[]): IllegalPart<Input, Output> {
    const prefix = this.#shortestPrefix(operations);
    const required = prefix
      .filter((operation) => operation.outcome === "done")
      .sort((a, b) => a.returnedAt - b.returnedAt);
    const optional = prefix.filter((operation) => operation.outcome === "unknown");
    const relaxed = this.#relax(required, optional);
    const kept = this.#leaveOut(relaxed.required, relaxed.optional);
    return { required: relaxed.required, optional: kept, smallest: !this.#undecided };
  }

  /** Up to the first return that cannot be explained; what was under way then is of unknown outcome. */
  #shortestPrefix(operations: readonly Operation<Input, Output>[]): Operation<Input, Output>[] {
    const returns = operations
      .filter((operation) => operation.outcome === "done")
      .map(({ returnedAt }) => returnedAt)
      .sort((a, b) => a - b);
    // A longer prefix of an illegal one is illegal too, so that halving finds the shortest.
    let low = 0;
    let high = returns.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#isIllegal(prefixUntil(operations, returns[middle] ?? 0))) high = middle;
      else low = middle + 1;
    }
    return prefixUntil(operations, returns[high] ?? 0);
  }

  /** Makes as many operations as possible of unknown outcome: in halves, then quarters, and so on to single ones. */
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

  /** Leaves out operations of unknown outcome as long as all that returned stay needed. */
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
   * Ranges to try to do without, large ones first and from the end, where `length` is what is left
   * at that time. One round of each size is enough: what could not be spared with more around it
   * cannot be spared with less.
   */
  *#chunks(length: () => number): Generator<readonly [from: number, to: number]> {
    for (let size = Math.ceil(length() / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
      // What was taken out moved nothing that lies before it.
      for (let to = length(); to > 0; to -= size) yield [Math.max(0, to - size), to];
    }
  }

  #unknowns(operations: readonly DoneOperation<Input, Output>[]): UnknownOperation<Input>[] {
    return operations.filter(({ input, output }) => !this.#model.isEffectless(input, output)).map(asUnknown);
  }

  #isIllegal(operations: readonly Operation<Input, Output>[]): boolean {
    return this.#verdict(operations) === "illegal";
  }

  #isLegal(operations: readonly Operation<Input, Output>[]): boolean {
    return this.#verdict(operations) === "linearizable";
  }

  #verdict(operations: readonly Operation<Input, Output>[]): string {
    const stepsMax = Math.min(this.#limits.stepsMax, this.#stepsLeft);
    const { verdict, steps } = new Search(this.#model, operations, { ...this.#limits, stepsMax }).run();
    this.#stepsLeft = Math.max(0, this.#stepsLeft - steps);
    this.#undecided ||= verdict === "undecided";
    return verdict;
  }
}

/** What had happened by a time: later calls are not in it, and later returns are not known. */
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

/** The operation as if nobody had heard of its return. */
export function asUnknown<Input>({
  id,
  client,
  input,
  calledAt,
}: Operation<Input, unknown>): UnknownOperation<Input> {
  return { id, client, input, calledAt, outcome: "unknown" };
}
