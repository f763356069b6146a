/**
 * The simulated operator: changes the membership one step after another, repeats what was refused, transfers
 * leadership, replaces lost disks, and never knowingly takes away a majority.
 *
 * - CFG: what the operator is told to be done is what is committed.
 * - ES: a removed member's id is never used again (M10); `initialize` never makes a second cluster (M9).
 * - KNOWN: a leader that can't transfer its leadership gives up within an election timeout (T3).
 */
import type { Membership } from "../../../codec/config.ts";
import { isJoint, membersOf } from "../../../core/config.ts";
import type { LogIndex, NodeId } from "../../../core/position.ts";
import type { SimulatedClock } from "../../../environment/simulated/simulated-clock.ts";
import type { ClusterChecker } from "../checkers/cluster-checker.ts";
import type { SeenConfig } from "../checkers/cluster-history.ts";
import { assertInvariant, Violation } from "../checkers/violation.ts";
import { Chance } from "../plan/chance.ts";
import type { ChangeKind, OperatorFault } from "../plan/faults.ts";
import type { Plan } from "../plan/plan.ts";
import type { SimProcess } from "../world/sim-process.ts";
import { ChangeRequests, type ChangeRequest } from "./change-requests.ts";
import { OperatorView } from "./operator-view.ts";
import type { AttemptResult } from "./client-calls.ts";
import type { SimClients } from "./sim-clients.ts";

/** What the operator gets from the run. */
export interface OperatorParts {
  readonly plan: Plan;
  readonly clock: SimulatedClock;
  readonly chance: Chance;
  readonly processes: readonly SimProcess[];
  readonly checker: ClusterChecker;
  readonly clients: SimClients;
  /** The members that the cluster began with, and their addresses. */
  readonly initialMembers: Readonly<Record<NodeId, string>>;
  readonly crash: (process: SimProcess) => void;
  /** Delays all messages to this node for so long, while clients read from it. */
  readonly delayMessagesTo: (process: SimProcess, ms: number) => void;
  /** Cuts these nodes off from all others for so long. */
  readonly isolate: (ids: readonly NodeId[], ms: number) => void;
  readonly trace: (text: string) => void;
  readonly report: (error: unknown) => void;
}

type ChangeFault = Extract<OperatorFault, { type: "change" }>;

/** How often the operator asks for one change, at most. */
const ATTEMPTS_MAX = 6;

/** The mean pause before it asks again, in milliseconds. */
const PAUSE_MS = 80;

/** How long one attempt may take; and one to add a node that doesn't exist, which can't succeed. */
const CHANGE_MS = 1_500;
const UNREACHABLE_CHANGE_MS = 400;

/** How many changes wait at most. More could never be done in a run, so they are dropped. */
const QUEUE_MAX = 4;

/** How much longer than an election timeout a leader may take to give up a transfer. */
const TRANSFER_GRACE_MS = 100;

/**
 * How long to wait before checking what a call said: by then the checkers have seen the turn in which it
 * ended.
 */
const CHECKER_LAG_MS = 1;

/**
 * Where nodes forward calls: of the transfers and added learners, the share that is asked of another node
 * than the leader.
 */
const FORWARDED_SHARE = 0.3;

/** How many writes a new leader is given in its first turn. */
const GREETING_WRITES = 2;

/** Of the leaders that are to end during a change, the share that closes; the others crash. */
const CLOSING_SHARE = 0.4;

/** See the file's header. */
export class SimOperator {
  readonly #parts: OperatorParts;
  readonly #view: OperatorView;
  readonly #requests: ChangeRequests;
  /** Changes that wait for the one under way. At most `QUEUE_MAX`. */
  readonly #queue: ChangeFault[] = [];
  /** A change of the queue is under way. */
  #busy = false;
  /** Every change under way, those of the queue and those that a new leader was asked for. */
  readonly #open = new Set<ChangeRequest>();
  /**
   * Changes during which there was another one, so that what is in force afterwards isn't what they asked
   * for.
   */
  readonly #overlapped = new WeakSet<ChangeRequest>();
  /** The last configuration that was committed when the request was made, by its index. */
  readonly #beganAfter = new WeakMap<ChangeRequest, LogIndex>();
  /** No new change is begun. */
  #stopped = false;
  /** Draws only which node is asked: all else of a run is as it was before there was a choice. */
  readonly #forwardChance: Chance;

