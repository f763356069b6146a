import type { Membership } from "../../../codec/config.ts";
import { isJoint, membersOf } from "../../../core/config.ts";
import type { NodeId } from "../../../core/position.ts";
import type { SimulatedClock } from "../../../environment/simulated/simulated-clock.ts";
import type { MembershipChange } from "../../../runtime/members/index.ts";
import type { Chance } from "../plan/chance.ts";
import type { ChangeKind, OperatorFault } from "../plan/faults.ts";
import type { ClusterChecker } from "../checkers/cluster-checker.ts";
import type { Plan } from "../plan/plan.ts";
import type { SimClients } from "./sim-clients.ts";
import type { SimProcess } from "../world/sim-process.ts";
import { assertInvariant, Violation } from "../checkers/violation.ts";

export interface OperatorParts {
  readonly plan: Plan;
  readonly clock: SimulatedClock;
  readonly chance: Chance;
  readonly processes: readonly SimProcess[];
  readonly checker: ClusterChecker;
  readonly clients: SimClients;
  readonly crash: (process: SimProcess) => void;
  /** For a while it hears nothing of the others in time, and is asked all the same. */
  readonly delayMessagesTo: (process: SimProcess, ms: number) => void;
  /** For a while they hear nothing of the others, nor these of them. */
  readonly isolate: (ids: readonly NodeId[], ms: number) => void;
  /** The members that the cluster began with. */
  readonly initialMembers: Readonly<Record<NodeId, string>>;
  readonly trace: (text: string) => void;
  readonly report: (error: unknown) => void;
}

/** What is asked of the leader. */
interface ChangeRequest {
  readonly how: ChangeKind | "clean up";
  readonly change: MembershipChange;
  /** A learner rather than a change. */
  readonly learner: { readonly id: NodeId; readonly address: string } | null;
  /** Those who have a vote afterwards. */
  readonly voters: readonly NodeId[];
}

/** How often an operator asks for the same thing. */
const ATTEMPTS_MAX = 6;

/** The pause before it asks again, on average. */
const PAUSE_MS = 80;

/** How long one attempt may take; a member that nobody reaches is not waited for that long. */
const CHANGE_MS = 1_500;
const UNREACHABLE_CHANGE_MS = 400;

/** Changes that wait for the one before them: more would never come to be done in a run. */
const QUEUE_MAX = 4;

/** Beyond the election timeout after which a leader leads on. */
const TRANSFER_GRACE_MS = 100;

/** What is done so soon after is seen by the checker. */
const CHECKER_LAG_MS = 1;

/**
 * Whoever runs the cluster: changes its members one step after another, repeats what was refused, replaces what is lost,
 * and never knowingly takes away the majority. What it is told must be true.
 */
export class SimOperator {
  readonly #parts: OperatorParts;
  readonly #queue: Extract<OperatorFault, { type: "change" }>[] = [];
  #busy = false;
  #stopped = false;
  /** Ids that were asked for once: an id is used once. */
  readonly #usedIds = new Set<NodeId>();
  /** Whose disk was damaged, or soon will be. */
  readonly #damaged = new Set<NodeId>();
  /** Who is looked for at another place than it is at, or may be: the majority must not need it meanwhile. */
  readonly #moving = new Set<NodeId>();
  /** The voters that a change under way would leave. */
  #votersAfterChange: readonly NodeId[] = [];
  #unreachableAdded = 0;

  constructor(parts: OperatorParts) {
    this.#parts = parts;
  }

  get isBusy(): boolean {
    return this.#busy;
  }

  /** From now on nothing new is begun. */
  stop(): void {
    this.#stopped = true;
  }

