import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checkLinearizability } from "./check.ts";
import { keyValueModel, type KeyValueInput, type KeyValueOutput } from "./key-value-model.ts";
import type { Model, ModelState } from "./model.ts";
import type { DoneOperation, Operation } from "./operation.ts";
import {
  registerModel,
  type RegisterInput,
  type RegisterOutput,
  type RegisterValue,
} from "./register-model.ts";
import { Search } from "./search.ts";
import { asUnknown } from "./shrink.ts";
import { amountOf, counterModel, type CounterInput } from "./test/counter-model.ts";
import { isExplainedBy, isLinearizableByBruteForce } from "./test/brute-force.ts";

const LIMITS = { stepsMax: 1_000_000, memoryBytesMax: 100_000_000 };
const OPERATIONS_MAX = 6;

/**
 * An executed operation: when it was called and returned, when it took effect, and what its client learnt.
 */
interface Course {
  readonly calledAt: number;
  readonly effectAfter: number;
  readonly endAfter: number;
  readonly outcome: "done" | "unknown" | "lost" | "not-done";
}

const course: fc.Arbitrary<Course> = fc.record({
  calledAt: fc.integer({ min: 0, max: 10 }),
  effectAfter: fc.integer({ min: 0, max: 3 }),
  endAfter: fc.integer({ min: 0, max: 3 }),
  outcome: fc.constantFrom("done", "done", "done", "done", "unknown", "lost", "not-done"),
});

/** Executes operations on a real store, one after another, in the order of their effects. */
function execute<Input, Output>(
  plan: readonly (readonly [Input, Course])[],
  apply: (input: Input, at: number) => Output,
): Operation<Input, Output>[] {
  const outputs = new Map<number, Output>();
  const byEffect = plan.map(([input, { calledAt, effectAfter, outcome }], id) => ({
    id,
    input,
    at: calledAt + effectAfter,
    hasEffect: outcome === "done" || outcome === "unknown",
  }));
  byEffect.sort((a, b) => a.at - b.at);
  for (const [at, { id, input, hasEffect }] of byEffect.entries()) {
    if (hasEffect) outputs.set(id, apply(input, at + 1));
  }
  return plan.map(([input, { calledAt, effectAfter, endAfter, outcome }], id) => {
    const call = { id, client: `c${id}`, input, calledAt };
    if (outcome === "not-done") return { ...call, outcome };
    if (outcome !== "done") return { ...call, outcome: "unknown" };
    return {
      ...call,
      outcome,
      returnedAt: calledAt + effectAfter + endAfter,
      output: outputs.get(id) as Output,
    };
  });
}

const registerValue = fc.integer({ min: 1, max: 3 });
const registerInput: fc.Arbitrary<RegisterInput> = fc.oneof(
  fc.constant<RegisterInput>({ type: "read" }),
  fc.record({ type: fc.constant("write" as const), value: registerValue }),
  fc.record({ type: fc.constant("compare-and-set" as const), from: registerValue, to: registerValue }),
);

function register(): (input: RegisterInput) => RegisterOutput {
  let value: RegisterValue = null;
  return (input) => {
    if (input.type === "read") return { value };
    if (input.type === "write") {
      value = input.value;
      return {};
    }
    const swapped = value === input.from;
    if (swapped) value = input.to;
    return { swapped };
  };
}

const registerExecution = fc
  .array(fc.tuple(registerInput, course), { minLength: 2, maxLength: OPERATIONS_MAX, size: "max" })
  .map((plan) => execute(plan, register()));

const keyValueInput: fc.Arbitrary<KeyValueInput> = fc.oneof(
  fc.constant<KeyValueInput>({ type: "get", key: "k" }),
  fc.record({ type: fc.constant("put" as const), key: fc.constant("k"), value: fc.constantFrom("a", "b") }),
  fc.record({
    type: fc.constant("put" as const),
    key: fc.constant("k"),
    value: fc.constantFrom("a", "b"),
    ifVersion: fc.option(fc.integer({ min: 1, max: 4 })),
  }),
  fc.constant<KeyValueInput>({ type: "delete", key: "k" }),
  fc.record({
    type: fc.constant("delete" as const),
    key: fc.constant("k"),
    ifVersion: fc.integer({ min: 1, max: 4 }),
  }),
  fc.record({
    type: fc.constant("compare-and-set" as const),
    key: fc.constant("k"),
    from: fc.constantFrom("a", null),
    to: fc.constantFrom("b", null),
  }),
);

