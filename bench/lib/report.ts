/** A part's result: what was measured, of whom, in which rounds, and the tables that are made of it. */
import { ratiosOf, summaryOf } from "./statistics.ts";

export interface Measure {
  readonly name: string;
  readonly unit: string;
  readonly better: "higher" | "lower";
  /** Digits after the point. */
  readonly digits: number;
  /** Whether a chart is drawn of it too. */
  readonly hasChart: boolean;
}

/** The values of all subjects at one point of one measure, a value a round. */
export interface Row {
  readonly measure: string;
  readonly point: string;
  readonly values: Readonly<Record<string, readonly number[]>>;
  /** What the ratio to the best rival should be. */
  readonly target?: number;
}

export interface Report {
  readonly part: string;
  readonly title: string;
  /** What produced it, to be typed again. */
  readonly command: string;
  readonly commit: string;
  readonly date: string;
  readonly machine: string;
  /** By subject: name and version, as the tables call it. The first is ours. */
  readonly subjects: Readonly<Record<string, string>>;
  readonly measures: readonly Measure[];
  readonly rows: readonly Row[];
  readonly notes: readonly string[];
  /** What a guard found to be too slow: the command fails if there is any. */
  readonly failures?: readonly string[];
}

/** The best rival's name at a row, or null without rivals. */
export function bestRivalOf(report: Report, row: Row): string | null {
  const { better } = measureOf(report, row);
  const [ours = ""] = Object.keys(report.subjects);
  const rivals = Object.entries(row.values)
    .filter(([subject, values]) => subject !== ours && values.length > 0)
    .map(([subject, values]) => ({ subject, median: summaryOf(values).median }))
    .sort((a, b) => (better === "higher" ? b.median - a.median : a.median - b.median));
  return rivals[0]?.subject ?? null;
}

/** The tables in Markdown, one a measure. */
export function tablesOf(report: Report): string {
  return report.measures
    .map((measure) => {
      const rows = report.rows.filter((row) => row.measure === measure.name);
      return `${measure.name}, ${measure.unit} (${measure.better} is better)\n\n${tableOf(report, measure, rows)}`;
    })
    .join("\n\n");
}

function tableOf(report: Report, measure: Measure, rows: readonly Row[]): string {
  const subjects = Object.entries(report.subjects);
  const hasRivals = subjects.length > 1;
  const hasTargets = rows.some((row) => row.target !== undefined);
  const head = [
    "",
    ...subjects.map(([, title]) => title),
    ...(hasRivals ? ["ratio to the best rival"] : []),
    ...(hasTargets ? ["target"] : []),
  ];
  const lines = rows.map((row) => [
    row.point,
    ...subjects.map(([subject]) => cellOf(row.values[subject] ?? [], measure.digits)),
    ...(hasRivals ? [ratioCell(report, row)] : []),
    ...(hasTargets ? [targetCell(report, row, measure)] : []),
  ]);
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...lines.map(line)].join("\n");
}

function cellOf(values: readonly number[], digits: number): string {
  if (values.length === 0) return "-";
  const { median, min, max } = summaryOf(values);
  const text = (value: number): string =>
    value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return values.length === 1 ? text(median) : `${text(median)} (${text(min)} to ${text(max)})`;
}

/** Our values by the best rival's, round by round. */
export function ratioOf(report: Report, row: Row): readonly number[] {
  const [ours = ""] = Object.keys(report.subjects);
  const rival = bestRivalOf(report, row);
  return rival === null ? [] : ratiosOf(row.values[ours] ?? [], row.values[rival] ?? []);
}

function ratioCell(report: Report, row: Row): string {
  const ratios = ratioOf(report, row);
  return ratios.length === 0 ? "-" : `${cellOf(ratios, 2)} ${bestRivalOf(report, row) ?? ""}`;
}

function targetCell(report: Report, row: Row, measure: Measure): string {
  if (row.target === undefined) return "";
  const ratios = ratioOf(report, row);
  if (ratios.length === 0) return String(row.target);
  const { median } = summaryOf(ratios);
  const isMet = measure.better === "higher" ? median >= row.target : median <= row.target;
  return `${row.target} ${isMet ? "met" : "missed"}`;
}

function measureOf(report: Report, row: Row): Measure {
  const measure = report.measures.find(({ name }) => name === row.measure);
  if (measure === undefined) throw new Error(`a row of the unknown measure ${row.measure}`);
  return measure;
}
