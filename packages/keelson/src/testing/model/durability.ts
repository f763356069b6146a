/**
 * What is durable, and what may be said before it is (Figure 2: "updated on stable storage before responding
 * to RPCs"). Writes become durable in the order in which they are handed out.
 */
import type { Actions } from "../../core/action.ts";
import { samePosition, type LogIndex, type LogPosition } from "../../core/position.ts";
import { contains, lastOf, prefix, termAt, type ModelLog } from "./model-log.ts";
import type { Disk, ModelState } from "./model-state.ts";
import { rule } from "./rule.ts";

/**
 * The disk when the node has removed the entries after `lastIndex` from its log. Writes of those entries,
 * done or under way, count no more.
 */
export function truncated(disk: Disk, lastIndex: LogIndex): Disk {
  if (disk.handedOut <= lastIndex) return disk;
  return {
    ...disk,
    durable: Math.min(disk.durable, lastIndex),
    handedOut: lastIndex,
    inFlight: disk.inFlight.map((write) => ({ ...write, durable: Math.min(write.durable, lastIndex) })),
  };
}

/** The disk when the batch `persistId` and all batches before it are durable. */
export function persisted(disk: Disk, persistId: number): Disk {
  let { hardState, durable } = disk;
  for (const write of disk.inFlight) {
    if (write.persistId > persistId) break;
    hardState = write.hardState;
    durable = Math.max(durable, write.durable);
  }
  return {
    ...disk,
    hardState,
    durable,
    inFlight: disk.inFlight.filter((write) => write.persistId > persistId),
  };
}

/**
 * The disk when a snapshot up to `position` is installed. The stored log then begins after it, and keeps
 * later entries only if it held the snapshot's last entry (§7).
 */
export function installed(disk: Disk, log: ModelLog, position: LogPosition): Disk {
  if (disk.durable >= position.index && contains(log, position)) return disk;
  const { index } = position;
  const inFlight = disk.inFlight.map((write) => ({ ...write, durable: index }));
  return { ...disk, durable: index, handedOut: index, storeEnd: index, inFlight };
}

/** The hard state and the last entry that will be durable when all writes that were handed out are. */
export function afterWrites({ hardState, durable, inFlight }: Disk): Pick<Disk, "hardState" | "durable"> {
  return inFlight.at(-1) ?? { hardState, durable };
}

/**
 * Checks that the batch saves all that changed, so that no term, vote or entry is left in memory alone.
 * Returns the disk with this write handed out.
 */
export function takeWrites({ disk, term, votedFor, log }: ModelState, actions: Actions): Disk {
  const { hardState, append, persistId } = actions;
  const saved = hardState ?? disk.handedOutState;
  rule(
    saved.term === term && saved.votedFor === votedFor,
    () => `the batch leaves term ${String(term)} and the vote for ${String(votedFor)} unsaved (Figure 2)`,
  );
  const { lastIndex } = log;
  const from = append?.from ?? lastIndex + 1;
  rule(
    (append?.to ?? from) === lastIndex + 1 && from === disk.handedOut + 1,
    () =>
      `the batch writes from ${String(from)}; to write are (${String(disk.handedOut)}, ${String(lastIndex)}]`,
  );
  const overwrites = append !== null && disk.storeEnd >= from;
  const truncateFrom = append?.truncateFrom ?? null;
  rule(
    // A batch may also truncate where the stored log has no entries: that removes nothing.
    truncateFrom === from || (truncateFrom === null && !overwrites),
    () =>
      `the stored log ends at ${String(disk.storeEnd)}, and the batch removes from ${String(truncateFrom)}`,
  );
  if (!actions.needsPersist) {
    rule(hardState === null && append === null, () => "a batch with writes isn't to be persisted");
    return disk;
  }
  const durable = Math.max(lastIndex, log.base.index);
  return {
    ...{ hardState: disk.hardState, durable: disk.durable },
    ...{ handedOut: durable, storeEnd: append === null ? disk.storeEnd : lastIndex, handedOutState: saved },
    inFlight: [...disk.inFlight, { persistId, hardState: saved, durable }],
  };
}

/**
 * A node that starts holds everything that was durable when its process ended (Figure 2, persistent state).
 * Writes that were handed out may have been done, wholly or in part.
 */
export function checkRestart(before: ModelState, after: ModelState): void {
  const { hardState, durable } = before.disk;
  rule(
    after.term > hardState.term ||
      (after.term === hardState.term &&
        (hardState.votedFor === null || after.votedFor === hardState.votedFor)),
    () =>
      `term ${String(hardState.term)} or its vote for ${String(hardState.votedFor)} was durable and is lost`,
  );
  // A snapshot that was being installed replaces a log that doesn't hold its last entry (§7).
  const { base } = after.log;
  if (base.index > durable || (base.index > before.log.base.index && !contains(before.log, base))) return;
  const last = lastOf(prefix(before.log, durable));
  const isKept = samePosition(last, before.log.base) || termAt(after.log, last.index) === last.term;
  rule(isKept, () => `the entry ${String(last.index)} was durable and is lost`);
}
