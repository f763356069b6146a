import { spawnSync } from "node:child_process";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { headerOf } from "./flags.ts";

const PLAYS = path.join(import.meta.dirname, "..", "plays.ts");

function plays(...args: string[]) {
  return spawnSync(process.execPath, ["--conditions=source", PLAYS, ...args], { encoding: "utf8" });
}

describe("a command's flags", () => {
  it("--help prints what the file says of itself, and does nothing else", () => {
    const { status, stdout } = plays("--help");
    expect([status, stdout]).toEqual([0, expect.stringContaining("`npm run plays`")]);
    expect(stdout).not.toContain("every play goes as written");
  });

  it("an unknown one is named in a line, with the way to help", () => {
    const { status, stderr } = plays("--nosuch");
    expect([status, stderr]).toEqual([2, "Unknown option '--nosuch'\nTry: npm run plays -- --help\n"]);
  });

  it.each([
    ["/**\n * One.\n *\n *   two\n */\ncode", "One.\n\n  two"],
    ["// One.\n//\n//   two\n\ncode\n// three", "One.\n\n  two"],
  ])("reads the comment that begins %j", (source, header) => {
    expect(headerOf(source)).toBe(header);
  });
});
