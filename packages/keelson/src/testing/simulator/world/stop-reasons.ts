/**
 * Decides whether a node that stopped or didn't start had a reason: an injected fault. Without one it's a
 * violation.
 */
import { CorruptLogError, CorruptSnapshotError, type RaftError } from "../../../errors.ts";
import { Violation } from "../checkers/violation.ts";
import { DISK_ERROR_CODES } from "../plan/faults.ts";

/** What faults did to the process's disk and state machine. */
export interface FaultHistory {
  readonly hasDamagedData: boolean;
  readonly diskWasSlow: boolean;
  readonly wasRolledBack: boolean;
  /** The state machine hung. */
  readonly machineHung: boolean;
  /** The files of snapshots hung. */
  readonly snapshotsHung: boolean;
}

/** FAILSTOP or DUR, if no fault explains that this running node stopped; otherwise null. */
export function violationOfStop(
  id: string,
  error: RaftError | undefined,
  faults: FaultHistory,
): Violation | null {
  if (error?.code === "NODE_FAILED") {
    return new Violation("FAILSTOP", `${id} saw what cannot be: ${error.message}`);
  }
  if (error?.code === "LOST_ENTRIES") {
    return faults.wasRolledBack
      ? null
      : new Violation("DUR", `${id} stopped with an undamaged disk: ${error.message}`);
  }
  if (isCorruption(error)) {
    if (faults.hasDamagedData) return null;
    return new Violation("DUR", `${id} found its log damaged: ${String(error?.message)}`);
  }
  if (isDiskError(error) || mayHaveTimedOut(error, faults)) return null;
  return new Violation("FAILSTOP", `${id} stopped for no reason: ${String(error?.message)}`);
}

/** DUR or START, if no fault explains that this node didn't start; otherwise null. */
export function violationOfFailedStart(id: string, error: unknown, faults: FaultHistory): Violation | null {
  const text = error instanceof Error ? error.message : String(error);
  if (isCorruption(error)) {
    return faults.hasDamagedData ? null : new Violation("DUR", `${id} found its log damaged: ${text}`);
  }
  const isExplained = isDiskError(error) || mayHaveTimedOut(error, faults);
  return isExplained ? null : new Violation("START", `${id} did not start: ${text}`);
}

/** Whether a part of the node may have taken too long. */
function mayHaveTimedOut(error: unknown, { diskWasSlow, machineHung, snapshotsHung }: FaultHistory): boolean {
  const code = error instanceof Error && "code" in error ? error.code : null;
  if (code === "STATE_MACHINE_FAILED") return machineHung;
  return code === "STORAGE_FAILED" && (diskWasSlow || snapshotsHung);
}

/** Whether the error, or a cause of it, says that data on disk isn't what was written. */
export function isCorruption(error: unknown): boolean {
  return causesOf(error).some(
    (cause) => cause instanceof CorruptLogError || cause instanceof CorruptSnapshotError,
  );
}

/**
 * Whether the error, or a cause of it, is one that the simulated disk returns. The process is started again
 * then.
 */
export function isDiskError(error: unknown): boolean {
  return causesOf(error).some((cause) => {
    const { code } = cause as { readonly code?: unknown };
    return DISK_ERROR_CODES.some((known) => known === code);
  });
}

function causesOf(error: unknown): Error[] {
  const causes: Error[] = [];
  for (let cause = error; cause instanceof Error; cause = cause.cause) causes.push(cause);
  return causes;
}
