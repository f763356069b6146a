import type { Model, ModelState } from "./model.ts";
import type { DoneOperation, Operation } from "./operation.ts";
import { SearchBudget } from "./search-budget.ts";
import type { SearchLimits } from "./search.ts";
import { asUnknown, type IllegalPart } from "./shrink.ts";

/** How many results an explanation lists before it says "or others". */
const POSSIBLE_MAX = 8;

/**
 * How many different results of the failing operation are collected, to check for each whether it would be
 * legal. Each check is a search, and an illegal part that is large could have very many results.
 */
const STATES_MAX = 200;

/** One operation of an illegal part, with its descriptions. */
export interface PartOperation<Input, Output> {
  readonly operation: Operation<Input, Output>;
  /** The call and its result, such as `get x → 5`. */
  readonly label: string;
  /**
   * The operation's place, from 1, in the longest legal order; null: it isn't part of that order. The failing
   * operation is part of it only if others saw its effect, and then without its result.
   */
  readonly position: number | null;
}

/** Why a part of a history is illegal. */
export interface Explanation<Input, Output> {
  /** Ordered by call. */
  readonly operations: readonly PartOperation<Input, Output>[];
  /** The operation that fits nowhere in the order: the last to return. */
  readonly failing: DoneOperation<Input, Output>;
  /**
   * The results that would have been legal, in words; some of them if there are many. Empty: none was found,
   * because none fits or a limit ended the search.
   */
  readonly possible: readonly string[];
  /** The explanation as text. */
  readonly text: string;
}

/**
 * Explains in words why no order is legal. `stepsMax` limits all searches together, `limits` each of them.
 */
export function explain<State extends ModelState, Input, Output>(
  model: Model<State, Input, Output>,
  key: string,
  part: IllegalPart<Input, Output>,
  limits: SearchLimits,
  stepsMax: number,
): Explanation<Input, Output> {
  const budget = new SearchBudget(limits, stepsMax);
  const failing = lastToReturn(model, part.required);
  const all: Operation<Input, Output>[] = [...part.required, ...part.optional];
  all.sort((a, b) => a.calledAt - b.calledAt);
  // Other operations may have seen the failing one's effect although its result doesn't fit. So keep it, with
  // an unknown outcome.
  const others = all.map((operation) => (operation === failing ? asUnknown(failing) : operation));
  const { order } = budget.run(model, others, true);
  const places = new Map(order.map((id, at) => [id, at + 1]));
  const operations = all.map((operation) => ({
    operation,
    label: label(model, operation),
    position: places.get(operation.id) ?? null,
  }));
  const possible = possibleOutputs(model, all, failing, budget);
  const text = sentences(model, key, part, operations, failing, possible).join("\n");
  return { operations, failing, possible: possible.outputs, text };
}

/**
 * The operation that returns last. Of several that return at the same time, one that changes nothing, if
 * there is one: it is easiest to understand.
 */
function lastToReturn<State extends ModelState, Input, Output>(
  model: Model<State, Input, Output>,
  required: readonly DoneOperation<Input, Output>[],
): DoneOperation<Input, Output> {
  const changes = ({ input, output }: DoneOperation<Input, Output>): number =>
    model.isEffectless(input, output) ? 0 : 1;
  const [last] = required.toSorted((a, b) => b.returnedAt - a.returnedAt || changes(a) - changes(b));
  if (last === undefined) throw new RangeError("a history in which nothing returned cannot be illegal");
  return last;
}

function label<State extends ModelState, Input, Output>(
  model: Model<State, Input, Output>,
  operation: Operation<Input, Output>,
): string {
  const call = model.describe(operation.input);
  if (operation.outcome !== "done") return `${call} → ?`;
  return `${call} → ${model.describeOutput(operation.input, operation.output)}`;
}

/** What the failing operation could have returned. */
interface Possible {
  readonly outputs: readonly string[];
  /** False: there may be others, because there are many, or because a limit ended the search for them. */
  readonly areAll: boolean;
}

/**
 * The results of the failing operation with which the part would be legal. First collect the states in which
 * the operation may be executed; then check the part with each result, because in a state that the search
 * visited the remaining operations may still fit nowhere.
 */
function possibleOutputs<State extends ModelState, Input, Output>(
  model: Model<State, Input, Output>,
  all: readonly Operation<Input, Output>[],
  failing: DoneOperation<Input, Output>,
  budget: SearchBudget,
): Possible {
  // Several operations may have equal inputs, or the same object as input. So here the operation itself is
  // the input.
  const tagged = all.map((operation) => ({ ...operation, input: operation }));
  const met = new Set<string>();
  const collect = answering(model, failing, (answer) => {
    if (met.size < STATES_MAX) met.add(answer);
    return false;
  });
  let isCut = budget.run(collect, tagged).verdict === "undecided" || met.size === STATES_MAX;
  const outputs: string[] = [];
  for (const answer of met) {
    const fixed = answering(model, failing, (other) => other === answer);
    const { verdict } = budget.run(fixed, tagged);
    if (verdict === "undecided") isCut = true;
    if (verdict !== "linearizable") continue;
    if (outputs.length === POSSIBLE_MAX) {
      isCut = true;
      break;
    }
    outputs.push(answer);
  }
  return { outputs, areAll: !isCut };
}

