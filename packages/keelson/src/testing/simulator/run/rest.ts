/**
 * A healed cluster that nobody uses comes to rest: without any further write, all nodes hold the same, every
 * queue is empty, and nothing but heartbeats is sent. A write would set a follower that is stuck going again,
 * and hide that it was stuck.
 *
 * - LIVE: followers catch up and install snapshots without a further write; every member answers its leader.
 * - BOUND: queues are empty; a snapshot that the policy says is due is taken, and the log that it covers is
 *   forgotten; no transfer of a snapshot is left over; the leader has nothing in flight to its followers, and
 *   no transfer or notice that should have ended; sessions that nobody uses have ended; no member keeps
 *   a connection to a node that was removed; nobody sends entries, snapshots or questions, or writes to a
 *   node that isn't a member.
 * - TIME: if the state machine uses log time, it passes though nobody writes.
 */
import { isRuntimeMessage } from "../../../codec/frame-runtime-message.ts";
import { membersOf } from "../../../core/config.ts";
import type { RaftMetrics } from "../../../runtime/shared/index.ts";
import type { SimProcess } from "../world/sim-process.ts";
import { leftoverOf } from "./leader-leftovers.ts";
import type { SentMessage, SimulatedCluster } from "./simulated-cluster.ts";
import type { TurnLoop } from "./turn-loop.ts";

/** For how many heartbeats the checker listens to the cluster at a time: one window. */
const LISTEN_HEARTBEATS = 6;

/**
 * How many heartbeats a node may be sent in a window beyond those that are due: the first and last round may
 * be cut by the window, and a leader may begin one early.
 */
const EXTRA_ROUNDS_MAX = 2;

/** A snapshot is due only if the log since the last one has this share of its size: the runtime's rule. */
const LOG_SHARE_MIN = 0.25;

/**
 * For so long a leader keeps the log for a node that has fetched a snapshot and doesn't come back: the
 * runtime's own constant.
 */
const TRANSFER_IDLE_MS = 30_000;

/** Sessions with a longer time to live outlast the runs. */
const SHORT_TTL_MS = 3_000;

/** An idle leader lets log time stand still for so long: the runtime's own constant. */
const LOG_TIME_STILL_MS = 5_000;

/** See the file's header. */
export class Rest {
  readonly #cluster: SimulatedCluster;
  readonly #turns: TurnLoop;
  /** What kept the cluster from being at rest when it was last looked at; "": nothing did. */
  #unrest = "";

  constructor(cluster: SimulatedCluster, turns: TurnLoop) {
    this.#cluster = cluster;
    this.#turns = turns;
  }

  /** Waits until the cluster is at rest, and listens to it then. Throws the violation if it never is. */
  async reach(): Promise<void> {
    await this.#wait(
      () => this.#cluster.haveAllApplied(),
      "LIVE",
      "all nodes to apply the same without a write",
    );
    const limitMs = this.#turns.patienceMs + TRANSFER_IDLE_MS / Math.min(...this.#cluster.plan.clockRates);
    await this.#wait(() => this.#isQuiet(), "BOUND", "queues, snapshots and transfers to end", limitMs);
    if (!this.#cluster.isUndisturbed()) return;
    await this.#awaitSessions();
    await this.#awaitLogTime();
    await this.#listen();
  }

