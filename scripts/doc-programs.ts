// Finds the programs in the Markdown files.
//
// A program is a block of TypeScript whose first line is a comment with a file's name, `// counter.ts`.
// Blocks `console` of the same document show its runs: a line `$ node counter.ts`, then what it prints, up to
// the next `$` or the end of the block. All other blocks of TypeScript are excerpts, which check-docs.ts
// compiles.
import { glob, readFile } from "node:fs/promises";
import path from "node:path";

export interface DocProgram {
  /** The Markdown file. */
  readonly document: string;
  /** The name under which a reader saves the program. */
  readonly file: string;
  readonly text: string;
  /** What each run prints, one after another in the same folder. Never empty. */
  readonly runs: readonly string[];
}

/** The programs of all documents below `root`. Throws if a program is never run, or a run has no program. */
export async function programsOf(root: string): Promise<DocProgram[]> {
  const programs: DocProgram[] = [];
  for await (const document of glob(["*.md", "docs/**/*.md", "packages/*/*.md"], { cwd: root })) {
    programs.push(...programsIn(document, await readFile(path.join(root, document), "utf8")));
  }
  return programs.sort((a, b) => (a.document + a.file < b.document + b.file ? -1 : 1));
}

/** The programs of one document. */
export function programsIn(document: string, markdown: string): DocProgram[] {
  const texts = new Map<string, string>();
  for (const [, file = "", text = ""] of markdown.matchAll(/^```ts\n(?=\/\/ ([\w-]+\.ts)\n)(.*?)^```$/gms)) {
    if (texts.has(file)) throw new Error(`${document} has two programs named ${file}`);
    texts.set(file, text);
  }
  const runs = new Map<string, string[]>([...texts.keys()].map((file) => [file, []]));
  for (const [, block = ""] of markdown.matchAll(/^```console\n(.*?)^```$/gms)) {
    for (const command of block.split(/^(?=\$ )/m)) {
      const [, file, printed = ""] = /^\$ node ([\w-]+\.ts)\n(.*)$/s.exec(command) ?? [];
      if (file === undefined) continue;
      const earlier = runs.get(file);
      if (earlier === undefined) throw new Error(`${document} runs ${file}, and has no program of that name`);
      earlier.push(printed);
    }
  }
  return [...texts].map(([file, text]) => {
    const printed = runs.get(file) ?? [];
    if (printed.length === 0)
      throw new Error(`${document} has the program ${file}, and no block console runs it`);
    return { document, file, text, runs: printed };
  });
}
