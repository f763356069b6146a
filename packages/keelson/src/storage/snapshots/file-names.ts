import type { LogPosition } from "../../core/position.ts";

/*
 * What the files in a directory of snapshots are called. A complete snapshot's name has its index, term and id, and
 * where it came from: the index first, so that names sort as snapshots do.
 */
const SNAPSHOT_NAME = /^snapshot-(\d{16})-(\d{16})-([0-9a-f]{32})\.(taken|received)$/;
const DRAFT_NAME = /^draft-[0-9a-f]{32}\.tmp$/;
const INCOMING_NAME = /^incoming-([0-9a-f]{32})\.part$/;
const DIGITS = 16;

/** What a file in a directory of snapshots is; see `SnapshotInspection.kind`. */
export type SnapshotFileKind = "taken" | "received" | "incoming" | "draft";

/** null: it is no file of ours. */
export function fileKind(name: string): SnapshotFileKind | null {
  if (DRAFT_NAME.test(name)) return "draft";
  if (INCOMING_NAME.test(name)) return "incoming";
  const origin = SNAPSHOT_NAME.exec(name)?.[4];
  return origin === "taken" || origin === "received" ? origin : null;
}

/** What the name of a complete snapshot says. */
export function parseSnapshotName(name: string): LogPosition & { readonly id: string } {
  const [, index, term, id = ""] = SNAPSHOT_NAME.exec(name) ?? [];
  return { index: Number(index), term: Number(term), id };
}

export function snapshotName({ index, term }: LogPosition, id: string, origin: "taken" | "received"): string {
  const digits = (number: number): string => String(number).padStart(DIGITS, "0");
  return `snapshot-${digits(index)}-${digits(term)}-${id}.${origin}`;
}

export function draftName(id: string): string {
  return `draft-${id}.tmp`;
}

export function incomingName(id: string): string {
  return `incoming-${id}.part`;
}
