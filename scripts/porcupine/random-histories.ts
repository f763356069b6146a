/**
 * Makes small histories by chance, most of them linearizable and many not: for comparing the verdicts of two
 * checkers. A history begins as an execution, with calls that overlap and outcomes that are lost, on a store
 * that in a third of them has a bug. Then, in most of them, answers are replaced, or calls are moved in time.
 */
import type {
  KeyValueInput,
  KeyValueOutput,
  Operation,
  RegisterInput,
  RegisterOutput,
  RegisterValue,
} from "keelson/testing";

import { Chance } from "../lib/chance.ts";

/** What a history is about, and which of the checkers' models it is held against. */
export type Kind = "key-value" | "register";

/** More calls make longer searches and no new cases: a wrong verdict shows on a few. */
const OPERATIONS_MAX = 12;
/** The first is drawn more often: a history with few calls on a key has few ways to be wrong. */
const KEYS = ["a", "a", "a", "b"];
/** Few, so that calls often touch at one time. */
const TIMES = 24;
const VALUES = ["u", "v", "w"];
/** Many: a mistake is often none, because unknown outcomes and calls that overlap explain it. */
const MISTAKES_MAX = 4;

/**
 * Of a store that has a bug: the share of its conditions that are decided wrongly, and of its changes that
 * are lost.
 */
const WRONG_ANSWERS = 0.2;

/** How a call went, decided before it is known what it answers. */
interface Course {
  readonly calledAt: number;
  readonly effectAt: number;
  readonly returnedAt: number;
  readonly outcome: "done" | "unknown" | "lost" | "not-done";
}

/** The history of this seed, always the same. */
export function randomHistory(kind: Kind, seed: number): Operation<unknown, unknown>[] {
  const chance = new Chance(seed, kind === "register" ? 1 : 2);
  const wrong = chance.pick([0, 0, WRONG_ANSWERS]);
  return kind === "register"
    ? historyOf(new Registers(chance, wrong), chance)
    : historyOf(new KeyValues(chance, wrong, chance.pick([0, 0.5, 1])), chance);
}

/** What is called. */
interface Store<Input, Output> {
  /** A call that could come next. */
  draw(chance: Chance): Input;
  apply(input: Input): Output;
}

function historyOf<Input, Output>(
  store: Store<Input, Output>,
  chance: Chance,
): Operation<unknown, unknown>[] {
  const count = chance.between(2, OPERATIONS_MAX + 1);
  const courses = Array.from({ length: count }, () => courseOf(chance));
  const operations: Operation<unknown, unknown>[] = [];
  // In the order of their effects.
  for (const course of courses.sort((a, b) => a.effectAt - b.effectAt)) {
    const input = store.draw(chance);
    const isApplied = course.outcome === "done" || course.outcome === "unknown";
    const output = isApplied ? store.apply(input) : null;
    const { calledAt, returnedAt, outcome } = course;
    const call = { id: operations.length, client: `c${operations.length}`, input, calledAt };
    if (outcome === "done") operations.push({ ...call, outcome, returnedAt, output });
    else operations.push({ ...call, outcome: outcome === "lost" ? "unknown" : outcome });
  }
  for (let mistakes = chance.between(0, MISTAKES_MAX + 1); mistakes > 0; mistakes--)
    spoil(operations, chance);
  return operations;
}

function courseOf(chance: Chance): Course {
  const calledAt = chance.between(0, TIMES);
  const effectAt = calledAt + chance.between(0, 4);
  return {
    calledAt,
    effectAt,
    returnedAt: effectAt + chance.between(0, 4),
    outcome: chance.pick([
      "done",
      "done",
      "done",
      "done",
      "done",
      "done",
      "done",
      "done",
      "unknown",
      "lost",
      "not-done",
    ]),
  };
}

/** Makes one answer wrong, or gives a call another time: the history is often wrong then. */
function spoil(operations: Operation<unknown, unknown>[], chance: Chance): void {
  const finished = operations.filter((operation) => operation.outcome === "done");
  if (finished.length === 0) return;
  const victim = chance.pick(finished);
  const at = operations.indexOf(victim);
  const how = chance.pick(["lie", "lie", "exchange", "move"]);
  if (how === "move") {
    const shift = chance.between(-12, 13);
    const [calledAt, returnedAt] = [victim.calledAt + shift, victim.returnedAt + shift];
    operations[at] = { ...victim, calledAt, returnedAt };
  } else if (how === "exchange") {
    const typeOf = ({ input }: Operation<unknown, unknown>): string => (input as { type: string }).type;
    const { output } = chance.pick(finished.filter((one) => typeOf(one) === typeOf(victim)));
    operations[at] = { ...victim, output };
  } else {
    operations[at] = { ...victim, output: lieOf(victim.output as KeyValueOutput & RegisterOutput, chance) };
  }
}

