import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";

import { describe, expect, it } from "vitest";

import { matches, runStep, stepsIn } from "./walkthrough.ts";

describe("stepsIn", () => {
  it("finds each command with what the page shows below it", () => {
    const page = "text\n\n```console\n$ a b\none\ntwo\n$ c\n```\n\n```sh\nd\n```\n";
    expect(stepsIn(page)).toEqual([
      { command: "a b", shown: ["one", "two"] },
      { command: "c", shown: [] },
    ]);
  });
});

describe("matches", () => {
  it("compares lines, and accepts any lines for an ellipsis", () => {
    expect(matches(["a", "...", "z"], ["a", "b", "c", "z"])).toBe(true);
    expect(matches(["a", "...", "z"], ["a", "z"])).toBe(true);
    expect(matches(["a since ..."], ["a since 2026"])).toBe(true);
    expect(matches(["a"], ["a", "b"])).toBe(false);
    expect(matches(["a", "b"], ["a"])).toBe(false);
    expect(matches(["a.c"], ["abc"])).toBe(false);
  });

  it("accepts another version, but no other index", () => {
    expect(matches(['{"index":1,"version":5}'], ['{"index":1,"version":7}'])).toBe(true);
    expect(matches(['{"index":1,"version":5}'], ['{"index":2,"version":5}'])).toBe(false);
  });
});

describe("runStep", () => {
  it("reports another output, and a command that fails", async () => {
    const shell =
      (output: string, code = 0) =>
      () =>
        Promise.resolve({ code, output });
    expect(await runStep({ command: "x", shown: ["a"] }, shell("a\n"))).toBeNull();
    expect(await runStep({ command: "x", shown: ["a"] }, shell("b\n"))).toContain("the page shows");
    expect(await runStep({ command: "x", shown: ["..."] }, shell("b\n", 1))).toContain("exit code 1");
  });

  it("repeats what was refused because there is no leader", async () => {
    const outputs = ['{"error":{"code":"NOT_LEADER","message":"m","outcome":"not-done"}}\n', "a\n"];
    const shell = () => Promise.resolve({ code: 0, output: outputs.shift() ?? "" });
    expect(await runStep({ command: "x", shown: ["a"] }, shell)).toBeNull();
  });

  it("does not repeat a command that was refused and then did something", async () => {
    const refusal = '{"error":{"code":"NOT_LEADER","message":"m","outcome":"not-done"}}';
    const outputs = [`${refusal}{"index":6}\n`, '{"index":7}\n'];
    const shell = () => Promise.resolve({ code: 0, output: outputs.shift() ?? "" });
    expect(await runStep({ command: "x", shown: ['{"index":7}'] }, shell)).toContain("the page shows");
  });

  it("types the commands of a session with nc, and compares the answers", async () => {
    const server = createServer((socket) => {
      socket.on("error", () => undefined).on("data", (line) => socket.write(`Ok: ${String(line)}`));
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const command = `nc 127.0.0.1 ${(server.address() as AddressInfo).port}`;
    const shell = () => Promise.reject(new Error("not for nc"));
    const shown = ["put a b", "Ok: put a b", "get a", "Ok: get a"];
    expect(await runStep({ command, shown }, shell)).toBeNull();
    expect(await runStep({ command, shown: ["get a", "Ok: 1"] }, shell)).toContain("the page shows");
    server.close();
  });
});
