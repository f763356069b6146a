import type { LogPosition } from "../../core/position.ts";

/*
 * The names of the files in a directory of snapshots.
 *
 * | name | file |
 * |---|---|
 * | `snapshot-INDEX-TERM-ID.taken` | a complete snapshot, taken by this node |
 * | `snapshot-INDEX-TERM-ID.received` | a complete snapshot, received from another node |
 * | `incoming-ID.part` | a snapshot that is being received; kept over restarts |
 * | `draft-ID.tmp` | a snapshot that is being taken; removed after a crash |
 *
 * INDEX and TERM are those of the last entry whose effects the snapshot holds, with 16 digits, so that the
 * names sort by index. A file becomes a complete snapshot by being renamed.
 */
const SNAPSHOT_NAME = /^snapshot-(\d{16})-(\d{16})-([0-9a-f]{32})\.(taken|received)$/;
const DRAFT_NAME = /^draft-[0-9a-f]{32}\.tmp$/;
const INCOMING_NAME = /^incoming-([0-9a-f]{32})\.part$/;
const DIGITS = 16;

/** The four kinds of files in a directory of snapshots; see `SnapshotInspection.kind`. */
export type SnapshotFileKind = "taken" | "received" | "incoming" | "draft";

/** The kind of the file with this name; null: the store didn't create it. */
export function fileKind(name: string): SnapshotFileKind | null {
  if (DRAFT_NAME.test(name)) return "draft";
  if (INCOMING_NAME.test(name)) return "incoming";
  const origin = SNAPSHOT_NAME.exec(name)?.[4];
  return origin === "taken" || origin === "received" ? origin : null;
}

/** Index, term and id in the name of a complete snapshot. */
export function parseSnapshotName(name: string): LogPosition & { readonly id: string } {
  const [, index, term, id = ""] = SNAPSHOT_NAME.exec(name) ?? [];
  return { index: Number(index), term: Number(term), id };
}

/** The name of a complete snapshot. */
export function snapshotName({ index, term }: LogPosition, id: string, origin: "taken" | "received"): string {
  const digits = (number: number): string => String(number).padStart(DIGITS, "0");
  return `snapshot-${digits(index)}-${digits(term)}-${id}.${origin}`;
}

/** The name of a snapshot that is being taken. */
export function draftName(id: string): string {
  return `draft-${id}.tmp`;
}

/** The name of a snapshot that is being received. */
export function incomingName(id: string): string {
  return `incoming-${id}.part`;
}
