// The refusal itself is tested on an old Node by `npm run packages:installed`.
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";

const read = (name: string): string => readFileSync(path.join(import.meta.dirname, name), "utf8");

describe("bin.ts", () => {
  it("asks for the Node version that package.json asks for", () => {
    const { engines } = JSON.parse(read("../package.json")) as { engines: { node: string } };
    const [, major, minor] = /NODE_VERSION_MIN = \[(\d+), (\d+)\]/.exec(read("bin.ts")) ?? [];
    expect(engines.node).toBe(`>=${String(major)}.${String(minor)}`);
  });

  it("imports nothing before it has checked the version", () => {
    expect(read("bin.ts")).not.toMatch(/^(import|export) /m);
  });
});
