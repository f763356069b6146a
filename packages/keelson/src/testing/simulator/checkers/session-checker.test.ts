import { describe, expect, it } from "vitest";
import { SessionChecker } from "./session-checker.ts";

describe("SessionChecker", () => {
  const figures = { open: 2, bytes: 1_344, timeMs: 80 };

  it("accepts equal tables after the same entry, and different ones after others", () => {
    const checker = new SessionChecker();
    checker.step("a", 5, figures);
    checker.step("b", 5, { ...figures });
    checker.step("b", 6, { ...figures, open: 1 });
  });

  it.each([{ open: 1 }, { bytes: 1_345 }, { timeMs: 81 }])(
    "finds a node whose table differs in %o",
    (other) => {
      const checker = new SessionChecker();
      checker.step("a", 5, figures);
      expect(() => {
        checker.step("b", 5, { ...figures, ...other });
      }).toThrow("SMS: after entry 5 the sessions of b are");
    },
  );

  it("compares a node again when its table was made anew", () => {
    const checker = new SessionChecker();
    checker.step("a", 5, figures);
    const restored = { ...figures, bytes: 0 };
    checker.step("a", 5, restored);
    checker.restored("a");
    expect(() => {
      checker.step("a", 5, restored);
    }).toThrow("SMS");
  });
});
