import { describe, expect, it } from "vitest";
import { checkLinearizability, type CheckOptions, type IllegalResult } from "./check.ts";
import { explain } from "./explain.ts";
import { History } from "./history.ts";
import { keyValueModel, type KeyValueInput, type KeyValueOutput } from "./key-value-model.ts";
import type { Operation } from "./operation.ts";
import { registerModel, type RegisterInput, type RegisterOutput } from "./register-model.ts";
import { Shrinker } from "./shrink.ts";
import { toSvg } from "./svg.ts";
import { done } from "./test/brute-force.ts";
import { counterModel, type CounterInput } from "./test/counter-model.ts";

type RegisterOperation = Operation<RegisterInput, RegisterOutput>;
type KeyValueOperation = Operation<KeyValueInput, KeyValueOutput>;

/**
 * A write of a register that was called and returned at these times; without the second one, its outcome is
 * unknown.
 */
function write(id: number, value: number, calledAt: number, returnedAt?: number): RegisterOperation {
  const input = { type: "write", value } as const;
  if (returnedAt !== undefined) return done(id, `c${id}`, input, calledAt, returnedAt, {});
  return { id, client: `c${id}`, input, calledAt, outcome: "unknown" };
}

function read(id: number, value: number | null, calledAt: number, returnedAt: number): RegisterOperation {
  return done(id, `c${id}`, { type: "read" }, calledAt, returnedAt, { value });
}

function swap(
  id: number,
  from: number,
  to: number,
  times: readonly [number, number],
  swapped: boolean,
): RegisterOperation {
  return done(id, `c${id}`, { type: "compare-and-set", from, to }, ...times, { swapped });
}

function put(
  id: number,
  value: string,
  times: readonly [number, number],
  output: KeyValueOutput = {},
): KeyValueOperation {
  return done(id, `c${id}`, { type: "put", key: "x", value }, ...times, output);
}

/** An addition to a counter whose outcome is unknown. */
function add(id: number, amount: number, calledAt: number): Operation<CounterInput, number> {
  return { id, client: `c${String(id)}`, input: `add ${amount}`, calledAt, outcome: "unknown" };
}

function get(id: number, output: KeyValueOutput, times: readonly [number, number]): KeyValueOperation {
  return done(id, `c${id}`, { type: "get", key: "x" }, ...times, output);
}

function remove(id: number, existed: boolean, times: readonly [number, number]): KeyValueOperation {
  return done(id, `c${id}`, { type: "delete", key: "x" }, ...times, { existed });
}

function registers(...operations: RegisterOperation[]): string {
  return checkLinearizability(registerModel(), operations).verdict;
}

function store(...operations: KeyValueOperation[]): string {
  return checkLinearizability(keyValueModel(), operations).verdict;
}

function illegal(operations: readonly RegisterOperation[]): IllegalResult<RegisterInput, RegisterOutput> {
  const result = checkLinearizability(registerModel(), operations);
  if (result.verdict !== "illegal") throw new Error(`it is ${result.verdict}`);
  return result;
}

const STALE_READ = [write(0, 1, 0, 1), write(1, 2, 2, 3), read(2, 1, 4, 5)];

