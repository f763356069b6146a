/**
 * Performs every play in `plays/` and compares what the cores do with what the file says. After a wanted
 * change, `npm run plays -- --update` writes the files anew: review the difference as you would review code.
 */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";

import { performPlay } from "../testing/core/play.ts";

const DIRECTORY = path.join(import.meta.dirname, "plays");

describe("the plays", () => {
  const files = readdirSync(DIRECTORY).filter((name) => name.endsWith(".txt"));

  it("are there", () => {
    expect(files.length).toBeGreaterThanOrEqual(12);
  });

  it.each(files)("%s goes as written", (name) => {
    const text = readFileSync(path.join(DIRECTORY, name), "utf8");
    expect(performPlay(text)).toBe(text);
  });

  it("stop at a command that does not exist", () => {
    expect(() => performPlay("cluster a b c\n\nvote a")).toThrow("a play knows no command vote: vote a");
  });
});
