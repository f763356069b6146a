import { decodeMembership, encodeMembership, REMOVED_MAX, type Membership } from "../../codec/config.ts";
import { encodeRecord, EntryKind } from "../../codec/record.ts";
import { configOf, membersOf } from "../../core/config.ts";
import { TERM_MAX, type LogPosition, type NodeId, type Term } from "../../core/position.ts";
import { formatAddress, isDialable, parseAddress } from "../../environment/address.ts";
import type { Environment, FileSystem } from "../../environment/environment.ts";
import { nodeEnvironment } from "#node-environment";
import {
  CorruptSnapshotError,
  InvalidOptionError,
  StorageFailedError,
  WrongIdentityError,
} from "../../errors.ts";
import { newIncarnation, sameOrigin } from "../../codec/cluster-id.ts";
import { lockStore, whileShared } from "../lock-store.ts";
import type { DamagedSnapshot, StoredSnapshot } from "../snapshot-store.ts";
import { parseSnapshotName } from "../snapshots/file-names.ts";
import { findSnapshots, type FoundSnapshots } from "../snapshots/find-snapshots.ts";
import { SnapshotFileReader } from "../snapshots/snapshot-file-reader.ts";
import { isUninstalled } from "../stored-log.ts";
import { hasCode } from "./file-error.ts";
import { inspectUnlocked } from "./inspect-wal.ts";
import type { WalInspection } from "./wal-inspection.ts";
import { WalLog } from "./wal-log.ts";

/*
 * Disaster recovery: a cluster has lost a majority of its members for good, and one remaining node is to go
 * on alone. `keelson recover` calls this code, while the node isn't running.
 */

/** What `forceNewCluster` is going to do to a log: for the operator to confirm. */
export interface ForceNewClusterPlan {
  readonly nodeId: NodeId;
  readonly storeId: string;
  /** Where this node will be reached as the only member ("host:port"). */
  readonly address: string;
  /** The id of the cluster that is given up. */
  readonly clusterId: string;
  /** That cluster's members, this node included, by the last configuration in this log; ascending. */
  readonly members: readonly NodeId[];
  /** Ids that were removed from that cluster before. */
  readonly removed: readonly NodeId[];
  /**
   * The last entry that this node will have. Entries that only other nodes hold are lost, committed ones too.
   */
  readonly last: LogPosition;
  /** The highest term that this log knows of. */
  readonly term: Term;
  /**
   * The term of the new cluster's first entry: the one after `term`, so that this node's log continues as
   * after an election. If `term` is `TERM_MAX` or beyond, which only a damaged or hostile message can cause,
   * it is the term after the last entry's instead. Going back is safe, because the new cluster has no other
   * node that could be in that term.
   */
  readonly newTerm: Term;
  /**
   * The log's base. Entries up to here were committed; the log alone doesn't tell whether later ones were.
   */
  readonly base: LogPosition;
  /**
   * The last entry of a snapshot that the node received and had not finished installing when it stopped. The
   * installation is finished first, in the log: the snapshot takes the place of all entries in it, and the
   * state is restored from it when the node starts. null: there is none.
   */
  readonly installs: LogPosition | null;
  /**
   * Damaged snapshots that by their names are ahead of the log or contradict it, so that they may have been
   * half installed. What they held is lost, unless the log holds it.
   */
  readonly damagedSnapshots: readonly DamagedSnapshot[];
}

/** What `forceNewCluster` wrote. */
export interface ForcedNewCluster {
  /** The former cluster's id with a new incarnation. */
  readonly clusterId: string;
  /** The configuration entry of the new cluster, which has this node as its only member. */
  readonly position: LogPosition;
}

/** Options of `planForceNewCluster` and `forceNewCluster`. */
export interface ForceNewClusterOptions {
  /**
   * The directory of the node's snapshots, as it was given to `snapshotFiles`. A snapshot that is half
   * installed would otherwise be installed over the recovered log when the node starts, with the
   * configuration of the cluster that was given up. null: the node is opened without snapshots.
   */
  readonly snapshots: string | null;
  /** "host:port". Default: the node's address in the last configuration. */
  readonly address?: string | undefined;
  /**
   * For `forceNewCluster`: the plan that the operator confirmed. If what would be done is something else by
   * now, because the node has run since or the directory was replaced, nothing is done. Default: whatever
   * there is counts as confirmed.
   */
  readonly confirmed?: ForceNewClusterPlan | undefined;
  /** Default: Node's. */
  readonly environment?: Environment | undefined;
}

