import { describe, expect, it } from "vitest";
import { checkLinearizability } from "./check.ts";
import { History, parseHistory } from "./history.ts";
import type { Operation } from "./operation.ts";
import { registerModel, type RegisterInput, type RegisterOutput } from "./register-model.ts";

const READ = { type: "read" } as const;

function recorded(): History<RegisterInput, RegisterOutput> {
  const history = new History<RegisterInput, RegisterOutput>(() => 5);
  history.invoke("a", { type: "write", value: 1 }).done({});
  history.invoke("b", { type: "write", value: 2 }).unknown();
  history.invoke("c", { type: "write", value: 3 }).notDone();
  history.invoke("d", READ);
  return history;
}

describe("a history", () => {
  it("holds the outcomes, and takes calls that haven't ended as unknown", () => {
    const outcomes = recorded()
      .operations()
      .map(({ id, client, outcome }) => [id, client, outcome]);
    expect(outcomes).toEqual([
      [0, "a", "done"],
      [1, "b", "unknown"],
      [2, "c", "not-done"],
      [3, "d", "unknown"],
    ]);
  });

  it("keeps the order of events even if the clock stands still or goes back", () => {
    let now = 100;
    const history = new History<RegisterInput, RegisterOutput>(() => now--);
    history.invoke("a", { type: "write", value: 1 }).done({});
    history.invoke("b", READ).done({ value: null });
    expect(checkLinearizability(registerModel(), history.operations()).verdict).toBe("illegal");
  });

  it("refuses a second outcome", () => {
    const call = new History<RegisterInput, RegisterOutput>(() => 0).invoke("a", READ);
    call.unknown();
    expect(() => call.done({ value: 1 })).toThrow("operation #0 of client a has its outcome already");
  });

  it("is the same after being written as JSON lines and parsed", () => {
    const history = recorded();
    expect(parseHistory(history.toJsonLines())).toEqual(history.operations());
    expect(history.toJsonLines().split("\n")).toHaveLength(5);
  });

  it.each([
    ["nonsense", "Unexpected token"],
    ["[]", "id must be an integer"],
    ["7", "it is not an object"],
    ['{"id":1,"client":2,"calledAt":0,"outcome":"unknown"}', "client must be a string"],
    ['{"id":1,"client":"a","outcome":"unknown"}', "calledAt must be a number"],
    ['{"id":1,"client":"a","calledAt":0,"outcome":"fine"}', "outcome must be"],
    ['{"id":1,"client":"a","calledAt":0,"outcome":"done"}', "returnedAt must be a number"],
    ['{"id":1,"client":"a","calledAt":2,"returnedAt":1,"outcome":"done"}', "not before calledAt"],
  ])("refuses the line %s and names it", (line, why) => {
    const good = '{"id":0,"client":"a","calledAt":0,"outcome":"unknown"}';
    expect(() => parseHistory(`${good}\n${line}\n`)).toThrow(/^line 2 of the history is no operation: /);
    expect(() => parseHistory(`${good}\n${line}\n`)).toThrow(why);
  });

  it("passes each operation to the caller's check", () => {
    const check = (operation: Operation<unknown, unknown>): void => {
      throw new Error(`client ${operation.client} is not welcome`);
    };
    expect(() => parseHistory(recorded().toJsonLines(), check as never)).toThrow("client a is not welcome");
  });

  it("is refused by the checker if a time is impossible", () => {
    const late: Operation<RegisterInput, RegisterOutput> = {
      id: 3,
      client: "a",
      input: READ,
      calledAt: 2,
      returnedAt: 1,
      outcome: "done",
      output: {},
    };
    expect(() => checkLinearizability(registerModel(), [late])).toThrow(
      "operation #3 of client a: returnedAt",
    );
    expect(() => checkLinearizability(registerModel(), [{ ...late, calledAt: Number.NaN }])).toThrow(
      "calledAt",
    );
  });
});
