/**
 * Everything that takes part in one run: the clock, the networks, the processes, their clients and operator,
 * the faults and the checkers. It wires them; what happens when is decided by `simulate.ts` and the other
 * files of this folder.
 */
import { SimulatedClock } from "../../../environment/simulated/simulated-clock.ts";
import { SimulatedNetwork } from "../../../environment/simulated/simulated-network.ts";
import {
  memoryNetwork,
  memoryTransport,
  type MemoryNetwork,
} from "../../../transport/memory/memory-network.ts";
import { tcp } from "../../../transport/tcp/index.ts";
import type { StateMachine } from "../../../runtime/shared/index.ts";
import type { Transport, TransportMessage } from "../../../transport/transport.ts";
import { ClusterChecker } from "../checkers/cluster-checker.ts";
import type { ClusterExpectations } from "../checkers/node-status.ts";
import { SimClients } from "../clients/sim-clients.ts";
import { SimOperator } from "../clients/sim-operator.ts";
import { FaultPlayer } from "../faults/fault-player.ts";
import { HostilePeers } from "../faults/hostile-peers.ts";
import { Chance } from "../plan/chance.ts";
import { STATE_STALL_MS, STATE_TIMEOUT_MS, STORAGE_TIMEOUT_MS } from "../plan/hang-faults.ts";
import { hasOnlyHarmlessFaults, WHOLE_LOG_BYTES, type Plan } from "../plan/plan.ts";
import { DeterminismTrap } from "../world/determinism-trap.ts";
import { guardedMachine, guardedSubject } from "../world/guarded-subject.ts";
import type { AnySubject, MakeSubject } from "../subject/subject.ts";
import { SimProcess } from "../world/sim-process.ts";
import { OutcomeChecks } from "./outcome-checks.ts";
import { RunRecord } from "./run-record.ts";

/** A leader without a majority notices when its timers come, which takes it this long at most. */
export const WITHOUT_MAJORITY_MS_MAX = 500;

/** A leader looks at its disk when its timers come, so it may notice a stall this much late. */
const STALL_GRACE_MS = 200;

type AnyMachine = StateMachine<unknown, unknown>;

/** A message that left its node. */
export interface SentMessage {
  readonly from: string;
  readonly to: string;
  readonly message: TransportMessage["message"];
}

/** How a cluster is recorded and watched. `SimulateOptions` explains them. */
export interface ClusterOptions {
  readonly fullTrace?: boolean | undefined;
  readonly trapsRealTime?: boolean | undefined;
}

/** See the file's header. */
export class SimulatedCluster {
  readonly plan: Plan;
  readonly subject: AnySubject;
  readonly clock: SimulatedClock;
  readonly record: RunRecord;
  readonly checker: ClusterChecker;
  readonly outcomes: OutcomeChecks = new OutcomeChecks();
  /** One for each node of the plan, in its order. */
  readonly processes: readonly SimProcess[];
  /** The members that the cluster begins with, and their addresses. */
  readonly initialMembers: Readonly<Record<string, string>>;
  readonly clients: SimClients;
  readonly operator: SimOperator;
  readonly faults: FaultPlayer;
  /** Gets every message that leaves a node, while somebody listens; otherwise null. */
  sentMessages: SentMessage[] | null = null;
  readonly #trap: DeterminismTrap;
  readonly #hostilePeers: HostilePeers;
  /** Carries datagrams, when the plan's transport is `datagrams`. */
  readonly #datagrams: MemoryNetwork = memoryNetwork();
  /** Carries byte streams, when it is `tcp`. */
  readonly #streams: SimulatedNetwork;