/**
 * Finds out what `forceNewCluster` would do. Changes nothing.
 *
 * @throws InvalidOptionError there is no log, it belongs to no cluster, or the node is its cluster's only
 *   voter already; DirectoryLockedError the node is running; CorruptSnapshotError the snapshot that was being
 *   installed is damaged; WrongIdentityError log and snapshots don't belong together; StorageFailedError the
 *   log is damaged or can't be read
 */
export async function planForceNewCluster(
  directory: string,
  options: ForceNewClusterOptions,
): Promise<ForceNewClusterPlan> {
  const { files } = options.environment ?? nodeEnvironment();
  return await whileShared(files, directory, async () => {
    const { snapshots } = options;
    const plan = async (): Promise<ForceNewClusterPlan> => (await makePlan(directory, options)).plan;
    return snapshots === null ? await plan() : await whileShared(files, snapshots, plan);
  });
}

/**
 * Turns the log of one remaining node into that of a new cluster of this node alone. Only for a cluster that
 * has lost its majority for good: entries that only other nodes hold are lost, committed or not. All entries
 * in this log are kept, and become committed, unless a snapshot that was being installed replaces them.
 *
 * The cluster id gets a new incarnation, so that former members that come back are refused. Their logs may
 * hold other entries at the same indexes. They can join again with empty directories and new ids.
 *
 * The node must not be running. The log is changed by one atomic write: a crash leaves it as it was, or done.
 * If the installation of a snapshot is finished first, a crash may also leave that done and the rest not:
 * then call it again.
 *
 * @throws as `planForceNewCluster`; InvalidOptionError what would be done is not what was confirmed
 */
export async function forceNewCluster(
  directory: string,
  options: ForceNewClusterOptions,
): Promise<ForcedNewCluster> {
  const { environment = nodeEnvironment(), snapshots } = options;
  const { files } = environment;
  // Refuse before the lock is taken, which leaves a file in the directory.
  checkConfirmed(await planForceNewCluster(directory, options), options, directory);
  const locks = [await lockStore(files, directory)];
  try {
    if (snapshots !== null && (await isThere(files, snapshots)))
      locks.push(await lockStore(files, snapshots));
    // Plan again: before the locks were taken, the node may have run and changed the log.
    const { plan, installs } = await makePlan(directory, options);
    checkConfirmed(plan, options, directory);
    const log = new WalLog(directory);
    const { nodeId } = plan;
    const { hardState } = await log.open({ nodeId, clusterId: null }, environment, locks[0]);
    try {
      if (installs !== null) await finishInstalling(log, hardState.term, installs);
      return await appendNewCluster(log, plan, environment);
    } finally {
      await log.close();
    }
  } finally {
    for (const lock of locks.reverse()) await lock.release();
  }
}

/** @throws InvalidOptionError the plan is not the confirmed one */
function checkConfirmed(
  plan: ForceNewClusterPlan,
  { confirmed }: ForceNewClusterOptions,
  directory: string,
): void {
  if (confirmed === undefined) return;
  const changed = Object.entries(plan)
    .filter(([name, value]) => !isSame(value, confirmed[name as keyof ForceNewClusterPlan]))
    .map(([name]) => name);
  if (changed.length === 0) return;
  throw new InvalidOptionError(
    `${directory} has changed since the plan was shown (${changed.join(", ")}), so nothing was done: the node has run, or ` +
      "the directory was replaced. Look at the plan again before you confirm it",
  );
}

/** Whether two fields of plans are equal. A plan is plain data. */
function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** The plan, and the snapshot whose installation has to be finished for it. */
interface Plan {
  readonly plan: ForceNewClusterPlan;
  /** null: none. */
  readonly installs: StoredSnapshot | null;
}

