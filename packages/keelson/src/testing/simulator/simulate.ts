import { createHash } from "node:crypto";

import { SimulatedClock } from "../../environment/simulated/simulated-clock.ts";
import { SimulatedNetwork } from "../../environment/simulated/simulated-network.ts";
import { memoryNetwork, memoryTransport, type MemoryNetwork } from "../../transport/memory/memory-network.ts";
import { tcp } from "../../transport/tcp/index.ts";
import type { Transport } from "../../transport/transport.ts";
import { isJoint } from "../../core/config.ts";
import { checkLinearizability } from "../linearizability/index.ts";
import { Chance } from "./plan/chance.ts";
import { ClusterChecker } from "./checkers/cluster-checker.ts";
import { FaultPlayer } from "./faults/fault-player.ts";
import type { EventDelivery } from "./world/process-environment.ts";
import type { FaultType } from "./plan/faults.ts";
import { hasOnlyHarmlessFaults, type Plan } from "./plan/plan.ts";
import type { ClientFigures, Outcome } from "./clients/client-calls.ts";
import { SimClients } from "./clients/sim-clients.ts";
import { SimOperator } from "./clients/sim-operator.ts";
import { SimProcess } from "./world/sim-process.ts";
import { simStoreSubject } from "./subject/sim-store.ts";
import type { AnySubject, MakeSubject } from "./subject/subject.ts";
import { assertInvariant, Violation } from "./checkers/violation.ts";
import { CALL_TIMEOUT_MS } from "./plan/workload.ts";

/** What became of a run. */
export interface RunResult {
  readonly plan: Plan;
  /** null: every invariant held. */
  readonly violation: Violation | null;
  /** Simulated. */
  readonly ms: number;
  readonly committed: number;
  readonly clients: ClientFigures;
  readonly faults: ReadonlyMap<FaultType, number>;
  /** The linearizability checker gave up on the history: it is neither right nor wrong. */
  readonly undecided: boolean;
  /** Equal for two runs that did the same things at the same times. */
  readonly traceHash: string;
  /** Every event, if it was asked for; otherwise the last ones. */
  readonly trace: readonly string[];
}

/** What runs, and how it is recorded. */
export interface SimulateOptions {
  /** What is replicated, and what clients do with it. Default: a key-value store made for this. */
  readonly subject?: MakeSubject;
  /** Keep every event. Default: the last 200. */
  readonly fullTrace?: boolean;
}

const TRACE_TAIL = 200;

/** After healing, this many longest election timeouts must do for a leader, and again for everything else. */
const HEAL_TIMEOUTS = 40;

/** By then a leader that hears no majority has noticed, and its timers have come. */
const ALONE_MS_MAX = 500;

/** Leadership that was handed to one, and went to another, so often in a row is no accident. */
const STRAYS_MAX = 3;

/** How long a node waits after a snapshot that failed before it tries again. */
const SNAPSHOT_REST_MS = 10_000;

/** Turns in one instant: more, and the cluster is busy with itself for ever, and time never goes on. */
const TURNS_PER_INSTANT_MAX = 20_000;

/** A leader looks at its disk when its timers come. */
const STALL_GRACE_MS = 200;

/** A node takes a second to close if its parts hang, and what was told goodbye lingers as long. */
const CLOSE_MS_MAX = 1_500;

/**
 * Runs a whole cluster, its clients and its faults on one thread, as the plan says; always in the same way.
 *
 * @example
 * const { violation } = await simulate(planOf(seed), { subject: () => myStateMachineAndItsClients });
 */
export async function simulate(plan: Plan, options: SimulateOptions = {}): Promise<RunResult> {
  const run = new Run(plan, options);
  return run.play();
}

class Run {
  readonly #plan: Plan;
  readonly #subject: AnySubject;
  readonly #clock = new SimulatedClock();
  readonly #checker: ClusterChecker;
  readonly #datagrams: MemoryNetwork = memoryNetwork();
  readonly #streams: SimulatedNetwork;
  readonly #processes: SimProcess[];
  /** The members that the cluster begins with. */
  readonly #initialMembers: Readonly<Record<string, string>>;
  readonly #clients: SimClients;
  readonly #operator: SimOperator;
  readonly #faults: FaultPlayer;
  /** Names of the commands that some state machine has applied, and the entry that it did at. */
  readonly #applied = new Map<string, number>();
  readonly #trace: string[] = [];
  readonly #hash = createHash("sha1");
  readonly #fullTrace: boolean;
  #violation: Violation | null = null;
  #undecided = false;
  /** The time at the last step, and how many steps there were at that time. */
  #instant = { at: 0, steps: 0 };

