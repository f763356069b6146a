import { describe, expect, it } from "vitest";

import { listSurvivors, replaceTable, scoreOf, tallyFiles, type MutationReport } from "./report.ts";

const FOLDER = "packages/keelson/src/core";

function mutant(status: string, line = 1) {
  const location = { start: { line, column: 5 }, end: { line, column: 10 } };
  return { mutatorName: "EqualityOperator", replacement: "a <= b", status, location };
}

function report(statuses: readonly string[], file = `${FOLDER}/b.ts`): MutationReport {
  return {
    files: { [file]: { source: "if (a < b) return;\n", mutants: statuses.map((status) => mutant(status)) } },
  };
}

describe("the figures of mutants", () => {
  it("count mutants that fail or never end as killed, and mutants that no test reaches as survivors", () => {
    const [tally] = tallyFiles(report(["Killed", "Timeout", "Survived", "NoCoverage", "Ignored", "Killed"]));
    expect(tally).toEqual({ file: "core/b.ts", mutants: 5, killed: 3, survived: 2 });
    expect(tally && scoreOf(tally)).toBe(60);
  });

  it("leave out files in which nothing could be mutated", () => {
    expect(tallyFiles(report(["Ignored"]))).toEqual([]);
  });

  it("show each survivor: its place, the code before and after, and whether a test reaches it", () => {
    expect(listSurvivors(report(["Killed", "Survived", "NoCoverage"]))).toEqual([
      "core/b.ts:1 EqualityOperator: a < b => a <= b",
      "core/b.ts:1 EqualityOperator (no test comes here): a < b => a <= b",
    ]);
  });
});

describe("the table of mutants", () => {
  const empty = "# Before\n\n<!-- table: npm run mutate -- --docs -->\n<!-- end of the table -->\n\nAfter\n";

  it("has a line for each file and one for all, and leaves the text around the table unchanged", () => {
    const text = replaceTable(
      empty,
      tallyFiles(report(["Killed", "Killed", "Killed", "Survived"])),
      () => true,
    );
    expect(text).toMatch(
      /^# Before\n[^]*\| core\/b\.ts +\| 4 +\| 3 +\| 1 +\| 75\.0% +\|\n\| all +\| 4 +\| 3 +\| 1 +\| 75\.0% +\|[^]*\nAfter\n$/,
    );
  });

  const twoFiles = [...tallyFiles(report(["Killed"])), ...tallyFiles(report(["Survived"], `${FOLDER}/c.ts`))];

  it("keeps the figures of files that were not mutated now, and replaces those of the others", () => {
    const before = replaceTable(empty, twoFiles, () => true);
    const after = replaceTable(
      before,
      tallyFiles(report(["Killed", "Killed"], `${FOLDER}/c.ts`)),
      () => true,
    );
    expect(after.replaceAll(/ +/g, " ")).toContain(
      "| core/b.ts | 1 | 1 | 0 | 100.0% |\n| core/c.ts | 2 | 2 | 0 | 100.0% |\n| all | 3 | 3 | 0 |",
    );
  });

  it("drops files that don't exist any more", () => {
    const before = replaceTable(empty, twoFiles, () => true);
    const after = replaceTable(before, [], (file) => file === `${FOLDER}/c.ts`);
    expect(after).not.toContain("core/b.ts");
    expect(after.replaceAll(/ +/g, " ")).toContain("| core/c.ts | 1 | 0 | 1 | 0.0% |\n| all | 1 | 0 | 1 |");
  });

  it("refuses a text without a place for it", () => {
    expect(() => replaceTable("# Nothing\n", [], () => true)).toThrow("there is no place for the table");
  });
});