/** Makes the plan. The caller holds the locks of both directories. */
async function makePlan(directory: string, options: ForceNewClusterOptions): Promise<Plan> {
  const { environment = nodeEnvironment() } = options;
  const found = await inspectUnlocked(directory, { environment });
  const { nodeId, storeId, clusterId, damage } = found;
  if (damage !== null) throw new StorageFailedError(damage.message, "not-done");
  if (nodeId === null || storeId === null || clusterId === null) throw belongsToNoCluster(directory);
  const { installs, damaged } = await findUninstalled(found, clusterId, options, environment.files);
  const current =
    installs === null ? found.memberships.at(-1)?.membership : decodeMembership(installs.membership);
  if (current === undefined) throw belongsToNoCluster(directory);
  const { voters, outgoingVoters } = current.config;
  const position = installs?.position ?? null;
  const { base, last } = position === null ? found : { base: position, last: position };
  const term = Math.max(found.hardState.term, found.last.term, last.term);
  // A sole voter whose term is `TERM_MAX` or beyond can't be elected any more. A new cluster is the way out
  // for it too.
  if (voters.length === 1 && voters[0] === nodeId && outgoingVoters.length === 0 && term < TERM_MAX) {
    throw new InvalidOptionError(`node ${nodeId} is the only voter of its cluster already: start it`);
  }
  const address = addressOf(options.address, current.members.get(nodeId)?.address, nodeId);
  const members = membersOf(current.config).sort();
  const { removed = [] } = current;
  const newTerm = newTermOf(term, last, directory);
  const plan = {
    ...{ nodeId, storeId, address, clusterId, members, removed, last, base, term, newTerm },
    ...{ installs: position, damagedSnapshots: damaged },
  };
  return { plan, installs };
}

/** See `ForceNewClusterPlan.newTerm`. */
function newTermOf(term: Term, last: LogPosition, directory: string): Term {
  const newTerm = (term < TERM_MAX ? term : last.term) + 1;
  if (newTerm <= TERM_MAX) return newTerm;
  throw new InvalidOptionError(
    `the last entry of the log in ${directory} has term ${String(last.term)}, which no cluster reaches by elections, ` +
      "and no entry can follow it: a damaged or hostile leader wrote it. Restore the newest backup, or the newest " +
      "snapshot of a node, into an empty directory with `keelson restore`",
  );
}

/** The newest snapshot, if it is half installed, and damaged ones that may have been. */
async function findUninstalled(
  found: WalInspection,
  clusterId: string,
  { snapshots }: ForceNewClusterOptions,
  files: FileSystem,
): Promise<{ readonly installs: StoredSnapshot | null; readonly damaged: readonly DamagedSnapshot[] }> {
  const log = { base: found.base, terms: found.terms, lastIndex: found.last.index };
  const names = snapshots !== null && (await isThere(files, snapshots)) ? await files.list(snapshots) : [];
  const { complete, damaged } = await findSnapshots(files, snapshots ?? "", names);
  const lost = damaged.filter(({ file }) =>
    isUninstalled(log, parseSnapshotName(file.slice(file.lastIndexOf("/") + 1))),
  );
  const newest = complete.at(-1);
  if (newest === undefined || !isUninstalled(log, newest.snapshot.position)) {
    return { installs: null, damaged: lost };
  }
  checkInstallable(newest, clusterId, found);
  await checkAll(newest, files, found);
  return { installs: newest.snapshot, damaged: lost };
}

type CompleteFile = FoundSnapshots["complete"][number];

/** Throws unless a node that starts would finish this installation too (`runtime/lifecycle/reconcile.ts`). */
function checkInstallable(
  { path, snapshot }: CompleteFile,
  clusterId: string,
  { last }: WalInspection,
): void {
  const { origin, position } = snapshot;
  if (origin === "received" && sameOrigin(clusterId, snapshot.clusterId)) return;
  throw new WrongIdentityError(
    `${path} is a snapshot up to entry ${String(position.index)} of term ${String(position.term)}, which is not in ` +
      `the log (it ends at entry ${String(last.index)}), ` +
      (origin === "taken"
        ? "though this node took it: the log has lost entries"
        : `and it is of cluster ${snapshot.clusterId}, not of ${clusterId}`) +
      ". They do not belong together, and a node that starts from them refuses. Recover another node, or move the " +
      "snapshot away to go on with the log alone",
  );
}

