/**
 * Checks histories with Porcupine, a linearizability checker that this project did not write, and compares
 * its verdicts with our own checker's: `npm run porcupine -- --help`. Without Go, one line says that it was
 * skipped.
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

import { formatHistory } from "keelson/testing";
import { run } from "./commands.ts";
import { makeEmptyDirectory } from "./lib/empty-directory.ts";
import { findGo, GoChecker, type Verdict } from "./porcupine/go-checker.ts";
import { parsePorcupineOptions, PORCUPINE_HELP, type PorcupineOptions } from "./porcupine/options.ts";
import { randomHistory, type Kind } from "./porcupine/random-histories.ts";
import { Counts, disagree, ourVerdict, type Checked } from "./porcupine/verdicts.ts";
import { STORES } from "./sim/stores.ts";
import { SKIPPED } from "./tally.ts";

/** For the simulator and the hunt for a bug's history; each ends by itself far earlier. */
const SIMULATION_SECONDS_MAX = 3600;
/** What a torture takes beyond its faults: it starts servers, waits for convergence, and reads all keys. */
const TORTURE_SECONDS_EXTRA = 600;
/** Choose bugs that few seeds find: the zoo's table says how many each takes. */
const BUG_SEEDS_MAX = 300;
const KINDS: readonly Kind[] = ["key-value", "register"];
/** Histories that are kept in the repository, with the verdict at the end of the name before `.jsonl`. */
const KNOWN = path.join(import.meta.dirname, "porcupine/histories");