describe("histories of a register", () => {
  it("accepts a read of the last write, and refuses one of an older write", () => {
    expect(registers(write(0, 1, 0, 1), write(1, 2, 2, 3), read(2, 2, 4, 5))).toBe("linearizable");
    expect(registers(...STALE_READ)).toBe("illegal");
  });

  it("refuses a history in which a write is lost", () => {
    expect(registers(write(0, 1, 0, 1), read(1, null, 2, 3))).toBe("illegal");
    expect(registers(write(0, 1, 0, 2), read(1, null, 1, 3))).toBe("linearizable");
  });

  it("refuses a history in which a read sees a write and a later read doesn't", () => {
    expect(registers(write(0, 1, 0, 9), read(1, 1, 1, 2), read(2, null, 3, 4))).toBe("illegal");
    expect(registers(write(0, 1, 0, 9), read(1, null, 1, 2), read(2, 1, 3, 4))).toBe("linearizable");
  });

  it("refuses a history in which a write takes effect twice", () => {
    const twice = [write(0, 1, 0, 1), write(1, 2, 2, 3), read(2, 2, 4, 5), read(3, 1, 6, 7)];
    expect(registers(...twice)).toBe("illegal");
    const unknownTwice = [
      write(0, 1, 0),
      read(1, 1, 1, 2),
      write(2, 2, 3, 4),
      read(3, 2, 5, 6),
      read(4, 1, 7, 8),
    ];
    expect(registers(...unknownTwice)).toBe("illegal");
  });

  it("accepts that a write of unknown outcome takes effect late or never, but not before its call", () => {
    const late = [write(0, 1, 0), write(1, 2, 1, 2), read(2, 2, 3, 4), read(3, 1, 5, 6)];
    expect(registers(...late)).toBe("linearizable");
    expect(registers(write(0, 1, 0), write(1, 2, 1, 2), read(2, 2, 3, 4))).toBe("linearizable");
    expect(registers(read(0, 1, 0, 1), write(1, 1, 2))).toBe("illegal");
  });

  it("tries writes of unknown outcome in every order", () => {
    const lost = [write(0, 1, 0), write(1, 2, 0)];
    const both = [...lost, read(2, 1, 1, 4), read(3, 2, 1, 4)];
    expect(registers(...both, read(4, 1, 5, 6))).toBe("linearizable");
    expect(registers(...both, read(4, 2, 5, 6))).toBe("linearizable");
    expect(registers(...both, read(4, 1, 5, 6), read(5, 2, 7, 8))).toBe("illegal");
  });

  it("refuses a history in which a read sees a write that was reported as not done", () => {
    const refused: RegisterOperation = { ...write(0, 1, 0), outcome: "not-done" };
    expect(registers(refused, read(1, 1, 1, 2))).toBe("illegal");
    expect(registers(refused, read(1, null, 1, 2))).toBe("linearizable");
  });

  it("accepts either order of concurrent writes, but the same order for all readers", () => {
    const writes = [write(0, 1, 0, 5), write(1, 2, 0, 5)];
    expect(registers(...writes, read(2, 1, 6, 7))).toBe("linearizable");
    expect(registers(...writes, read(2, 2, 6, 7))).toBe("linearizable");
    expect(registers(...writes, read(2, 1, 6, 7), read(3, 2, 8, 9))).toBe("illegal");
  });

  it("treats two operations as concurrent if one returns at the time at which the other is called", () => {
    expect(registers(write(0, 1, 0, 1), read(1, null, 1, 2))).toBe("linearizable");
    expect(registers(write(0, 1, 0, 1), read(1, null, 1.001, 2))).toBe("illegal");
  });

  it("follows chains of compare-and-set, and uses each operation once", () => {
    const chain = [write(0, 1, 0, 1), swap(1, 2, 3, [2, 9], true), swap(2, 1, 2, [2, 9], true)];
    expect(registers(...chain, read(3, 3, 10, 11))).toBe("linearizable");
    expect(registers(...chain, swap(3, 1, 4, [2, 9], true))).toBe("illegal");
    expect(registers(...chain, swap(3, 1, 4, [2, 9], false))).toBe("linearizable");
    expect(registers(write(0, 1, 0, 1), swap(1, 1, 2, [2, 3], false))).toBe("illegal");
  });

  it("follows a chain of compare-and-set of unknown outcomes", () => {
    const lost = (id: number, from: number, to: number): RegisterOperation => ({
      ...write(id, 0, 2),
      input: { type: "compare-and-set", from, to },
    });
    const chain = [write(0, 1, 0, 1), lost(1, 3, 4), lost(2, 2, 3), lost(3, 1, 2)];
    expect(registers(...chain, read(4, 4, 3, 4))).toBe("linearizable");
    expect(registers(...chain, read(4, 4, 3, 4), read(5, 3, 5, 6))).toBe("illegal");
  });

  it("remembers which operations of unknown outcome were spent on the way to a state", () => {
    const lost = (id: number, from: number, to: number): RegisterOperation => ({
      ...write(id, 0, 0),
      input: { type: "compare-and-set", from, to },
    });
    // 3 can come from 1 or from 2, and what it came from cannot come again.
    const twoWays = [write(0, 1, 0), write(1, 2, 0), lost(2, 1, 3), lost(3, 2, 3), read(4, 3, 1, 2)];
    expect(registers(...twoWays, read(5, 1, 3, 4))).toBe("linearizable");
    expect(registers(...twoWays, read(5, 2, 3, 4))).toBe("linearizable");
    expect(registers(...twoWays, read(5, 1, 3, 4), read(6, 2, 5, 6))).toBe("illegal");
  });
});

