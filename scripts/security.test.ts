// Checks SECURITY.md: each promise of its tables names its tests, each test exists under that name, and each
// row says what was broken to see the test fail.
import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";

const root = path.join(import.meta.dirname, "..");
const FILE = /[\w.-]+\.(?:test\.ts|ts)\b/g;
const QUOTED = /"([^"]+)"/g;

/** A row of a table whose second column names tests. */
interface Promise_ {
  readonly promise: string;
  readonly files: readonly string[];
  readonly titles: readonly string[];
  readonly seenToFail: string;
}

/** The promises of the document. A row that names no file means those of the rows before it in its table. */
function promisesIn(text: string): Promise_[] {
  const promises: Promise_[] = [];
  let isTable = false;
  let files = new Set<string>();
  for (const line of text.split("\n")) {
    const cells = line.split("|").map((cell) => cell.trim());
    if (cells.length !== 5) {
      isTable = false;
      continue;
    }
    const [, promise = "", tests = "", seenToFail = ""] = cells;
    if (tests === "test") {
      isTable = true;
      files = new Set();
    } else if (isTable && !/^-+$/.test(tests)) {
      const named = tests.match(FILE) ?? [];
      for (const file of named) files.add(file);
      const titles = [...tests.matchAll(QUOTED)].map(([, title = ""]) => title);
      promises.push({ promise, files: named.length > 0 ? named : [...files], titles, seenToFail });
    }
  }
  return promises;
}

const sources = new Map(
  globSync(["packages/*/{src,test}/**/*.test.ts", "scripts/*.ts"], { cwd: root }).map((file) => [
    path.basename(file),
    readFileSync(path.join(root, file), "utf8"),
  ]),
);

describe("SECURITY.md", () => {
  const promises = promisesIn(readFileSync(path.join(root, "SECURITY.md"), "utf8"));

  it("names for each promise a test that exists", () => {
    const wrong = promises.flatMap(({ promise, files, titles }) => {
      const texts = files.flatMap((file) => sources.get(file) ?? []);
      if (texts.length === 0) return [`${promise}: no test file`];
      // A title may leave out words: "a session ... is resumed".
      return titles
        .filter(
          (title) => !texts.some((text) => title.split(/ ?\.\.\. ?/).every((part) => text.includes(part))),
        )
        .map((title) => `${promise}: "${title}" in ${files.join(", ")}`);
    });
    expect(promises.length).toBeGreaterThan(25);
    expect(wrong).toEqual([]);
  });

  it("says for each promise what was broken to see its test fail", () => {
    expect(promises.filter(({ seenToFail }) => seenToFail === "").map(({ promise }) => promise)).toEqual([]);
  });
});