/**
 * Reads and checks all of the snapshot. Once it is installed, the log no longer holds the entries that it
 * covers, so without it the state couldn't be restored.
 */
async function checkAll(
  { path, snapshot }: CompleteFile,
  files: FileSystem,
  { last }: WalInspection,
): Promise<void> {
  const handle = await files.open(path, "read");
  const file = { handle, path, bytes: snapshot.bytes };
  const reader = new SnapshotFileReader(snapshot, file, () => Promise.resolve());
  try {
    await reader.verify();
  } catch (cause) {
    if (!(cause instanceof CorruptSnapshotError)) throw cause;
    throw new CorruptSnapshotError(
      path,
      cause.offset,
      `${cause.message}. The node was installing it when it stopped. Recover another node, or move the file away ` +
        `to go on with the log alone, which ends at entry ${String(last.index)}`,
      { cause },
    );
  } finally {
    await reader.close();
  }
}

/**
 * Finishes the installation of a snapshot in the log. The state machine is left as it is: when the node
 * starts, it restores the state from the snapshot, because the log then begins after entries that the state
 * lacks. `term` is the one that the log has saved.
 */
async function finishInstalling(
  log: WalLog,
  term: Term,
  { position, membership }: StoredSnapshot,
): Promise<void> {
  // A log's last term is never above the hard state's, so save the snapshot's term first. The vote is null:
  // if this node had voted in that term, it would have saved the term.
  if (term < position.term) {
    const hardState = { term: position.term, votedFor: null };
    await log.append({ hardState, truncateFrom: null, records: [] });
  }
  await log.reset({ position, config: membership });
}

/** The one atomic write that makes the log that of a new cluster. */
async function appendNewCluster(
  log: WalLog,
  plan: ForceNewClusterPlan,
  environment: Environment,
): Promise<ForcedNewCluster> {
  const position = { term: plan.newTerm, index: plan.last.index + 1 };
  const payload = encodeMembership(membershipOf(plan));
  const clusterId = newIncarnation(plan.clusterId, () => environment.random());
  await log.appendInNewCluster(clusterId, {
    // A term may have entries only if its leader was elected. So the node votes for itself in the entry's
    // term.
    hardState: { term: position.term, votedFor: plan.nodeId },
    truncateFrom: null,
    records: [encodeRecord(position.index, position.term, EntryKind.config, payload)],
  });
  return { clusterId, position };
}

function belongsToNoCluster(directory: string): InvalidOptionError {
  return new InvalidOptionError(
    `the log in ${directory} belongs to no cluster yet, so there is nothing to recover: start the node`,
  );
}

async function isThere(files: FileSystem, directory: string): Promise<boolean> {
  try {
    await files.list(directory);
    return true;
  } catch (error) {
    if (hasCode(error, "ENOENT")) return false;
    throw error;
  }
}

/**
 * The node as the only member. The former members' ids stay in the configuration as removed, so that they
 * never come back (M10).
 */
function membershipOf({ nodeId, address, storeId, members, removed }: ForceNewClusterPlan): Membership {
  const gone = [...removed, ...members].filter((id, at, all) => id !== nodeId && all.indexOf(id) === at);
  const alone = { config: configOf([nodeId]), members: new Map([[nodeId, { address, storeId }]]) };
  return gone.length === 0 ? alone : { ...alone, removed: gone.slice(-REMOVED_MAX) };
}

function addressOf(given: string | undefined, stored: string | undefined, nodeId: NodeId): string {
  if (given !== undefined) {
    const address = formatAddress(parseAddress(given, "address"));
    if (isDialable(address)) return address;
    throw new InvalidOptionError(`address is ${JSON.stringify(given)}, which other nodes can't dial`);
  }
  if (stored !== undefined) return stored;
  throw new InvalidOptionError(
    `node ${nodeId} is no member of the last configuration in its log, which therefore has no address of it: give one`,
  );
}
