import { explain, type Explanation } from "./explain.ts";
import type { Model, ModelState } from "./model.ts";
import { checkTimes, type Operation } from "./operation.ts";
import { Search, type SearchLimits } from "./search.ts";
import { Shrinker } from "./shrink.ts";

/** Limits of a check. A key whose check reaches a limit is undecided, and never counts as linearizable. */
export interface CheckOptions {
  /**
   * Steps of the model for one key. Default: 5 million, which take about ten seconds. Checking
   * linearizability is NP-complete, so no limit is enough for every history.
   */
  readonly stepsMaxPerKey?: number;
  /** Steps of the model for all keys together. Default: 50 million. */
  readonly stepsMax?: number;
  /**
   * Estimated bytes in which the search for one key's order remembers what it has visited. Default: 256 MiB.
   */
  readonly memoryBytesMax?: number;
}

const STEPS_MAX_PER_KEY = 5_000_000;
const STEPS_MAX = 50_000_000;
const MEMORY_BYTES_MAX = 256 * 1024 * 1024;

/** Steps for shrinking one illegal history, and as many for explaining it. They take some seconds. */
const EXPLAIN_STEPS_MAX = 5_000_000;

/** Every key's operations have an order that explains them. */
export interface LinearizableResult {
  readonly verdict: "linearizable";
  readonly operations: number;
  readonly keys: number;
  readonly steps: number;
}

/** One key's operations have no order that explains them. */
export interface IllegalResult<Input, Output> extends Explanation<Input, Output> {
  readonly verdict: "illegal";
  readonly key: string;
  /** How many operations the key has in all; `operations` are its smallest illegal part. */
  readonly operationsOfKey: number;
  /** False if a limit ended the shrinking: there may be a smaller illegal part. */
  readonly smallest: boolean;
  readonly steps: number;
}

/** A limit was reached before some keys were decided; the others are linearizable. */
export interface UndecidedResult {
  readonly verdict: "undecided";
  readonly undecided: readonly {
    readonly key: string;
    readonly operations: number;
    /** The option whose limit was reached. */
    readonly limit: keyof CheckOptions;
  }[];
  /** A message that says what was not decided and what to do. */
  readonly text: string;
  readonly steps: number;
}

/** The result of `checkLinearizability`. */
export type CheckResult<Input, Output> = LinearizableResult | IllegalResult<Input, Output> | UndecidedResult;

/**
 * Decides whether a history is linearizable: whether there is one moment for each operation, between its call
 * and its return, such that a single object that executes the operations at these moments returns what the
 * clients saw. An operation of unknown outcome may take effect at any moment after its call, or never; one
 * that was not done never takes effect. Two operations overlap if one is called at the time at which the
 * other returns.
 *
 * Each key is checked on its own, the one with the fewest operations first. The first illegal key ends the
 * check, and its smallest illegal part is explained. Throws `InvalidOptionError` for times that are
 * impossible.
 */
export function checkLinearizability<State extends ModelState, Input, Output>(
  model: Model<State, Input, Output>,
  history: readonly Operation<Input, Output>[],
  options: CheckOptions = {},
): CheckResult<Input, Output> {
  checkTimes(history);
  const stepsMax = options.stepsMax ?? STEPS_MAX;
  const stepsMaxPerKey = options.stepsMaxPerKey ?? STEPS_MAX_PER_KEY;
  const memoryBytesMax = options.memoryBytesMax ?? MEMORY_BYTES_MAX;
  const keys = partition(model, history);
  const undecided: UndecidedResult["undecided"][number][] = [];
  let steps = 0;
  for (const [key, operations] of keys) {
    const left = Math.max(0, stepsMax - steps);
    const limits: SearchLimits = { stepsMax: Math.min(stepsMaxPerKey, left), memoryBytesMax };
    const result = new Search(model, operations, limits).run();
    steps += result.steps;
    if (result.verdict === "illegal") return illegal(model, key, operations, limits, steps);
    if (result.verdict === "undecided") {
      const byMemory = result.limit === "memoryBytesMax";
      const limit = byMemory ? "memoryBytesMax" : left < stepsMaxPerKey ? "stepsMax" : "stepsMaxPerKey";
      undecided.push({ key, operations: operations.length, limit });
    }
  }
  if (undecided.length > 0) return { verdict: "undecided", undecided, text: undecidedText(undecided), steps };
  return { verdict: "linearizable", operations: history.length, keys: keys.length, steps };
}

/**
 * The operations that may have had an effect, by key. Keys with few operations come first, because they are
 * decided soonest.
 */
function partition<State extends ModelState, Input, Output>(
  model: Model<State, Input, Output>,
  history: readonly Operation<Input, Output>[],
): [key: string, operations: Operation<Input, Output>[]][] {
  const keys = new Map<string, Operation<Input, Output>[]>();
  for (const operation of history) {
    if (operation.outcome === "not-done") continue;
    const key = model.keyOf(operation.input);
    const operations = keys.get(key);
    if (operations === undefined) keys.set(key, [operation]);
    else operations.push(operation);
  }
  return [...keys].sort(([, a], [, b]) => a.length - b.length);
}

function illegal<State extends ModelState, Input, Output>(
  model: Model<State, Input, Output>,
  key: string,
  operations: readonly Operation<Input, Output>[],
  limits: SearchLimits,
  steps: number,
): IllegalResult<Input, Output> {
  const part = new Shrinker(model, limits, EXPLAIN_STEPS_MAX).shrink(operations);
  const explanation = explain(model, key, part, limits, EXPLAIN_STEPS_MAX);
  return {
    verdict: "illegal",
    key,
    operationsOfKey: operations.length,
    smallest: part.smallest,
    steps,
    ...explanation,
  };
}

function undecidedText(undecided: UndecidedResult["undecided"]): string {
  const keys = undecided.map(
    ({ key, operations, limit }) => `key ${JSON.stringify(key)} (${operations} operations; reached ${limit})`,
  );
  return `Not decided: ${keys.join(", ")}. Raise the limit, or record fewer operations a key or fewer at a time.`;
}
