import type { Model, ModelState } from "../model.ts";
import type { DoneOperation, Operation } from "../operation.ts";

/**
 * Decides linearizability by trying everything: every choice of operations of unknown outcome, and every
 * order of these and of all that returned. A history is linearizable if one of the orders respects the times
 * and the model allows it. For histories of a few operations.
 */
export function isLinearizableByBruteForce<State extends ModelState, Input, Output>(
  model: Model<State, Input, Output>,
  operations: readonly Operation<Input, Output>[],
): boolean {
  const done = operations.filter(({ outcome }) => outcome === "done");
  const unknown = operations.filter(({ outcome }) => outcome === "unknown");
  return subsets(unknown).some((chosen) =>
    permutations([...done, ...chosen]).some((order) => keepsTime(order) && isPossible(model, order)),
  );
}

/**
 * Whether an order respects the times and the model allows it. Checks the orders that the checker returns.
 */
export function isExplainedBy<State extends ModelState, Input, Output>(
  model: Model<State, Input, Output>,
  order: readonly Operation<Input, Output>[],
): boolean {
  return keepsTime(order) && isPossible(model, order);
}

function subsets<T>(items: readonly T[]): T[][] {
  return items.reduce<T[][]>((all, item) => [...all, ...all.map((some) => [...some, item])], [[]]);
}

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length === 0) return [[]];
  return items.flatMap((item, at) =>
    permutations([...items.slice(0, at), ...items.slice(at + 1)]).map((rest) => [item, ...rest]),
  );
}

function keepsTime(order: readonly Operation<unknown, unknown>[]): boolean {
  return order.every((later, at) => order.slice(at + 1).every((after) => !(endsAt(after) < later.calledAt)));
}

function endsAt(operation: Operation<unknown, unknown>): number {
  return operation.outcome === "done" ? operation.returnedAt : Number.POSITIVE_INFINITY;
}

function isPossible<State extends ModelState, Input, Output>(
  model: Model<State, Input, Output>,
  order: readonly Operation<Input, Output>[],
): boolean {
  let state: State = model.initial;
  for (const operation of order) {
    const output = operation.outcome === "done" ? operation.output : undefined;
    const next = model.step(state, operation.input, output);
    if (next === undefined) return false;
    state = next;
  }
  return true;
}

/** For tests that build histories by hand. */
export function done<Input, Output>(
  id: number,
  client: string,
  input: Input,
  calledAt: number,
  returnedAt: number,
  output: Output,
): DoneOperation<Input, Output> {
  return { id, client, input, calledAt, returnedAt, outcome: "done", output };
}