  /** Processes call back into clients and faults, but only once they run: after this constructor. */
  constructor(
    plan: Plan,
    makeSubject: MakeSubject,
    { fullTrace = false, trapsRealTime = true }: ClusterOptions = {},
  ) {
    this.plan = plan;
    this.clock = new SimulatedClock(plan.start.clockMs);
    this.record = new RunRecord(this.clock, fullTrace);
    this.#trap = new DeterminismTrap((violation) => {
      this.record.report(violation);
    }, trapsRealTime);
    this.subject = guardedSubject(makeSubject(plan), this.#trap);
    this.checker = new ClusterChecker(expectationsOf(plan));
    // A random source for each purpose: leaving a fault out of the plan then changes as little else as
    // possible.
    const chance = new Chance(plan.seed ^ 0x5eed);
    this.#streams = new SimulatedNetwork(this.clock, chance.fork().random);
    this.processes = plan.clockRates.map((_, node) => this.#makeProcess(node, chance.fork()));
    const first = this.processes.slice(0, plan.nodes - plan.spares);
    this.initialMembers = Object.fromEntries(first.map(({ id, address }) => [id, address]));
    this.clients = new SimClients({ ...this.#shared(), subject: this.subject }, chance.fork());
    this.operator = this.#makeOperator();
    this.#hostilePeers = new HostilePeers({
      ...this.#shared(),
      operator: this.operator,
      chance: new Chance(plan.seed ^ 0x40_571e),
      network: (host) => this.#streams.host(host),
      transport: (address) => this.#makeTransport(address),
    });
    this.faults = new FaultPlayer({
      ...this.#shared(),
      operator: this.operator,
      striking: () => {
        this.checker.chains.used();
      },
      chance: chance.fork(),
      streams: this.#streams,
      datagrams: this.#datagrams,
      clients: this.clients,
      startHostilePeer: (fault) => this.#hostilePeers.begin(fault),
      endHostilePeers: () => {
        this.#hostilePeers.endAll();
      },
    });
  }

  /** The leader, if exactly one usable member believes that it leads. */
  leader(): SimProcess | null {
    const leaders = this.usableMembers().filter(({ leads }) => leads);
    return leaders.length === 1 ? (leaders[0] ?? null) : null;
  }

  /**
   * The members that can take part: their logs are undamaged, their disks weren't replaced by empty ones, and
   * no leader proved that they were replaced by older copies.
   */
  usableMembers(): SimProcess[] {
    const members = this.checker.history.committedMembership?.members;
    const isMember = ({ id }: SimProcess): boolean => members?.has(id) ?? this.plan.spares === 0;
    return this.processes.filter(
      (process) =>
        !process.refusesToStart &&
        !process.hasLostDisk &&
        isMember(process) &&
        !(process.wasRolledBack && this.operator.isKnownToBeRolledBack(process)),
    );
  }

  /** Whether all usable members have applied the same entries, and hold no others. */
  haveAllApplied(): boolean {
    const members = this.usableMembers();
    const [first, ...others] = members.map((process) => process.state());
    if (first === null || first === undefined) return false;
    const { appliedIndex, lastIndex } = first;
    return others.every(
      (other) => other !== null && other.appliedIndex === appliedIndex && other.lastIndex === lastIndex,
    );
  }

  /**
   * Whether nobody deposes the leader: a node that was removed may campaign again and again, and only voters
   * that refuse their help while they hear a leader stop it (E15). And leadership moves to nodes with a
   * higher priority.
   */
  isUndisturbed(): boolean {
    const usable = this.usableMembers();
    const { checkQuorum, priorities } = this.plan;
    return (
      priorities.length === 0 && (checkQuorum || this.running().every((process) => usable.includes(process)))
    );
  }

  /**
   * Nodes to which this one has a connection, or tries to have one, though they were removed from the
   * cluster. Not those that have ever asked for votes: one that wasn't told in time goes on campaigning
   * (M18), and a node keeps the address of a sender that is no member until the membership changes again, to
   * answer it.
   */
  connectionsToRemoved({ id }: SimProcess): string[] {
    const { campaigners, committedMembership } = this.checker.history;
    const removed = committedMembership?.removed ?? [];
    return this.#streams
      .targetsOf(id)
      .filter((target) => removed.includes(target) && !campaigners.has(target));
  }

  /** Every process that runs, a member or not. */
  running(): SimProcess[] {
    return this.processes.filter((process) => process.isUp);
  }

  /**
   * A node's state, as its digest and as the bytes of its snapshot; null: it has no snapshots, or the subject
   * doesn't want them compared.
   */
  async readState(
    machine: AnyMachine,
  ): Promise<{ readonly digest: string; readonly snapshot: Buffer | null }> {
    const digest = await this.subject.digest(machine);
    const isCompared = this.subject.comparesSnapshots ?? true;
    const snapshot = isCompared ? guardedMachine(machine, this.#trap).snapshot?.() : undefined;
    if (snapshot === undefined) return { digest, snapshot: null };
    const chunks: Uint8Array[] = [];
    // A chunk's buffer may be used again for the next one.
    for await (const chunk of snapshot) chunks.push(chunk.slice());
    return { digest, snapshot: Buffer.concat(chunks) };
  }

  /** All nodes in one line, for a violation's text. */
  summary(): string {
    return this.processes
      .map(({ id, raft, refusesToStart }) => {
        if (raft === null) return `${id} ${refusesToStart ? "refused" : "down"}`;
        const { role, term, commitIndex, appliedIndex, lastIndex } = raft.metrics();
        return `${id} ${role} term ${String(term)} applied ${String(appliedIndex)}/${String(commitIndex)}/${String(lastIndex)}`;
      })
      .join(", ");
  }

  /** What clients, operator and faults all need. */
  #shared() {
    const { plan, clock, processes, checker, record } = this;
    return {
      ...{ plan, clock, processes, checker },
      trace: (text: string): void => {
        record.event(text);
      },
      report: (error: unknown): void => {
        record.report(error);
      },
    };
  }

  #makeProcess(node: number, chance: Chance): SimProcess {
    const { plan, subject } = this;
    const id = `n${String(node + 1)}`;
    const { clock, checker, trace, report } = this.#shared();
    return new SimProcess(id, `${id}:7000`, plan.clockRates[node] ?? 1, plan.wallOffsetsMs[node] ?? 0, {
      ...{ plan, node, subject, clock, chance, checker, trace, report },
      trapRealTimeIn: (machine) => guardedMachine(machine, this.#trap),
      network: this.#streams.host(id),
      transport: (address) => this.#makeTransport(address),
      applying: (name, index) => {
        this.outcomes.applying(name, index);
      },
      died: (process) => {
        this.#died(process);
      },
      stopped: (process) => {
        this.record.guard(() => {
          this.clients.stopped(process);
        });
      },
      elected: (process) => {
        this.faults.elected(process);
      },
      leaseHeld: (core) => {
        checker.reads.leaseHeld(core.id);
        const others = this.processes.filter((process) => process.id !== core.id);
        checker.leaseReads.answered(
          core,
          others.map((other) => ({ id: other.id, core: other.core, sinceLeaderMs: other.sinceLeaderMs() })),
        );
      },
      sending: (from, to, transportMessage) => {
        this.record.event(`${from} to ${to} ${this.#describe(transportMessage)}`);
        this.sentMessages?.push({ from, to, message: transportMessage.message });
      },
    });
  }

  #makeTransport(address: string): Transport {
    if (this.plan.transport === "datagrams") return memoryTransport(this.#datagrams, address);
    return tcp({ listen: address, idleMs: 1_000, backoffMaxMs: 200 });
  }

  #makeOperator(): SimOperator {
    return new SimOperator({
      ...this.#shared(),
      initialMembers: this.initialMembers,
      chance: new Chance(this.plan.seed ^ 0x09e2),
      clients: this.clients,
      crash: (process) => {
        this.faults.crash(process);
      },
      delayMessagesTo: (process, ms) => {
        this.faults.delayMessagesTo(process, ms);
      },
      isolate: (ids, ms) => {
        this.faults.isolate(ids, ms);
      },
    });
  }

  /**
   * A process died, for whatever reason: its connections break, its calls are never answered, and it starts
   * again.
   */
  #died(process: SimProcess): void {
    this.record.event(`${process.id} is dead`);
    this.#streams.crash(process.id);
    const { address } = process;
    const transport = this.#datagrams.transportAt(address);
    if (transport !== undefined) this.#datagrams.unregister(address, transport);
    this.clients.died(process);
    this.faults.restartSoon(process);
  }

  /**
   * A message for the trace: all of it in a full trace, which costs much time, otherwise its type and term.
   */
  #describe({ message }: TransportMessage): string {
    if (this.record.keepsEverything) return JSON.stringify(message);
    return `${message.type} ${"term" in message ? String(message.term) : ""}`;
  }
}