/**
 * The model, except that one operation may return whatever `accept` accepts instead of what it did return.
 */
function answering<State extends ModelState, Input, Output>(
  model: Model<State, Input, Output>,
  failing: DoneOperation<Input, Output>,
  accept: (answer: string) => boolean,
): Model<State, Operation<Input, Output>, Output> {
  return {
    initial: model.initial,
    keyOf: ({ input }) => model.keyOf(input),
    fingerprint: (state) => model.fingerprint(state),
    isEffectless: (operation, output) => operation !== failing && model.isEffectless(operation.input, output),
    overwrites: (operation, output) => operation !== failing && model.overwrites(operation.input, output),
    step: (state, operation, output) => {
      if (operation !== failing) return model.step(state, operation.input, output);
      return accept(model.expected(state, failing.input))
        ? model.step(state, failing.input, undefined)
        : undefined;
    },
    describe: ({ input }) => model.describe(input),
    describeOutput: ({ input }, output) => model.describeOutput(input, output),
    expected: (state, { input }) => model.expected(state, input),
  };
}

function sentences<State extends ModelState, Input, Output>(
  model: Model<State, Input, Output>,
  key: string,
  part: IllegalPart<Input, Output>,
  operations: readonly PartOperation<Input, Output>[],
  failing: DoneOperation<Input, Output>,
  possible: Possible,
): string[] {
  const where = key === "" ? "" : ` on key ${JSON.stringify(key)}`;
  const count = operations.length === 1 ? "this operation" : `these ${operations.length} operations`;
  return [
    `No order of ${count}${where} explains what the clients saw:`,
    ...operations.map((item) => `  ${line(item)}`),
    `Operation #${failing.id} of ${failing.client} (${model.describe(failing.input)}) cannot be placed.`,
    prefixSentence(operations, failing, model.describe(failing.input)),
    saw(model, failing, possible),
    ...(part.smallest
      ? operations.length === 1
        ? []
        : ["None of those that returned can be left out: the rest would have an order."]
      : ["A limit ended the search for a smaller part, so some of these may not matter."]),
  ];
}

function line<Input, Output>({ operation, label }: PartOperation<Input, Output>): string {
  const { id, client, calledAt } = operation;
  const time =
    operation.outcome === "done"
      ? `from ${milliseconds(calledAt)} to ${milliseconds(operation.returnedAt)} ms`
      : `called at ${milliseconds(calledAt)} ms; may have taken effect at any time after, or never`;
  return `#${id} ${client}: ${label} (${time})`;
}

function prefixSentence<Input, Output>(
  operations: readonly PartOperation<Input, Output>[],
  failing: DoneOperation<Input, Output>,
  failingCall: string,
): string {
  const placed = inOrder(operations);
  if (placed.length === 0) return "Nothing comes before it.";
  const order = placed.map(({ operation, label }) =>
    operation === failing
      ? `#${failing.id} ${failingCall} (whatever it returned)`
      : `#${operation.id} ${label}`,
  );
  return `The others have an order, such as: ${order.join(", then ")}.`;
}

/** The longest legal order. */
export function inOrder<Input, Output>(
  operations: readonly PartOperation<Input, Output>[],
): PartOperation<Input, Output>[] {
  return operations
    .filter(({ position }) => position !== null)
    .sort((a, b) => (a.position ?? 0) - (b.position ?? 0));
}

function saw<State extends ModelState, Input, Output>(
  model: Model<State, Input, Output>,
  failing: DoneOperation<Input, Output>,
  { outputs, areAll }: Possible,
): string {
  const got = model.describeOutput(failing.input, failing.output);
  if (outputs.length === 0) {
    return areAll
      ? `It returned ${got}, and nothing that it could have returned fits.`
      : `It returned ${got}. A limit ended the search for what it could have returned instead.`;
  }
  const shown = outputs.join(" or ");
  return areAll
    ? `It returned ${got}; in any order that the times allow, it could only have returned ${shown}.`
    : `It returned ${got}; it could have returned ${shown}, or others.`;
}

/** A time in milliseconds as text, rounded to three digits after the point. */
export function milliseconds(time: number): string {
  return String(Math.round(time * 1000) / 1000);
}