describe("histories of a key-value store", () => {
  it("lets one of two racing deletes find the value, not both", () => {
    const value = put(0, "a", [0, 1]);
    expect(store(value, remove(1, true, [2, 5]), remove(2, false, [2, 5]))).toBe("linearizable");
    expect(store(value, remove(1, true, [2, 5]), remove(2, true, [2, 5]))).toBe("illegal");
    expect(store(value, remove(1, true, [2, 3]), get(2, { value: "a" }, [4, 5]))).toBe("illegal");
  });

  it("requires that each change has a version of its own, and that versions grow", () => {
    const first = put(0, "a", [0, 1], { version: 4 });
    expect(store(first, get(1, { value: "a", version: 4 }, [2, 3]))).toBe("linearizable");
    expect(store(first, get(1, { value: "a", version: 5 }, [2, 3]))).toBe("illegal");
    expect(store(first, put(1, "a", [2, 3], { version: 4 }))).toBe("illegal");
  });

  it("takes the version of a change of unknown outcome from the first that sees it", () => {
    const lost: KeyValueOperation = {
      id: 0,
      client: "c",
      input: { type: "put", key: "x", value: "a" },
      calledAt: 0,
      outcome: "unknown",
    };
    const seen = get(1, { value: "a", version: 7 }, [1, 2]);
    expect(store(lost, seen, get(2, { value: "a", version: 7 }, [3, 4]))).toBe("linearizable");
    expect(store(lost, seen, get(2, { value: "a", version: 8 }, [3, 4]))).toBe("illegal");
  });

  it("doesn't fix a version before it has tried everything that may come first", () => {
    const lost = (id: number): KeyValueOperation => ({
      id,
      client: "c",
      input: { type: "put", key: "x", value: "a" },
      calledAt: 0,
      outcome: "unknown",
    });
    const seen = [get(2, { value: "a" }, [1, 2]), get(3, { value: "a", version: 7 }, [3, 9])];
    const between = put(4, "b", [3, 9], { version: 5 });
    expect(store(lost(0), lost(1), ...seen, between)).toBe("linearizable");
    expect(store(lost(0), ...seen, between, get(5, { value: "a" }, [10, 11]))).toBe("illegal");
  });

  it("checks conditions against the version", () => {
    const first = put(0, "a", [0, 1], { version: 4 });
    const change = (ifVersion: number | null, applied: boolean): KeyValueOperation =>
      done(1, "c", { type: "put", key: "x", value: "b", ifVersion }, 2, 3, { applied });
    expect(store(first, change(4, true))).toBe("linearizable");
    expect(store(first, change(4, false))).toBe("illegal");
    expect(store(first, change(null, true))).toBe("illegal");
    expect(store(first, change(null, false))).toBe("linearizable");
  });

  it("does not let a value have a version on whose condition a change of it was refused", () => {
    const onlyIf = (id: number, ifVersion: number, times: readonly [number, number]): KeyValueOperation =>
      done(id, "c", { type: "delete", key: "x", ifVersion }, ...times, { applied: false });
    const seen = get(3, { value: "a", version: 5 }, [6, 7]);
    // The put doesn't tell its version; the read after the refused change does.
    expect(store(put(0, "a", [0, 1]), onlyIf(1, 5, [2, 3]), seen)).toBe("illegal");
    expect(store(put(0, "a", [0, 1]), onlyIf(1, 5, [2, 3]), onlyIf(2, 4, [4, 5]), seen)).toBe("illegal");
    expect(store(put(0, "a", [0, 1]), onlyIf(1, 4, [2, 3]), seen)).toBe("linearizable");
    // A change between them has a version of its own.
    expect(store(put(0, "a", [0, 1]), onlyIf(1, 5, [2, 3]), put(2, "a", [4, 5]), seen)).toBe("linearizable");
  });

  it("checks each key on its own", () => {
    const other = done(1, "c", { type: "get", key: "y" } as const, 2, 3, { value: null });
    expect(store(put(0, "a", [0, 1]), other)).toBe("linearizable");
  });
});

