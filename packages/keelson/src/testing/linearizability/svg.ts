import type { IllegalResult } from "./check.ts";
import { milliseconds, type PartOperation } from "./explain.ts";

const LANE_HEIGHT = 44;
const BAR_HEIGHT = 26;
const STEP_WIDTH = 90;
const MARGIN = 16;
const HEADER_HEIGHT = 56;
const CHARACTER_WIDTH = 7.2;

/** Longer labels are cut off; the bar's tooltip has the whole text. A value may have a megabyte. */
const LABEL_CHARACTERS_MAX = 60;

const STYLE = `
  text { font: 12px ui-monospace, monospace; fill: #1b1f24; }
  .back { fill: #ffffff; } .lane { stroke: #d0d7de; } .edge { stroke: #cf222e; stroke-dasharray: 4 3; }
  .bar { fill: #eaeef2; stroke: #8c959f; } .placed .bar { fill: #dafbe1; stroke: #1a7f37; }
  .failing .bar { fill: #ffebe9; stroke: #cf222e; stroke-width: 2; } .unknown .bar { stroke-dasharray: 5 3; }
  .badge { fill: #1a7f37; } .badge-text { fill: #ffffff; font-weight: bold; } .title { font-weight: bold; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .back { fill: #0d1117; } .lane { stroke: #30363d; } .edge { stroke: #ff7b72; }
    .bar { fill: #21262d; stroke: #8b949e; } .placed .bar { fill: #12361f; stroke: #3fb950; }
    .failing .bar { fill: #4a1418; stroke: #ff7b72; } .badge { fill: #3fb950; } .badge-text { fill: #0d1117; }
  }`;

/**
 * Draws the smallest illegal part: a lane for each client, and a bar from each call to its return, dashed and
 * open if the outcome is unknown. The operations of the longest legal order are numbered, and the one that
 * fits nowhere is red. Calls and returns are evenly spaced, because true distances would hide short
 * operations; the times are in the tooltips.
 */
export function toSvg(result: IllegalResult<unknown, unknown>): string {
  const times = result.operations
    .flatMap(({ operation }) =>
      operation.outcome === "done" ? [operation.calledAt, operation.returnedAt] : [operation.calledAt],
    )
    .sort((a, b) => a - b);
  const columns = new Map([...new Set(times)].map((time, at) => [time, at]));
  const rows = assignRows(result.operations);
  const left = MARGIN + Math.max(...rows.names.map((client) => textWidth(shorten(client)))) + MARGIN;
  // A label begins in its bar and may extend beyond it to the right, so leave room for the longest.
  const right = Math.max(...result.operations.map(({ label }) => textWidth(shorten(label)))) + 4 * MARGIN;
  const width = left + columns.size * STEP_WIDTH + right;
  const height = HEADER_HEIGHT + rows.names.length * LANE_HEIGHT + MARGIN;
  const x = (time: number): number => left + (columns.get(time) ?? 0) * STEP_WIDTH;
  const failingAt = x(result.failing.returnedAt);
  const title = `Not linearizable${result.key === "" ? "" : `: key ${result.key}`}`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" role="img" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">`,
    `<title>${escape(title)}</title>`,
    `<desc>${escape(result.text)}</desc>`,
    `<style>${STYLE}</style>`,
    `<rect class="back" width="${width}" height="${height}"/>`,
    `<text class="title" x="${MARGIN}" y="22">${escape(shorten(title))}</text>`,
    `<text x="${MARGIN}" y="40">green, numbered: an order that holds; red: cannot be placed; dashed: outcome unknown</text>`,
    ...laneLines(rows, width),
    `<line class="edge" x1="${failingAt}" x2="${failingAt}" y1="${HEADER_HEIGHT - 8}" y2="${height - MARGIN}"/>`,
    ...result.operations.map((item, at) =>
      bar(item, item.operation.id === result.failing.id, x, rows.of[at] ?? 0, width - MARGIN),
    ),
    `</svg>`,
    ``,
  ].join("\n");
}

interface Rows {
  /** The row of each operation. */
  readonly of: readonly number[];
  /** The client of each row; "" if the row above is of the same client. */
  readonly names: readonly string[];
}

/**
 * Each client has a lane. Operations that overlap within it, after a call of unknown outcome, get further
 * rows.
 */
function assignRows(operations: readonly PartOperation<unknown, unknown>[]): Rows {
  const of = new Array<number>(operations.length).fill(0);
  const names: string[] = [];
  for (const client of new Set(operations.map(({ operation }) => operation.client))) {
    const first = names.length;
    const freeAt: number[] = [];
    for (const [at, { operation }] of operations.entries()) {
      if (operation.client !== client) continue;
      const free = freeAt.findIndex((time) => time < operation.calledAt);
      const row = free < 0 ? freeAt.length : free;
      freeAt[row] = operation.outcome === "done" ? operation.returnedAt : Number.POSITIVE_INFINITY;
      of[at] = first + row;
      names[first + row] = row === 0 ? client : "";
    }
  }
  return { of, names };
}

function laneLines(rows: Rows, width: number): string[] {
  return rows.names.map((name, row) => {
    const y = middle(row);
    const line = `<line class="lane" x1="${MARGIN}" x2="${width - MARGIN}" y1="${y}" y2="${y}"/>`;
    return name === "" ? line : `${line}<text x="${MARGIN}" y="${y - 6}">${escape(shorten(name))}</text>`;
  });
}

function bar(
  { operation, label, position }: PartOperation<unknown, unknown>,
  failing: boolean,
  x: (time: number) => number,
  row: number,
  openEnd: number,
): string {
  const from = x(operation.calledAt);
  const to = operation.outcome === "done" ? Math.max(x(operation.returnedAt), from + 4) : openEnd;
  const top = middle(row) - BAR_HEIGHT / 2;
  const kinds = [
    "operation",
    ...(failing ? ["failing"] : position === null ? [] : ["placed"]),
    ...(operation.outcome === "done" ? [] : ["unknown"]),
  ];
  const end =
    operation.outcome === "done" ? `to ${milliseconds(operation.returnedAt)} ms` : "with no known end";
  const about = `#${operation.id} ${label}, from ${milliseconds(operation.calledAt)} ms ${end}`;
  return [
    `<g class="${kinds.join(" ")}"><title>${escape(about)}</title>`,
    `<rect class="bar" x="${from}" y="${top}" width="${to - from}" height="${BAR_HEIGHT}" rx="4"/>`,
    ...(position === null ? [] : [badge(from, top, position)]),
    `<text x="${from + 14}" y="${top + 17}">${escape(shorten(label))}</text></g>`,
  ].join("");
}

function badge(x: number, y: number, position: number): string {
  return (
    `<circle class="badge" cx="${x}" cy="${y}" r="9"/>` +
    `<text class="badge-text" x="${x}" y="${y + 4}" text-anchor="middle">${position}</text>`
  );
}

function middle(row: number): number {
  return HEADER_HEIGHT + row * LANE_HEIGHT + LANE_HEIGHT / 2;
}

function textWidth(text: string): number {
  return text.length * CHARACTER_WIDTH;
}

function shorten(text: string): string {
  return text.length <= LABEL_CHARACTERS_MAX ? text : `${text.slice(0, LABEL_CHARACTERS_MAX - 1)}…`;
}

/** XML can't represent most control characters or half of a surrogate pair, so these are replaced. */
function escape(text: string): string {
  return text
    .toWellFormed()
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "\ufffd")
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}
