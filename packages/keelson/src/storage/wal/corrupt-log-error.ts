import type { LogIndex } from "../../core/position.ts";
import { CorruptLogError } from "../../errors.ts";

/**
 * The error for a log that is damaged. It says where, what is wrong, from which entry on (`index`; null: not
 * known), and what the operator can do.
 */
export function corruptLogError(
  file: string,
  offset: number,
  index: LogIndex | null,
  why: string,
  cause?: unknown,
): CorruptLogError {
  const entries = index === null ? "" : ` Entry ${String(index)} and later ones may be affected.`;
  const text = `the log is damaged: ${file}, offset ${String(offset)}: ${why}.${entries} ${WHAT_TO_DO}`;
  return new CorruptLogError(file, offset, index, text, cause === undefined ? undefined : { cause });
}

const WHAT_TO_DO =
  "Nothing was changed. Restore this node's directory from a backup of it, or remove the node from its " +
  "cluster, and add a new one with another id and an empty directory: it gets the log from the others.";
