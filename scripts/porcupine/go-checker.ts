/**
 * Builds the Go program of this folder and runs it on histories. The build is in a temporary directory; the
 * repository isn't touched.
 */
import { accessSync, constants, statSync } from "node:fs";
import path from "node:path";

import { run } from "../commands.ts";
import type { Kind } from "./random-histories.ts";

/**
 * The first build on a machine downloads one module and compiles Go's own library: a minute on a slow
 * machine.
 */
const BUILD_SECONDS_MAX = 300;
/** For all histories of a call; the program has its own limits for each key. */
const CHECK_SECONDS_MAX = 3600;
/** Before the second attempt at a build, whose download may fail for a moment. */
const RETRY_MS = 5000;

export type Verdict = "linearizable" | "not linearizable" | "undecided";

/** What the Go program says about one history: `result` in main.go. */
export interface GoResult {
  readonly file: string;
  readonly verdict: Verdict;
  readonly operations: number;
  readonly unknown: number;
  readonly keys: number;
  /** The keys that gave the verdict; of a linearizable history none. */
  readonly reasons: readonly string[];
  readonly ms: number;
}

/** Of the search for one key. A key that reaches one of them is undecided. */
export interface GoLimits {
  readonly stepsMax: number;
  readonly secondsMax: number;
}

/** The command `go` in the directories that `PATH` lists; null: it isn't there. */
export function findGo(searchPath = process.env["PATH"] ?? ""): string | null {
  for (const directory of searchPath.split(path.delimiter)) {
    const file = path.join(directory === "" ? "." : directory, "go");
    try {
      accessSync(file, constants.X_OK);
      if (statSync(file).isFile()) return file;
    } catch {
      // It isn't in this directory.
    }
  }
  return null;
}

/** The built program. */
export class GoChecker {
  readonly #program: string;
  readonly #limits: GoLimits;

  private constructor(program: string, limits: GoLimits) {
    this.#program = program;
    this.#limits = limits;
  }

  /** Builds the program into the directory. Throws an Error with what Go printed. */
  static async build(go: string, directory: string, limits: GoLimits): Promise<GoChecker> {
    const program = path.join(directory, "porcupine");
    // No other toolchain is downloaded, and go.mod and go.sum stay as they are.
    const args = ["build", "-mod=readonly", "-o", program, "."];
    const options = {
      cwd: import.meta.dirname,
      secondsMax: BUILD_SECONDS_MAX,
      env: { ...process.env, GOTOOLCHAIN: "local" },
    };
    let outcome = await run(go, args, options);
    if (outcome.code !== 0) {
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      outcome = await run(go, args, options);
    }
    if (outcome.code !== 0) {
      throw new Error(
        `"go build" failed twice in scripts/porcupine. Go must be as new as go.mod says, and reach its module proxy ` +
          `the first time:\n${outcome.output.trimEnd()}`,
      );
    }
    return new GoChecker(program, limits);
  }

  /** Checks files, and those in directories that end in `.jsonl`. Throws an Error if one can't be read. */
  async check(kind: Kind, places: readonly string[]): Promise<GoResult[]> {
    const { stepsMax, secondsMax } = this.#limits;
    const limits = ["-steps-max", String(stepsMax), "-seconds-max", String(secondsMax)];
    const args = ["-model", kind, ...limits, "--", ...places];
    const { code, output } = await run(this.#program, args, { secondsMax: CHECK_SECONDS_MAX });
    if (code !== 0) throw new Error(`the histories can't be checked: ${output.trimEnd().slice(-2000)}`);
    return output
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as GoResult);
  }
}