describe("an illegal result", () => {
  it("contains the smallest illegal part and says what the read could have returned", () => {
    const noise = Array.from({ length: 40 }, (_, at) => write(100 + at, 100 + at, -100 + at, -99.5 + at));
    const later = [write(200, 9, 6, 7), read(201, 9, 8, 9)];
    const result = illegal([...later, ...STALE_READ, ...noise]);
    expect(result.operations.map(({ operation }) => operation.id)).toEqual([0, 1, 2]);
    expect(result.operations.map(({ position }) => position)).toEqual([1, 2, null]);
    expect(result.failing.id).toBe(2);
    expect(result.possible).toEqual(["2"]);
    expect(result.smallest).toBe(true);
    expect(result.text).toContain("Operation #2 of c2 (read) cannot be placed.");
    expect(result.text).toContain(
      "It returned 1; in any order that the times allow, it could only have returned 2.",
    );
  });

  it("keeps the write of unknown outcome without which the first read, too, would be illegal", () => {
    const result = illegal([write(0, 0, 0, 1), write(1, 5, 2), read(2, 5, 3, 4), read(3, 0, 5, 6)]);
    expect(result.operations.map(({ operation }) => operation.id)).toEqual([0, 1, 2, 3]);
  });

  it("is a single read if nobody wrote the value that it returned", () => {
    const result = illegal([write(0, 1, 0, 1), read(1, 1, 2, 3), read(2, 2, 4, 5)]);
    expect(result.operations.map(({ operation }) => operation.id)).toEqual([2]);
    expect(result.text).toContain("No order of this operation explains");
  });

  it("says so if a limit ended the shrinking", () => {
    const limits = { stepsMax: 1000, memoryBytesMax: 1_000_000 };
    const operations = [
      write(0, 1, 0, 1),
      read(1, 1, 2, 3),
      ...STALE_READ.map((one) => ({ ...one, id: one.id + 10 })),
    ];
    const part = new Shrinker(registerModel(), limits, 0).shrink(operations);
    expect(part.smallest).toBe(false);
    expect(part.required).toHaveLength(5);
    expect(explain(registerModel(), "", part, limits, 1000).text).toContain("some of these may not matter");
  });
});

