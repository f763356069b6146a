/**
 * Draws one measure of a report as SVG: a line a subject, with a bar from the smallest to the largest value
 * at each point. A few lines of our own, so that the repository needs no library for three charts.
 */
import type { Measure, Report } from "./report.ts";
import { summaryOf } from "./statistics.ts";

const WIDTH = 720;
const HEIGHT = 400;
const LEFT = 72;
const RIGHT = 168;
const TOP = 40;
const BOTTOM = 44;

/** Told apart by people who see few colours, on white and on black. */
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#777777"];

/** The vertical axis is logarithmic: subjects and points differ by orders of magnitude. */
export function chartOf(report: Report, measure: Measure): string {
  const rows = report.rows.filter((row) => row.measure === measure.name);
  const subjects = Object.entries(report.subjects);
  const values = rows.flatMap((row) => Object.values(row.values).flat()).filter((value) => value > 0);
  const floor = 10 ** Math.floor(Math.log10(Math.min(...values)));
  const ceiling = 10 ** Math.ceil(Math.log10(Math.max(...values, floor * 10)));
  const x = (at: number): number => LEFT + ((WIDTH - LEFT - RIGHT) * (at + 0.5)) / Math.max(1, rows.length);
  const y = (value: number): number =>
    HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * Math.log(value / floor)) / Math.log(ceiling / floor);
  const lines = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#ffffff"/>`,
    `<text x="${LEFT}" y="20" font-size="14">${escape(`${measure.name}, ${measure.unit} (${measure.better} is better)`)}</text>`,
  ];
  for (let grid = floor; grid <= ceiling * 1.001; grid *= 10) {
    const at = y(grid).toFixed(1);
    lines.push(
      `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at}" y2="${at}" stroke="#dddddd"/>`,
      `<text x="${LEFT - 6}" y="${at}" dy="4" text-anchor="end">${grid.toLocaleString("en", { maximumFractionDigits: 6 })}</text>`,
    );
  }
  rows.forEach((row, at) => {
    lines.push(
      `<text x="${x(at).toFixed(1)}" y="${HEIGHT - BOTTOM + 20}" text-anchor="middle">${escape(row.point)}</text>`,
    );
  });
  subjects.forEach(([subject, title], index) => {
    const colour = COLOURS[index % COLOURS.length] ?? "";
    const points = rows.flatMap((row, at) => {
      const all = (row.values[subject] ?? []).filter((value) => value > 0);
      return all.length === 0 ? [] : [{ at: x(at) + index * 3, ...summaryOf(all) }];
    });
    const path = points.map(({ at, median }) => `${at.toFixed(1)},${y(median).toFixed(1)}`).join(" ");
    lines.push(`<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"/>`);
    for (const { at, median, min, max } of points) {
      const place = at.toFixed(1);
      lines.push(
        `<line x1="${place}" x2="${place}" y1="${y(min).toFixed(1)}" y2="${y(max).toFixed(1)}" stroke="${colour}"/>`,
        `<circle cx="${place}" cy="${y(median).toFixed(1)}" r="3" fill="${colour}"/>`,
      );
    }
    const legend = TOP + 14 + index * 18;
    lines.push(
      `<rect x="${WIDTH - RIGHT + 10}" y="${legend - 9}" width="10" height="10" fill="${colour}"/>`,
      `<text x="${WIDTH - RIGHT + 26}" y="${legend}">${escape(title)}</text>`,
    );
  });
  return `${[...lines, "</svg>"].join("\n")}\n`;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