  requestChange(fault: Extract<OperatorFault, { type: "change" }>): void {
    if (this.#queue.length >= QUEUE_MAX) return;
    this.#queue.push(fault);
    if (!this.#busy) this.#background(() => this.#carryOutQueue());
  }

  /** Asks the leader to hand over to anybody. */
  transfer(): void {
    const { processes, chance, clients } = this.#parts;
    const leader = this.#leader();
    if (leader?.raft === undefined || leader.raft === null) return;
    const to = chance.happens(0.3) ? undefined : chance.pick(processes).id;
    const { raft } = leader;
    void clients.attempt(`transfer to ${to ?? "anyone"}`, leader, false, async () => {
      const asking = raft.transferLeadership(to);
      this.#watchTransfer(leader, raft.metrics().term, asking);
      await asking;
    });
  }

  /** T3: a leader that still leads has given up after an election timeout, and takes commands again. */
  #watchTransfer(leader: SimProcess, term: number, asking: Promise<unknown>): void {
    const { plan, clock, report } = this.#parts;
    const { raft } = leader;
    const began = clock.now();
    let isOver = false;
    const over = (): void => {
      isOver = true;
    };
    asking.then(over, over);
    clock.setTimer(plan.electionTimeoutMs.max / leader.clockConditions.rate + TRANSFER_GRACE_MS, () => {
      if (isOver || leader.raft !== raft || leader.isPaused || leader.timersAreLate) return;
      const metrics = raft?.metrics();
      if (leader.resumedAt > began || metrics?.role !== "leader" || metrics.term !== term) return;
      report(new Violation("KNOWN", `${leader.id} goes on handing over its leadership`));
    });
  }

  /** Asks a node for a snapshot of its state. */
  snapshot(process: SimProcess): void {
    const { clients, plan } = this.#parts;
    const { raft } = process;
    if (raft === null || raft.metrics().snapshots === null) return;
    void clients.attempt("snapshot", process, false, async () => {
      await raft.snapshot({ timeoutMs: plan.callTimeoutMs });
    });
  }

  /** Somebody creates the cluster once more, which changes nothing; with other members it is refused. */
  initializeAgain(process: SimProcess, withOthers: boolean): void {
    const { clients, initialMembers, report } = this.#parts;
    const { raft, id } = process;
    // A blank disk would make another node of the same id found the cluster; nobody could tell (M11).
    if (raft === null || process.hasDamagedData || process.hasLostDisk || this.#usedIds.has(id)) return;
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

  /** Whether every majority that counts, or may soon, is there without this process, now and after it comes back blank. */
  canLose({ id }: SimProcess): boolean {
    const groups = [
      ...this.#parts.checker.history.configs.flatMap(({ voters, outgoingVoters }) => [
        voters,
        outgoingVoters,
      ]),
      this.#votersAfterChange,
    ];
    return groups.every((group) => !group.includes(id) || this.#isMajority(group, id));
  }

  /** Its disk will be damaged: it is not counted on any more. */
  noteDamaged({ id }: SimProcess): void {
    this.#damaged.add(id);
  }

  /**
   * Whether a process may lose its disk: a member only when everyone could tell the new one from the old one, which is
   * what the cluster asks of those who run it.
   */
  canWipe(process: SimProcess): boolean {
    const { checker, processes } = this.#parts;
    const { id } = process;
    const concerned = new Set([...checker.history.configs.flatMap(membersOf), ...this.#votersAfterChange]);
    if (!concerned.has(id)) return !this.#busy && checker.history.committed.length > 0;
    if (process.hasLostDisk || !this.canLose(process)) return false;
    return processes
      .filter(
        (other) => other.id !== id && concerned.has(other.id) && !other.hasLostDisk && !other.refusesToStart,
      )
      .every((other) => checker.history.knowsStoreId(other.id, id));
  }

  wipe(process: SimProcess): void {
    const { checker, trace } = this.#parts;
    process.hasLostDisk = checker.history.configs.some((config) => membersOf(config).includes(process.id));
    trace(`${process.id} loses its disk`);
    this.#usedIds.add(process.id);
    process.wipe();
  }

  /** Once nothing fails any more: who cannot be a member again leaves, and everyone listens where the others look. */
  async removeUnusableMembers(): Promise<void> {
    while (this.#busy) await this.#pause();
    this.#stopped = false;
    for (;;) {
      const membership = this.#parts.checker.history.committedMembership;
      const order = membership === null ? null : this.#cleanUpRequest(membership);
      if (order === null) break;
      await this.#carryOut(order, null);
      await this.#pause();
    }
    this.#stopped = true;
    const members = this.#parts.checker.history.committedMembership?.members ?? new Map<NodeId, never>();
    for (const [id, { address }] of members) this.#moveTo(id, address);
  }

  async #carryOutQueue(): Promise<void> {
    for (let fault = this.#queue.shift(); fault !== undefined; fault = this.#queue.shift()) {
      const order = this.#requestFor(fault.how);
      if (order !== null && !this.#stopped) await this.#carryOut(order, fault.crashLeaderAfterMs);
    }
  }

  #background(run: () => Promise<void>): void {
    this.#busy = true;
    run()
      .catch(this.#parts.report)
      .finally(() => {
        this.#busy = false;
      });
  }

  // --- What to do ---------------------------------------------------------------------------------

  #requestFor(how: ChangeKind): ChangeRequest | null {
    const membership = this.#parts.checker.history.committedMembership;
    if (membership === null || isJoint(membership.config)) return null;
    const { voters, learners } = membership.config;
    const { chance } = this.#parts;
    const known = learners.filter((id) => this.#isUsable(id));
    switch (how) {
      case "add":
        return this.#request(how, membership, { add: this.#newcomers(membership, 1) });
      case "learn":
        return this.#learnerRequest(membership);
      case "remove":
        return this.#request(how, membership, { remove: [this.#pickLeaving(membership)] });
      case "remove-leader": {
        const leader = this.#leader();
        return leader === null ? null : this.#request(how, membership, { remove: [leader.id] });
      }
      case "promote":
        return known.length === 0 ? null : this.#request(how, membership, { promote: [chance.pick(known)] });
      case "demote":
        return this.#request(how, membership, { demote: [chance.pick(voters)] });
      case "replace":
        return this.#request(how, membership, {
          add: this.#newcomers(membership, 1),
          remove: [this.#pickLeaving(membership)],
        });
      case "several": {
        const leaving = chance.some(voters, 0.5);
        const isDemoted = chance.happens(0.3);
        return this.#request(how, membership, {
          add: this.#newcomers(membership, 2),
          ...(isDemoted ? { demote: leaving } : { remove: leaving }),
          promote: known.slice(0, 1),
        });
      }
      case "exchange":
        return this.#exchangeRequest(membership, known);
      case "retire":
      case "bequeath": {
        const leader = this.#leader();
        const isPair = voters.length === 2 && leader !== null && voters.includes(leader.id);
        if (!isPair) return this.#request("add", membership, { add: this.#newcomers(membership, 1) });
        return this.#request(how, membership, { remove: [leader.id] });
      }
      case "move":
        return this.#moveRequest(membership);
      case "ghost":
        this.#unreachableAdded += 1;
        return this.#request(how, membership, {
          add: { [`g${String(this.#unreachableAdded)}`]: "nowhere:7000" },
        });
      case "reuse":
        return this.#reuseRequest(membership);
    }
  }

