import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { findGo } from "./go-checker.ts";
import { parsePorcupineOptions } from "./options.ts";
import { randomHistory, type Kind } from "./random-histories.ts";
import { Counts, disagree, ourVerdict } from "./verdicts.ts";

const HISTORIES = path.join(import.meta.dirname, "histories");
const KINDS: readonly Kind[] = ["key-value", "register"];

let directory = "";
beforeAll(() => {
  directory = mkdtempSync(path.join(tmpdir(), "keelson-porcupine-test-"));
});
afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

describe("the known histories", () => {
  // Porcupine's verdicts on the same files are checked by `npm run porcupine`, which needs Go.
  it.each(KINDS)("on a %s have the verdict of their name by our own checker", (kind) => {
    const names = readdirSync(path.join(HISTORIES, kind));
    const wrong = names.filter((name) => {
      const verdict = ourVerdict(kind, path.join(HISTORIES, kind, name));
      return !name.endsWith(`.${verdict.replace(" ", "-")}.jsonl`);
    });
    expect(wrong).toEqual([]);
    for (const verdict of ["linearizable", "not-linearizable"])
      expect(names.filter((name) => name.endsWith(`.${verdict}.jsonl`)).length).toBeGreaterThan(1);
  });
});

describe("random histories", () => {
  it("are the same for the same seed, and differ by seed", () => {
    for (const kind of KINDS) {
      expect(randomHistory(kind, 7)).toEqual(randomHistory(kind, 7));
      expect(randomHistory(kind, 7)).not.toEqual(randomHistory(kind, 8));
    }
  });
});

describe("the verdicts", () => {
  const result = { file: "f", operations: 5, unknown: 1, keys: 1, reasons: [], ms: 1 };

  it("are counted as undecided if a limit ended the search, never as linearizable", () => {
    const counts = new Counts();
    counts.add({ ...result, verdict: "undecided", ours: "linearizable" });
    expect(counts.verdicts).toEqual({ linearizable: 0, "not linearizable": 0, undecided: 1 });
    expect(counts).toMatchObject({ agreements: 0, disagreements: 0 });
  });

  it("disagree only if both checkers decided", () => {
    expect(disagree({ ...result, verdict: "linearizable", ours: "not linearizable" })).toBe(true);
    expect(disagree({ ...result, verdict: "linearizable", ours: "linearizable" })).toBe(false);
    expect(disagree({ ...result, verdict: "undecided", ours: "not linearizable" })).toBe(false);
    expect(disagree({ ...result, verdict: "not linearizable", ours: "undecided" })).toBe(false);
  });
});

describe("Go", () => {
  it("is looked for in each directory of the path, as a program", () => {
    const [program, data, folder] = ["program", "data", "folder"].map((name) => path.join(directory, name));
    if (program === undefined || data === undefined || folder === undefined) throw new Error("three names");
    for (const place of [program, data, path.join(folder, "go")]) mkdirSync(place, { recursive: true });
    writeFileSync(path.join(program, "go"), "#!/bin/sh\n");
    chmodSync(path.join(program, "go"), 0o755);
    writeFileSync(path.join(data, "go"), "not a program");
    chmodSync(path.join(data, "go"), 0o644);
    const found = path.join(program, "go");
    expect(findGo([folder, program].join(path.delimiter))).toBe(found);
    expect(findGo(folder)).toBeNull();
    expect(findGo(path.join(directory, "absent"))).toBeNull();
  });

  it("is not needed: without it the command says that it was skipped, and succeeds", () => {
    const program = path.join(import.meta.dirname, "../porcupine.ts");
    const { status, stdout, stderr } = spawnSync(process.execPath, ["--conditions=source", program], {
      env: { ...process.env, PATH: path.join(directory, "absent") },
      encoding: "utf8",
    });
    expect({ status, stdout, stderr }).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^SKIPPED: Go is not installed .*checked no history\.\n$/) as string,
    });
  });
});

describe("the options", () => {
  it("have defaults, and places to check instead of histories to make", () => {
    expect(parsePorcupineOptions([])).toMatchObject({
      seeds: 20,
      places: [],
      kind: "key-value",
      bugs: ["L10c"],
    });
    expect(parsePorcupineOptions(["--model", "register", "a", "b"])).toMatchObject({
      places: ["a", "b"],
      kind: "register",
    });
    expect(parsePorcupineOptions(["--bugs", "none"])).toMatchObject({ bugs: [] });
    expect(parsePorcupineOptions(["--help"])).toBeNull();
  });

  it.each([
    [["--seeds=-1"], "--seeds is a whole number from 0"],
    [["--seeds", "some"], "--seeds is a whole number from 0"],
    [["--steps-max", "0"], "--steps-max is a whole number from 1"],
    [["--seconds-max", "0"], "--seconds-max is a whole number from 1"],
    [["--torture-minutes", ""], "--torture-minutes is a number from 0"],
    [["--model", "queue"], "--model is key-value or register"],
  ])("refuse %j", (args, text) => {
    expect(() => parsePorcupineOptions(args)).toThrow(text);
  });
});