/** The answer with one field changed to what it could also be. */
function lieOf(output: KeyValueOutput & RegisterOutput, chance: Chance): KeyValueOutput & RegisterOutput {
  const fields = Object.keys(output) as (keyof typeof output)[];
  if (fields.length === 0) return output;
  const field = chance.pick(fields);
  switch (field) {
    case "value":
      return { ...output, value: chance.pick([...VALUES, null]) };
    case "version":
      return { ...output, version: chance.between(1, OPERATIONS_MAX) };
    case "applied":
      // A refused change tells nothing else.
      return output.applied === false ? { applied: true } : { applied: false };
    case "existed":
    case "swapped":
      return { ...output, [field]: output[field] !== true };
  }
}

/** Registers, right or with a bug. */
class Registers implements Store<RegisterInput, RegisterOutput> {
  readonly #values = new Map<string, RegisterValue>();
  readonly #chance: Chance;
  readonly #wrong: number;

  /** `wrong`: the share of wrong decisions, and of lost changes. */
  constructor(chance: Chance, wrong: number) {
    this.#chance = chance;
    this.#wrong = wrong;
  }

  draw(chance: Chance): RegisterInput {
    const key = chance.pick(KEYS);
    const value = (): RegisterValue => chance.pick([...VALUES, null, 1, true]);
    const type = chance.pick(["read", "read", "write", "compare-and-set"] as const);
    if (type === "read") return { type, key };
    if (type === "write") return { type, key, value: value() };
    return { type, key, from: chance.often(0.5) ? (this.#values.get(key) ?? null) : value(), to: value() };
  }

  apply(input: RegisterInput): RegisterOutput {
    const { key = "" } = input;
    const value = this.#values.get(key) ?? null;
    if (input.type === "read") return { value };
    if (input.type === "write") {
      if (!this.#chance.often(this.#wrong)) this.#values.set(key, input.value);
      return {};
    }
    const swapped = (value === input.from) !== this.#chance.often(this.#wrong);
    if (swapped) this.#values.set(key, input.to);
    return { swapped };
  }
}

/** A key-value store, right or with a bug. The version of a key is the number of the change that gave it. */
class KeyValues implements Store<KeyValueInput, KeyValueOutput> {
  readonly #held = new Map<string, { readonly value: string; readonly version: number }>();
  readonly #chance: Chance;
  readonly #wrong: number;
  readonly #versionsTold: number;
  #changes = 0;

  /**
   * `wrong`: the share of wrong decisions, and of lost changes. `versionsTold`: the share of its answers that
   * have versions.
   */
  constructor(chance: Chance, wrong: number, versionsTold: number) {
    this.#chance = chance;
    this.#wrong = wrong;
    this.#versionsTold = versionsTold;
  }

  draw(chance: Chance): KeyValueInput {
    const key = chance.pick(KEYS);
    const held = this.#held.get(key);
    const version = (): number =>
      held !== undefined && chance.often(0.6) ? held.version : chance.between(1, OPERATIONS_MAX);
    const value = chance.pick(VALUES);
    switch (chance.pick(["get", "get", "put", "put", "put if", "delete", "delete if", "cas"])) {
      case "put":
        return { type: "put", key, value };
      case "put if":
        return { type: "put", key, value, ifVersion: chance.often(0.4) ? null : version() };
      case "delete":
        return { type: "delete", key };
      case "delete if":
        return { type: "delete", key, ifVersion: version() };
      case "cas": {
        const from = chance.often(0.5) ? (held?.value ?? null) : chance.pick([...VALUES, null]);
        return { type: "compare-and-set", key, from, to: chance.pick([...VALUES, null]) };
      }
      default:
        return { type: "get", key };
    }
  }

  apply(input: KeyValueInput): KeyValueOutput {
    const held = this.#held.get(input.key) ?? null;
    const told = (version: number): KeyValueOutput =>
      this.#chance.often(this.#versionsTold) ? { version } : {};
    if (input.type === "get")
      return held === null ? { value: null } : { value: held.value, ...told(held.version) };
    const shouldHold =
      input.type === "compare-and-set"
        ? (held?.value ?? null) === input.from
        : input.ifVersion === undefined || input.ifVersion === (held?.version ?? null);
    const isConditional = input.type === "compare-and-set" || input.ifVersion !== undefined;
    const holds = shouldHold !== (isConditional && this.#chance.often(this.#wrong));
    if (!holds) return { applied: false };
    const version = ++this.#changes;
    const value = input.type === "put" ? input.value : input.type === "delete" ? null : input.to;
    const isLost = this.#chance.often(this.#wrong);
    if (value === null && !isLost) this.#held.delete(input.key);
    if (value !== null && !isLost) this.#held.set(input.key, { value, version });
    return input.type === "delete"
      ? { existed: held !== null, ...told(version) }
      : { applied: true, ...told(version) };
  }
}