describe("limits", () => {
  /**
   * Concurrent writes, and a read of a value that nobody wrote: the search must try every choice of writes
   * before the read.
   */
  const hard = [...Array.from({ length: 24 }, (_, at) => write(at, at, 0, 100)), read(99, 77, 0, 100)];

  it.each<[keyof CheckOptions, number]>([
    ["stepsMaxPerKey", 1000],
    ["stepsMax", 1000],
    ["memoryBytesMax", 10_000],
  ])("end in an undecided verdict that names %s", (limit, value) => {
    const result = checkLinearizability(registerModel(), hard, { [limit]: value });
    expect(result).toMatchObject({ verdict: "undecided", undecided: [{ operations: 25, limit }] });
  });

  it("are not needed for many equal operations of unknown outcome", () => {
    const lost = Array.from({ length: 60 }, (_, id) => add(id, 1, 0));
    const seen = Array.from({ length: 20 }, (_, at) =>
      done(100 + at, "reader", "look", 1 + at, 1.5 + at, 3 * at),
    );
    const result = checkLinearizability(counterModel, [...lost, ...seen], { stepsMax: 10_000 });
    expect(result).toMatchObject({ verdict: "linearizable" });
    const impossible = done(200, "reader", "look", 50, 51, 61);
    const both = checkLinearizability(counterModel, [...lost, ...seen, impossible], { stepsMax: 100_000 });
    expect(both).toMatchObject({ verdict: "illegal" });
  });

  it("count the comparisons with what was visited before, which take longer than the steps", () => {
    // Many sets of these amounts have the same sum, and none of the sets contains another.
    const lost = Array.from({ length: 20 }, (_, at) => add(at, 1 + at, 0));
    const impossible = done(100, "reader", "look", 1, 2, 0.5);
    let calls = 0;
    const model: typeof counterModel = {
      ...counterModel,
      step: (...given) => {
        calls += 1;
        return counterModel.step(...given);
      },
    };
    const stepsMax = 20_000;
    const result = checkLinearizability(model, [...lost, impossible], { stepsMax });
    expect(result).toMatchObject({ verdict: "undecided", undecided: [{ limit: "stepsMax" }] });
    expect(calls).toBeLessThan(stepsMax / 2);
  });

  it("hold for all searches of an explanation together", () => {
    const required = hard.filter((operation) => operation.outcome === "done");
    let calls = 0;
    const register = registerModel();
    const model: typeof register = {
      ...register,
      step: (...given) => {
        calls += 1;
        return register.step(...given);
      },
    };
    const limits = { stepsMax: 20_000, memoryBytesMax: 100_000_000 };
    const part = { required, optional: [], smallest: false };
    // The read could have returned each of 24 values, and each of them takes a search.
    const { text } = explain(model, "", part, limits, 20_000);
    expect(calls).toBeLessThan(21_000);
    expect(text).toContain("A limit ended the search for what it could have returned instead.");
  });

  it("do not hide an illegal key behind an undecided one", () => {
    const keyed =
      (key: string) =>
      (operation: RegisterOperation): RegisterOperation => ({
        ...operation,
        input: { ...operation.input, key },
      });
    const clear = Array.from({ length: 30 }, (_, at) => read(200 + at, 1, 200 + at, 200.5 + at));
    const both = [...hard.map(keyed("hard")), ...clear.map(keyed("clear"))];
    const result = checkLinearizability(registerModel(), both, { stepsMaxPerKey: 1000 });
    expect(result).toMatchObject({ verdict: "illegal", key: "clear" });
  });

  it("allow 100,000 operations of 50 clients on 100 keys, in seconds", () => {
    const result = checkLinearizability(keyValueModel(), manyOperations());
    expect(result).toMatchObject({ verdict: "linearizable", operations: 100_000, keys: 100 });
    expect((result as { steps: number }).steps).toBeLessThan(1_000_000);
  }, 60_000);

  it("allow finding one stale read among 100,000 operations, and the few operations that prove it", () => {
    const operations = manyOperations();
    const at = operations.findLastIndex(({ input, outcome }) => input.type === "get" && outcome === "done");
    const victim = operations[at]!;
    const old = operations.find(
      ({ input, outcome }) => input.type === "put" && input.key === victim.input.key && outcome === "done",
    );
    const value = (old!.input as { value: string }).value;
    operations[at] = { ...victim, output: { value } } as KeyValueOperation;
    const result = checkLinearizability(keyValueModel(), operations);
    expect(result).toMatchObject({ verdict: "illegal", failing: { id: at }, smallest: true });
    expect((result as IllegalResult<unknown, unknown>).operations.length).toBeLessThan(6);
  }, 60_000);
});