  /** null: nothing would change, or it would take away the majority. */
  #request(
    how: ChangeRequest["how"],
    { config }: Membership,
    change: MembershipChange,
  ): ChangeRequest | null {
    const { add = {}, remove = [], promote = [], demote = [], addresses = {} } = change;
    const named = [...Object.keys(add), ...remove, ...promote, ...demote, ...Object.keys(addresses)];
    if (named.length === 0) return null;
    const stay = config.voters.filter((id) => !remove.includes(id) && !demote.includes(id));
    const voters = [...stay, ...promote, ...Object.keys(add)];
    // Nobody ever takes part as a ghost, whatever was asked.
    const real = how === "ghost" ? config.voters : voters;
    if (real.length === 0 || !this.#isMajority(real, null)) return null;
    for (const id of Object.keys(add)) this.#usedIds.add(id);
    return { how, change, learner: null, voters: real };
  }

  #learnerRequest(membership: Membership): ChangeRequest | null {
    const [newcomer] = Object.entries(this.#newcomers(membership, 1));
    if (newcomer === undefined) return null;
    const [id, address] = newcomer;
    this.#usedIds.add(id);
    return { how: "learn", change: {}, learner: { id, address }, voters: membership.config.voters };
  }

  /** First there must be learners to exchange the voters for. */
  #exchangeRequest(membership: Membership, learners: readonly NodeId[]): ChangeRequest | null {
    if (learners.length < 2) return this.#learnerRequest(membership);
    const leader = this.#leader();
    const remove = membership.config.voters.filter((id) => id !== leader?.id);
    return this.#request("exchange", membership, { promote: learners, remove });
  }

  #moveRequest(membership: Membership): ChangeRequest | null {
    const fine = [...membership.members].filter(([id]) => {
      const process = this.#process(id);
      return process !== undefined && this.#isUsable(id) && this.canLose(process);
    });
    if (fine.length === 0) return null;
    const [id, { address }] = this.#parts.chance.pick(fine);
    this.#moving.add(id);
    const [host, port] = address.split(":");
    return this.#request("move", membership, {
      addresses: { [id]: `${String(host)}:${String(Number(port) + 1)}` },
    });
  }

  #reuseRequest(membership: Membership): ChangeRequest | null {
    const { processes, checker, chance } = this.#parts;
    const gone = processes.filter(({ id }) => membership.removed?.includes(id) === true);
    const concerned = checker.history.configs.flatMap(membersOf);
    const free = gone.filter(({ id }) => !concerned.includes(id));
    if (free.length === 0) return null;
    const process = chance.pick(free);
    this.wipe(process);
    return this.#request("reuse", membership, { add: { [process.id]: process.address } });
  }

  #cleanUpRequest(membership: Membership): ChangeRequest | null {
    if (isJoint(membership.config)) return this.#request("clean up", membership, { promote: [] });
    const remove = [...membership.members.keys()].filter((id) => {
      const process = this.#process(id);
      return process === undefined || process.hasLostDisk;
    });
    return this.#request("clean up", membership, { remove });
  }

  /** Nodes that were never asked for. */
  #newcomers({ members, removed = [] }: Membership, countMax: number): Record<NodeId, string> {
    const fresh = this.#parts.processes.filter(
      ({ id, refusesToStart, hasLostDisk }) =>
        !this.#usedIds.has(id) &&
        !members.has(id) &&
        !removed.includes(id) &&
        !refusesToStart &&
        !hasLostDisk,
    );
    return Object.fromEntries(fresh.slice(0, countMax).map(({ id, address }) => [id, address]));
  }

  #pickLeaving({ members }: Membership): NodeId {
    const { chance } = this.#parts;
    const ids = [...members.keys()];
    const useless = ids.filter((id) => !this.#isUsable(id));
    return chance.pick(useless.length > 0 && chance.happens(0.7) ? useless : ids);
  }

  // --- Doing it -----------------------------------------------------------------------------------

  async #carryOut(order: ChangeRequest, crashLeaderAfterMs: number | null): Promise<void> {
    const { clients, trace } = this.#parts;
    this.#votersAfterChange = order.voters;
    const op = `${order.how} ${JSON.stringify(order.learner ?? order.change)}`;
    trace(`the operator wants to ${op}`);
    const timeoutMs = order.how === "ghost" ? UNREACHABLE_CHANGE_MS : CHANGE_MS;
    for (let attempt = 0; attempt < ATTEMPTS_MAX && !this.#stopped; attempt++) {
      const leader = this.#leader();
      if (leader !== null) {
        if (attempt === 0 && crashLeaderAfterMs !== null) this.#crashSoon(leader, crashLeaderAfterMs);
        if (attempt === 0 && order.how === "exchange") this.#isolate(order.change.remove ?? []);
        if (attempt === 0 && order.how === "retire") this.#crashWhenRemovalIsDurable(leader);
        if (attempt === 0 && order.how === "bequeath") this.#delayMessagesOnRemoval(leader);
        const asking = (): Promise<void> => callRaft(leader, order, timeoutMs);
        const { outcome, why } = await clients.attempt(op, leader, false, asking, timeoutMs);
        if (outcome === "done") {
          await this.#wait(CHECKER_LAG_MS);
          this.#check(order);
          break;
        }
        // It is done already, or never will be.
        if (why === "INVALID_OPTION" || order.how === "ghost") break;
      }
      await this.#pause();
    }
    this.#votersAfterChange = [];
  }

  /** Long enough for an election among them. */
  #isolate(ids: readonly NodeId[]): void {
    const { isolate, plan, chance } = this.#parts;
    isolate(ids, plan.electionTimeoutMs.max * chance.between(2, 4));
  }

  /** What takes its vote away is on its disk, and was heard by nobody (M18). */
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

  /** What takes its vote away is on its way to the other, whose answer it does not hear while its lease lasts (L5). */
  #delayMessagesOnRemoval(leader: SimProcess): void {
    leader.onOwnRemoval = () => {
      leader.onOwnRemoval = null;
      if (!this.#stopped && leader.isUp)
        this.#parts.delayMessagesTo(leader, this.#parts.plan.electionTimeoutMs.max);
    };
  }

  #crashSoon(leader: SimProcess, afterMs: number): void {
    this.#parts.clock.setTimer(afterMs, () => {
      if (!this.#stopped && leader.isUp) this.#parts.crash(leader);
    });
  }

  /** CFG: what the operator was told to be done is what is committed. */
  #check({ how, change, learner }: ChangeRequest): void {
    const { checker, trace } = this.#parts;
    assertInvariant(
      how !== "reuse",
      "ES",
      () => `the id of a removed member was used again: ${JSON.stringify(change)}`,
    );
    assertInvariant(how !== "ghost", "CFG", () => `a node that is nowhere became a voter`);
    const membership = checker.history.committedMembership;
    if (membership === null) return;
    const { config, members } = membership;
    const { add = {}, remove = [], promote = [], demote = [], addresses = {} } = change;
    const isDone =
      !isJoint(config) &&
      [...Object.keys(add), ...promote].every((id) => config.voters.includes(id)) &&
      demote.every((id) => config.learners.includes(id)) &&
      remove.every((id) => !members.has(id)) &&
      (learner === null || members.has(learner.id)) &&
      Object.entries(addresses).every(([id, address]) => members.get(id)?.address === address);
    assertInvariant(isDone, "CFG", () => `${how} was done, and the members are ${JSON.stringify(config)}`);
    trace(`the members are ${JSON.stringify(config)}`);
    for (const [id, address] of Object.entries(addresses)) this.#moveTo(id, address);
  }

  /** Whoever runs a node that moved starts it anew where it is looked for. */
  #moveTo(id: NodeId, address: string): void {
    const process = this.#process(id);
    this.#moving.delete(id);
    if (process === undefined || process.address === address) return;
    process.kill(false);
    process.address = address;
  }

  // --- What it knows ------------------------------------------------------------------------------

  #process(id: NodeId): SimProcess | undefined {
    return this.#parts.processes.find((process) => process.id === id);
  }

  #leader(): SimProcess | null {
    let best: SimProcess | null = null;
    for (const process of this.#parts.processes) {
      const metrics = process.raft?.metrics();
      if (metrics?.role !== "leader") continue;
      if (metrics.term > (best?.raft?.metrics().term ?? 0)) best = process;
    }
    return best;
  }

  #isUsable(id: NodeId): boolean {
    const process = this.#process(id);
    return (
      process !== undefined &&
      !process.refusesToStart &&
      !process.hasLostDisk &&
      !this.#damaged.has(id) &&
      !this.#moving.has(id)
    );
  }

  #isMajority(group: readonly NodeId[], without: NodeId | null): boolean {
    return group.filter((id) => id !== without && this.#isUsable(id)).length * 2 > group.length;
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

function callRaft(
  { raft, id }: SimProcess,
  { change, learner }: ChangeRequest,
  timeoutMs: number,
): Promise<void> {
  if (raft === null) return Promise.reject(new Error(`${id} is down`));
  if (learner !== null) return raft.addLearner(learner.id, learner.address, { timeoutMs });
  return raft.changeMembership(change, { timeoutMs });
}
