/** Decides for each operation of a disk whether it is the one that fails, and how. */
import type { FileFault, FileOperation } from "../../../environment/simulated/simulated-files.ts";
import type { DiskErrorCode, DiskErrorKind } from "../plan/faults.ts";
import { isSnapshotFile } from "../world/sim-process.ts";

/**
 * How many bytes a write leaves when the disk is full: part of a header, part of a batch, or whole sectors.
 */
export const SHORT_WRITES: readonly number[] = [20, 300, 600, 1_100, 1_700];

/** Fails the next operation that can have this error. */
export function diskError(
  error: DiskErrorKind,
  shortBytes: number,
): (operation: FileOperation) => FileFault | null {
  return ({ type }) => faultFor(error, type, shortBytes);
}

/** Fails the next operation on a file of snapshots that can have this error. */
export function snapshotDiskError(
  error: DiskErrorKind,
  shortBytes: number,
): (operation: FileOperation) => FileFault | null {
  return ({ type, path }) => (isSnapshotFile(path) ? faultFor(error, type, shortBytes) : null);
}

/**
 * An error that `stop-reasons.ts` knows: it takes a node that stops for any other reason for a faulty one.
 */
type DiskFault = Extract<FileFault, { readonly code: string }> & { readonly code: DiskErrorCode };

function faultFor(error: DiskErrorKind, type: FileOperation["type"], shortBytes: number): DiskFault | null {
  switch (error) {
    case "io-error":
      return type === "write" || type === "data-sync" ? { type: "error", code: "EIO" } : null;
    case "no-space":
      return type === "write" || type === "allocate" ? { type: "error", code: "ENOSPC" } : null;
    case "short-write":
      return type === "write" ? { type: "short-write", bytes: shortBytes, code: "ENOSPC" } : null;
    case "failed-sync":
      return type === "data-sync" ? { type: "failed-sync", code: "EIO" } : null;
    case "no-handles":
      return type === "open" ? { type: "error", code: "EMFILE" } : null;
    case "failed-rename":
      return type === "rename" || type === "sync-directory" ? { type: "error", code: "EIO" } : null;
    case "read-error":
      return type === "read" ? { type: "error", code: "EIO" } : null;
  }
}
