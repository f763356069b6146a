/**
 * Prepares a release on this machine, or verifies one where it is published; docs/releasing.md tells the
 * steps.
 *
 *   npm run release -- [VERSION] [--dry-run]
 *   npm run release -- --verify TAG
 *
 * Without VERSION: the version that the packages have. `--dry-run`: checks and packs, and changes nothing.
 * `--verify`: the checked-out files must be those of the tag, and give the packs whose hashes the tag names;
 * leaves the packs for publishing. Nothing is pushed or published by this program.
 */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

import { must } from "./packages/must.ts";
import { PACKAGE_FOLDERS, packTwice, type Pack } from "./packages/packing.ts";
import { leavePacks } from "./packages/packs-left.ts";
import {
  problemsOf,
  problemsOfTag,
  strangersTo,
  tagMessage,
  tagOf,
  withRelease,
  withVersion,
  type ReleaseManifest,
} from "./release/release.ts";
import { flagsOf, helpIn } from "./lib/flags.ts";

const root = path.join(import.meta.dirname, "..");
const MANIFESTS = PACKAGE_FOLDERS.map((folder) => path.join(root, folder, "package.json"));
const CHANGELOG = path.join(root, "CHANGELOG.md");

const git = (...args: string[]): Promise<string> => must("git", args, root);

async function readState() {
  return {
    manifests: await Promise.all(
      MANIFESTS.map(async (file) => JSON.parse(await readFile(file, "utf8")) as ReleaseManifest),
    ),
    changelog: await readFile(CHANGELOG, "utf8"),
    changes: await git("status", "--porcelain"),
    tags: (await git("tag", "--list")).split("\n"),
  };
}

/** Prints the problems. Returns whether there are none. */
function report(problems: readonly string[]): boolean {
  for (const problem of problems) console.log(`PROBLEM: ${problem}`);
  return problems.length === 0;
}

async function packAndPrint(directory: string): Promise<readonly Pack[]> {
  const packs = await packTwice(directory);
  for (const { name, sha256, packedBytes } of packs) {
    console.log(`packed twice, with the same bytes: ${name}, ${packedBytes} bytes, SHA-256 ${sha256}`);
  }
  return packs;
}

/** Checks, and prepares the commit and the tag unless it is a dry run. Returns the exit code. */
async function prepare(wanted: string | undefined, isDry: boolean, directory: string): Promise<number> {
  const state = await readState();
  const version = wanted ?? state.manifests[0]?.version ?? "";
  const isReady = report(problemsOf({ ...state, version }));
  if (isDry) {
    await packAndPrint(directory);
    console.log(
      isReady
        ? `ready: would write ${version} into the packages and CHANGELOG.md, commit, and tag ${tagOf(version)}`
        : "not ready: see the problems above",
    );
    return isReady ? 0 : 1;
  }
  if (!isReady) return 1;
  for (const file of MANIFESTS) await writeFile(file, withVersion(await readFile(file, "utf8"), version));
  const today = new Date().toISOString().slice(0, 10);
  await writeFile(CHANGELOG, withRelease(state.changelog, version, today));
  await must("npm", ["install", "--package-lock-only", "--ignore-scripts", "--silent"], root);
  const packs = await packAndPrint(directory);
  await git("commit", "--all", "--message", `release: ${version}`);
  await git("tag", "--annotate", tagOf(version), "--message", tagMessage(version, packs));
  console.log(`committed and tagged ${tagOf(version)}; look at it, then: git push --follow-tags`);
  return 0;
}

/** Checks that the files are those of the tag, and packs them. Returns the exit code. */
async function verify(tag: string, directory: string): Promise<number> {
  const problems = problemsOfTag(tag, await readState());
  const [head, tagged] = [await git("rev-parse", "HEAD"), await git("rev-parse", `${tag}^{commit}`)];
  if (head !== tagged) problems.push(`the checked-out commit is not that of ${tag}`);
  if (!report(problems)) return 1;
  const packs = await packAndPrint(directory);
  const message = await git("tag", "--list", "--format=%(contents)", tag);
  const strangers = strangersTo(message, packs);
  if (!report(strangers.map((name) => `the pack of ${name} isn't the one whose hash ${tag} names`))) return 1;
  await leavePacks(packs.map(({ archive }) => archive));
  console.log(`the packs are those of ${tag}`);
  return 0;
}

const { values, positionals } = flagsOf("npm run release", helpIn(import.meta.filename), {
  allowPositionals: true,
  options: { "dry-run": { type: "boolean", default: false }, verify: { type: "string" } },
});
const directory = await mkdtemp(path.join(tmpdir(), "keelson-release-"));
try {
  process.exitCode =
    values.verify === undefined
      ? await prepare(positionals[0], values["dry-run"], directory)
      : await verify(values.verify, directory);
} finally {
  await rm(directory, { recursive: true, force: true });
}
