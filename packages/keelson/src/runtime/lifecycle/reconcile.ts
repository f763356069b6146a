// Decides, when a node is opened, from which log and which state it continues.
import type { LogFields } from "../../log-event.ts";
import { decodeMembership } from "../../codec/config.ts";
import type { Environment } from "../../environment/environment.ts";
import { CorruptSnapshotError, StorageFailedError, WrongIdentityError } from "../../errors.ts";
import { sameOrigin } from "../../codec/cluster-id.ts";
import type { LogStore, StoredLog } from "../../storage/log-store.ts";
import { isIn, isUninstalled } from "../../storage/stored-log.ts";
import type { OpenedSnapshots, SnapshotStore, StoredSnapshot } from "../../storage/snapshot-store.ts";
import { readRecords } from "../sessions/index.ts";
import type { OpenedState, StateMachine } from "../shared/index.ts";

/** A log, and a state that belongs to one of its entries: what a node continues from. */
export interface StartingPoint {
  readonly stored: StoredLog;
  readonly state: OpenedState;
}

export interface ReconcileParts<Command, Result> extends StartingPoint {
  readonly log: LogStore;
  readonly stateMachine: StateMachine<Command, Result>;
  /** null: the node was opened without snapshots. */
  readonly snapshots: { readonly store: SnapshotStore; readonly found: OpenedSnapshots } | null;
  readonly environment: Environment;
  readonly warn: (text: string, fields?: LogFields) => void;
}

/**
 * Makes log, newest snapshot and state fit together, whichever step an earlier run was in when it ended (S4).
 * Afterwards the log holds every entry after the state.
 *
 * | the newest snapshot's last entry | what happened | what is done |
 * |---|---|---|
 * | is in the log, or before its first entry | it was taken here, or installed completely | the state is restored from it if the log doesn't hold all entries after the state, or if the state is empty |
 * | is not in the log; the snapshot was received from another node | its installation was interrupted | the installation is finished: a leader sent it, so all its entries are committed |
 * | is not in the log; the snapshot was taken here | the log has lost entries | refused |
 *
 * A state that precedes the log's first entry is refused if no snapshot covers the entries between:
 * continuing would leave out their effects (S15).
 *
 * @throws WrongIdentityError, CorruptSnapshotError, StorageFailedError
 */
export async function reconcile<Command, Result>(
  parts: ReconcileParts<Command, Result>,
): Promise<StartingPoint> {
  const newest = parts.snapshots?.found.newest ?? null;
  checkIdentity(newest, parts.stored);
  for (const { file, reason } of parts.snapshots?.found.damaged ?? []) parts.warn(reason, { file });
  if (newest !== null && isUninstalled(parts.stored, newest.position)) return finishInstalling(parts, newest);
  const { stored, state } = parts;
  const isMissing = state.index < stored.base.index;
  // An empty state is restored sooner from a snapshot than by applying the whole log.
  const isWanted = isMissing || (state.index === 0 && newest !== null);
  if (!isWanted) return parts;
  if (newest === null || newest.position.index < stored.base.index) throw missing(parts);
  return { stored, state: await restored(parts, newest) };
}

/**
 * Finishes the installation of a snapshot that was received, in the same order as the installation itself:
 * the state first, then the log. So a crash in between leads here again.
 */
async function finishInstalling<Command, Result>(
  parts: ReconcileParts<Command, Result>,
  newest: StoredSnapshot,
): Promise<StartingPoint> {
  const { stored, state, log, warn } = parts;
  const { position, membership } = newest;
  const isOld = state.index < position.index && isIn(stored, state);
  const isNew = state.index === position.index && state.term === position.term;
  const isReplaceable = state.index < stored.base.index;
  if (newest.origin === "taken" || !(isOld || isNew || isReplaceable)) {
    throw new WrongIdentityError(
      `the newest snapshot is of entry ${String(position.index)} of term ${String(position.term)}, which is not in the ` +
        `log (it ends at entry ${String(stored.lastIndex)}), and the state machine holds entry ${String(state.index)}: ` +
        "they do not belong together. Restore the directories of all from one moment, or remove all and add this " +
        "node to the cluster anew",
    );
  }
  warn("a snapshot of another node was being installed when the node stopped; that is finished now", {
    index: position.index,
  });
  const finished = isNew ? state : await restored(parts, newest);
  const { hardState } = stored;
  // The term of the snapshot's last entry may be later than the saved one. This node has not voted in it, or
  // it would have saved it.
  const isLate = hardState.term < position.term;
  const saved = isLate ? { term: position.term, votedFor: null } : hardState;
  if (isLate) await log.append({ hardState: saved, truncateFrom: null, records: [] });
  await log.reset({ position, config: membership });
  const { config: baseConfig } = decodeMembership(membership);
  const rest = { base: position, baseConfig, basePayload: membership, lastIndex: position.index };
  return { stored: { ...stored, ...rest, hardState: saved, terms: [], configs: [] }, state: finished };
}

/** Restores the state from the snapshot. */
async function restored<Command, Result>(
  { stateMachine, snapshots, environment }: ReconcileParts<Command, Result>,
  newest: StoredSnapshot,
): Promise<OpenedState> {
  const reader = await snapshots?.store.read(newest.id);
  if (reader === undefined || reader === null || stateMachine.restore === undefined) {
    throw new StorageFailedError("the newest snapshot is not there any more", "not-done");
  }
  try {
    const sessions = await readRecords(reader.sessions(), environment);
    await stateMachine.restore(reader.state(), newest.position, sessions);
    return { ...newest.position, sessions };
  } finally {
    await reader.close();
  }
}

/** Refuses a snapshot of another cluster, and one beside a log that belongs to no cluster. */
function checkIdentity(newest: StoredSnapshot | null, { clusterId }: StoredLog): void {
  if (newest === null || (clusterId !== null && sameOrigin(clusterId, newest.clusterId))) return;
  throw new WrongIdentityError(
    `the newest snapshot is of cluster ${newest.clusterId}, and the log ` +
      (clusterId === null ? "of none yet" : `of cluster ${clusterId}`) +
      ": they do not belong together. Start the node with directories of one cluster, or with empty ones",
  );
}

/** The error for a state that precedes the log's first entry, with no snapshot of the entries between. */
function missing<Command, Result>({ stored, state, snapshots }: ReconcileParts<Command, Result>): Error {
  const where = `the log begins after entry ${String(stored.base.index)}, the state machine holds entry ${String(state.index)}, and `;
  const help =
    "Bring back the snapshot, or the state machine's own data, from a backup; or remove this node's directories and " +
    "add it to the cluster anew";
  const damaged = snapshots?.found.damaged[0];
  if (damaged !== undefined) {
    return new CorruptSnapshotError(
      damaged.file,
      0,
      `${where}the snapshot of what lies between is damaged: ${damaged.reason}. ${help}`,
    );
  }
  const what =
    snapshots === null
      ? "the node is opened without `snapshots`"
      : "there is no snapshot of what lies between";
  return new StorageFailedError(`${where}${what}. ${help}`, "not-done");
}
