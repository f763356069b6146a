/**
 * Compiles programs against the installed packages as their users do, and asks an editor's server for
 * definitions.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";

import { must } from "./must.ts";

const root = path.join(import.meta.dirname, "../..");

/** A package, and the names of its exports: ".", "./core". */
export interface PackageExports {
  readonly name: string;
  readonly exportNames: readonly string[];
}

/**
 * What a user's settings may be. `file`: the ending of the program, which decides between ESM and CommonJS.
 */
const SETTINGS = [
  { module: "nodenext", moduleResolution: "nodenext", file: "mts" },
  { module: "nodenext", moduleResolution: "nodenext", file: "cts" },
  { module: "esnext", moduleResolution: "bundler", file: "mts" },
] as const;

/**
 * Compiles a program that imports every export, under each of `SETTINGS`, and runs those of Node.
 * @throws a declaration file has an error, or an export is empty
 */
export async function compileAll(folder: string, packages: readonly PackageExports[]): Promise<string> {
  for (const [at, { module, moduleResolution, file }] of SETTINGS.entries()) {
    const project = path.join(folder, `program-${at}`);
    await mkdir(project);
    await writeFile(
      path.join(project, `main.${file}`),
      file === "cts" ? requireAll(packages) : importAll(packages),
    );
    const compilerOptions = {
      ...{ module, moduleResolution, target: "es2024", lib: ["es2024", "esnext.disposable"], strict: true },
      // Checks the declaration files, too.
      skipLibCheck: false,
      ...{ types: ["node"], typeRoots: [path.join(root, "node_modules/@types")] },
    };
    await writeFile(
      path.join(project, "tsconfig.json"),
      JSON.stringify({ compilerOptions, files: [`main.${file}`] }),
    );
    await must("tsc", ["-p", project], folder);
    if (module === "nodenext")
      await must(process.execPath, [path.join(project, `main.${file.replace("t", "j")}`)], folder);
  }
  return SETTINGS.map(({ moduleResolution, file }) => `${moduleResolution} (.${file})`).join(", ");
}

function specifiers(packages: readonly PackageExports[]): string[] {
  return packages.flatMap(({ name, exportNames }) =>
    exportNames.filter((key) => key !== "./package.json").map((key) => `${name}${key.slice(1)}`),
  );
}

/** A program in ESM that fails if an export is empty. */
export function importAll(packages: readonly PackageExports[]): string {
  const names = specifiers(packages);
  return [
    ...names.map((name, at) => `import * as part${at} from "${name}";`),
    ...names.map(
      (name, at) => `if (Object.keys(part${at}).length === 0) throw new Error("${name} is empty");`,
    ),
  ].join("\n");
}

/** The same in CommonJS; in TypeScript, so that `import ... = require` is what is compiled. */
function requireAll(packages: readonly PackageExports[]): string {
  const names = specifiers(packages);
  return [
    ...names.map((name, at) => `import part${at} = require("${name}");`),
    ...names.map(
      (name, at) => `if (Object.keys(part${at}).length === 0) throw new Error("${name} is empty");`,
    ),
  ].join("\n");
}

/** A use of a symbol, and the file of the package to which "go to definition" must lead. */
const DEFINITIONS = [
  { use: "Raft", from: "keelson", file: "keelson/src/runtime/raft.ts" },
  { use: "RaftNode", from: "keelson/core", file: "keelson/src/core/node.ts" },
  { use: "wal", from: "keelson/storage/wal", file: "keelson/src/storage/wal/wal-log.ts" },
  { use: "simulate", from: "keelson/testing", file: "keelson/src/testing/simulator/simulate.ts" },
] as const;

/** Asks TypeScript's server, as editors do. @throws a definition isn't in the package's sources */
export async function goToDefinitions(folder: string): Promise<string> {
  const file = path.join(folder, "definitions.ts");
  const text = DEFINITIONS.map(({ use, from }) => `import { ${use} } from "${from}";`).join("\n");
  await writeFile(file, text);
  const answers = await askServer(folder, [
    { command: "open", arguments: { file, fileContent: text } },
    ...DEFINITIONS.map((_, at) => ({
      command: "definition",
      arguments: { file, line: at + 1, offset: "import { ".length + 1 },
    })),
  ]);
  for (const [at, { use, file: expected }] of DEFINITIONS.entries()) {
    const found = answers[at]?.map((definition) => definition.file) ?? [];
    if (!found.some((name) => name.endsWith(`/node_modules/${expected}`))) {
      throw new Error(
        `the definition of ${use} should be in ${expected}; the server says ${found.join(", ")}`,
      );
    }
  }
  return DEFINITIONS.map(({ use }) => use).join(", ");
}

interface ServerRequest {
  readonly command: string;
  readonly arguments: Readonly<Record<string, unknown>>;
}

type Definitions = readonly { readonly file: string }[];

/** The most time for all answers. Far above what they take; it ends a server that hangs. */
const SERVER_MS_MAX = 120_000;

/** Runs TypeScript's server; returns the answers to the requests for definitions. */
async function askServer(cwd: string, requests: readonly ServerRequest[]): Promise<readonly Definitions[]> {
  const server = spawn("tsserver", ["--disableAutomaticTypingAcquisition"], {
    cwd,
    stdio: ["pipe", "pipe", "ignore"],
    timeout: SERVER_MS_MAX,
  });
  const ended = once(server, "close");
  requests.forEach((request, seq) =>
    server.stdin.write(`${JSON.stringify({ seq, type: "request", ...request })}\n`),
  );
  const answers: Definitions[] = [];
  for await (const line of createInterface({ input: server.stdout })) {
    if (!line.startsWith("{")) continue;
    const message = JSON.parse(line) as { type: string; command?: string; body?: Definitions };
    if (message.type !== "response" || message.command !== "definition") continue;
    answers.push(message.body ?? []);
    // Not earlier: it ends without answering what it was asked before.
    if (answers.length === DEFINITIONS.length) server.stdin.end();
  }
  await ended;
  return answers;
}
