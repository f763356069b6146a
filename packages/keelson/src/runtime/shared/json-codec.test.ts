import vm from "node:vm";

import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { CommandInvalidError, DecodeError } from "../../errors.ts";
import { bytesCodec } from "./bytes-codec.ts";
import { jsonCodec } from "./json-codec.ts";

const codec = jsonCodec<unknown, unknown>();

function roundTrip(command: unknown): unknown {
  return codec.decode(codec.encode(command));
}

function refusal(command: unknown): CommandInvalidError {
  try {
    codec.encode(command);
  } catch (error) {
    if (error instanceof CommandInvalidError) return error;
    throw error;
  }
  throw new Error("it was encoded");
}

function nested(levels: number): unknown {
  let value: unknown = 1;
  for (let level = 0; level < levels; level++) value = [value];
  return value;
}

class Account {
  readonly name = "alice";
}

class List extends Array<number> {}

describe("the JSON codec", () => {
  it.each<[string, unknown]>([
    ["null", null],
    ["a text with what JSON escapes", 'a "text" \\ with\n\u2028 \u0000 and \u{1f600}'],
    ["a lone surrogate", "\ud800x"],
    ["a lone surrogate in a name", { "\udc00": 1 }],
    ["the largest and the smallest number", [Number.MAX_VALUE, Number.MIN_VALUE, 2 ** 53 + 2, 0.1]],
    ["minus zero", { amount: -0 }],
    ["minus zero alone", -0],
    ["an empty object and an empty array", { a: {}, b: [] }],
    ["names of numbers", { 2: "b", 1: "a", x: "c" }],
    ["512 levels", nested(512)],
    ["a name that is empty", { "": 1 }],
  ])("gives back %s", (_what, value) => {
    expect(roundTrip(value)).toStrictEqual(value);
  });

  it("keeps the order of properties", () => {
    expect(Object.keys(roundTrip({ z: 1, a: 2, m: 3 }) as object)).toEqual(["z", "a", "m"]);
  });

  it("gives back an own property named __proto__ as one, and changes no prototype", () => {
    const value = JSON.parse('{"__proto__":{"isAdmin":true}}') as object;
    const back = roundTrip(value) as object;
    expect(Object.keys(back)).toEqual(["__proto__"]);
    expect(Object.getPrototypeOf(back)).toBe(Object.prototype);
    expect("isAdmin" in back).toBe(false);
  });

  it("leaves out properties that are undefined", () => {
    expect(roundTrip({ a: 1, b: undefined, c: [{ d: undefined }] })).toStrictEqual({ a: 1, c: [{}] });
  });

  it("reads a getter once, and encodes what it returned", () => {
    let reads = 0;
    const value = {
      get next(): number {
        return ++reads;
      },
    };
    expect(roundTrip(value)).toStrictEqual({ next: 1 });
  });

  it("takes objects without a prototype, and those of another realm", () => {
    const bare = Object.assign(Object.create(null) as object, { a: 1 });
    expect(roundTrip(bare)).toStrictEqual({ a: 1 });
    expect(roundTrip(vm.runInNewContext("({ a: [1, { b: 2 }] })"))).toStrictEqual({ a: [1, { b: 2 }] });
  });

  it.each<[string, unknown, string]>([
    ["undefined", undefined, "JSON has no undefined"],
    ["a function", () => 1, "JSON has no function"],
    ["a symbol", Symbol("s"), "JSON has no symbol"],
    ["a bigint", { amount: 1n }, "command.amount: JSON has no bigint; pass it as a text"],
    ["NaN", [1, NaN], "command[1]: JSON has no NaN"],
    ["an infinite number", -Infinity, "JSON has no -Infinity"],
    ["undefined in an array", { list: [undefined] }, "command.list[0]: JSON has no undefined"],
    ["a hole in an array", [1, , 3], "arrays with holes"],
    ["an array with a property of its own", "abc".match(/b/), "arrays with holes or with properties"],
    ["a property with a symbol", { [Symbol("s")]: 1 }, "symbols as keys"],
    ["a Date", { at: { time: new Date(0) } }, "command.at.time: JSON has no Date; pass its toISOString()"],
    ["a Map", { "odd name": new Map() }, 'command["odd name"]: JSON has no Map; pass an array'],
    ["a Set", new Set(), "JSON has no Set"],
    ["bytes", new Uint8Array(1), "JSON has no Uint8Array; pass it as text"],
    ["a Buffer", Buffer.alloc(1), "JSON has no Buffer"],
    ["a promise", Promise.resolve(1), "JSON has no Promise; await it first"],
    ["an error", new Error("x"), "JSON has no Error"],
    ["a number object", Object(1), "JSON has no Number"],
    ["an instance of a class", [new Account()], "command[0]: JSON has no Account; pass a plain object"],
    ["an instance of a class of arrays", List.of(1), "JSON has no List"],
    ["an object that inherits", Object.create({ a: 1 }), "JSON has no"],
    ["an object with toJSON", { toJSON: () => 1 }, "command.toJSON: JSON has no function"],
    ["a date of another realm", vm.runInNewContext("new Date(0)"), "JSON has no Date"],
    ["513 levels", nested(513), "nested more than 512 levels deep"],
  ])("refuses %s, and says where it is", (_what, value, text) => {
    const error = refusal(value);
    expect(error).toMatchObject({ code: "COMMAND_INVALID", outcome: "not-done" });
    expect(error.message).toContain(text);
  });

  it("refuses a value that refers to itself", () => {
    const ring: unknown[] = [];
    ring.push({ ring });
    expect(refusal(ring).message).toContain("or refers to itself");
  });

  it("refuses a value whose text would be longer than any entry", () => {
    const text = "x".repeat(2 ** 20);
    const ofTexts = (count: number): unknown[] => Array.from({ length: count }, () => text);
    expect(roundTrip(ofTexts(15))).toEqual(ofTexts(15));
    expect(refusal(ofTexts(16)).message).toContain("more than 16777216 characters");
    // Doubled at each level, it would have 2^100 texts.
    let value: unknown = text;
    for (let level = 0; level < 100; level++) value = [value, value];
    expect(refusal(value).message).toContain("more than 16777216 characters");
  });

  it("refuses a value whose getter throws, with what it threw", () => {
    const thrown = new RangeError("not today");
    const value = {
      get a(): never {
        throw thrown;
      },
    };
    expect(refusal(value)).toMatchObject({ cause: thrown });
  });

  it("tells programs where the value is that it refuses", () => {
    expect(refusal({ items: [0, { at: new Date() }] }).issues).toEqual([
      { path: ["items", 1, "at"], message: "JSON has no Date; pass its toISOString() or getTime()" },
    ]);
  });

  it("encodes a value as JSON.stringify does, if that loses nothing", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = new TextDecoder().decode(codec.encode(value));
        expect(JSON.parse(text)).toStrictEqual(value);
        // `JSON.stringify` makes 0 of -0.
        expect(text.replaceAll("-0", "0")).toBe(JSON.stringify(value).replaceAll("-0", "0"));
      }),
    );
  });

  it("either refuses a value or gives an equal one back", () => {
    const odd = fc.constantFrom<unknown>(
      undefined,
      NaN,
      1n,
      new Date(0),
      new Map([[1, 2]]),
      new Uint8Array(1),
    );
    const values = fc.anything({
      values: [fc.string({ unit: "binary" }), fc.double({ noNaN: true }), fc.integer(), fc.constant(-0), odd],
      withSparseArray: true,
      withObjectString: true,
    });
    let encoded = 0;
    fc.assert(
      fc.property(values, (value) => {
        let bytes: Uint8Array;
        try {
          bytes = codec.encode(value);
        } catch (error) {
          expect(error).toBeInstanceOf(CommandInvalidError);
          return;
        }
        encoded += 1;
        // Not `toStrictEqual`: a property that is undefined is left out.
        expect(codec.decode(bytes)).toEqual(value);
      }),
      { numRuns: 500 },
    );
    expect(encoded).toBeGreaterThan(50);
  });

  it.each([
    ["is cut short", '{"a":1'],
    ["is empty", ""],
    ["is a number with something after it", "1 2"],
  ])("refuses to decode a command that %s", (_what, text) => {
    expect(() => codec.decode(new TextEncoder().encode(text))).toThrow(DecodeError);
  });

  it("refuses to decode bytes that are not UTF-8", () => {
    expect(() => codec.decode(Uint8Array.of(0x22, 0xff, 0x22))).toThrow(DecodeError);
  });

  it("encodes an absent result as no bytes, and gives it back", () => {
    expect(codec.encodeResult(undefined)).toHaveLength(0);
    expect(codec.decodeResult(codec.encodeResult(undefined))).toBeUndefined();
    expect(codec.decodeResult(codec.encodeResult(null))).toBeNull();
  });

  it("refuses a result that JSON can't hold", () => {
    expect(() => codec.encodeResult(new Map())).toThrow("JSON has no Map");
  });
});

describe("the codec for bytes", () => {
  const bytes = bytesCodec();

  it("gives back a command as a copy, which may be changed", () => {
    const stored = bytes.encode(Uint8Array.of(1, 2));
    const command = bytes.decode(stored);
    command.fill(0);
    expect([...stored]).toEqual([1, 2]);
  });

  it("refuses what is no bytes", () => {
    expect(() => bytes.encode("text" as unknown as Uint8Array)).toThrow(
      "should be a Uint8Array, and is string",
    );
  });
});
