import fc from "fast-check";
import { describe, expect, it } from "vitest";

import type { Rejection } from "../../errors.ts";
import { rejectionOf, rejectionOfText, textOfRejection } from "./rejection.ts";

class InsufficientFunds extends Error {
  override readonly name = "InsufficientFunds";
  readonly code = "INSUFFICIENT_FUNDS";
  readonly balance = 5;
}

/** All of a rejection that callers may rely on. */
function shapeOf({ name, message, code }: Rejection): unknown {
  return { name, message, code };
}

const hostile = {
  get name(): never {
    throw new Error("no name");
  },
  get code(): never {
    throw new Error("no code");
  },
};

describe("a rejection", () => {
  it.each<[string, unknown, unknown]>([
    [
      "an error with a name and a code",
      new InsufficientFunds("5 is too little"),
      { name: "InsufficientFunds", message: "5 is too little", code: "INSUFFICIENT_FUNDS" },
    ],
    [
      "an error with a number as its code",
      Object.assign(new RangeError("x"), { code: 7 }),
      { name: "RangeError", message: "x", code: 7 },
    ],
    [
      "an error with another code",
      Object.assign(new Error("x"), { code: { a: 1 } }),
      { name: "Error", message: "x", code: null },
    ],
    ["a text", "no", { name: "Error", message: "no", code: null }],
    ["null", null, { name: "Error", message: "null", code: null }],
    ["a symbol", Symbol("s"), { name: "Error", message: "Symbol(s)", code: null }],
    ["an object whose getters throw", hostile, { name: "Error", message: "[object Object]", code: null }],
    [
      "what has no text",
      Object.create(null),
      { name: "Error", message: "something was thrown that has no text", code: null },
    ],
    [
      "half characters",
      Object.assign(new Error("\ud800"), { name: "\udc00", code: "\ud800" }),
      { name: "\ufffd", message: "\ufffd", code: null },
    ],
    [
      "long texts",
      Object.assign(new Error("m".repeat(5000)), { name: "n".repeat(5000), code: "c".repeat(5000) }),
      { name: "n".repeat(128), message: "m".repeat(2048), code: null },
    ],
  ])("of %s has the same name, message and code after it was sent", (_what, thrown, shape) => {
    const here = rejectionOf(thrown);
    expect(shapeOf(here)).toEqual(shape);
    expect(shapeOf(rejectionOfText(textOfRejection(here)))).toEqual(shape);
  });

  it("keeps the stack of what was thrown on its own node alone", () => {
    const thrown = new InsufficientFunds("x");
    expect(rejectionOf(thrown).stack).toBe(thrown.stack);
    expect(textOfRejection(rejectionOf(thrown))).not.toContain("rejection.test");
  });

  it.each(["no JSON", "5", "null", '"text"', "{}", '{"name":1,"message":"x"}', '["a"]'])(
    "of the stored text %j has that as its message",
    (text) => {
      expect(shapeOf(rejectionOfText(text))).toEqual({ name: "Error", message: text, code: null });
    },
  );

  it("can be read from any text", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: "binary" }), fc.json()), (text) => {
        expect(() => rejectionOfText(text)).not.toThrow();
      }),
    );
  });

  it("has at most 14 KB, whatever was thrown", () => {
    const text = "\u0000".repeat(5000);
    const rejection = rejectionOf(Object.assign(new Error(text), { name: text, code: "\u0000".repeat(128) }));
    expect(Buffer.byteLength(textOfRejection(rejection))).toBeLessThan(14_000);
  });
});
