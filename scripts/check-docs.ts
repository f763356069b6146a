// Compiles every `ts` block of the Markdown files, so that what people copy works.
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { glob } from "node:fs/promises";
import path from "node:path";

import { run } from "./commands.ts";

const root = path.join(import.meta.dirname, "..");
/** Within the repository, so that the packages' names resolve. */
const folder = path.join(root, "node_modules", ".cache", "docs");
const COMPILE_SECONDS_MAX = 120;

const papers: string[] = [];
for await (const name of glob(["*.md", "docs/**/*.md", "packages/*/*.md"], { cwd: root })) papers.push(name);
papers.sort();

await rm(folder, { recursive: true, force: true });
await mkdir(folder, { recursive: true });
const files: string[] = [];
for (const paper of papers) {
  const text = await readFile(path.join(root, paper), "utf8");
  for (const [at, block] of [...text.matchAll(/^```ts\n(.*?)^```$/gms)].entries()) {
    const file = `${paper.replaceAll(/[^a-z0-9]+/gi, "-").toLowerCase()}-${at + 1}.ts`;
    await writeFile(path.join(folder, file), block[1] ?? "");
    files.push(file);
  }
}
if (files.length === 0) throw new Error("the papers hold no block of TypeScript");

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
  files,
};
await writeFile(path.join(folder, "tsconfig.json"), JSON.stringify(tsconfig));
const { code, output } = await run("tsc", ["-p", folder], { cwd: folder, secondsMax: COMPILE_SECONDS_MAX });
console.log(`${files.length} blocks in ${papers.length} papers${code === 0 ? " compile" : `:\n${output}`}`);
process.exitCode = code;
