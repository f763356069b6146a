import { describe, expect, it } from "vitest";
import type { Actions } from "../../../core/action.ts";
import type { Input } from "../../model/index.ts";
import { TurnChecker } from "./turn-checker.ts";

const take: Input = { type: "take", actions: {} as Actions };
const timeout = (now: number): Input => ({ type: "timeout", now });

describe("TurnChecker", () => {
  it("reports a node that takes its core's actions later than in the turn of the input", () => {
    const checker = new TurnChecker();
    checker.stepped("a", timeout(5), 5, -Infinity);
    checker.stepped("a", timeout(5), 5, -Infinity);
    checker.stepped("a", take, 5, -Infinity);
    checker.stepped("a", timeout(7), 7, -Infinity);
    expect(() => {
      checker.stepped("a", take, 9, 6);
    }).toThrow("DUTY: a was given an input (timeout), and did nothing about it for 2 ms");
  });

  it("reports a node whose core's actions are not taken at all once it gets another input", () => {
    const checker = new TurnChecker();
    checker.stepped("a", timeout(5), 5, -Infinity);
    expect(() => {
      checker.stepped("a", timeout(30), 30, -Infinity);
    }).toThrow("DUTY");
  });

  it("excuses a process that was paused, a node that installs a snapshot, and a new process", () => {
    const checker = new TurnChecker();
    checker.stepped("a", timeout(5), 5, -Infinity);
    checker.stepped("a", take, 90, 90);
    checker.stepped("a", timeout(100), 100, 90);
    checker.installing("a", 100);
    checker.stepped("a", take, 200, 90);
    checker.stepped("a", timeout(300), 300, 90);
    checker.started("a");
    checker.stepped("a", take, 400, 90);
  });

  it("expects nothing after a question", () => {
    const checker = new TurnChecker();
    checker.stepped("a", { type: "lease-read", answer: null, now: 5 }, 5, -Infinity);
    checker.stepped("a", take, 50, -Infinity);
  });
});
