import { describe, expect, it } from "vitest";
import { asError, hasCode } from "./file-error.ts";

describe("an error of a file operation", () => {
  it("is recognized by its code", () => {
    const error = Object.assign(new Error("there is such a file"), { code: "EEXIST" });
    expect(hasCode(error, "EEXIST")).toBe(true);
    expect(hasCode(error, "ENOENT")).toBe(false);
  });

  it("is not recognized without a code, or in a value that is no error", () => {
    expect(hasCode(new Error("EEXIST"), "EEXIST")).toBe(false);
    expect(hasCode({ code: "EEXIST" }, "EEXIST")).toBe(false);
    expect(hasCode("EEXIST", "EEXIST")).toBe(false);
    expect(hasCode(undefined, "EEXIST")).toBe(false);
  });

  it("asError returns an error as it is, and wraps other values", () => {
    const error = new RangeError("no");
    expect(asError(error)).toBe(error);
    expect(asError("no")).toEqual(new Error("no"));
  });
});