/** A store whose versions count its changes; it returns them only if asked to. */
function keyValueStore(tellsVersions: boolean): (input: KeyValueInput, at: number) => KeyValueOutput {
  let held: { value: string; version: number } | null = null;
  return (input, at) => {
    const told = (version: number) => (tellsVersions ? { version } : {});
    if (input.type === "get") {
      return held === null ? { value: null } : { value: held.value, ...told(held.version) };
    }
    if (input.type === "compare-and-set") {
      if ((held?.value ?? null) !== input.from) return { applied: false };
      held = input.to === null ? null : { value: input.to, version: at };
      return { applied: true, ...told(at) };
    }
    if (input.ifVersion !== undefined && input.ifVersion !== (held?.version ?? null))
      return { applied: false };
    const existed = held !== null;
    held = input.type === "put" ? { value: input.value, version: at } : null;
    return input.type === "delete" ? { existed, ...told(at) } : { applied: true, ...told(at) };
  };
}

const keyValueExecution = fc
  .tuple(
    fc.array(fc.tuple(keyValueInput, course), { minLength: 2, maxLength: OPERATIONS_MAX, size: "max" }),
    fc.boolean(),
  )
  .map(([plan, tellsVersions]) => execute(plan, keyValueStore(tellsVersions)));

/**
 * Gives one operation the output of another of its type, or moves it in time. The result is often illegal.
 */
function mutate<Input extends { readonly type: string }, Output>(
  operations: readonly Operation<Input, Output>[],
  [which, donor, shift]: readonly [number, number, number],
): Operation<Input, Output>[] {
  const finished = operations.filter((operation) => operation.outcome === "done");
  const victim = finished[which % finished.length];
  if (victim === undefined) return [...operations];
  const donors = finished.filter(({ input }) => input.type === victim.input.type);
  const output = donors[donor % donors.length]?.output ?? victim.output;
  const calledAt = victim.calledAt + shift;
  const returnedAt = victim.returnedAt + shift;
  return operations.map((operation) =>
    operation.id === victim.id ? { ...victim, output, calledAt, returnedAt } : operation,
  );
}

const mutation = fc.tuple(fc.nat(5), fc.nat(5), fc.integer({ min: -6, max: 6 }));

function check<State extends ModelState, Input, Output>(
  model: Model<State, Input, Output>,
  operations: readonly Operation<Input, Output>[],
): boolean {
  const { verdict } = checkLinearizability(model, operations);
  expect(verdict).not.toBe("undecided");
  return verdict === "linearizable";
}

/** Checks what an illegal result says against the definition. */
function expectTrueExplanation<State extends ModelState, Input, Output>(
  model: Model<State, Input, Output>,
  operations: readonly Operation<Input, Output>[],
): void {
  const result = checkLinearizability(model, operations);
  if (result.verdict !== "illegal") return;
  const part = result.operations.map(({ operation }) => operation);
  expect(isLinearizableByBruteForce(model, part)).toBe(false);
  const isFinished = (one: Operation<Input, Output>): one is DoneOperation<Input, Output> =>
    one.outcome === "done";
  for (const one of part.filter(isFinished)) {
    const others = part.filter((other) => other !== one);
    const without = model.isEffectless(one.input, one.output) ? others : [...others, asUnknown(one)];
    expect(isLinearizableByBruteForce(model, without)).toBe(true);
  }
  const placed = result.operations
    .filter(({ position }) => position !== null)
    .sort((a, b) => (a.position ?? 0) - (b.position ?? 0))
    .map(({ operation }) => (operation === result.failing ? asUnknown(operation) : operation));
  expect(isExplainedBy(model, placed)).toBe(true);
  const missing = part.filter((one) => isFinished(one) && !placed.includes(one));
  expect(missing).toEqual([result.failing]);
}

/**
 * Calls with equal inputs, of which the checker tries only the first: `add` returns the sum, `look` the sum
 * as it is.
 */
const counterExecution = fc
  .array(fc.tuple(fc.constantFrom<CounterInput>("look", "add 1", "add 2"), course), {
    ...{ minLength: 2, maxLength: OPERATIONS_MAX, size: "max" },
  })
  .map((plan) => {
    let sum = 0;
    return execute(plan, (input) => (sum += amountOf(input)));
  });

