import { decodeMembership } from "../../codec/config.ts";
import type { LogIndex, LogPosition, Term } from "../../core/position.ts";
import { CorruptSnapshotError, StorageFailedError, WrongIdentityError } from "../../errors.ts";
import { sameOrigin } from "../../codec/cluster-id.ts";
import type { LogStore, StoredLog } from "../../storage/log-store.ts";
import type { OpenedSnapshots, SnapshotStore, StoredSnapshot } from "../../storage/snapshot-store.ts";
import { decodeRecords } from "../sessions/index.ts";
import type { OpenedState, StateMachine } from "../shared/index.ts";

/** What a node starts from: its log, and the state that its state machine holds. */
export interface Beginning {
  readonly stored: StoredLog;
  readonly state: OpenedState;
}

export interface BeginningParts<Command, Result> extends Beginning {
  readonly log: LogStore;
  readonly stateMachine: StateMachine<Command, Result>;
  /** null: the node was opened without snapshots. */
  readonly snapshots: { readonly store: SnapshotStore; readonly found: OpenedSnapshots } | null;
  readonly warn: (text: string, fields?: Readonly<Record<string, unknown>>) => void;
}

/**
 * Makes log, snapshot and state fit together, wherever an earlier run ended (S4). There is a state that the log goes on
 * from, or one is restored:
 *
 * - The newest snapshot is in the log, or before it: it was taken here, or installed in full. The state is restored from
 *   it if it is older than the log's beginning, or if there is none.
 * - It is ahead of the log, or contradicts it, and came from another node: its installation was interrupted. A leader
 *   sent it, so all of it is committed; the installation is finished.
 * - It is ahead of the log and was taken here: the log has lost entries. Refused, as is a state that no snapshot reaches.
 */
export async function reconcile<Command, Result>(parts: BeginningParts<Command, Result>): Promise<Beginning> {
  const newest = parts.snapshots?.found.newest ?? null;
  checkIdentity(newest, parts.stored);
  for (const { file, reason } of parts.snapshots?.found.damaged ?? []) parts.warn(reason, { file });
  if (
    newest !== null &&
    newest.position.index > parts.stored.base.index &&
    !isIn(parts.stored, newest.position)
  ) {
    return finishInstalling(parts, newest);
  }
  const { stored, state } = parts;
  const isMissing = state.index < stored.base.index;
  // A state in memory is sooner there by a snapshot than by the whole log.
  const isWanted = isMissing || (state.index === 0 && newest !== null);
  if (!isWanted) return parts;
  if (newest === null || newest.position.index < stored.base.index) throw missing(parts);
  return { stored, state: await restored(parts, newest) };
}

/** Whether the log holds this entry, or begins right after it. */
export function isIn(stored: StoredLog, { index, term }: LogPosition): boolean {
  return index >= stored.base.index && index <= stored.lastIndex && termIn(stored, index) === term;
}

export function termIn(stored: StoredLog, index: LogIndex): Term {
  if (index === stored.base.index) return stored.base.term;
  return stored.terms.findLast((run) => run.index <= index)?.term ?? 0;
}

async function finishInstalling<Command, Result>(
  parts: BeginningParts<Command, Result>,
  newest: StoredSnapshot,
): Promise<Beginning> {
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
  // A term in which nothing was saved here is one in which this node did not vote.
  const isLate = hardState.term < position.term;
  const saved = isLate ? { term: position.term, votedFor: null } : hardState;
  if (isLate) await log.append({ hardState: saved, truncateFrom: null, records: [] });
  await log.reset({ position, config: membership });
  const { config: baseConfig } = decodeMembership(membership);
  const rest = { base: position, baseConfig, basePayload: membership, lastIndex: position.index };
  return { stored: { ...stored, ...rest, hardState: saved, terms: [], configs: [] }, state: finished };
}

async function restored<Command, Result>(
  { stateMachine, snapshots }: BeginningParts<Command, Result>,
  newest: StoredSnapshot,
): Promise<OpenedState> {
  const reader = await snapshots?.store.read(newest.id);
  if (reader === undefined || reader === null || stateMachine.restore === undefined) {
    throw new StorageFailedError("the newest snapshot is not there any more", "not-done");
  }
  try {
    const bytes = await reader.sessions();
    const sessions = bytes.length === 0 ? new Map<string, Uint8Array>() : decodeRecords(bytes);
    await stateMachine.restore(reader.state(), newest.position, sessions);
    return { ...newest.position, sessions };
  } finally {
    await reader.close();
  }
}

function checkIdentity(newest: StoredSnapshot | null, { clusterId }: StoredLog): void {
  if (newest === null || (clusterId !== null && sameOrigin(clusterId, newest.clusterId))) return;
  throw new WrongIdentityError(
    `the newest snapshot is of cluster ${newest.clusterId}, and the log ` +
      (clusterId === null ? "of none yet" : `of cluster ${clusterId}`) +
      ": they do not belong together. Start the node with directories of one cluster, or with empty ones",
  );
}

/** Nothing leads to where the log begins: going on would leave out what the entries before it did (S15). */
function missing<Command, Result>({ stored, state, snapshots }: BeginningParts<Command, Result>): Error {
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
