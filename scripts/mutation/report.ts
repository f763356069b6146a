/** The parts of Stryker's report that are used here. */
export interface MutationReport {
  readonly files: Readonly<Record<string, MutatedFile>>;
}

interface MutatedFile {
  readonly source: string;
  readonly mutants: readonly Mutant[];
}

interface Place {
  readonly line: number;
  readonly column: number;
}

interface Mutant {
  readonly mutatorName: string;
  readonly replacement?: string;
  readonly status: string;
  readonly location: { readonly start: Place; readonly end: Place };
}

/** The figures of one file. A mutant that no test reaches counts as a survivor. */
export interface FileTally {
  readonly file: string;
  readonly mutants: number;
  readonly killed: number;
  readonly survived: number;
}

/** Statuses that count as killed: the tests failed, or ran into the time limit. */
const KILLED = new Set(["Killed", "Timeout"]);
const SURVIVED = new Set(["Survived", "NoCoverage"]);

const SRC = "packages/keelson/src/";
const TABLE_BEGIN = "<!-- table: npm run mutate -- --docs -->";
const TABLE_END = "<!-- end of the table -->";

/** The figures of each file, in the order of their names; files without mutants are left out. */
export function tallyFiles(report: MutationReport): FileTally[] {
  return Object.entries(report.files)
    .map(([file, { mutants }]) => {
      const killed = mutants.filter(({ status }) => KILLED.has(status)).length;
      const survived = mutants.filter(({ status }) => SURVIVED.has(status)).length;
      return { file: file.replace(SRC, ""), mutants: killed + survived, killed, survived };
    })
    .filter(({ mutants }) => mutants > 0)
    .sort((a, b) => (a.file < b.file ? -1 : 1));
}

/** The killed mutants in percent; 100 if there are none. */
export function scoreOf({ mutants, killed }: { readonly mutants: number; readonly killed: number }): number {
  return mutants === 0 ? 100 : (100 * killed) / mutants;
}

/** One line for each surviving mutant. */
export function listSurvivors(report: MutationReport): string[] {
  return Object.entries(report.files).flatMap(([file, { source, mutants }]) => {
    const lines = source.split("\n");
    return mutants
      .filter(({ status }) => SURVIVED.has(status))
      .map(({ location: { start, end }, mutatorName, replacement = "", status }) => {
        const line = lines[start.line - 1] ?? "";
        const sameLine = start.line === end.line;
        const before = line.slice(start.column - 1, sameLine ? end.column - 1 : undefined);
        const after = replacement.replace(/\s+/g, " ").slice(0, 100);
        const unreached = status === "NoCoverage" ? " (no test comes here)" : "";
        const place = `${file.replace(SRC, "")}:${String(start.line)}`;
        return `${place} ${mutatorName}${unreached}: ${before}${sameLine ? "" : " ..."} => ${after}`;
      });
  });
}

/**
 * `text` with the figures of `tallies` in its table. Files without new figures keep their old ones, unless
 * they don't exist any more.
 */
export function replaceTable(
  text: string,
  tallies: readonly FileTally[],
  exists: (path: string) => boolean,
): string {
  const begin = text.indexOf(TABLE_BEGIN);
  const end = text.indexOf(TABLE_END);
  if (begin < 0 || end < begin)
    throw new Error(`there is no place for the table: ${TABLE_BEGIN} ... ${TABLE_END}`);
  const kept = readRows(text.slice(begin, end)).filter(({ file }) => exists(SRC + file));
  const rows = new Map(kept.map((row) => [row.file, row]));
  for (const tally of tallies) rows.set(tally.file, tally);
  const sorted = [...rows.values()].sort((a, b) => (a.file < b.file ? -1 : 1));
  const total = sorted.reduce(
    (sum, { mutants, killed, survived }) => ({
      file: "all",
      mutants: sum.mutants + mutants,
      killed: sum.killed + killed,
      survived: sum.survived + survived,
    }),
    { file: "all", mutants: 0, killed: 0, survived: 0 },
  );
  const cells = [...sorted, total].map((row) => [
    row.file,
    String(row.mutants),
    String(row.killed),
    String(row.survived),
    `${scoreOf(row).toFixed(1)}%`,
  ]);
  const table = alignColumns(["file", "mutants", "killed", "survived", "score"], cells);
  return `${text.slice(0, begin)}${TABLE_BEGIN}\n\n${table.join("\n")}\n\n${text.slice(end)}`;
}

/** Formatted as prettier would, so that the new table passes the format check. */
function alignColumns(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const widths = head.map((name, at) => Math.max(name.length, ...rows.map((row) => row[at]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    `| ${row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(" | ")} |`;
  return [head, widths.map((width) => "-".repeat(width)), ...rows].map(line);
}

function readRows(table: string): FileTally[] {
  return [...table.matchAll(/^\| +(\S+\.ts) +\| +(\d+) +\| +(\d+) +\| +(\d+) +\|/gm)].map(
    ([, file = "", mutants, killed, survived]) => ({
      file,
      mutants: Number(mutants),
      killed: Number(killed),
      survived: Number(survived),
    }),
  );
}