function expectationsOf(plan: Plan): ClusterExpectations {
  const slowestTimeoutMs = plan.electionTimeoutMs.max / Math.min(...plan.clockRates);
  // Priorities move leadership away from a leader with which nothing is wrong; and a leader that was
  // restarted with all others must win another election.
  const isUndisturbed = plan.priorities.length === 0 && !plan.restartsAtEnd;
  const mayExpectStability = hasOnlyHarmlessFaults(plan) && isUndisturbed;
  return {
    preVote: plan.preVote,
    electionTimeoutMinMs: plan.electionTimeoutMs.min,
    electionTimeoutMaxMs: plan.electionTimeoutMs.max,
    // Whether the clocks run so alike that no lease outlasts the promises that it rests on. No slack is left:
    // where a heartbeat round is answered at once, lease and promises end at about the same time.
    isDriftBounded:
      Math.max(...plan.clockRates) * (1 - plan.clockDriftMax) <=
      Math.min(...plan.clockRates) * (1 + plan.clockDriftMax),
    pendingEntriesMax: plan.pendingEntriesMax,
    pendingBytesMax: plan.pendingBytesMax,
    withoutMajorityMsMax: plan.checkQuorum ? WITHOUT_MAJORITY_MS_MAX : Infinity,
    storageStallMsMax: plan.storageStallMs + STALL_GRACE_MS,
    // The runtime checks its parts four times in `stateStallMs`, and may notice a stall one check late.
    stateStallMsMax: 1.25 * STATE_STALL_MS + STALL_GRACE_MS,
    // The same for the log. The time counts for a call that may begin just after a check.
    storageTimeoutMsMax: 1.5 * STORAGE_TIMEOUT_MS + STALL_GRACE_MS,
    stateTimeoutMsMax: STATE_TIMEOUT_MS + STATE_STALL_MS / 2 + STALL_GRACE_MS,
    clockRateMax: Math.max(...plan.clockRates),
    keepsLogForReceivers: (plan.snapshots?.transferKeepBytes ?? 0) >= WHOLE_LOG_BYTES,
    stableAfterMs: mayExpectStability ? 2 * slowestTimeoutMs : Infinity,
  };
}