  constructor(plan: Plan, { subject = simStoreSubject, fullTrace = false }: SimulateOptions) {
    this.#plan = plan;
    this.#subject = subject(plan);
    this.#fullTrace = fullTrace;
    const slowestTimeoutMs = plan.electionTimeoutMs.max / Math.min(...plan.clockRates);
    this.#checker = new ClusterChecker({
      pendingEntriesMax: plan.pendingEntriesMax,
      pendingBytesMax: plan.pendingBytesMax,
      withoutMajorityMsMax: plan.checkQuorum ? ALONE_MS_MAX : Infinity,
      storageStallMsMax: plan.storageStallMs + STALL_GRACE_MS,
      stableAfterMs:
        hasOnlyHarmlessFaults(plan) && plan.priorities.length === 0 ? 2 * slowestTimeoutMs : Infinity,
    });
    // One stream of chance for each purpose, so that a fault left out of the plan changes as little else as can be.
    const chance = new Chance(plan.seed ^ 0x5eed);
    this.#streams = new SimulatedNetwork(this.#clock, chance.fork().random);
    const trace = (text: string): void => {
      this.#event(text);
    };
    const report = (error: unknown): void => {
      this.#report(error);
    };
    this.#processes = plan.clockRates.map((rate, node) => {
      const id = `n${String(node + 1)}`;
      return new SimProcess(id, addressOf(id), rate, plan.wallOffsetsMs[node] ?? 0, {
        plan,
        node,
        subject: this.#subject,
        clock: this.#clock,
        chance: chance.fork(),
        checker: this.#checker,
        network: this.#streams.host(id),
        transport: (address) => this.#makeTransport(address),
        applying: (name, index) => {
          this.#checkOnce(name, index);
        },
        trace,
        report,
        died: (process) => {
          this.#died(process);
        },
        stopped: (process) => {
          try {
            this.#clients.stopped(process);
          } catch (error) {
            this.#report(error);
          }
        },
        sending: (from, to, { message }) => {
          if (this.#fullTrace) this.#event(`${from} to ${to} ${describe(message)}`);
          else
            this.#event(`${from} to ${to} ${message.type} ${"term" in message ? String(message.term) : ""}`);
        },
      });
    });
    const common = { plan, clock: this.#clock, processes: this.#processes, trace };
    const checker = this.#checker;
    const first = this.#processes.slice(0, plan.nodes - plan.spares);
    this.#initialMembers = Object.fromEntries(first.map(({ id }) => [id, addressOf(id)]));
    this.#clients = new SimClients({ ...common, checker, subject: this.#subject, report }, chance.fork());
    this.#operator = new SimOperator({
      ...common,
      report,
      checker,
      initialMembers: this.#initialMembers,
      chance: new Chance(plan.seed ^ 0x09e2),
      clients: this.#clients,
      crash: (process) => {
        this.#faults.crash(process);
      },
      delayMessagesTo: (process, ms) => {
        this.#faults.delayMessagesTo(process, ms);
      },
      isolate: (ids, ms) => {
        this.#faults.isolate(ids, ms);
      },
    });
    this.#faults = new FaultPlayer({
      ...common,
      report,
      operator: this.#operator,
      chance: chance.fork(),
      streams: this.#streams,
      datagrams: this.#datagrams,
      clients: this.#clients,
    });
  }

  async play(): Promise<RunResult> {
    const began = this.#clock.now();
    try {
      await this.#runAll();
    } catch (error) {
      this.#report(error);
    }
    const ms = this.#clock.now() - began;
    for (const process of this.#processes) process.kill(false);
    return {
      plan: this.#plan,
      violation: this.#violation,
      ms,
      committed: this.#checker.history.committed.length,
      clients: this.#clients.figures,
      faults: this.#faults.counts,
      undecided: this.#undecided,
      traceHash: this.#hash.digest("hex"),
      trace: this.#trace,
    };
  }

  async #runAll(): Promise<void> {
    for (const process of this.#processes) process.start();
    await this.#runUntil(
      () => this.#processes.every((process) => process.isUp),
      1_000,
      "START",
      "all nodes to start",
    );
    await this.#runFor(this.#plan.initializeAfterMs);
    await this.#found();
    this.#clients.start();
    this.#faults.start();
    await this.#runFor(this.#plan.faultyMs);
    this.#event("heal");
    this.#faults.heal();
    await this.#converge();
    this.#checkOutcomes();
    this.#checkHistory();
    await this.#end();
  }

  /** At rest nothing is on the books any more; then every node closes, and leaves nothing behind. */
  async #end(): Promise<void> {
    await this.#runUntil(
      () => this.#alive().every(isIdle),
      this.#patienceMs,
      "BOUND",
      "all books to be empty",
    );
    await this.#runUntil(
      () => this.#alive().every(isTold),
      this.#patienceMs,
      "LIVE",
      "listeners to know how nodes are",
    );
    await this.#readLogs();
    const running = this.#running();
    let open = running.length;
    for (const process of running) {
      const { id, delivery } = process;
      void process.close().then(() => {
        open -= 1;
        // Streams linger to say goodbye; nothing else has a reason to.
        if (this.#plan.transport === "datagrams") this.#assertNoTimers(id, delivery);
      });
    }
    await this.#runUntil(() => open === 0, CLOSE_MS_MAX, "KNOWN", "all nodes to close");
    await this.#runFor(CLOSE_MS_MAX);
    for (const { id, delivery } of running) this.#assertNoTimers(id, delivery);
    this.#throwIfBroken();
  }

  #assertNoTimers(id: string, delivery: EventDelivery | null): void {
    const timers = delivery?.pendingTimers ?? 0;
    if (timers > 0) {
      this.#report(new Violation("BOUND", `${id} is closed, and ${String(timers)} of its timers go on`));
    }
  }

  /** What stands on the disks at the end is what the stores were given. */
  async #readLogs(): Promise<void> {
    let unread = this.#alive().length;
    for (const process of this.#alive()) {
      process.readBack().then(
        () => {
          unread -= 1;
        },
        (error: unknown) => {
          this.#report(error);
        },
      );
    }
    await this.#runUntil(() => unread === 0, this.#patienceMs, "LIVE", "all logs to be read");
  }

  /** Creates the cluster, as the plan's founders do it; nobody is disturbed yet. */
  async #found(): Promise<void> {
    const founded = Promise.all(
      this.#plan.initializers.map(
        (node) => this.#processes[node]?.raft?.initialize(this.#initialMembers) ?? Promise.resolve(),
      ),
    );
    let done = false;
    founded.then(
      () => {
        done = true;
      },
      (error: unknown) => {
        this.#report(error);
      },
    );
    await this.#runUntil(() => done, this.#patienceMs, "LIVE", "the cluster to be created");
    if (this.#plan.initializers.length > 1) return;
    // What one founder alone holds is lost with its disk: faults wait until the others hold it too.
    await this.#runUntil(
      () => this.#checker.history.committed.length > 0,
      this.#patienceMs,
      "LIVE",
      "the first leader",
    );
  }

  /** §8 and LIVE: once nothing fails any more there is one leader, new writes and reads succeed, and all logs and states become equal. */
  async #converge(): Promise<void> {
    await this.#runUntil(
      () => this.#leader() !== null,
      this.#patienceMs,
      "LIVE",
      "a leader after the run healed",
    );
    this.#clients.stop();
    await this.#runUntil(() => this.#clients.underWay === 0, this.#patienceMs, "KNOWN", "all calls to end");
    await this.#cleanUp();
    await this.#lastTransfer();
    await this.#lastWrite();
    await this.#runUntil(() => this.#allApplied(), this.#patienceMs, "LIVE", "all nodes to apply the same");
    await this.#checkStates();
    await this.#lastReads();
  }

  /** What cannot be a member any more leaves; then what is committed is not joint, and has no strangers. */
  async #cleanUp(): Promise<void> {
    if (this.#plan.spares === 0) return;
    let isClean = false;
    this.#operator.removeUnusableMembers().then(
      () => {
        isClean = true;
      },
      (error: unknown) => {
        this.#report(error);
      },
    );
    await this.#runUntil(() => isClean, 2 * this.#patienceMs, "LIVE", "the operator to clean up");
    await this.#runUntil(() => this.#isSettled(), this.#patienceMs, "LIVE", "one configuration everywhere");
  }

  /** One leader that has a vote; and each member acts on the same configuration, which is no step on the way. */
  #isSettled(): boolean {
    const leader = this.#leader();
    const config = leader?.raft?.metrics().config;
    if (leader === null || config === undefined || isJoint(config)) return false;
    const text = JSON.stringify(config);
    return (
      config.voters.includes(leader.id) &&
      this.#alive().every(({ raft }) => JSON.stringify(raft?.metrics().config) === text)
    );
  }

  /** Where leadership was moved about, it must be possible to move it now, and to whom one likes (E17). */
  async #lastTransfer(): Promise<void> {
    const { faults, checkQuorum } = this.#plan;
    if (!faults.some(({ type }) => type === "transfer") || this.#alive().length < 2) return;
    let isMoved = false;
    let asking = false;
    let strays = 0;
    const ask = async (leader: SimProcess): Promise<void> => {
      asking = true;
      const { raft } = leader;
      const voters = raft?.metrics().config.voters ?? [];
      const to = this.#alive().find(({ id }) => id !== leader.id && voters.includes(id))?.id;
      try {
        // However little time the run's callers have: one that gives up does not hear that it was done.
        const next = await raft?.transferLeadership(to, { timeoutMs: this.#patienceMs });
        // An election may be lost by chance; but not again and again where nobody else has a reason to stand.
        strays += next === to ? 0 : 1;
        isMoved = next === to;
        if (strays === STRAYS_MAX)
          this.#report(new Violation("LIVE", `${String(to)} never gets what is handed to it`));
      } catch (error) {
        // With nobody to take it, it stays.
        isMoved = voters.length === 1;
        this.#event(`${leader.id} leads on: ${String(error)}`);
      }
      // A refusal comes at once, and would come again at the same instant for ever.
      this.#clock.setTimer(this.#plan.heartbeatMs, () => {
        asking = false;
      });
    };
    const look = (): boolean => {
      const leader = this.#leader();
      if (!asking && !isMoved && leader !== null) void ask(leader);
      return isMoved;
    };
    const patienceMs = checkQuorum ? this.#patienceMs / 4 : this.#patienceMs;
    await this.#runUntil(look, patienceMs, "LIVE", "a transfer of leadership after the run healed");
  }

  /** Any write that ends with an answer. */
  async #lastWrite(): Promise<void> {
    let written = false;
    let asking = false;
    await this.#runUntil(
      () => {
        const leader = this.#leader();
        if (!asking && !written && leader !== null) {
          asking = true;
          const ended = (outcome: Outcome): void => {
            asking = false;
            written = outcome === "done";
          };
          this.#clients.write("last", leader, "last", ended, CALL_TIMEOUT_MS);
        }
        return written;
      },
      this.#patienceMs,
      "LIVE",
      "a write after the run healed",
    );
  }

  /** Every node answers; whether it answers right is a question to the history. */
  async #lastReads(): Promise<void> {
    for (const process of this.#alive()) {
      const ends: string[] = [];
      let asking = false;
      const look = (): boolean => {
        if (asking || ends.length > 0) return ends.length > 0;
        asking = true;
        const ended = (outcome: Outcome, why: string): void => {
          // One whose answer was lost before the run healed may still have its place.
          if (why !== "OVERLOADED") ends.push(`${outcome} ${why}`.trim());
          this.#clock.setTimer(this.#plan.heartbeatMs, () => {
            asking = false;
          });
        };
        this.#clients.read("last", process, "last", ended, CALL_TIMEOUT_MS);
        return false;
      };
      await this.#runUntil(look, this.#patienceMs, "LIVE", `a read at ${process.id}`);
      const [end] = ends;
      assertInvariant(
        end === "done",
        "LIVE",
        () => `${process.id} cannot read after the run healed: ${String(end)}`,
      );
    }
  }

  /** SMS: who has applied the same holds the same. */
  async #checkStates(): Promise<void> {
    const states = new Map<string, string>();
    for (const { id, machine, raft } of this.#alive()) {
      if (machine === null) continue;
      const sessions = JSON.stringify(raft?.metrics().sessions);
      let told = false;
      Promise.resolve(this.#subject.digest(machine)).then(
        (state) => {
          states.set(id, `${state} ${sessions}`);
          told = true;
        },
        (error: unknown) => {
          this.#report(error);
        },
      );
      await this.#runUntil(() => told, this.#patienceMs, "LIVE", `the state of ${id}`);
    }
    const different = new Set(states.values());
    assertInvariant(different.size <= 1, "SMS", () => {
      const each = [...states].map(([id, state]) => `${id} ${state}`);
      return `the nodes have applied the same, and hold different states: ${each.join("; ")}`;
    });
  }

  #leader(): SimProcess | null {
    const leaders = this.#alive().filter(({ raft }) => raft?.metrics().role === "leader");
    return leaders.length === 1 ? (leaders[0] ?? null) : null;
  }

  /** The members that can take part: not those whose logs are damaged, nor those whose disks are lost. */
  #alive(): SimProcess[] {
    const members = this.#checker.history.committedMembership?.members;
    const isMember = ({ id }: SimProcess): boolean => this.#plan.spares === 0 || members?.has(id) === true;
    return this.#processes.filter(
      (process) => !process.refusesToStart && !process.hasLostDisk && isMember(process),
    );
  }

  /** Every process that runs, a member or not. */
  #running(): SimProcess[] {
    return this.#processes.filter((process) => process.isUp);
  }

  #allApplied(): boolean {
    const alive = this.#alive();
    const ends = new Set(
      alive.map(({ raft }) => {
        const metrics = raft?.metrics();
        return `${String(metrics?.appliedIndex)} ${String(metrics?.lastIndex)}`;
      }),
    );
    return ends.size === 1 && alive.every(({ isUp }) => isUp);
  }

  /** ONCE: a command takes effect at one entry, the same on every node, however often it was sent. */
  #checkOnce(name: string, index: number): void {
    const known = this.#applied.get(name) ?? index;
    assertInvariant(
      known === index,
      "ONCE",
      () => `${name} takes effect at ${String(index)}, and did at ${String(known)}`,
    );
    this.#applied.set(name, index);
  }

  /** DUR and KNOWN: what was acknowledged was applied; what was surely not done never was. */
  #checkOutcomes(): void {
    for (const name of this.#clients.acknowledged) {
      assertInvariant(this.#applied.has(name), "DUR", () => `${name} was acknowledged and is nowhere`);
    }
    for (const name of this.#clients.notDone) {
      assertInvariant(
        !this.#applied.has(name),
        "KNOWN",
        () => `${name} was surely not done, and was applied`,
      );
    }
  }

  #checkHistory(): void {
    const result = checkLinearizability(this.#subject.model, this.#clients.history.operations());
    if (result.verdict === "illegal") throw new Violation("LIN", result.text);
    this.#undecided = result.verdict === "undecided";
  }

  // --- Steps --------------------------------------------------------------------------------------

  get #patienceMs(): number {
    const slowest = Math.min(...this.#plan.clockRates);
    // After a snapshot that failed, the next is not tried at once.
    const restMs = this.#plan.snapshots === null ? 0 : SNAPSHOT_REST_MS + 2 * fetchMs(this.#plan.snapshots);
    return (this.#plan.electionTimeoutMs.max * HEAL_TIMEOUTS + restMs) / slowest;
  }

  async #runFor(ms: number): Promise<void> {
    let over = false;
    this.#clock.setTimer(ms, () => {
      over = true;
    });
    await this.#clock.runUntil(() => this.#step() || over, ms + 1, "the end of the faults");
    this.#throwIfBroken();
  }

  async #runUntil(condition: () => boolean, limitMs: number, code: string, what: string): Promise<void> {
    const deadline = this.#clock.now() + limitMs;
    const isLate = (): boolean => this.#clock.now() >= deadline;
    const timer = this.#clock.setTimer(limitMs, () => undefined);
    await this.#clock.runUntil(() => this.#step() || condition() || isLate(), limitMs + 1, what);
    timer.cancel();
    this.#throwIfBroken();
    if (isLate() && !condition()) {
      throw new Violation(
        code,
        `waited ${String(Math.round(limitMs))} ms in vain for ${what}: ${this.#summary()}`,
      );
    }
  }

  /** After each turn: everything that can be checked is. True: something broke, and the run is over. */
  #step(): boolean {
    if (this.#isBroken()) return true;
    try {
      this.#checkTime();
      for (const process of this.#processes) {
        const { id, raft, delivery } = process;
        // A process that was stopped in the middle of a turn is looked at when it has ended it.
        if (raft === null || delivery === null || delivery.isPaused || !delivery.takeActivity()) continue;
        const metrics = raft.metrics();
        if (this.#clock.now() - process.resumedAt < ALONE_MS_MAX || process.timersAreLate)
          this.#checker.statuses.excuse(id);
        // Also what a node did in the turn in which it stopped; but then it knows of no snapshots any more.
        const knowsSnapshots = !process.hasDamagedData && metrics.role !== "stopped";
        const seen = knowsSnapshots ? metrics : { ...metrics, snapshots: undefined };
        this.#checker.statuses.step(id, seen, process.now());
      }
      this.#clients.checkBounds();
    } catch (error) {
      this.#report(error);
    }
    return this.#isBroken();
  }

  /** LIVE: a timer that is set again and again for a time that is over leaves no time for anything else. */
  #checkTime(): void {
    const now = this.#clock.now();
    if (now > this.#instant.at) this.#instant = { at: now, steps: 0 };
    this.#instant.steps += 1;
    assertInvariant(
      this.#instant.steps <= TURNS_PER_INSTANT_MAX,
      "LIVE",
      () => `time stands still: somebody is busy for ever at ${String(now)} ms`,
    );
  }

  #isBroken(): boolean {
    return this.#violation !== null;
  }

  #throwIfBroken(): void {
    if (this.#violation !== null) throw this.#violation;
  }

  /** The first thing that broke is what the run is about; the rest follows from it. */
  #report(error: unknown): void {
    if (this.#violation !== null) return;
    if (error instanceof Violation) this.#violation = error;
    else {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.#violation = new Violation("CRASH", text);
    }
    this.#event(`broken: ${this.#violation.message}`);
  }

  #event(text: string): void {
    const line = `${this.#clock.now().toFixed(3)} ${text}`;
    this.#hash.update(line);
    this.#trace.push(line);
    if (!this.#fullTrace && this.#trace.length > 2 * TRACE_TAIL) this.#trace.splice(0, TRACE_TAIL);
  }

  #died(process: SimProcess): void {
    this.#event(`${process.id} is dead`);
    this.#streams.crash(process.id);
    const { address } = process;
    const transport = this.#datagrams.transportAt(address);
    if (transport !== undefined) this.#datagrams.unregister(address, transport);
    this.#clients.died(process);
    this.#faults.restartSoon(process);
  }

  #makeTransport(address: string): Transport {
    if (this.#plan.transport === "datagrams") return memoryTransport(this.#datagrams, address);
    return tcp({ listen: address, idleMs: 1_000, backoffMaxMs: 200 });
  }

  #summary(): string {
    return this.#processes
      .map(({ id, raft, refusesToStart }) => {
        if (raft === null) return `${id} ${refusesToStart ? "refused" : "down"}`;
        const { role, term, commitIndex, appliedIndex, lastIndex } = raft.metrics();
        return `${id} ${role} term ${String(term)} applied ${String(appliedIndex)}/${String(commitIndex)}/${String(lastIndex)}`;
      })
      .join(", ");
  }
}

/** What the transfer of a snapshot takes at least. */
function fetchMs({ ballastBytes, fetchBytesPerSecond }: NonNullable<Plan["snapshots"]>): number {
  return (ballastBytes / fetchBytesPerSecond) * 1_000;
}

/** Nothing is under way at this node. */
function isIdle({ raft }: SimProcess): boolean {
  const metrics = raft?.metrics();
  if (metrics === undefined) return false;
  const { pendingEntries, pendingBytes, pendingReads, forwardedCalls, forwardedBytes } = metrics;
  return pendingEntries + pendingBytes + pendingReads + forwardedCalls + forwardedBytes === 0;
}

/** Who listens to this node knows how it is. */
function isTold({ raft, announced, committedReaderIsCurrent }: SimProcess): boolean {
  const metrics = raft?.metrics();
  return (
    committedReaderIsCurrent &&
    metrics?.role === announced.role &&
    (metrics.leader?.id ?? null) === announced.leader
  );
}

function addressOf(id: string): string {
  return `${id}:7000`;
}

function describe(message: object): string {
  return JSON.stringify(message);
}
