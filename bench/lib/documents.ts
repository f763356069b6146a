/** Writes a part's report into docs/: the tables into performance.md, the data and charts beside it. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { format, resolveConfig } from "prettier";

import { chartOf } from "./chart.ts";
import { tablesOf, type Report } from "./report.ts";

const DOCS = path.join(import.meta.dirname, "../../docs");
const PAGE = path.join(DOCS, "performance.md");

/** The page's section of the part must exist: it has text around the tables that people write. */
export async function updateDocuments(report: Report): Promise<void> {
  const folder = path.join(DOCS, "performance");
  mkdirSync(folder, { recursive: true });
  const charts = report.measures
    .filter(({ hasChart }) => hasChart)
    .map((measure) => {
      const name = `${report.part}-${measure.name.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-")}.svg`;
      writeFileSync(path.join(folder, name), chartOf(report, measure));
      return `![${measure.name}, ${measure.unit}](performance/${name})`;
    });
  const data = path.join(folder, `${report.part}.json`);
  writeFileSync(data, await formatted(data, JSON.stringify(report)));
  const section = [
    `\`${report.command}\`, commit ${report.commit}, ${report.date}; ${report.machine}. Data: [${report.part}.json](performance/${report.part}.json).`,
    tablesOf(report),
    ...charts,
    ...report.notes,
  ].join("\n\n");
  const page = replaceSection(readFileSync(PAGE, "utf8"), report.part, section);
  writeFileSync(PAGE, await formatted(PAGE, page));
}

/** Replaces what stands between the part's marks. */
export function replaceSection(page: string, part: string, section: string): string {
  const [begin, end] = [`<!-- generated: ${part} -->`, `<!-- end: ${part} -->`];
  const [from, to] = [page.indexOf(begin), page.indexOf(end)];
  if (from === -1 || to < from) throw new Error(`performance.md has no section ${begin} ... ${end}`);
  return `${page.slice(0, from)}${begin}\n\n${section}\n\n${page.slice(to)}`;
}

async function formatted(file: string, text: string): Promise<string> {
  return format(text, { ...(await resolveConfig(file)), filepath: file });
}