  constructor(parts: OperatorParts) {
    const { chance, processes, checker } = parts;
    this.#parts = parts;
    this.#forwardChance = new Chance(parts.plan.seed ^ 0xf0_4a4d);
    this.#view = new OperatorView(processes, checker);
    const wipe = (process: SimProcess): void => {
      this.wipe(process);
    };
    this.#requests = new ChangeRequests({ chance, processes, checker, view: this.#view, wipe });
  }

  /** Begins no new change and greets no new leader from now on. Requests under way go on. */
  stop(): void {
    this.#stopped = true;
  }

  // --- What faults ask for --------------------------------------------------------------------------

  /** Changes the membership, after the changes asked for before. */
  requestChange(fault: ChangeFault): void {
    if (this.#queue.length >= QUEUE_MAX) return;
    this.#queue.push(fault);
    if (this.#busy) return;
    this.#busy = true;
    this.#inBackground(() =>
      this.#carryOutQueue().finally(() => {
        this.#busy = false;
      }),
    );
  }

  /**
   * A node has just become leader: in the same turn it is asked for these things, whatever its predecessor
   * left undone.
   */
  greet(leader: SimProcess, { acts, how }: Extract<OperatorFault, { type: "greet-leader" }>): void {
    const { clients, plan } = this.#parts;
    if (this.#stopped || !leader.isUp) return;
    for (const act of acts) {
      if (act === "change") this.#inBackground(() => this.#changeAt(leader, how));
      else if (act === "transfer") this.transfer(leader);
      else if (act === "snapshot") this.snapshot(leader);
      else if (act === "write") clients.burst(leader, GREETING_WRITES);
      else for (let key = 1; key <= plan.keys; key++) clients.readNow(leader, `k${String(key)}`);
    }
  }

  /** Asks this node once for a change, which may overlap with one of the queue. */
  async #changeAt(leader: SimProcess, how: ChangeKind): Promise<void> {
    const request = this.#requests.make(how);
    if (request === null) return;
    this.#begin(request);
    const { outcome } = await this.#ask(leader, request);
    await this.#wait(CHECKER_LAG_MS);
    if (outcome === "done") this.#checkDone(request);
    this.#end(request);
  }

  /**
   * Asks the leader to transfer its leadership: to `chosen`, or else mostly to a random node, which may be
   * down or no voter.
   */
  transfer(leader: SimProcess | null = this.#view.leader(), chosen?: string | null): void {
    const { processes, chance, clients } = this.#parts;
    if (leader === null) return;
    const asked = chosen === undefined ? this.#nodeToAsk(leader) : leader;
    const { raft } = asked;
    if (raft === null) return;
    const draw = (): string | null => (chance.happens(0.3) ? null : chance.pick(processes).id);
    const to = (chosen === undefined ? draw() : chosen) ?? undefined;
    void clients.attempt(`transfer to ${to ?? "anyone"}`, asked, false, async () => {
      const { term } = raft.metrics();
      const asking = raft.transferLeadership(to);
      if (asked === leader) this.#watchTransfer(leader, term, asking);
      const next = await asking;
      await this.#wait(CHECKER_LAG_MS);
      // The node may have died in the turn in which it learnt of the success, before anyone saw who leads.
      if (asked.raft !== raft) return;
      this.#checkSuccessor(asked, term, next);
    });
  }

  /**
   * KNOWN: checks that after the longest election timeout the leader either doesn't lead or has given up the
   * transfer, and takes commands again (T3).
   */
  #watchTransfer(leader: SimProcess, term: number, asking: Promise<unknown>): void {
    const { plan, clock, report } = this.#parts;
    const { raft } = leader;
    const began = clock.now();
    let isOver = false;
    const over = (): void => {
      isOver = true;
    };
    asking.then(over, over);
    const limitMs = plan.electionTimeoutMs.max / leader.clockConditions.rate + TRANSFER_GRACE_MS;
    clock.setTimer(limitMs, () => {
      if (isOver || leader.raft !== raft || leader.isPaused || leader.timersAreLate) return;
      const metrics = raft?.metrics();
      if (leader.resumedAt > began || metrics?.role !== "leader" || metrics.term !== term) return;
      report(new Violation("KNOWN", `${leader.id} goes on handing over its leadership`));
    });
  }

  /** KNOWN: a transfer is reported as done with the id of a node that led a later term (T3). */
  #checkSuccessor({ id }: SimProcess, term: number, next: string): void {
    const { checker, report } = this.#parts;
    const hasLed = [...checker.history.leaders].some(([later, leader]) => later > term && leader === next);
    if (!hasLed)
      report(
        new Violation("KNOWN", `${id} says that ${next} leads after term ${String(term)}, and it never did`),
      );
  }

  /** Asks a node for a snapshot. */
  snapshot(process: SimProcess): void {
    const { clients, plan } = this.#parts;
    const { raft } = process;
    if (raft === null || raft.metrics().snapshots === null) return;
    void clients.attempt("snapshot", process, false, async () => {
      await raft.snapshot({ timeoutMs: plan.callTimeoutMs });
    });
  }

  /** ES: calling `initialize` again with the same members changes nothing; with others it is refused. */
  initializeAgain(process: SimProcess, withOthers: boolean): void {
    const { clients, initialMembers, report } = this.#parts;
    const { raft, id } = process;
    // A node with a new, empty disk would make a cluster, and no other node could tell that it isn't the old
    // one (M11).
    if (raft === null || process.hasDamagedData || process.hasLostDisk || process.wasRolledBack) return;
    if (this.#view.usedIds.has(id)) return;
    if (withOthers && !raft.initialized) return;
    const members = withOthers ? { [id]: "elsewhere:7000", other: "other:7000" } : initialMembers;
    void clients
      .attempt(`found again${withOthers ? " with others" : ""}`, process, false, () =>
        raft.initialize(members),
      )
      .then(({ outcome, why }) => {
        const isRefused = why === "ALREADY_INITIALIZED";
        const isWrong = withOthers ? outcome === "done" : isRefused;
        if (isWrong) report(new Violation("ES", `${id} was founded again: ${outcome} ${why}`));
      });
  }

  /** Whether the cluster can do without this node for good. */
  canLose(process: SimProcess): boolean {
    return this.#view.canLose(process);
  }

  /**
   * Whether the node may be lost for good: an entry is committed, so others hold what makes them a cluster,
   * and the cluster can do without this node.
   */
  canDestroy(process: SimProcess): boolean {
    return this.#parts.checker.history.committed.length > 0 && this.canLose(process);
  }

  /** The node's disk will be damaged: the operator doesn't rely on it from now on. */
  noteDamaged({ id }: SimProcess): void {
    this.#view.damaged.add(id);
  }

  /** Whether the node may lose its disk. */
  canWipe(process: SimProcess): boolean {
    return this.#view.canWipe(process, this.#busy);
  }

  /** Whether the node's disk may be replaced by an older copy. See `OperatorView.canRollBack`. */
  canRollBack(process: SimProcess): boolean {
    return !this.#busy && this.#view.canRollBack(process);
  }

  /** The members that the cluster began with. */
  get firstMembers(): Readonly<Record<NodeId, string>> {
    return this.#parts.initialMembers;
  }

  /** See `OperatorView.removedMember`. */
  removedMember(): ReturnType<OperatorView["removedMember"]> {
    return this.#view.removedMember();
  }

  /** See `OperatorView.knowsRemovalOf`. */
  knowsRemovalOf(process: SimProcess, of: NodeId): boolean {
    return this.#view.knowsRemovalOf(process, of);
  }

  /** See `OperatorView.isKnownToBeRolledBack`. */
  isKnownToBeRolledBack({ id }: SimProcess): boolean {
    return this.#view.isKnownToBeRolledBack(id);
  }

  /** Replaces the node's disk by an empty one. */
  wipe(process: SimProcess): void {
    const { checker, trace } = this.#parts;
    process.hasLostDisk = checker.history.configs.some((config) => membersOf(config).includes(process.id));
    trace(`${process.id} loses its disk`);
    this.#view.usedIds.add(process.id);
    process.wipe();
  }

  /**
   * After healing: removes members that can't come back, and starts moved members where the others look for
   * them.
   */
  async removeUnusableMembers(): Promise<void> {
    const { history } = this.#parts.checker;
    while (this.#busy) await this.#pause();
    this.#stopped = false;
    for (;;) {
      const membership = history.committedMembership;
      const request = membership === null ? null : this.#requests.cleanUp(membership);
      if (request === null) break;
      await this.#carryOut(request, null);
      await this.#pause();
    }
    this.#stopped = true;
    const members = history.committedMembership?.members ?? new Map<NodeId, never>();
    for (const [id, { address }] of members) this.#startAt(id, address);
  }

  // --- Carrying out changes -------------------------------------------------------------------------

  async #carryOutQueue(): Promise<void> {
    for (let fault = this.#queue.shift(); fault !== undefined; fault = this.#queue.shift()) {
      const request = this.#requests.make(fault.how);
      if (request !== null && !this.#stopped) await this.#carryOut(request, fault.crashLeaderAfterMs);
    }
  }

  #inBackground(run: () => Promise<void>): void {
    run().catch(this.#parts.report);
  }

  #begin(request: ChangeRequest): void {
    const { checker } = this.#parts;
    checker.memberships.asked(request.change);
    if (request.learner !== null) checker.memberships.askedForLearner(request.learner.id);
    this.#view.votersAfterChanges.add(request.voters);
    this.#open.add(request);
    this.#beganAfter.set(request, checker.history.committed.at(-1)?.inForce?.index ?? 0);
    if (this.#open.size > 1) for (const open of this.#open) this.#overlapped.add(open);
  }

  #end(request: ChangeRequest): void {
    this.#view.votersAfterChanges.delete(request.voters);
    this.#open.delete(request);
  }

  #ask(leader: SimProcess, request: ChangeRequest): Promise<AttemptResult> {
    const timeoutMs = request.how === "ghost" ? UNREACHABLE_CHANGE_MS : CHANGE_MS;
    // A node that forwards a change of voters may pass it on late. The majority that the operator counted on
    // could be lost by then, so such a change is asked of the leader itself.
    const asked = request.learner === null ? leader : this.#nodeToAsk(leader);
    const asking = (): Promise<void> => callRaft(asked, request, timeoutMs);
    return this.#parts.clients.attempt(nameOf(request), asked, false, asking, timeoutMs);
  }

  /** Where nodes forward calls, sometimes another node than the leader. */
  #nodeToAsk(leader: SimProcess): SimProcess {
    const { plan, processes } = this.#parts;
    if (!plan.usage.forward || !this.#forwardChance.happens(FORWARDED_SHARE)) return leader;
    const others = processes.filter((process) => process.isUp && process !== leader);
    return others.length === 0 ? leader : this.#forwardChance.pick(others);
  }

  /**
   * Asks the leader again and again until the change is done, can't be done, or was asked for `ATTEMPTS_MAX`
   * times.
   */
  async #carryOut(request: ChangeRequest, crashLeaderAfterMs: number | null): Promise<void> {
    this.#begin(request);
    this.#parts.trace(`the operator wants to ${nameOf(request)}`);
    for (let attempt = 0; attempt < ATTEMPTS_MAX && !this.#stopped; attempt++) {
      const leader = this.#view.leader();
      // After healing, members that can't come back are removed in any case. A ghost never becomes a voter,
      // so to add one is safe.
      const isSafe = ["clean up", "ghost"].includes(request.how) || this.#view.leavesMajority(request.change);
      if (leader !== null && isSafe) {
        if (attempt === 0) this.#prepareFaults(request, leader, crashLeaderAfterMs);
        const { outcome, why } = await this.#ask(leader, request);
        if (outcome === "done") {
          await this.#wait(CHECKER_LAG_MS);
          this.#checkDone(request);
          break;
        }
        // Refused as invalid: an earlier attempt did it, or the membership has changed so that it makes no
        // sense.
        if (why === "INVALID_OPTION" || request.how === "ghost") break;
      }
      await this.#pause();
    }
    this.#end(request);
  }

  /** Faults that belong to a kind of change. They strike during the first attempt. */
  #prepareFaults(
    { how, change }: ChangeRequest,
    leader: SimProcess,
    crashLeaderAfterMs: number | null,
  ): void {
    if (crashLeaderAfterMs !== null) this.#endLater(leader, crashLeaderAfterMs);
    if (how === "exchange") this.#isolate(change.remove ?? []);
    if (how === "retire") this.#crashWhenRemovalIsDurable(leader);
    if (how === "bequeath") this.#delayMessagesOnRemoval(leader);
  }

  /** Cuts nodes off for long enough that they may hold an election among themselves. */
  #isolate(ids: readonly NodeId[]): void {
    const { isolate, plan, chance } = this.#parts;
    isolate(ids, plan.electionTimeoutMs.max * chance.between(2, 4));
  }

  /**
   * The leader dies during the change; or it closes, and must answer the call for the change before (Z10).
   */
  #endLater(leader: SimProcess, afterMs: number): void {
    const closes = this.#parts.chance.happens(CLOSING_SHARE);
    this.#parts.clock.setTimer(afterMs, () => {
      if (this.#stopped || !leader.isUp) return;
      if (closes) leader.shutDown();
      else this.#parts.crash(leader);
    });
  }

  /** The leader's removal gets onto its own disk and to no other node; then the leader crashes (M18). */
  #crashWhenRemovalIsDurable(leader: SimProcess): void {
    leader.onOwnRemoval = (isDurable) => {
      if (!isDurable) {
        this.#isolate([leader.id]);
        return;
      }
      leader.onOwnRemoval = null;
      if (!this.#stopped && leader.isUp) this.#parts.crash(leader);
    };
  }

  /**
   * The leader's removal gets to the other voter, whose answer doesn't reach the leader while its lease lasts
   * (L5).
   */
  #delayMessagesOnRemoval(leader: SimProcess): void {
    leader.onOwnRemoval = () => {
      leader.onOwnRemoval = null;
      const { delayMessagesTo, plan } = this.#parts;
      if (!this.#stopped && leader.isUp) delayMessagesTo(leader, plan.electionTimeoutMs.max);
    };
  }

  /**
   * CFG and ES: see the file's header. Where two changes overlapped, the later one may have undone the
   * earlier; but the earlier was in force at some time since it was asked for. `MembershipChecker` looks at
   * each step of both.
   */
  #checkDone(request: ChangeRequest): void {
    const { how, change } = request;
    const { checker, trace } = this.#parts;
    assertInvariant(
      how !== "reuse",
      "ES",
      () => `the id of a removed member was used again: ${JSON.stringify(change)}`,
    );
    assertInvariant(how !== "ghost", "CFG", () => `a node that is nowhere became a voter`);
    const last = checker.history.committed.at(-1)?.inForce ?? null;
    if (last === null) return;
    const members = JSON.stringify(last.membership.config);
    const beganAfter = this.#overlapped.has(request) ? (this.#beganAfter.get(request) ?? 0) : last.index;
    assertInvariant(
      wasInForce(request, last, beganAfter),
      "CFG",
      () => `${nameOf(request)} was done, and the members are ${members}`,
    );
    trace(`the members are ${members}`);
    for (const [id, address] of Object.entries(change.addresses ?? {})) this.#startAt(id, address);
  }

  /** A node that moved is started again where the others look for it. */
  #startAt(id: NodeId, address: string): void {
    const process = this.#view.process(id);
    this.#view.moving.delete(id);
    if (process === undefined || process.address === address) return;
    process.kill(false);
    process.address = address;
  }

  #pause(): Promise<void> {
    return this.#wait(this.#parts.chance.time(PAUSE_MS));
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#parts.clock.setTimer(ms, resolve);
    });
  }
}

