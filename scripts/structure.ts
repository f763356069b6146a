/**
 * Measures the shape of the sources: files per folder, import cycles (type imports included), imports between
 * folders, and the longest constructors and functions. Tests are left out.
 *
 *   npm run structure -- [--root DIRECTORY] [--top 5]
 *
 * `--root` names another checkout of this repository, to compare a change with what was there before.
 */
import { existsSync, globSync, readFileSync } from "node:fs";
import path from "node:path";
import ts from "typescript";

import { flagsOf, helpIn } from "./lib/flags.ts";

interface Body {
  readonly name: string;
  readonly lines: number;
}

const { values } = flagsOf("npm run structure", helpIn(import.meta.filename), {
  options: {
    root: { type: "string", default: path.join(import.meta.dirname, "..") },
    top: { type: "string", default: "5" },
  },
});
const root = path.resolve(values.root);
const top = Number(values.top);
const files = globSync("packages/*/src/**/*.ts", { cwd: root })
  .filter((name) => !name.endsWith(".test.ts") && !name.includes("/test/"))
  .sort();
const sources = new Map(files.map((name) => [name, parse(name)]));
const imports = new Map([...sources].map(([name, source]) => [name, importsOf(name, source)]));

printFolders();
printCycles();
printBodies("constructors", (node) => ts.isConstructorDeclaration(node));
printBodies("functions", (node) => ts.isFunctionLike(node) && !ts.isConstructorDeclaration(node));

function parse(name: string): ts.SourceFile {
  return ts.createSourceFile(name, readFileSync(path.join(root, name), "utf8"), ts.ScriptTarget.ESNext, true);
}

/** The files of the same package that `source` imports or re-exports from, for their types as well. */
function importsOf(name: string, source: ts.SourceFile): string[] {
  const found = new Set<string>();
  for (const statement of source.statements) {
    if (!ts.isImportDeclaration(statement) && !ts.isExportDeclaration(statement)) continue;
    const specifier = statement.moduleSpecifier;
    if (specifier === undefined || !ts.isStringLiteral(specifier) || !specifier.text.startsWith("."))
      continue;
    const target = path.join(path.dirname(name), specifier.text);
    if (existsSync(path.join(root, target))) found.add(target);
  }
  return [...found];
}

function printFolders(): void {
  const count = new Map<string, number>();
  for (const name of files) count.set(path.dirname(name), (count.get(path.dirname(name)) ?? 0) + 1);
  const largest = [...count].sort(([, a], [, b]) => b - a);
  console.log(`${files.length} files in ${count.size} folders; the largest folders:`);
  for (const [folder, size] of largest.slice(0, top)) console.log(`  ${size} ${folder}`);
  const all = [...imports].flatMap(([from, targets]) =>
    targets.map((to) => [path.dirname(from), path.dirname(to)]),
  );
  const between = new Set(all.filter(([from, to]) => from !== to).map((pair) => pair.join(" -> ")));
  console.log(
    `${all.length} imports between files; ${between.size} pairs of folders with an import between them`,
  );
}

function printCycles(): void {
  const cycles = stronglyConnected(imports);
  console.log(`${cycles.length} import cycles between files, type imports included`);
  for (const cycle of cycles) console.log(`  ${cycle.join(", ")}`);
  const folders = new Map<string, Set<string>>();
  for (const [from, targets] of imports) {
    const found = folders.get(path.dirname(from)) ?? new Set();
    for (const to of targets) if (path.dirname(to) !== path.dirname(from)) found.add(path.dirname(to));
    folders.set(path.dirname(from), found);
  }
  const tangled = stronglyConnected(new Map([...folders].map(([from, targets]) => [from, [...targets]])));
  console.log(`${tangled.length} import cycles between folders`);
  for (const cycle of tangled) console.log(`  ${cycle.join(", ")}`);
}

/** Tarjan's algorithm: the groups of nodes that can all reach each other, where a group has more than one. */
function stronglyConnected(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const order = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const groups: string[][] = [];
  const visit = (node: string): number => {
    const own = order.size;
    order.set(node, own);
    low.set(node, own);
    stack.push(node);
    for (const next of graph.get(node) ?? []) {
      if (!order.has(next)) low.set(node, Math.min(low.get(node) ?? own, visit(next)));
      else if (stack.includes(next)) low.set(node, Math.min(low.get(node) ?? own, order.get(next) ?? own));
    }
    const reached = low.get(node) ?? own;
    if (reached === own) {
      const group = stack.splice(stack.indexOf(node));
      if (group.length > 1) groups.push(group.sort());
    }
    return reached;
  };
  for (const node of graph.keys()) if (!order.has(node)) visit(node);
  return groups;
}

function printBodies(what: string, matches: (node: ts.Node) => boolean): void {
  const bodies: Body[] = [];
  for (const [name, source] of sources) {
    const visit = (node: ts.Node): void => {
      if (matches(node) && "body" in node && node.body !== undefined) {
        const from = source.getLineAndCharacterOfPosition(node.getStart()).line;
        const to = source.getLineAndCharacterOfPosition(node.end).line;
        bodies.push({ name: `${name} ${nameOf(node)}`, lines: to - from + 1 });
      }
      ts.forEachChild(node, visit);
    };
    visit(source);
  }
  bodies.sort((a, b) => b.lines - a.lines);
  console.log(`the longest ${what}, in lines:`);
  for (const { name, lines } of bodies.slice(0, top)) console.log(`  ${lines} ${name}`);
}

function nameOf(node: ts.Node): string {
  if (ts.isConstructorDeclaration(node)) return node.parent.name?.text ?? "";
  return "name" in node && node.name !== undefined ? (node.name as ts.Node).getText() : "(anonymous)";
}
