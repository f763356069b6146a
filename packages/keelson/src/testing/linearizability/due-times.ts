import type { Model, ModelState } from "./model.ts";
import type { DoneOperation } from "./operation.ts";

/**
 * How many different kinds of reads are distinguished. A key has few of them, and each has to be evaluated
 * after every change.
 */
const KINDS_OF_READ_MAX = 8;

/**
 * Estimates when each operation must take effect at the latest. The estimate only decides what the search
 * tries first; a good one finds the order of a legal history almost without backtracking.
 *
 * A change whose effect no read saw is due when it returns. A change that reads saw is due when the last of
 * these reads was called: the state holds this change at that time, so operations due earlier come before it,
 * and the others after it.
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