  /**
   * BOUND: a session ends when its time to live is over, though nothing else tells the cluster the time
   * (Z13).
   */
  async #awaitSessions(): Promise<void> {
    const { plan } = this.#cluster;
    const ttlMs = plan.sessions?.ttlMs ?? Infinity;
    if (ttlMs > SHORT_TTL_MS) return;
    const open = (): number =>
      Math.max(...this.#cluster.usableMembers().map(({ raft }) => raft?.metrics().sessions.open ?? 0));
    // An entry may remove so few records that it takes one for each session.
    const entries = plan.sessionLimits === null ? 1 : Math.max(1, open());
    const limitMs =
      (ttlMs + entries * LOG_TIME_STILL_MS) / Math.min(...plan.clockRates) + this.#turns.patienceMs;
    await this.#turns.runUntil(
      () => open() === 0,
      limitMs,
      "BOUND",
      () => `${String(open())} sessions to end`,
    );
  }

  /** TIME: an idle leader tells the log the time, so that log time doesn't fall behind. */
  async #awaitLogTime(): Promise<void> {
    const { plan } = this.#cluster;
    const usesLogTime = ({ machine }: SimProcess): boolean => machine?.logTimeStepMs !== undefined;
    if (!this.#cluster.usableMembers().every(usesLogTime)) return;
    const timeMs = (): number =>
      Math.min(...this.#cluster.usableMembers().map(({ raft }) => raft?.metrics().sessions.timeMs ?? 0));
    const before = timeMs();
    const limitMs = LOG_TIME_STILL_MS / Math.min(...plan.clockRates) + this.#turns.patienceMs;
    await this.#turns.runUntil(
      () => timeMs() > before,
      limitMs,
      "TIME",
      () => `log time to pass ${String(before)} ms`,
    );
  }

  #wait(
    condition: () => boolean,
    code: string,
    what: string,
    limitMs = this.#turns.patienceMs,
  ): Promise<void> {
    return this.#turns.runUntil(condition, limitMs, code, () => `${what} (${this.#unrest})`);
  }

  #isQuiet(): boolean {
    this.#unrest = this.#findUnrest() ?? "";
    return this.#unrest === "";
  }

  #findUnrest(): string | null {
    const usable = new Set(this.#cluster.usableMembers().map(({ id }) => id));
    for (const process of this.#cluster.usableMembers()) {
      const metrics = process.raft?.metrics();
      if (metrics === undefined) return `${process.id} is down`;
      if (process.timersAreLate) return `${process.id} has timers that were set while they were late`;
      const unrest = queueOf(metrics) ?? unansweredBy(this.#cluster, metrics);
      if (unrest !== null) return `${process.id}: ${unrest}`;
      const left =
        process.core?.role !== "leader" ? null : leftoverOf(process.core.capture(), (id) => usable.has(id));
      if (left !== null) return `${process.id} still has ${left}`;
      const [removed] = this.#cluster.connectionsToRemoved(process);
      if (removed !== undefined) return `${process.id}: connected with ${removed}, which was removed`;
      const waste = process.hasDamagedData ? null : this.#snapshotUnrest(process, metrics);
      if (waste !== null) return `${process.id}: ${waste}`;
    }
    return null;
  }

  /** What the snapshots of a node, and the log that they should have replaced, still have to do. */
  #snapshotUnrest(process: SimProcess, metrics: RaftMetrics): string | null {
    const { snapshots, appliedIndex, firstIndex } = metrics;
    const policy = this.#cluster.plan.snapshots;
    if (policy === null || snapshots === null) return null;
    if (snapshots.taking !== null) return "a snapshot is being taken";
    if (snapshots.receiving !== null) return "a snapshot is being fetched";
    const [sending] = snapshots.sending;
    if (sending !== undefined) return `a snapshot is being sent to ${sending.to}`;
    const { newest } = snapshots;
    const covered = Math.max(newest?.index ?? 0, firstIndex - 1);
    const entries = appliedIndex - covered;
    const isWorthIt = process.logBytes(covered + 1, appliedIndex + 1) >= LOG_SHARE_MIN * (newest?.bytes ?? 0);
    if (entries >= policy.everyEntries && isWorthIt)
      return `${String(entries)} entries, and a snapshot is due after ${String(policy.everyEntries)}`;
    const kept = (newest?.index ?? 0) - (firstIndex - 1);
    if (kept > policy.keepEntries)
      return `the log keeps ${String(kept)} entries before the snapshot, and ${String(policy.keepEntries)} are enough`;
    return null;
  }

  /** BOUND: in one of the next windows of time, nothing is sent but the heartbeats that are due. */
  async #listen(): Promise<void> {
    const { plan, clock } = this.#cluster;
    const windowMs = LISTEN_HEARTBEATS * plan.heartbeatMs;
    const endAt = clock.now() + this.#turns.patienceMs;
    for (;;) {
      const sent: SentMessage[] = [];
      this.#cluster.sentMessages = sent;
      await this.#turns.runFor(windowMs);
      this.#cluster.sentMessages = null;
      const noise = this.#findNoise(sent);
      if (noise === null) return;
      // Log time and the end of sessions are written now and then, and a leader may have changed.
      if (clock.now() < endAt) continue;
      await this.#wait(() => false, "BOUND", `silence; ${noise}`);
    }
  }

  /** A message that a cluster at rest doesn't send; null: there is none. */
  #findNoise(sent: readonly SentMessage[]): string | null {
    const leader = this.#cluster.leader();
    const config = leader?.raft?.metrics().config;
    if (leader === null || config === undefined) return "there is no leader";
    const members = membersOf(config);
    const usable = new Set(this.#cluster.usableMembers().map(({ id }) => id));
    const heartbeats = new Map<string, number>();
    for (const { from, to, message } of sent) {
      // What a node that was removed, or has lost its disk, asks for is not the cluster's doing.
      if (!usable.has(from)) continue;
      const what = `${from} sends ${to} a message of type ${message.type}`;
      if (isRuntimeMessage(message)) {
        if (usable.has(to)) return what;
      } else if (message.type === "append-entries") {
        if (!members.includes(to)) return `${what}, and ${to} is not a member`;
        if (!usable.has(to)) continue;
        if (message.entries.lastIndex > message.entries.prev.index) return `${what} with entries`;
        heartbeats.set(to, (heartbeats.get(to) ?? 0) + 1);
      } else if (usable.has(to) && message.type !== "append-entries-reply") return what;
    }
    const most = Math.ceil(LISTEN_HEARTBEATS * leader.clockConditions.rate) + EXTRA_ROUNDS_MAX;
    for (const [to, count] of heartbeats)
      if (count > most)
        return `${leader.id} sends ${to} ${String(count)} heartbeats, and ${String(most)} are due`;
    return null;
  }
}

/** A queue of the node that isn't empty. */
function queueOf(metrics: RaftMetrics): string | null {
  const { pendingEntries, pendingBytes, pendingReads, forwardedCalls, forwardedBytes } = metrics;
  const queues = { pendingEntries, pendingBytes, pendingReads, forwardedCalls, forwardedBytes };
  for (const [name, size] of Object.entries(queues)) if (size !== 0) return `${name} is ${String(size)}`;
  return null;
}

/** A usable member that the leader doesn't know to hold everything. */
function unansweredBy(cluster: SimulatedCluster, { role, members, lastIndex }: RaftMetrics): string | null {
  if (role !== "leader") return null;
  const usable = new Set(cluster.usableMembers().map(({ id }) => id));
  for (const { id, match, active } of members) {
    if (usable.has(id) && (match !== lastIndex || active !== true))
      return `${id} is known to hold ${String(match)} of ${String(lastIndex)} entries, active ${String(active)}`;
  }
  return null;
}
