// The tests and checks that documents name, and whether they exist. A document names a test by a link to its
// file and its title in quotes, as in [`run.test.ts`](...) "ends the stream"; and a check of scripts/check.ts
// as check `docs`.
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import ts from "typescript";

export interface NamedTest {
  readonly document: string;
  /** Relative to the repository. */
  readonly file: string;
  readonly title: string;
}

const TEST = /\[`[^`\]]+`\]\(([^)#\s]+\.ts)\) "([^"]+)"/g;
const CHECK = /\bcheck `([^`]+)`/g;
/** What defines a test: `it` and `test`, and `define` of the conformance suite for logs. */
const DEFINING = new Set(["it", "test", "define"]);

/** The tests that `text`, a document's, names. */
export function testsNamedIn(document: string, text: string): NamedTest[] {
  return [...text.matchAll(TEST)].map(([, file = "", title = ""]) => ({
    document,
    file: path.join(path.dirname(document), file),
    title,
  }));
}

export function checksNamedIn(text: string): string[] {
  return [...text.matchAll(CHECK)].map(([, name = ""]) => name);
}

/** The titles of the tests in a file, as they are written there, with their placeholders. */
export function titlesIn(root: string, file: string): Set<string> {
  const absolute = path.join(root, file);
  if (!existsSync(absolute)) return new Set();
  const source = ts.createSourceFile(file, readFileSync(absolute, "utf8"), ts.ScriptTarget.Latest);
  const titles = new Set<string>();
  const visit = (node: ts.Node) => {
    if (ts.isCallExpression(node) && DEFINING.has(calledBy(node.expression))) add(node.arguments[0]);
    // The conformance suite for transports lists its tests as objects.
    if (ts.isPropertyAssignment(node) && node.name.getText(source) === "name") add(node.initializer);
    ts.forEachChild(node, visit);
  };
  const add = (title: ts.Expression | undefined) => {
    if (title === undefined) return;
    if (ts.isStringLiteralLike(title)) titles.add(title.text);
    else if (ts.isTemplateExpression(title)) titles.add(title.getText(source).slice(1, -1));
  };
  visit(source);
  return titles;
}

/** `it` for `it(...)`, `it.each(...)(...)`, and `it.each` with a table. */
function calledBy(expression: ts.Expression): string {
  if (ts.isCallExpression(expression) || ts.isPropertyAccessExpression(expression)) {
    return calledBy(expression.expression);
  }
  if (ts.isTaggedTemplateExpression(expression)) return calledBy(expression.tag);
  return ts.isIdentifier(expression) ? expression.text : "";
}
