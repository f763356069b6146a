// Builds and packs the packages as for publishing, installs the archives, and uses them like any user.
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

import { programsOf, type DocProgram } from "./doc-programs.ts";
import { coreBytes, filesWithoutTesting, runInBrowser } from "./packages/bundles.ts";
import { bytesOf, checkContents, checkMaps } from "./packages/contents.ts";
import { must } from "./packages/must.ts";
import { packTwice, type Pack } from "./packages/packing.ts";
import { leavePacks } from "./packages/packs-left.ts";
import { compileAll, goToDefinitions } from "./packages/users.ts";
import { compileAsUsers } from "./user-types/compile.ts";

const root = path.join(import.meta.dirname, "..");

/** The names of a package's exports: ".", "./core". */
async function exportNamesOf({ folder }: Pack): Promise<string[]> {
  const text = await readFile(path.join(root, folder, "package.json"), "utf8");
  return Object.keys((JSON.parse(text) as { exports: Readonly<Record<string, unknown>> }).exports);
}

/** A folder of its own, into which npm installs the archive; nothing is asked of the registry. */
async function install(archives: readonly string[], directory: string): Promise<string> {
  const folder = await mkdtemp(path.join(directory, "user-"));
  await writeFile(path.join(folder, "package.json"), JSON.stringify({ type: "module" }));
  await must("npm", ["install", "--offline", "--no-audit", "--no-fund", "--silent", ...archives], folder);
  return folder;
}

/** What must hold of each pack. */
async function checkPack(pack: Pack, directory: string): Promise<void> {
  checkContents(pack);
  const home = path.join(await mkdtemp(path.join(directory, "home-")), pack.name);
  await mkdir(home);
  await must("tar", ["-xzf", pack.archive, "--strip-components=1", "-C", home], directory);
  const compiled = await checkMaps(pack, home);
  await must("publint", ["run", "--strict", pack.archive], root);
  // ESM only: `require` of it needs Node 22.12 or later, which the packages ask for.
  await must("attw", [pack.archive, "--profile", "esm-only", "--no-emoji"], root);
  console.log(
    `${pack.name}: ${kilobytes(pack.packedBytes)} kB, ${kilobytes(pack.unpackedBytes)} kB installed, SHA-256 ${pack.sha256} ` +
      `twice; the maps of ${compiled} files lead into it; publint and attw have nothing to say`,
  );
}

/** What must hold of the library alone, which needs no other package. */
async function checkLibrary(pack: Pack, directory: string): Promise<void> {
  const folder = await install([pack.archive], directory);
  const exportNames = await exportNamesOf(pack);
  const settings = await compileAll(folder, [{ name: pack.name, exportNames }]);
  console.log(`${exportNames.length - 1} exports compile and run from the archive: ${settings}`);
  const userSettings = await compileAsUsers(root, folder, (command, args) => must(command, args, root));
  console.log(`its types compile with ${userSettings.join("; ")}`);
  console.log(`"go to definition" leads into the packed sources: ${await goToDefinitions(folder)}`);
  console.log(`the core in a browser: ${await coreBytes(folder)} bytes, minified and compressed`);
  const files = await filesWithoutTesting(folder, exportNames);
  console.log(
    `all exports but the testing tools: ${files} files, none of them a testing tool; those have ` +
      `${kilobytes(bytesOf(pack, "testing"))} kB of what is installed, in dist and src`,
  );
  console.log(`in a browser: ${(await runInBrowser(folder)).trimEnd()}`);
}

function kilobytes(bytes: number): number {
  return Math.round(bytes / 1000);
}

/**
 * Runs the programs of the documents as a reader would: one after another in one folder, into which the
 * archives were installed by npm, so that a program that trips over another one's files is noticed. Compares
 * what they print with the page.
 */
async function runDocPrograms(archives: readonly string[], directory: string): Promise<void> {
  const programs = await programsOf(root);
  if (programs.length === 0) throw new Error("no document has a program");
  const folder = await install(archives, directory);
  for (const program of programs) await runDocProgram(program, folder);
  const names = programs.map(({ document, file }) => `${file} in ${document}`);
  console.log(`print what their pages say, in an empty folder with the archive: ${names.join(", ")}`);
}

async function runDocProgram({ document, file, text, runs }: DocProgram, folder: string): Promise<void> {
  await writeFile(path.join(folder, file), text);
  for (const [at, expected] of runs.entries()) {
    const printed = await must(process.execPath, [file], folder);
    if (printed === expected) continue;
    throw new Error(
      `${document}: run ${at + 1} of ${file} printed\n${printed}\nand the page says\n${expected}`,
    );
  }
}

const directory = await mkdtemp(path.join(tmpdir(), "keelson-pack-"));
try {
  const packs = await packTwice(directory);
  for (const pack of packs) {
    await checkPack(pack, directory);
    if (pack.name !== "keelson") continue;
    await checkLibrary(pack, directory);
    await runDocPrograms([pack.archive], directory);
  }
  await leavePacks(packs.map(({ archive }) => archive));
} finally {
  await rm(directory, { recursive: true, force: true });
}
