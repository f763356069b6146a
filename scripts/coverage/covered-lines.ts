import ts from "typescript";

/** A range of a script, and how often V8 ran it. */
export interface CountedRange {
  readonly startOffset: number;
  readonly endOffset: number;
  readonly count: number;
}

/** The coverage of one file: the lines on which a statement begins, counted from 1, and the statements. */
export interface FileCoverage {
  readonly covered: readonly number[];
  readonly missed: readonly number[];
  readonly statements: number;
  readonly statementsCovered: number;
}

/**
 * What ran. Only lines count on which a statement begins: comments, types and braces do not. As with other
 * tools, a line is covered if any statement that begins on it ran; `if (bad) throw ...` is one covered line
 * and, if it never was bad, one of two statements. Methods with a name in `leftOut` do not count at all.
 */
export function coverageOf(
  source: string,
  ranges: readonly CountedRange[],
  leftOut: readonly string[] = [],
): FileCoverage {
  const file = ts.createSourceFile("source.ts", source, ts.ScriptTarget.Latest, true);
  const ran = new Map<number, boolean>();
  let [statements, statementsCovered] = [0, 0];
  const visit = (node: ts.Node): void => {
    if (ts.isMethodDeclaration(node) && leftOut.includes(node.name.getText(file))) return;
    const place = placeOf(node);
    if (place !== null) {
      const start = place.getStart(file);
      const line = file.getLineAndCharacterOfPosition(start).line + 1;
      const isCovered = countAt(ranges, start) > 0;
      ran.set(line, isCovered || ran.get(line) === true);
      statements += 1;
      if (isCovered) statementsCovered += 1;
    }
    if (!isOnlyType(node)) ts.forEachChild(node, visit);
  };
  visit(file);
  const lines = [...ran].sort(([a], [b]) => a - b);
  return {
    covered: lines.filter(([, isCovered]) => isCovered).map(([line]) => line),
    missed: lines.filter(([, isCovered]) => !isCovered).map(([line]) => line),
    statements,
    statementsCovered,
  };
}

/** What is executed at this node, if it is a statement or stands for one. */
function placeOf(node: ts.Node): ts.Node | null {
  if (ts.isArrowFunction(node)) return ts.isBlock(node.body) ? null : node.body;
  if (ts.isPropertyDeclaration(node)) return node.initializer ?? null;
  if (!ts.isStatement(node)) return null;
  const isFrame =
    ts.isBlock(node) ||
    ts.isTryStatement(node) ||
    ts.isLabeledStatement(node) ||
    ts.isFunctionDeclaration(node) ||
    ts.isClassDeclaration(node) ||
    ts.isImportDeclaration(node) ||
    ts.isExportDeclaration(node);
  return isFrame || isOnlyType(node) ? null : node;
}

function isOnlyType(node: ts.Node): boolean {
  return ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node) || ts.isTypeNode(node);
}

/** The innermost range that contains the offset decides. A script that V8 doesn't mention never ran. */
function countAt(ranges: readonly CountedRange[], offset: number): number {
  let best: CountedRange | null = null;
  for (const range of ranges) {
    if (range.startOffset > offset || range.endOffset <= offset) continue;
    const length = range.endOffset - range.startOffset;
    if (best === null || length <= best.endOffset - best.startOffset) best = range;
  }
  return best?.count ?? 0;
}
