// Opens the log, the snapshots and the state machine of a node, and makes its core.
import type { LogFields } from "../../log-event.ts";
import { decodeMembership } from "../../codec/config.ts";
import { decodeRecord, EntryKind } from "../../codec/record.ts";
import { sameConfig } from "../../core/config.ts";
import { RaftNode } from "../../core/node.ts";
import { TERM_MAX, type LogPosition } from "../../core/position.ts";
import type { Environment } from "../../environment/environment.ts";
import { InvalidOptionError, StorageFailedError, WrongIdentityError } from "../../errors.ts";
import type { LogStore, StoredLog } from "../../storage/log-store.ts";
import { isIn, termIn } from "../../storage/stored-log.ts";
import { isNamed } from "../../codec/cluster-id.ts";
import type { OpenedSnapshots, SnapshotStore } from "../../storage/snapshot-store.ts";
import { EntryBuffer, LogRecords, StallWatch } from "../loop/index.ts";
import { MembershipHistory } from "../members/index.ts";
import { coreWindow, sessionLimits, type CoreObserverOption, type CoreWindow } from "./core-observer.ts";
import type { OuterParts } from "./default-parts.ts";
import type { NodeLogs } from "./node-log.ts";
import type { GroupParts, ProcessParts } from "./node-parts.ts";
import { Opening } from "./opening.ts";
import { reconcile } from "./reconcile.ts";
import type { RaftOptions, Settings } from "../shared/index.ts";
import { RECORDS_MISSING, sessionTableOf, type SessionTable } from "../sessions/index.ts";
import { WatchedSnapshotStore } from "../snapshots/index.ts";
import { stateMachineHost, watchedStateMachine } from "./watched-state-machine.ts";

/**
 * Opens the log, the snapshots and the state machine, checks that they belong together, and makes the core
 * from them. On failure, and when the snapshots or the state machine hang, what was opened is closed again.
 */
export async function openGroup<Command, Result>(
  options: RaftOptions<Command, Result>,
  settings: Settings,
  { environment, watchdog }: ProcessParts,
  { log: store, snapshotStore: givenSnapshotStore }: OuterParts,
  logs: NodeLogs,
): Promise<GroupParts<Command, Result>> {
  const log = logs("node");
  const warn = (text: string, fields?: LogFields): void => {
    log("warn", text, fields);
  };
  const stallWatch = new StallWatch(environment, settings.timings, log);
  const opening = new Opening(stallWatch, environment, warn);
  const stateMachine = watchedStateMachine(options.stateMachine, stallWatch);
  const snapshotStore =
    givenSnapshotStore === null ? null : new WatchedSnapshotStore(givenSnapshotStore, stallWatch);
  store.logTo?.(logs("storage"));
  snapshotStore?.logTo(logs("snapshot"));
  // The log first: its lock and its node id show whether these are this node's directories at all.
  // `clusterId` is null here, so that the store doesn't compare: it holds the id of its cluster, and the
  // option `clusterId` is only a name. `refuseForeign` checks below that the id was made under that name. An
  // opening that makes no progress is reported and not given up: reading back a long log may take any time.
  const found = await stallWatch.monitor("log", "opening it", () =>
    store.open({ nodeId: settings.id, clusterId: null }, environment),
  );
  opening.opened("the log", () => store.close());
  try {
    refuseForeign(found, settings);
    refuseEndOfTerms(found);
    const snapshots = await openSnapshots(snapshotStore, opening, environment);
    const identity = { nodeId: settings.id, clusterId: found.clusterId, storeId: found.storeId };
    const opened = await opening.run(async () => stateMachine.open(identity, stateMachineHost(stallWatch)), {
      what: "the state machine",
      close: async () => stateMachine.close?.(),
    });
    const { stored, state } = await opening.run(() =>
      reconcile({
        ...{ stored: found, state: opened, log: store, stateMachine, snapshots, environment, warn },
      }),
    );
    checkApplied(state, stored);
    const applied = { term: state.term, index: state.index };
    const memberships = await membershipsOf(stored, store);
    const buffer = new EntryBuffer(settings.limits.cacheBytesMax, stored.lastIndex + 1);
    const logRecords = new LogRecords(buffer, store, watchdog);
    const { [coreWindow]: window, [sessionLimits]: limits } = options as CoreObserverOption;
    const core = coreOf(stored, applied, logRecords, settings, environment, window);
    const sessionTable = await sessionTableOf(state, environment, limits);
    checkLogTime(stateMachine.logTimeStepMs, sessionTable);
    return {
      ...{ settings, stateMachine, store, stored, core, logRecords, memberships, applied },
      ...{ snapshotStore, stallWatch, sessionTable },
    };
  } catch (error) {
    await opening.undo();
    throw error;
  }
}