async function main(args: string[]): Promise<number> {
  let options: PorcupineOptions | null;
  try {
    options = parsePorcupineOptions(args);
    if (options !== null && options.keep !== null) makeEmptyDirectory("keep", options.keep);
  } catch (error) {
    console.error(`${textOf(error)}\nTry: npm run porcupine -- --help`);
    return 2;
  }
  if (options === null) {
    console.log(PORCUPINE_HELP);
    return 0;
  }
  const go = findGo();
  if (go === null) {
    console.log(
      `${SKIPPED} Go is not installed (PATH has no command "go"), so Porcupine checked no history.`,
    );
    return 0;
  }
  const temporary = mkdtempSync(path.join(tmpdir(), "keelson-porcupine-"));
  try {
    const checker = await GoChecker.build(go, temporary, options.limits);
    const check = new PorcupineCheck(checker, options, options.keep ?? temporary);
    return await check.run();
  } catch (error) {
    console.error(textOf(error));
    return 1;
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** One run of the command: makes histories, has them checked, and keeps count. */
class PorcupineCheck {
  readonly #checker: GoChecker;
  readonly #options: PorcupineOptions;
  /** Where histories are made. */
  readonly #directory: string;
  /** What went wrong, in a sentence each. */
  readonly #failures: string[] = [];
  readonly #total = new Counts();

  constructor(checker: GoChecker, options: PorcupineOptions, directory: string) {
    this.#checker = checker;
    this.#options = options;
    this.#directory = path.resolve(directory);
  }

  async run(): Promise<number> {
    const { places, kind } = this.#options;
    // First check that the check notices anything.
    await this.#known();
    if (places.length > 0) await this.#check("given", kind, places, () => "linearizable");
    else await this.#checkMade();
    for (const text of this.#failures) console.log(`FAILED: ${text}`);
    const { histories, verdicts } = this.#total;
    console.log(
      `${histories} histories: ${verdicts.linearizable} linearizable, ${verdicts["not linearizable"]} not, ` +
        `${verdicts.undecided} undecided` +
        (this.#failures.length === 0 ? "; each linearizable or not, as it had to be" : ""),
    );
    if (this.#failures.length > 0) return 1;
    return verdicts.undecided > 0 ? 3 : 0;
  }

  async #checkMade(): Promise<void> {
    for (const kind of KINDS) await this.#random(kind);
    for (const store of STORES) await this.#simulated(store);
    for (const code of this.#options.bugs) await this.#withBug(code);
    await this.#tortured();
  }

  async #known(): Promise<void> {
    for (const kind of KINDS) {
      const verdictOf = (file: string): Verdict =>
        file.endsWith(".not-linearizable.jsonl") ? "not linearizable" : "linearizable";
      await this.#check(`known, ${kind}`, kind, [path.join(KNOWN, kind)], verdictOf);
    }
  }

  /** Porcupine must agree with our own checker, and each of the two verdicts must occur. */
  async #random(kind: Kind): Promise<void> {
    const { random, from } = this.#options;
    if (random === 0) return;
    const directory = this.#make(`random-${kind}`);
    for (let seed = from; seed < from + random; seed++)
      writeFileSync(path.join(directory, `random-${seed}.jsonl`), formatHistory(randomHistory(kind, seed)));
    const { verdicts } = await this.#check(`random, ${kind}`, kind, [directory], () => null);
    if (
      random >= 100 &&
      verdicts.undecided === 0 &&
      Math.min(verdicts.linearizable, verdicts["not linearizable"]) < random / 10
    )
      this.#failures.push(`of the random histories (${kind}), fewer than a tenth have one of the verdicts`);
  }

  async #simulated(store: string): Promise<void> {
    const { seeds, from, jobs } = this.#options;
    if (seeds === 0) return;
    const directory = this.#make(`simulated-${store}`);
    const args = ["--seeds", String(seeds), "--from", String(from), "--jobs", String(jobs), "--store", store];
    const text = await script("sim.ts", [...args, "--histories", directory], SIMULATION_SECONDS_MAX);
    if (text !== null) this.#failures.push(`the simulation (${store}) failed:\n${text}`);
    if (readdirSync(directory).length !== seeds)
      this.#failures.push(`${seeds} seeds (${store}) left ${readdirSync(directory).length} histories`);
    await this.#check(`simulated, ${store}`, "key-value", [directory], () => "linearizable");
  }

  async #withBug(code: string): Promise<void> {
    const directory = this.#make(`bug-${code}`);
    const file = path.join(directory, `bug-${code}.jsonl`);
    const args = [code, file, String(BUG_SEEDS_MAX)];
    const text = await script("porcupine/buggy-history.ts", args, SIMULATION_SECONDS_MAX);
    if (text === null)
      await this.#check(`bug ${code} put back`, "key-value", [file], () => "not linearizable");
    else this.#failures.push(text);
  }

  async #tortured(): Promise<void> {
    const { tortureMinutes } = this.#options;
    if (tortureMinutes === 0) return;
    const directory = this.#make("torture");
    const args = ["--minutes", String(tortureMinutes), "--histories", directory];
    const text = await script("torture.ts", args, tortureMinutes * 60 + TORTURE_SECONDS_EXTRA);
    if (text !== null) this.#failures.push(`the torture failed:\n${text}`);
    if (readdirSync(directory).length === 0) this.#failures.push("the torture left no history");
    else await this.#check("torture", "key-value", [directory], () => "linearizable");
  }

  /**
   * Has histories checked, and prints their count. `verdictOf` is the verdict that a file must have; null:
   * the one that our own checker gives.
   */
  async #check(
    group: string,
    kind: Kind,
    places: readonly string[],
    verdictOf: (file: string) => Verdict | null,
  ): Promise<Counts> {
    const counts = new Counts();
    for (const result of await this.#checker.check(kind, places)) {
      const checked = { ...result, ours: ourVerdict(kind, result.file) };
      counts.add(checked);
      this.#total.add(checked);
      const fault = faultOf(checked, verdictOf(result.file));
      if (fault !== null) this.#failures.push(fault);
      const needsAttention = fault !== null || checked.verdict === "undecided";
      if (needsAttention || this.#options.verbose) console.log(lineOf(checked));
    }
    console.log(`${group}: ${counts.text}`);
    return counts;
  }

  #make(name: string): string {
    const directory = path.join(this.#directory, name);
    mkdirSync(directory, { recursive: true });
    return directory;
  }
}

/** What is wrong with a verdict; null: nothing. A history that is undecided is neither right nor wrong. */
function faultOf(checked: Checked, expected: Verdict | null): string | null {
  const { file, verdict, ours } = checked;
  if (disagree(checked))
    return `${file}: Porcupine says ${verdict}, and our own checker ${ours}; one of the two is wrong`;
  if (verdict === "undecided" || expected === null || verdict === expected) return null;
  return `${file}: ${verdict}, and it must be ${expected}`;
}

function lineOf({ file, verdict, ours, operations, unknown, keys, reasons, ms }: Checked): string {
  const which = reasons.length === 0 ? "" : ` (key ${reasons.map((key) => JSON.stringify(key)).join(", ")})`;
  return (
    `${file}: ${verdict}${which}; ${operations} operations on ${keys} keys, ${unknown} of unknown outcome, ` +
    `${ms.toFixed(1)} ms; our own checker: ${ours}`
  );
}

/** Runs another script of this folder. Returns the end of what it printed if it failed; null: it didn't. */
async function script(file: string, args: readonly string[], secondsMax: number): Promise<string | null> {
  const program = path.join(import.meta.dirname, file);
  const { code, output } = await run(process.execPath, ["--conditions=source", program, ...args], {
    secondsMax,
  });
  return code === 0 ? null : output.trimEnd().split("\n").slice(-20).join("\n");
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

process.exitCode = await main(process.argv.slice(2));
