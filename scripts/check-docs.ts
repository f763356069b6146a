// Compiles every block of TypeScript in the Markdown files and in the doc comments of the packages, so
// that what people copy works.
import { glob, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";

import { run } from "./commands.ts";

const root = path.join(import.meta.dirname, "..");
/** Within the repository, so that the packages' names resolve. */
const folder = path.join(root, "node_modules", ".cache", "docs");
const COMPILE_SECONDS_MAX = 120;

/** What doc comments may name without saying where it comes from: the reader's own. */
const READERS_OWN = `
declare const stateMachine: import("keelson").StateMachine<string, string>;
declare const command: string;
declare const state: Map<string, string>;
`;

/** Also the reader's own, unless the example makes it itself. */
const READERS_RAFT = `declare const raft: import("keelson").Raft<string, string>;`;

async function namesOf(patterns: readonly string[]): Promise<string[]> {
  const names: string[] = [];
  for await (const name of glob([...patterns], { cwd: root })) names.push(name);
  return names.filter((name) => !/node_modules|dist|\.test\.ts$/.test(name)).sort();
}

/**
 * Blocks of Markdown stand alone: a reader copies them whole. Except quotes from examples/, whose first line
 * names the file: tsc -b compiles the file, and docs.test.ts compares the quote with it.
 */
async function blocksOfPapers(): Promise<Map<string, string>> {
  const blocks = new Map<string, string>();
  for (const paper of await namesOf(["*.md", "docs/**/*.md", "packages/*/*.md"])) {
    const text = await readFile(path.join(root, paper), "utf8");
    for (const [at, block] of [...text.matchAll(/^```ts\n(.*?)^```$/gms)].entries()) {
      if (!/^\/\/ examples\//.test(block[1] ?? "")) blocks.set(fileName(paper, at), block[1] ?? "");
    }
  }
  return blocks;
}

/** Examples in doc comments are short: the packages' names that they use are imported for them. */
async function blocksOfComments(): Promise<Map<string, string>> {
  const exported = await exportedNames();
  const blocks = new Map<string, string>();
  for (const source of await namesOf(["packages/*/src/**/*.ts"])) {
    const text = await readFile(path.join(root, source), "utf8");
    const found = [...text.matchAll(/^ *\* ```ts\n(.*?)^ *\* ```$/gms)];
    for (const [at, match] of found.entries()) {
      const block = (match[1] ?? "").replaceAll(/^ *\* ?/gm, "");
      const imports = [...exported]
        .filter(([name]) => new RegExp(`\\b${name}\\b`).test(block) && !block.includes("import "))
        .map(([name, from]) => `import { ${name} } from "${from}";`);
      const raft = /\busing raft\b|\bconst raft\b/.test(block) ? "" : READERS_RAFT;
      blocks.set(fileName(source, at), `${imports.join("\n")}\n${READERS_OWN}${raft}\n${block}`);
    }
  }
  return blocks;
}

/** The values that the packages export, and from where. */
async function exportedNames(): Promise<Map<string, string>> {
  const names = new Map<string, string>();
  for (const folder of ["packages/keelson", "packages/kv"]) {
    const manifest = JSON.parse(await readFile(path.join(root, folder, "package.json"), "utf8")) as {
      name: string;
      exports: Record<string, string | { source: string }>;
    };
    for (const [name, target] of Object.entries(manifest.exports)) {
      if (typeof target === "string") continue;
      const text = await readFile(path.join(root, folder, target.source), "utf8");
      for (const [, list] of text.matchAll(/export \{([^}]*)\}/g)) {
        for (const item of (list ?? "").split(",")) {
          const value = item.trim();
          if (/^\w+$/.test(value) && !names.has(value)) names.set(value, manifest.name + name.slice(1));
        }
      }
    }
  }
  return names;
}

function fileName(source: string, at: number): string {
  return `${source.replaceAll(/[^a-z0-9]+/gi, "-").toLowerCase()}-${at + 1}.ts`;
}

await rm(folder, { recursive: true, force: true });
await mkdir(folder, { recursive: true });
const blocks = new Map([...(await blocksOfPapers()), ...(await blocksOfComments())]);
if (blocks.size === 0) throw new Error("there is no block of TypeScript to compile");
for (const [file, text] of blocks) await writeFile(path.join(folder, file), text);

const tsconfig = {
  extends: path.join(root, "tsconfig.base.json"),
  compilerOptions: {
    noEmit: true,
    composite: false,
    declaration: false,
    declarationMap: false,
    // An excerpt may name what it does not use.
    noUnusedLocals: false,
    types: ["node"],
    typeRoots: [path.join(root, "node_modules", "@types")],
  },
  files: [...blocks.keys()],
};
await writeFile(path.join(folder, "tsconfig.json"), JSON.stringify(tsconfig));
const { code, output } = await run("tsc", ["-p", folder], { cwd: folder, secondsMax: COMPILE_SECONDS_MAX });
console.log(`${blocks.size} blocks of TypeScript${code === 0 ? " compile" : `:\n${output}`}`);
process.exitCode = code;