/** Opens the snapshot store; null: the node has none. */
async function openSnapshots(
  store: SnapshotStore | null,
  opening: Opening,
  environment: Environment,
): Promise<{ store: SnapshotStore; found: OpenedSnapshots } | null> {
  if (store === null) return null;
  const closing = { what: "the snapshots", close: () => store.close() };
  return { store, found: await opening.run(() => store.open(environment), closing) };
}

/** Makes the core, as it was when the node last stopped. */
function coreOf(
  stored: StoredLog,
  applied: LogPosition,
  logRecords: LogRecords,
  settings: Settings,
  environment: Environment,
  window: CoreWindow | undefined,
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
    ...window,
    bytesBetween: (from, to) => logRecords.bytesBetween(from, to),
    now: environment.now(),
    hardState: stored.hardState,
    log: stored,
    // Applied entries are committed.
    commitIndex: applied.index,
  });
}

/** A node in the last term could never stand for election again, nor could any node that it has reached. */
function refuseEndOfTerms({ hardState: { term } }: StoredLog): void {
  if (term < TERM_MAX) return;
  throw new StorageFailedError(
    `the log says that this node is in term ${String(term)}, and no cluster reaches term ${String(TERM_MAX)} by ` +
      "elections: a damaged or hostile message set it, and no leader can be elected after it. If a majority of the " +
      "members has a usable term, remove this node and add its machine anew, with an empty directory and a new id. " +
      "Otherwise stop all nodes, compare them with `keelson inspect`, and run `keelson recover` on the directory with " +
      "the most complete log: it makes a new cluster of it, in a usable term",
    "not-done",
  );
}

/** Refuses a log of a cluster that was created under another name. */
function refuseForeign({ clusterId }: StoredLog, settings: Settings): void {
  if (clusterId === null || isNamed(clusterId, settings.clusterId)) return;
  throw new WrongIdentityError(
    `the log belongs to cluster ${clusterId}, which was not created as "${String(settings.clusterId)}". ` +
      "Start the node with a directory of its own cluster, or an empty one",
  );
}

/** Refuses a state whose last entry isn't in the log: entries would be skipped or applied twice. */
function checkApplied(applied: LogPosition, stored: StoredLog): void {
  const { index, term } = applied;
  if (isIn(stored, applied)) return;
  throw new WrongIdentityError(
    `the state machine holds entry ${String(index)} of term ${String(term)}, which is not in the log (it ends at ` +
      `entry ${String(stored.lastIndex)}): they do not belong together. Restore the directories of both from one ` +
      "moment, or remove both and add this node to the cluster anew",
  );
}

/** Refuses a state machine that uses log time, and whose state came without it: it would begin at 0 again. */
function checkLogTime(stepMs: number | undefined, { isKnown }: SessionTable): void {
  if (stepMs === undefined || isKnown) return;
  throw new InvalidOptionError(
    `stateMachine.logTimeStepMs is ${String(stepMs)}, and the state was stored without log time: ${RECORDS_MISSING}`,
  );
}

/**
 * Reads the configuration entries, whose payloads hold the addresses and stores of the members. There are few
 * of them.
 */
async function membershipsOf(stored: StoredLog, store: LogStore): Promise<MembershipHistory> {
  const history = new MembershipHistory();
  const { base, basePayload } = stored;
  if (base.index > 0) history.add({ index: base.index, membership: decodeMembership(basePayload) });
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
