import { describe, expect, it } from "vitest";
import { asError, hasCode } from "./file-error.ts";

describe("an error of a file operation", () => {
  it("is known by its code", () => {
    const error = Object.assign(new Error("there is such a file"), { code: "EEXIST" });
    expect(hasCode(error, "EEXIST")).toBe(true);
    expect(hasCode(error, "ENOENT")).toBe(false);
  });

  it("is not seen in what has no code, or is no error", () => {
    expect(hasCode(new Error("EEXIST"), "EEXIST")).toBe(false);
    expect(hasCode({ code: "EEXIST" }, "EEXIST")).toBe(false);
    expect(hasCode("EEXIST", "EEXIST")).toBe(false);
    expect(hasCode(undefined, "EEXIST")).toBe(false);
  });

  it("stays the same error, and text becomes one", () => {
    const error = new RangeError("no");
    expect(asError(error)).toBe(error);
    expect(asError("no")).toEqual(new Error("no"));
  });
});