/**
 * The history of a real store with 50 clients, each of which calls one operation after another; one call in a
 * thousand never returns.
 */
function manyOperations(): KeyValueOperation[] {
  let seed = 7;
  const below = (limit: number): number => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((seed / 2 ** 32) * limit);
  };
  let now = 0;
  const history = new History<KeyValueInput, KeyValueOutput>(() => now);
  const held = new Map<string, string>();
  const ends: ((() => void) | undefined)[] = new Array<undefined>(50).fill(undefined);
  while (history.size < 100_000) {
    now += 0.1;
    const client = below(ends.length);
    const end = ends[client];
    ends[client] = undefined;
    if (end !== undefined) {
      end();
      continue;
    }
    const key = `k${below(100)}`;
    const isPut = below(2) === 0;
    const value = `v${history.size}`;
    const input: KeyValueInput = isPut ? { type: "put", key, value } : { type: "get", key };
    const call = history.invoke(`c${client}`, input);
    const seen = { value: held.get(key) ?? null };
    if (isPut) held.set(key, value);
    ends[client] = () => (below(1000) === 0 ? call.unknown() : call.done(isPut ? {} : seen));
  }
  return history.operations();
}

describe("the picture", () => {
  /** Whether every tag is closed, in the right order, and every text is escaped. */
  function expectWellFormed(svg: string): void {
    const open: string[] = [];
    const rest = svg
      .replace(/<style>[^<]*<\/style>/, "")
      .replace(
        /<(\/?)([a-z]+)((?: [a-zA-Z0-9-]+="[^"<]*")*)(\/?)>/g,
        (_, close: string, name: string, _attributes, self: string) => {
          if (close === "/") expect(open.pop()).toBe(name);
          else if (self === "") open.push(name);
          return "";
        },
      );
    expect(open).toEqual([]);
    expect(rest).not.toMatch(/[<>]|&(?!amp;|lt;|gt;|quot;)/);
  }

  it("is well formed and has a bar for each operation, the failing one in red", () => {
    const svg = toSvg(illegal(STALE_READ));
    expectWellFormed(svg);
    expect(svg.match(/<rect class="bar"/g)).toHaveLength(3);
    expect(svg.match(/<g class="operation placed"/g)).toHaveLength(2);
    expect(svg.match(/<g class="operation failing">[^]*read → 1/g)).toHaveLength(1);
    expect(svg.match(/class="badge-text"[^>]*>(\d)</g)?.map((badge) => badge.at(-2))).toEqual(["1", "2"]);
  });

  it("is well formed whatever the keys, clients and values are", () => {
    const key = `<&">\u0000\u001b\ud800`;
    const value = `${key}${"long".repeat(1000)}`;
    const call: KeyValueInput = { type: "get", key };
    const result = checkLinearizability(keyValueModel(), [done(0, key, call, 0, 1, { value })]);
    if (result.verdict !== "illegal") throw new Error("it must be illegal");
    const svg = toSvg(result);
    expectWellFormed(svg);
    expect(svg).not.toMatch(/[\u0000-\u0008\u000b-\u001f]/);
    expect(svg.isWellFormed()).toBe(true);
    const label = /<text x="\d[^>]*>(get [^<]*)</.exec(svg)?.[1];
    expect(label?.endsWith("…")).toBe(true);
  });

  it("draws concurrent operations of one client in separate rows, open-ended if their outcome is unknown", () => {
    const one = [write(0, 0, 0, 1), write(1, 5, 2), read(2, 5, 3, 4), read(3, 0, 5, 6)];
    const svg = toSvg(illegal(one.map((operation) => ({ ...operation, client: "c" }))));
    expectWellFormed(svg);
    expect(svg.match(/class="operation placed unknown"/g)).toHaveLength(1);
    const tops = [...svg.matchAll(/<rect class="bar"[^>]* y="(\d+)"/g)].map(([, top]) => top);
    expect(new Set(tops).size).toBe(2);
  });
});
