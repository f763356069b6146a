import { decodeMembership } from "../codec/config.ts";
import { decodeRecord, EntryKind } from "../codec/record.ts";
import { sameConfig } from "../core/config.ts";
import { RaftNode } from "../core/node.ts";
import { ORIGIN, type LogIndex, type LogPosition, type Term } from "../core/position.ts";
import type { Environment } from "../environment/environment.ts";
import { StorageFailedError, WrongIdentityError } from "../errors.ts";
import type { LogStore, StoredLog } from "../storage/log-store.ts";
import { isNamed } from "../storage/cluster-id.ts";
import { Entries } from "./entries.ts";
import { EntryBuffer } from "./entry-buffer.ts";
import { MembershipHistory } from "./membership.ts";
import type { RaftOptions } from "./options.ts";
import { sessionsOf } from "./session-steps.ts";
import type { SessionTable } from "./session-table.ts";
import type { Settings } from "./settings.ts";
import { StorageWatch } from "./storage-watch.ts";

/** A node's parts, opened and checked against each other, before anything moves. */
export interface Opened {
  readonly stored: StoredLog;
  readonly core: RaftNode;
  readonly entries: Entries;
  readonly memberships: MembershipHistory;
  readonly watch: StorageWatch;
  readonly applied: LogPosition;
  /** null: the state machine did not keep them. */
  readonly sessions: SessionTable | null;
}

/** Opens the log, then the state machine; on failure, what was opened is closed again. */
export async function openParts<Command, Result>(
  options: RaftOptions<Command, Result>,
  settings: Settings,
  environment: Environment,
  onStuck: (what: string) => void,
): Promise<Opened> {
  const { log: store, stateMachine } = options;
  // The log goes first: its lock and its identity show whether this is the right place at all.
  // The name alone says nothing to the store: what is bound to it is the id of one cluster of that name.
  const stored = await store.open({ nodeId: settings.id, clusterId: null }, environment);
  let stateMachineOpened = false;
  try {
    refuseForeign(stored, settings);
    refuseCompacted(stored);
    const state = await stateMachine.open();
    stateMachineOpened = true;
    checkApplied(state, stored);
    const applied = { term: state.term, index: state.index };
    const sessions = sessionsOf(state);
    const memberships = await membershipsOf(stored, store);
    const watch = new StorageWatch(environment, settings.timings.storageTimeoutMs, onStuck);
    const buffer = new EntryBuffer(settings.limits.cacheBytesMax, stored.lastIndex + 1);
    const entries = new Entries(buffer, store, watch);
    const core = coreOf(stored, applied, entries, settings, environment);
    return { stored, core, entries, memberships, watch, applied, sessions };
  } catch (error) {
    if (stateMachineOpened) await quietly(() => stateMachine.close?.());
    await quietly(() => store.close());
    throw error;
  }
}

function coreOf(
  stored: StoredLog,
  applied: LogPosition,
  entries: Entries,
  settings: Settings,
  environment: Environment,
): RaftNode {
  const { timings, limits, preVote, checkQuorum, clockDriftMax } = settings;
  return RaftNode.restart({
    id: settings.id,
    random: () => environment.random(),
    electionTimeoutMs: { min: timings.electionTimeoutMinMs, max: timings.electionTimeoutMaxMs },
    heartbeatMs: timings.heartbeatMs,
    preVote,
    checkQuorum,
    clockDriftMax,
    storageStallMs: timings.storageStallMs,
    readsMax: limits.pendingReadsMax,
    bytesBetween: (from, to) => entries.bytesBetween(from, to),
    now: environment.now(),
    hardState: stored.hardState,
    log: stored,
    // What was applied was committed, and stays so.
    commit: applied.index,
  });
}

function refuseForeign({ clusterId }: StoredLog, settings: Settings): void {
  if (clusterId === null || isNamed(clusterId, settings.clusterId)) return;
  throw new WrongIdentityError(
    `the log belongs to cluster ${clusterId}, which was not created as "${String(settings.clusterId)}". ` +
      "Start the node with a directory of its own cluster, or an empty one",
  );
}

/** Nothing in this version compacts a log. One that was needs a snapshot to go with it, which cannot be read yet. */
function refuseCompacted({ base }: StoredLog): void {
  if (base.index === ORIGIN.index) return;
  throw new StorageFailedError(
    `the log begins after entry ${String(base.index)}: it was compacted by a later version, which should open it`,
    "not-done",
  );
}

/** The state must be one that this log leads to: a state ahead of its log would skip or repeat entries. */
function checkApplied(applied: LogPosition, stored: StoredLog): void {
  const { index, term } = applied;
  const inLog = index >= stored.base.index && index <= stored.lastIndex && termIn(stored, index) === term;
  if (inLog) return;
  throw new WrongIdentityError(
    `the state machine holds entry ${String(index)} of term ${String(term)}, which is not in the log (it ends at ` +
      `entry ${String(stored.lastIndex)}): they do not belong together. Restore the directories of both from one ` +
      "moment, or remove both and add this node to the cluster anew",
  );
}

function termIn(stored: StoredLog, index: LogIndex): Term {
  if (index === stored.base.index) return stored.base.term;
  return stored.terms.findLast((run) => run.index <= index)?.term ?? 0;
}

/** The addresses are in the configuration entries' payloads, so those few are read. */
async function membershipsOf(stored: StoredLog, store: LogStore): Promise<MembershipHistory> {
  const history = new MembershipHistory();
  for (const { index, config } of stored.configs) {
    const [record] = await store.read(index, index + 1, Number.MAX_SAFE_INTEGER);
    const entry = record === undefined ? undefined : decodeRecord(record);
    if (entry?.index !== index || entry.term !== termIn(stored, index) || entry.kind !== EntryKind.config) {
      throw new StorageFailedError(
        `the log says that entry ${String(index)} is a configuration, and holds something else there`,
        "not-done",
      );
    }
    const membership = decodeMembership(entry.payload);
    if (!sameConfig(membership.config, config)) {
      throw new StorageFailedError(`the log holds two configurations at entry ${String(index)}`, "not-done");
    }
    history.add({ index, membership });
  }
  return history;
}

/** There is an error to report already, and it is not this one. */
async function quietly(close: () => Promise<void> | void): Promise<void> {
  try {
    await close();
  } catch {
    // The first error says more.
  }
}
