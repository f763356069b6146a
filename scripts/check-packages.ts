// Builds and packs the packages as for publishing, installs the archives, and uses them like any user.
import { mkdtemp, readFile, rm, mkdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

import { run } from "./commands.ts";
import { programsOf, type DocProgram } from "./doc-programs.ts";
import { coreBytes, filesWithoutTesting, runInBrowser } from "./packages/bundles.ts";
import { compileAsUsers } from "./user-types/compile.ts";

const root = path.join(import.meta.dirname, "..");
const STEP_SECONDS_MAX = 180;

/** Runs a command and stops everything if it fails. */
async function must(command: string, args: readonly string[], cwd = root): Promise<string> {
  const { code, output } = await run(command, args, { cwd, secondsMax: STEP_SECONDS_MAX });
  if (code !== 0) throw new Error(`${command} ${args.join(" ")} failed\n${output}`);
  return output;
}

interface Manifest {
  readonly name: string;
  readonly exports: Readonly<Record<string, unknown>>;
}

async function manifestOf(folder: string): Promise<Manifest> {
  return JSON.parse(await readFile(path.join(root, folder, "package.json"), "utf8")) as Manifest;
}

/** Packs the package and returns the path of the archive. */
async function pack(folder: string, into: string): Promise<string> {
  const printed = await must(
    "npm",
    ["pack", "--json", "--silent", "--pack-destination", into],
    path.join(root, folder),
  );
  const json: unknown = JSON.parse(printed.slice(printed.search(/[[{]/)));
  // npm prints a list, or (from version 12 on) an object by package name.
  const [packed] = Object.values(json as Record<string, { filename: string; files: { path: string }[] }>);
  if (packed === undefined) throw new Error(`npm pack said nothing about ${folder}:\n${printed}`);
  const strays = packed.files.filter(({ path: name }) => /\.test\.|\/test\/|tsbuildinfo/.test(name));
  if (strays.length > 0) {
    throw new Error(`${folder} would publish ${strays.map(({ path: name }) => name).join(", ")}`);
  }
  return path.join(into, packed.filename);
}

/** Compiles and runs a program that imports every export, from the archive: no workspace, no `source`. */
async function useAll(archive: string, manifest: Manifest, directory: string): Promise<void> {
  const user = path.join(directory, "user");
  const home = path.join(user, "node_modules", manifest.name);
  await mkdir(home, { recursive: true });
  await must("tar", ["-xzf", archive, "--strip-components=1", "-C", home]);
  const names = Object.keys(manifest.exports).filter((name) => name !== "./package.json");
  const lines = [
    ...names.map((name) => `import * as ${identifier(name)} from "${manifest.name}${name.slice(1)}";`),
    ...names.map(
      (name) => `if (Object.keys(${identifier(name)}).length === 0) throw new Error("${name} is empty");`,
    ),
  ];
  await writeFile(path.join(user, "main.mts"), lines.join("\n"));
  const options = {
    module: "nodenext",
    target: "es2024",
    lib: ["es2024", "esnext.disposable"],
    strict: true,
    // Checks the declaration files, too.
    skipLibCheck: false,
    types: ["node"],
    typeRoots: [path.join(root, "node_modules", "@types")],
  };
  await writeFile(
    path.join(user, "tsconfig.json"),
    JSON.stringify({ compilerOptions: options, files: ["main.mts"] }),
  );
  await must("tsc", ["-p", user]);
  await must(process.execPath, [path.join(user, "main.mjs")]);
  console.log(`${manifest.name}: ${names.length} exports compile and run from the archive`);
  const settings = await compileAsUsers(root, user, must);
  console.log(`${manifest.name}: its types compile with ${settings.join("; ")}`);
}

/**
 * Runs the programs of the documents as a reader would: one after another in one folder, into which the
 * archives were installed by npm, so that a program that trips over another one's files is noticed. Compares
 * what they print with the page.
 */
async function runDocPrograms(archives: readonly string[], directory: string): Promise<void> {
  const programs = await programsOf(root);
  if (programs.length === 0) throw new Error("no document has a program");
  const folder = await mkdtemp(path.join(directory, "reader-"));
  await writeFile(path.join(folder, "package.json"), JSON.stringify({ type: "module" }));
  await must("npm", ["install", "--offline", "--no-audit", "--no-fund", "--silent", ...archives], folder);
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

/** Bundles the library as its users do, from the archive. */
async function useInBundles(archive: string, manifest: Manifest, directory: string): Promise<void> {
  const folder = await mkdtemp(path.join(directory, "bundle-"));
  await writeFile(path.join(folder, "package.json"), JSON.stringify({ type: "module" }));
  await must("npm", ["install", "--offline", "--no-audit", "--no-fund", "--silent", archive], folder);
  console.log(`the core in a browser: ${await coreBytes(folder)} bytes, minified and compressed`);
  const files = await filesWithoutTesting(folder, Object.keys(manifest.exports));
  console.log(`all exports but the testing tools: ${files} files, none of them a testing tool`);
  console.log(`in a browser: ${(await runInBrowser(folder)).trimEnd()}`);
}

function identifier(exportName: string): string {
  return `from_${exportName.replaceAll(/[^a-z]/gi, "_")}`;
}

const directory = await mkdtemp(path.join(tmpdir(), "keelson-pack-"));
try {
  for (const folder of ["packages/keelson", "packages/kv"]) {
    await rm(path.join(root, folder, "dist"), { recursive: true, force: true });
  }
  await must("npm", ["run", "--silent", "build"]);
  for (const folder of ["packages/keelson", "packages/kv"]) {
    const manifest = await manifestOf(folder);
    const archive = await pack(folder, directory);
    await must("publint", ["run", "--strict", archive]);
    // ESM only: `require` of it needs Node 22.12 or later, which the packages ask for.
    await must("attw", [archive, "--profile", "esm-only", "--no-emoji"]);
    console.log(`${manifest.name}: publint and attw have nothing to say`);
    if (folder === "packages/keelson") {
      await useAll(archive, manifest, directory);
      await runDocPrograms([archive], directory);
      await useInBundles(archive, manifest, directory);
    }
  }
} finally {
  await rm(directory, { recursive: true, force: true });
}
