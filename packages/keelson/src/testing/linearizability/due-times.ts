import type { Model, ModelState } from "./model.ts";
import type { DoneOperation } from "./operation.ts";

/** Reads in words that are told apart: a key has few, and each costs a look at every change. */
const KINDS_OF_READ_MAX = 8;

/**
 * When each operation should be placed at the latest. It decides nothing but what the search tries
 * first; a good guess finds the order of a legal history almost without a step back.
 *
 * What nobody saw is due when it returns. A change that was seen is due when the last to see it was
 * called: it is the state then, so what is due before must come before it, and the rest after.
 */
export function dueTimes<State extends ModelState, Input, Output>(
  model: Model<State, Input, Output>,
  operations: readonly DoneOperation<Input, Output>[],
): Float64Array {
  const seenAt = new Map<string, number>();
  const kinds = new Map<string, Input>();
  for (const { input, output, calledAt } of operations) {
    if (!model.isEffectless(input, output)) continue;
    const kind = model.describe(input);
    if (kinds.size < KINDS_OF_READ_MAX) kinds.set(kind, input);
    const sight = `${kind} ${model.describeOutput(input, output)}`;
    seenAt.set(sight, Math.max(calledAt, seenAt.get(sight) ?? calledAt));
  }
  return Float64Array.from(operations, ({ input, output, returnedAt }) => {
    if (model.isEffectless(input, output)) return returnedAt;
    const state = model.step(model.initial, input, output);
    if (state === undefined) return returnedAt;
    let due = Number.NEGATIVE_INFINITY;
    for (const [kind, read] of kinds) {
      due = Math.max(due, seenAt.get(`${kind} ${model.expected(state, read)}`) ?? due);
    }
    return due === Number.NEGATIVE_INFINITY ? returnedAt : due;
  });
}