/**
 * Whether what was asked for is what `last` says, which is committed, or what a configuration before it said,
 * back to the one at `fromIndex` or the last before that.
 */
function wasInForce(request: ChangeRequest, last: SeenConfig, fromIndex: LogIndex): boolean {
  let seen: SeenConfig | null = last;
  while (seen !== null) {
    if (isInForce(request, seen.membership)) return true;
    seen = seen.index <= fromIndex ? null : seen.before;
  }
  return false;
}

function isInForce({ change, learner }: ChangeRequest, { config, members }: Membership): boolean {
  const { add = {}, remove = [], promote = [], demote = [], addresses = {} } = change;
  return (
    !isJoint(config) &&
    [...Object.keys(add), ...promote].every((id) => config.voters.includes(id)) &&
    demote.every((id) => config.learners.includes(id)) &&
    remove.every((id) => !members.has(id)) &&
    (learner === null || members.has(learner.id)) &&
    Object.entries(addresses).every(([id, address]) => members.get(id)?.address === address)
  );
}

/** A request in the trace. */
function nameOf({ how, learner, change }: ChangeRequest): string {
  return `${how} ${JSON.stringify(learner ?? change)}`;
}

function callRaft(
  { raft, id }: SimProcess,
  { change, learner }: ChangeRequest,
  timeoutMs: number,
): Promise<void> {
  if (raft === null) return Promise.reject(new Error(`${id} is down`));
  if (learner !== null) return raft.addLearner(learner.id, learner.address, { timeoutMs });
  return raft.changeMembership(change, { timeoutMs });
}