describe("the checker, against all orders tried one by one", () => {
  it("agrees on counters, whose calls have equal inputs, with wrong results among them", () => {
    const shifts = fc.array(fc.integer({ min: -2, max: 2 }), { maxLength: OPERATIONS_MAX });
    fc.assert(
      fc.property(counterExecution, shifts, (operations, by) => {
        const wrong = operations.map((one, at) =>
          one.outcome === "done" ? { ...one, output: one.output + (by[at] ?? 0) } : one,
        );
        for (const history of [operations, wrong]) {
          expect(check(counterModel, history)).toBe(isLinearizableByBruteForce(counterModel, history));
        }
      }),
      { numRuns: 400 },
    );
  });

  it("finds every real execution of registers linearizable", () => {
    fc.assert(
      fc.property(registerExecution, (operations) => {
        expect(check(registerModel(), operations)).toBe(true);
      }),
      { numRuns: 4000 },
    );
  });

  it("finds every real execution of a key-value store linearizable, with versions and without", () => {
    fc.assert(
      fc.property(keyValueExecution, (operations) => {
        expect(check(keyValueModel(), operations)).toBe(true);
      }),
      { numRuns: 4000 },
    );
  });

  it("agrees on mutated executions of registers", () => {
    const seen = { legal: 0, illegal: 0 };
    fc.assert(
      fc.property(registerExecution, mutation, (execution, how) => {
        const operations = mutate(execution, how);
        const expected = isLinearizableByBruteForce(registerModel(), operations);
        seen[expected ? "legal" : "illegal"] += 1;
        expect(check(registerModel(), operations)).toBe(expected);
      }),
      { numRuns: 4000 },
    );
    expect(Math.min(seen.legal, seen.illegal)).toBeGreaterThan(80);
  });

  it("agrees on mutated executions of a key-value store", () => {
    const seen = { legal: 0, illegal: 0 };
    fc.assert(
      fc.property(keyValueExecution, mutation, (execution, how) => {
        const operations = mutate(execution, how);
        const expected = isLinearizableByBruteForce(keyValueModel(), operations);
        seen[expected ? "legal" : "illegal"] += 1;
        expect(check(keyValueModel(), operations)).toBe(expected);
      }),
      { numRuns: 4000 },
    );
    expect(Math.min(seen.legal, seen.illegal)).toBeGreaterThan(80);
  });

  it("agrees on random histories", () => {
    const seen = { legal: 0, illegal: 0 };
    const output = fc.constantFrom<RegisterValue>(null, 1, 2);
    const operation = fc.tuple(fc.constantFrom("read", "write", "lost write", "cas"), output, course);
    fc.assert(
      fc.property(fc.array(operation, { minLength: 2, maxLength: OPERATIONS_MAX, size: "max" }), (plan) => {
        const operations = plan.map(([type, value, { calledAt, endAfter }], id) => {
          const call = { id, client: `c${id}`, calledAt };
          const done = { outcome: "done" as const, returnedAt: calledAt + 2 * endAfter };
          if (type === "read")
            return { ...call, ...done, input: { type: "read" as const }, output: { value } };
          if (type === "cas") {
            const input = { type: "compare-and-set" as const, from: 1, to: 2 };
            return { ...call, ...done, input, output: { swapped: value !== null } };
          }
          const input = { type: "write" as const, value };
          if (type === "write") return { ...call, ...done, input, output: {} };
          return { ...call, input, outcome: "unknown" as const };
        });
        const expected = isLinearizableByBruteForce(registerModel(), operations);
        seen[expected ? "legal" : "illegal"] += 1;
        expect(check(registerModel(), operations)).toBe(expected);
      }),
      { numRuns: 4000 },
    );
    expect(Math.min(seen.legal, seen.illegal)).toBeGreaterThan(80);
  });

  it("returns only orders that respect the times and that the model allows", () => {
    fc.assert(
      fc.property(keyValueExecution, (operations) => {
        const { verdict, order } = new Search(
          keyValueModel(),
          operations.filter(({ outcome }) => outcome !== "not-done"),
          LIMITS,
        ).run();
        expect(verdict).toBe("linearizable");
        const placed = order.map((id) => operations[id]!);
        expect(isExplainedBy(keyValueModel(), placed)).toBe(true);
        expect(operations.filter((one) => one.outcome === "done" && !placed.includes(one))).toEqual([]);
      }),
      { numRuns: 1000 },
    );
  });

  it("explains illegal histories by illegal parts of which each operation is needed", () => {
    fc.assert(
      fc.property(registerExecution, mutation, (execution, how) => {
        expectTrueExplanation(registerModel(), mutate(execution, how));
      }),
      { numRuns: 1500 },
    );
    fc.assert(
      fc.property(keyValueExecution, mutation, (execution, how) => {
        expectTrueExplanation(keyValueModel(), mutate(execution, how));
      }),
      { numRuns: 1500 },
    );
  });
});
