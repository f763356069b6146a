// Checks that docs/design/pitfalls.md defines every code of a pitfall or an invariant that the repository
// cites.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { BUGS } from "./zoo/bugs.ts";

const root = path.join(import.meta.dirname, "..");
const PAGE = "docs/design/pitfalls.md";

/**
 * A pitfall's code, without the letter of a variant: not a part of a word, a percent-encoded byte or a range.
 */
const CITED = /(?<![\w%#@./-])((?:[CDEKLMOQRSTWXZ]|KV)\d{1,2})[a-z]?(?![\w%])/g;

/**
 * How a checker reports that an invariant is broken: `new Violation("ES", ...)` or `fact(holds, "ES", () =>
 * ...)`.
 */
const REPORTED = /\b[vV]iolation\(\s*"([A-Z]{2,8})"|"([A-Z]{2,8})",\s*\(\) =>/g;

function read(file: string): string {
  return readFileSync(path.join(root, file), "utf8");
}

function matches(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].map((match) => match.slice(1).find(Boolean) ?? "");
}

/** Sources, tests, scripts and documents, as git knows them. */
function citingFiles(): string[] {
  return execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], {
    cwd: root,
    encoding: "utf8",
  })
    .split("\n")
    .filter((file) => /\.(ts|mjs|md|txt)$/.test(file) && existsSync(path.join(root, file)));
}

const page = read(PAGE);
const pitfalls = matches(page, /^### <a id="\w+"><\/a>([A-Z]+\d+): /gm);
const invariants = matches(page, /^- <a id="\w+"><\/a>\*\*([A-Z]+)\*\*/gm);

describe("the page of pitfalls", () => {
  it("defines each code once, under its own anchor", () => {
    const codes = [...pitfalls, ...invariants];
    expect(pitfalls.length).toBeGreaterThan(100);
    expect(codes.filter((code, at) => codes.indexOf(code) !== at)).toEqual([]);
    expect(matches(page, /<a id="(\w+)">/g).sort()).toEqual(codes.map((code) => code.toLowerCase()).sort());
  });

  it("defines every pitfall that sources, tests, scripts and documents cite", () => {
    const undefinedCodes = citingFiles().flatMap((file) =>
      matches(read(file), CITED)
        .filter((code) => !pitfalls.includes(code))
        .map((code) => `${file}: ${code}`),
    );
    expect([...new Set(undefinedCodes)], `describe them in ${PAGE}`).toEqual([]);
  });

  it("defines the pitfall of every bug in the zoo", () => {
    const codes = BUGS.map(({ code }) => code.replace(/[a-z]$/, ""));
    expect(codes.length).toBeGreaterThan(100);
    expect(codes.filter((code) => !pitfalls.includes(code))).toEqual([]);
  });

  it("defines the invariants that the checkers report, and no others", () => {
    const checkers = citingFiles().filter((file) =>
      /^packages\/keelson\/src\/testing\/(simulator|explore)\/.*(?<!\.test)\.ts$/.test(file),
    );
    const reported = new Set(checkers.flatMap((file) => matches(read(file), REPORTED)));
    expect([...reported].sort()).toEqual([...invariants].sort());
  });
});
