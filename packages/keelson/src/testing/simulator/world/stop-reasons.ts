/**
 * Decides whether a node that stopped or didn't start had a reason: an injected fault. Without one it's a
 * violation.
 */
import { CorruptLogError, CorruptSnapshotError, type RaftError } from "../../../errors.ts";
import { Violation } from "../checkers/violation.ts";
import { DISK_ERROR_CODES } from "../plan/faults.ts";

/** What faults did to the process's disk. */
export interface DiskHistory {
  readonly hasDamagedData: boolean;
  readonly diskWasSlow: boolean;
  readonly wasRolledBack: boolean;
}

/** FAILSTOP or DUR, if no fault explains that this running node stopped; otherwise null. */
export function violationOfStop(
  id: string,
  error: RaftError | undefined,
  { hasDamagedData, diskWasSlow, wasRolledBack }: DiskHistory,
): Violation | null {
  if (error?.code === "NODE_FAILED") {
    return new Violation("FAILSTOP", `${id} saw what cannot be: ${error.message}`);
  }
  if (error?.code === "LOST_ENTRIES") {
    return wasRolledBack
      ? null
      : new Violation("DUR", `${id} stopped with an undamaged disk: ${error.message}`);
  }
  if (isCorruption(error)) {
    if (hasDamagedData) return null;
    return new Violation("DUR", `${id} found its log damaged: ${String(error?.message)}`);
  }
  const hasTimedOut = error?.code === "STORAGE_FAILED" && diskWasSlow;
  if (isDiskError(error) || hasTimedOut) return null;
  return new Violation("FAILSTOP", `${id} stopped for no reason: ${String(error?.message)}`);
}

/** DUR or START, if no fault explains that this node didn't start; otherwise null. */
export function violationOfFailedStart(
  id: string,
  error: unknown,
  { hasDamagedData }: DiskHistory,
): Violation | null {
  const text = error instanceof Error ? error.message : String(error);
  if (isCorruption(error)) {
    return hasDamagedData ? null : new Violation("DUR", `${id} found its log damaged: ${text}`);
  }
  return isDiskError(error) ? null : new Violation("START", `${id} did not start: ${text}`);
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
