/**
 * Draws comments at random from the sources, tests left out, for a check of readability: someone who hasn't
 * worked on a file explains its comment from the comment and the file alone.
 *
 *   npm run comments -- [--seed 1] [--count 20]
 */
import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import ts from "typescript";

import { flagsOf, helpIn } from "./lib/flags.ts";

/** Shorter comments, such as section headings, explain nothing. */
const CHARACTERS_MIN = 40;

interface Comment {
  readonly file: string;
  readonly line: number;
  readonly text: string;
}

const { values } = flagsOf("npm run comments", helpIn(import.meta.filename), {
  options: { seed: { type: "string", default: "1" }, count: { type: "string", default: "20" } },
});
const root = path.join(import.meta.dirname, "..");
const files = globSync("packages/*/src/**/*.ts", { cwd: root })
  .filter((name) => !name.endsWith(".test.ts") && !name.includes("/test/"))
  .sort();
const comments = files.flatMap(commentsOf).filter(({ text }) => text.length >= CHARACTERS_MIN);
const random = randomOf(Number(values.seed));
for (let drawn = 0; drawn < Number(values.count) && comments.length > 0; drawn++) {
  const [comment] = comments.splice(Math.floor(random() * comments.length), 1);
  if (comment !== undefined) console.log(`${drawn + 1}. ${comment.file}:${comment.line}\n${comment.text}\n`);
}

/** All comments of a file; line comments on consecutive lines are one. */
function commentsOf(file: string): Comment[] {
  const text = readFileSync(path.join(root, file), "utf8");
  const scanner = ts.createScanner(ts.ScriptTarget.ESNext, false, ts.LanguageVariant.Standard, text);
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.ESNext);
  const found: { line: number; endLine: number; isBlock: boolean; text: string }[] = [];
  for (let token = scanner.scan(); token !== ts.SyntaxKind.EndOfFileToken; token = scanner.scan()) {
    const isBlock = token === ts.SyntaxKind.MultiLineCommentTrivia;
    if (!isBlock && token !== ts.SyntaxKind.SingleLineCommentTrivia) continue;
    const line = source.getLineAndCharacterOfPosition(scanner.getTokenStart()).line + 1;
    const endLine = source.getLineAndCharacterOfPosition(scanner.getTokenEnd()).line + 1;
    const before = found.at(-1);
    if (!isBlock && before !== undefined && !before.isBlock && before.endLine === line - 1) {
      before.text += `\n${scanner.getTokenText()}`;
      before.endLine = endLine;
    } else {
      found.push({ line, endLine, isBlock, text: scanner.getTokenText() });
    }
  }
  return found.map(({ line, text: words }) => ({ file, line, text: words }));
}

/** A generator of numbers in [0, 1): the same seed draws the same comments. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
