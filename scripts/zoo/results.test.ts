import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import type { Line } from "./report.ts";
import { StoredResults } from "./results.ts";

const BUGS = [{ code: "A1" }, { code: "B1" }, { code: "C1" }];

function line(code: string, median: number): Line {
  return { code, title: `bug ${code}`, found: true, by: "SMS", median, worst: median, trials: 1 };
}

describe("StoredResults", () => {
  let directory = "";

  beforeEach(() => {
    directory = mkdtempSync(path.join(tmpdir(), "zoo-"));
  });

  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  it("keeps what another process records between two results of this one", async () => {
    const own = new StoredResults(directory, BUGS);
    const other = new StoredResults(directory, BUGS);
    await own.record(line("C1", 3));
    await other.record(line("A1", 1));
    await other.record(line("C1", 30));
    await own.record(line("B1", 2));
    expect(own.lines).toEqual([line("A1", 1), line("B1", 2), line("C1", 30)]);
    const table = readFileSync(path.join(directory, "zoo.md"), "utf8");
    expect(table.match(/^\| [A-Z]\d .*$/gm)?.map((row) => row.split(/ *\| */).slice(1, 5))).toEqual([
      ["A1", "bug A1", "SMS", "1"],
      ["B1", "bug B1", "SMS", "2"],
      ["C1", "bug C1", "SMS", "30"],
    ]);
  });

  it("keeps both of two results that are recorded at once, and drops those of bugs that are gone", async () => {
    const results = new StoredResults(directory, BUGS);
    await results.replaceAll([line("B1", 5), line("gone", 1)]);
    await Promise.all([results.record(line("C1", 3)), results.record(line("A1", 1))]);
    expect(results.lines.map(({ code }) => code)).toEqual(["A1", "B1", "C1"]);
    expect(readFileSync(path.join(directory, "zoo.md"), "utf8")).not.toContain("No result yet");
  });
});
