/**
 * A simulated process: everything of a node that outlives the run of its program. It starts the program (a
 * node of the real runtime on a simulated environment), kills and pauses it, and reports when it stops
 * without a reason.
 *
 * - FAILSTOP, DUR, START: a node that stops by itself or doesn't start has a reason that a fault explains.
 * - KNOWN: a node that is told to close does so within `SHUT_DOWN_MS_MAX`.
 */
import type { LogIndex } from "../../../core/position.ts";
import type { Environment, Network } from "../../../environment/environment.ts";
import type { SimulatedClock } from "../../../environment/simulated/simulated-clock.ts";
import { simulatedEnvironment } from "../../../environment/simulated/simulated-environment.ts";
import {
  SimulatedFiles,
  type FileFault,
  type FileOperation,
} from "../../../environment/simulated/simulated-files.ts";
import type { RaftError } from "../../../errors.ts";
import type { RaftNode } from "../../../core/node.ts";
import type { ProbedState } from "../../../runtime/lifecycle/index.ts";
import type { Raft } from "../../../runtime/raft.ts";
import type { StateMachine } from "../../../runtime/shared/index.ts";
import type { SnapshotHeader } from "../../../storage/snapshot-store.ts";
import { fileKind } from "../../../storage/snapshots/file-names.ts";
import { wal } from "../../../storage/wal/index.ts";
import type { Transport, TransportMessage } from "../../../transport/transport.ts";
import type { ClusterChecker } from "../checkers/cluster-checker.ts";
import { MachineContract } from "../checkers/machine-contract.ts";
import { Violation } from "../checkers/violation.ts";
import type { Chance } from "../plan/chance.ts";
import type { Plan } from "../plan/plan.ts";
import type { AnySubject } from "../subject/subject.ts";
import { ChangeReader } from "./change-reader.ts";
import { CommittedReader } from "./committed-reader.ts";
import type { ClockConditions, DiskConditions, MachineConditions } from "./conditions.ts";
import { tryToDiscardLog } from "./discarded-log.ts";
import { watchElections } from "./election-watch.ts";
import { EventDelivery } from "./event-delivery.ts";
import { MessageReplayer, type ReceiverTerm } from "./message-replayer.ts";
import { MessageWatch } from "./message-watch.ts";
import { observeCore, wakeTimesOf } from "./observed-core.ts";
import { ObservedLog } from "./observed-log.ts";
import { ObservedMachine } from "./observed-machine.ts";
import { ObservedTransport } from "./observed-transport.ts";
import { openNode } from "./open-node.ts";
import { processEnvironment } from "./process-environment.ts";
import { openLogTwice } from "./second-process.ts";
import { isCorruption, isDiskError, violationOfFailedStart, violationOfStop } from "./stop-reasons.ts";

/** What a process needs from the run. */
export interface ProcessParts {
  readonly plan: Plan;
  /** The node's place in the plan. */
  readonly node: number;
  readonly subject: AnySubject;
  readonly trapRealTimeIn: (machine: StateMachine<unknown, unknown>) => StateMachine<unknown, unknown>;
  readonly clock: SimulatedClock;
  readonly chance: Chance;
  readonly checker: ClusterChecker;
  readonly network: Network;
  /** Makes a transport for a process that is about to start. */
  readonly transport: (address: string) => Transport;
  /** A state machine is about to apply the command with this name. */
  readonly applying: (name: string, index: number) => void;
  readonly trace: (text: string) => void;
  readonly report: (error: unknown) => void;
  /** The process ended, for whatever reason. Calls that it hasn't answered are never answered. */
  readonly died: (process: SimProcess) => void;
  /** The node stopped by itself, or closed: every call to it has ended by now. */
  readonly stopped: (process: SimProcess) => void;
  readonly sending: (from: string, to: string, transportMessage: TransportMessage) => void;
  /** The node has become leader, and its turn of the event loop isn't over. */
  readonly elected: (process: SimProcess) => void;
  /** The node, which has this core, has found that its lease holds. */
  readonly leaseHeld: (core: RaftNode) => void;
}

/** Errors that the disk returns. Faults write them. */
export interface DiskFaults {
  /** Asked for each operation until it returns a fault; null: no fault is planned. */
  next: ((operation: FileOperation) => FileFault | null) | null;
  /**
   * Some calls that read or write a file do only a part of it, so that the caller must call again for the
   * rest.
   */
  shortTransfers: boolean;
}

/**
 * Of the reads and writes of a disk with short transfers, the share that is short. If all were, reading would
 * never end.
 */
const SHORT_TRANSFER_SHARE = 0.3;

const SHORT_TRANSFER_BYTES_MAX = 700;

/** Of the writes to a full disk, the share of which a part is written. */
const SHORT_WRITE_SHARE = 0.3;

/**
 * How long closing may take. A leader transfers leadership for 400 ms at most; then the node's parts have a
 * second.
 */
const SHUT_DOWN_MS_MAX = 2_000;

/** See the file's header. */
export class SimProcess {
  readonly id: string;
  /** Where the node listens from its next start on. Written by the operator, when the member moves. */
  address: string;

  // What faults set. It holds across restarts until a fault ends.
  readonly diskConditions: DiskConditions;
  readonly diskFaults: DiskFaults = { next: null, shortTransfers: false };
  /** No write succeeds while the disk is full. A crash doesn't change that. */
  readonly diskSpace = { isFull: false };
  readonly clockConditions: ClockConditions;
  readonly machineConditions: MachineConditions = {
    ...{ delayMs: 0, restoreMs: 0, fails: false, isApplying: false, hangs: false },
    hungCalls: new Set(),
  };

  // Set by faults, to strike at the moment described.
  /** A vote for this node is durable, and no node has been told. */
  onVoteDurable: ((votedFor: string) => void) | null = null;
  /**
   * An entry that takes away this node's vote is about to be written; then, with `isDurable`, it is durable.
   */
  onOwnRemoval: ((isDurable: boolean) => void) | null = null;
  /** The node, as leader, appends a configuration to its log: it is about to be written and sent. */
  onConfigAppended: (() => void) | null = null;
  /** The node tells another to take over. */
  onTimeoutNowSent: ((to: string) => void) | null = null;
  /**
   * A snapshot's file is about to be complete: it is being renamed. `isReceived`: it was fetched, not taken
   * here.
   */
  onSnapshotRename: ((isReceived: boolean) => void) | null = null;

  // What faults did to this node.
  /**
   * It was a member and its disk was replaced by an empty one. The others must not take it for that member.
   */
  hasLostDisk = false;
  /**
   * Its disk was replaced by an older copy of itself, which may lack entries that it had acknowledged, and
   * votes that it had given.
   */
  wasRolledBack = false;
  /** The node stopped after the roll-back, because a leader proved to it that it had lost entries. */
  hasFoundLoss = false;
  /** A fault damaged data on its disk that may have been acknowledged. It may refuse to start. */
  hasDamagedData = false;
  /** It refused to start because of damaged data, or is gone, and isn't started again. */
  refusesToStart = false;
  /** The machine was lost for good. */
  isGone = false;
  /** The disk was slow or hung since the process started, so that a write may have timed out. */
  diskWasSlow = false;
  /** The state machine hung since the process started, so that one of its calls may have timed out. */
  machineHung = false;
  /** Calls for snapshots' files hung since the process started, so that one of them may have timed out. */
  snapshotsHung = false;
  /** The true time at which it last went on after a pause. */
  resumedAt: number = -Infinity;

  readonly #parts: ProcessParts;
  #disk: SimulatedFiles;
  /** null: no program runs. */
  #delivery: EventDelivery | null = null;
  /** null: no node is open or being opened. */
  #core: RaftNode | null = null;
  /** Tells the state of the node; null: no node is open or being opened. */
  #probe: (() => ProbedState) | null = null;
  /** null: the node isn't open. */
  #raft: Raft<unknown, unknown> | null = null;
  /** The subject's state machine, as the subject made it. */
  #machine: StateMachine<unknown, unknown> | null = null;
  #log: ObservedLog | null = null;
  #environment: Environment | null = null;
  /** Reads the running node's change stream. */
  #changeReader = new ChangeReader();
  /** Reads the running node's committed stream; null: the plan has no such reader. */
  #committedReader: CommittedReader | null = null;
  /** The node is being opened. */
  #starting = false;
  /** The node was told to close. */
  #closing = false;

  constructor(id: string, address: string, clockRate: number, wallOffsetMs: number, parts: ProcessParts) {
    this.id = id;
    this.address = address;
    this.#parts = parts;
    this.#disk = this.#newDisk();
    const baseDelayMs = parts.plan.diskMs;
    this.diskConditions = {
      ...{
        baseDelayMs,
        extraDelayMs: 0,
        logDelayMs: 0,
        hangs: false,
        snapshotsHang: false,
        beforeWrite: null,
      },
      ...{ hungSnapshotCalls: new Set(), hungLogCalls: new Set() },
    };
    this.clockConditions = {
      rate: clockRate,
      timersLateByMsMax: 0,
      timersLateShareMin: 0,
      timersLateUntil: -Infinity,
      wallOffsetMs,
    };
  }

  get disk(): SimulatedFiles {
    return this.#disk;
  }

  get raft(): Raft<unknown, unknown> | null {
    return this.#raft;
  }

  get core(): RaftNode | null {
    return this.#core;
  }

  get machine(): StateMachine<unknown, unknown> | null {
    return this.#machine;
  }

  get delivery(): EventDelivery | null {
    return this.#delivery;
  }

  /** The node is open. */
  get isUp(): boolean {
    return this.#raft !== null;
  }

  get isPaused(): boolean {
    return this.#delivery?.isPaused ?? false;
  }

  /** Timers are late, or some that were set while they were haven't fired yet. */
  get timersAreLate(): boolean {
    const { timersLateByMsMax, timersLateUntil } = this.clockConditions;
    return timersLateByMsMax > 0 || this.#parts.clock.now() <= timersLateUntil;
  }

  /** What the node's change stream said last of its role and leader. */
  get announced(): ChangeReader["announced"] {
    return this.#changeReader.announced;
  }

  /** The reader of the committed stream; null: there is none. */
  get committedReader(): Pick<CommittedReader, "readTo" | "commandsRead"> | null {
    return this.#committedReader;
  }

  /**
   * The call of the state machine, or else for a snapshot's file, that hangs for the longest; null: none
   * does.
   */
  get hungCall(): object | null {
    const [ofMachine] = this.machineConditions.hungCalls;
    const [ofSnapshots] = this.diskConditions.hungSnapshotCalls;
    return ofMachine ?? ofSnapshots ?? null;
  }

  /** The node's state at this moment; null: it isn't open. */
  state(): ProbedState | null {
    return this.#raft === null ? null : (this.#probe?.() ?? null);
  }

  /** The node is open and leads, by its own word. */
  get leads(): boolean {
    return this.#core?.role === "leader" && this.state()?.role === "leader";
  }

  /** The time on the process's clock. */
  now(): number {
    return this.#parts.clock.elapsedMs * this.clockConditions.rate;
  }

  /** How long ago the node's core last heard a leader, or started, by the process's clock. */
  sinceLeaderMs(): number {
    return (this.#environment?.now() ?? Infinity) - (this.#core?.leaderHeardAt ?? Infinity);
  }

  appliedIndex(): LogIndex | null {
    return this.#raft?.metrics().appliedIndex ?? null;
  }

  /** Waits by the process's clock; without end, if the process dies meanwhile. */
  wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#environment?.setTimer(ms, resolve);
    });
  }

  /** Kills the program, and makes the disk that of a node which has been in this term. */
  async raiseTerm(term: number): Promise<void> {
    this.kill(false);
    const { id } = this;
    const { plan } = this.#parts;
    const log = wal(`/${id}`, { segmentBytes: plan.segmentBytes });
    await log.open({ nodeId: id, clusterId: null }, this.#ofOtherProgram());
    await log.append({ hardState: { term, votedFor: null }, truncateFrom: null, records: [] });
    await log.close();
  }

  // --- The program's life ---------------------------------------------------------------------------

  /** Starts the program, unless it runs. It is up once its node is open. */
  start(): void {
    if (this.#delivery !== null || this.#starting || this.refusesToStart) return;
    this.#starting = true;
    this.#closing = false;
    const delivery = new EventDelivery(this.#parts.clock);
    this.#delivery = delivery;
    // A fault that goes on while the process starts can make calls of the new process time out, too.
    const { hangs, extraDelayMs, logDelayMs } = this.diskConditions;
    this.diskWasSlow = hangs || extraDelayMs + logDelayMs > 0;
    this.machineHung = this.machineConditions.hangs;
    this.snapshotsHung = this.diskConditions.snapshotsHang;
    this.machineConditions.hungCalls.clear();
    this.#open(delivery).then(
      (raft) => {
        this.#starting = false;
        if (!delivery.isDead()) this.#started(delivery, raft);
      },
      (error: unknown) => {
        this.#starting = false;
        if (!delivery.isDead()) this.#failedToStart(delivery, error);
      },
    );
  }

  /** Kills the program at once. `power`: the power fails, so all or a part of what was not synced is lost. */
  kill(power: boolean): void {
    const delivery = this.#delivery;
    if (delivery === null) return;
    delivery.kill();
    this.#delivery = null;
    this.#core = null;
    this.#probe = null;
    this.#raft = null;
    this.#machine = null;
    this.#starting = false;
    if (power) this.disk.crash(this.#parts.chance.random);
    else this.disk.kill();
    this.#parts.died(this);
  }

  /**
   * Kills the program and replaces its disk by an empty one, with all that the state machine keeps elsewhere.
   */
  wipe(): void {
    this.kill(true);
    this.#disk = this.#newDisk();
    this.hasDamagedData = false;
    this.refusesToStart = false;
    this.#parts.subject.forget?.(this.id);
    this.#parts.checker.stores.diskLost(this.id);
    this.#parts.checker.model.diskLost(this.id);
  }

  /**
   * Kills the program and replaces its disk by an earlier copy of it, as when a virtual machine is restored.
   * What the state machine keeps elsewhere is lost; it is made again from log and snapshots.
   */
  rollBack(copy: SimulatedFiles): void {
    this.kill(true);
    copy.intercept = (operation) => this.#faultFor(operation);
    this.#disk = copy;
    this.wasRolledBack = true;
    this.#parts.subject.forget?.(this.id);
    this.#parts.checker.stores.rolledBack(this.id);
    this.#parts.checker.model.diskLost(this.id);
  }

  /** Kills the program, which never runs again. */
  destroy(): void {
    this.isGone = true;
    this.refusesToStart = true;
    this.kill(true);
  }

  /** Pauses the program. It goes on when the returned function was called for each pause that overlaps. */
  pause(): () => void {
    const delivery = this.#delivery;
    if (delivery === null) return () => undefined;
    const end = delivery.pause();
    const isPaused = (): boolean => delivery.isPaused;
    return () => {
      const wasPaused = isPaused();
      end();
      if (wasPaused && !isPaused()) this.resumedAt = this.#parts.clock.now();
    };
  }

  /** Ends all pauses. */
  resume(): void {
    if (this.isPaused) this.resumedAt = this.#parts.clock.now();
    this.#delivery?.resume();
  }

  /** Closes the node at the end of the run. The process stays, so that what is left of it can be seen. */
  async close(): Promise<void> {
    this.#closing = true;
    await this.#raft?.close();
  }

  /** Closes the node in the middle of everything; then the program ends. KNOWN: within `SHUT_DOWN_MS_MAX`. */
  shutDown(): void {
    const delivery = this.#delivery;
    const raft = this.#raft;
    if (delivery === null || raft === null || this.#closing) return;
    this.#closing = true;
    const { clock, trace, report, stopped } = this.#parts;
    trace(`${this.id} closes`);
    const began = clock.now();
    let closed = false;
    clock.setTimer(SHUT_DOWN_MS_MAX / this.clockConditions.rate, () => {
      const wasHeldUp = this.isPaused || this.timersAreLate || this.resumedAt > began;
      if (closed || delivery.isDead() || wasHeldUp) return;
      report(new Violation("KNOWN", `${this.id} has not closed after ${String(SHUT_DOWN_MS_MAX)} ms`));
    });
    void raft.close().then(() => {
      closed = true;
      if (delivery.isDead()) return;
      stopped(this);
      this.kill(false);
    });
  }

  /** Between two runs of the program: somebody asks to discard its log. */
  tryToBeginAnew(firstMembers: Readonly<Record<string, string>>): void {
    const { checker, trace, report } = this.#parts;
    const node = checker.history.node(this.id);
    tryToDiscardLog({ node, firstMembers, environment: this.#ofOtherProgram(), trace, report });
  }

  /** Another process opens the log of this one. */
  openTwice(): void {
    const delivery = this.#delivery;
    const isRunning = (): boolean => this.#delivery === delivery && this.#raft !== null && !this.#closing;
    if (!isRunning()) return;
    const { plan, trace, report } = this.#parts;
    const log = wal(`/${this.id}`, { segmentBytes: plan.segmentBytes });
    openLogTwice({ id: this.id, log, environment: this.#ofOtherProgram(), isRunning, trace, report });
  }

  /** The environment of another program that uses this node's disk. */
  #ofOtherProgram(): Environment {
    return simulatedEnvironment({ seed: this.#parts.plan.seed, host: this.id, files: this.disk });
  }

  /** The bytes of the entries [from, to) in the node's log. */
  logBytes(from: LogIndex, to: LogIndex): number {
    return this.#log?.bytesBetween(from, to) ?? 0;
  }

  /** DUR: reads the whole log from the disk, for the checker to compare with what the store was given. */
  async readBack(): Promise<void> {
    const delivery = this.#delivery;
    try {
      await this.#log?.readBack(1);
    } catch (error) {
      // A node that has stopped has closed its log.
      if (this.state()?.role === "stopped") return;
      // An error of a faulty disk is fine: data that is wrong without an error would not be.
      if (this.hasDamagedData || this.#delivery !== delivery || isDiskError(error)) return;
      throw new Violation("DUR", `${this.id} cannot read its log: ${String(error)}`);
    }
  }

  #started(delivery: EventDelivery, raft: Raft<unknown, unknown>): void {
    this.#raft = raft;
    this.#parts.trace(`${this.id} is up`);
    this.#readChanges(delivery, raft);
    this.#readCommitted(delivery, raft);
    void raft.stopped.then((error) => {
      if (!delivery.isDead()) this.#stopped(delivery, error);
    });
  }

  /** The node stopped by itself, as a program that exits; the fault player starts it again. */
  #stopped(delivery: EventDelivery, error: RaftError | undefined): void {
    if (this.#closing) return;
    this.#parts.trace(`${this.id} stopped: ${error?.message ?? "closed"}`);
    this.#parts.stopped(this);
    if (error?.code === "LOST_ENTRIES") this.hasFoundLoss = true;
    const violation = violationOfStop(this.id, error, this);
    if (violation !== null) this.#parts.report(violation);
    if (this.#delivery === delivery) this.kill(false);
  }

  #failedToStart(delivery: EventDelivery, error: unknown): void {
    const text = error instanceof Error ? error.message : String(error);
    this.#parts.trace(`${this.id} did not start: ${text}`);
    const violation = violationOfFailedStart(this.id, error, this);
    if (violation !== null) this.#parts.report(violation);
    if (isCorruption(error)) this.refusesToStart = true;
    if (this.#delivery === delivery) this.kill(false);
  }

  // --- Its parts ------------------------------------------------------------------------------------

  #open(delivery: EventDelivery): Promise<Raft<unknown, unknown>> {
    const { plan, node, subject, clock, chance, network, report } = this.#parts;
    const world = { clock, random: chance.random, files: this.disk, network };
    const environment = processEnvironment(world, delivery, this.clockConditions, this.diskConditions, () => {
      this.#parts.checker.chains.woken(this.id);
    });
    this.#environment = environment;
    const machine = subject.machine({ id: this.id, environment });
    const log = this.#observedLog(delivery);
    const transport = this.#observedTransport(delivery);
    this.#machine = machine;
    this.#log = log;
    const stateMachine = this.#observedMachine(this.#parts.trapRealTimeIn(machine), environment, delivery);
    const observeCore = this.#coreObserver(delivery, environment);
    const probed = (probe: () => ProbedState): void => {
      if (!delivery.isDead()) this.#probe = probe;
    };
    return openNode({
      ...{ id: this.id, node, plan, stateMachine, log, transport, environment, report, observeCore, probed },
      takingSnapshot: (header) => {
        this.#checkSnapshot(delivery, header);
      },
    });
  }

  /** CFG: the snapshot that is begun holds the membership at its own index. */
  #checkSnapshot(delivery: EventDelivery, { position, membership }: Omit<SnapshotHeader, "id">): void {
    const { checker, report } = this.#parts;
    if (delivery.isDead()) return;
    try {
      checker.stores.checkMembershipAt(this.id, position.index, membership);
    } catch (error) {
      report(error);
    }
  }

  /** Keeps the node's core, and puts the reference model beside it, unless the plan's runs go without it. */
  #coreObserver(delivery: EventDelivery, environment: Environment): (core: RaftNode) => void {
    const { plan, checker, clock, report, leaseHeld } = this.#parts;
    const { electionTimeoutMs, heartbeatMs, storageStallMs, preVote, checkQuorum, clockDriftMax, window } =
      plan;
    const { min: electionTimeoutMinMs, max: electionTimeoutMaxMs } = electionTimeoutMs;
    const times = { electionTimeoutMinMs, electionTimeoutMaxMs, heartbeatMs, storageStallMs };
    return (core) => {
      if (!delivery.isDead()) this.#core = core;
      watchElections(core, () => {
        if (!delivery.isDead()) this.#parts.elected(this);
      });
      if (!plan.checksModel) return;
      observeCore(core, {
        ...{ checker: checker.model, turns: checker.turns },
        times: () => wakeTimesOf(this, clock.now()),
        settings: { ...times, preVote, checkQuorum, clockDriftMax, window },
        ...{ now: environment.now(), keepsDisk: !this.hasDamagedData },
        ...{ leaseHeld, report, isDead: () => delivery.isDead() },
        offered: (from, index) => checker.runtimeMessages.offered(this, from, index),
      });
    };
  }

  #observedMachine(
    machine: StateMachine<unknown, unknown>,
    environment: Environment,
    delivery: EventDelivery,
  ): ObservedMachine {
    const { checker, subject, report, applying, clock } = this.#parts;
    return new ObservedMachine(machine, this.machineConditions, environment, {
      isDead: () => delivery.isDead(),
      contract: new MachineContract(this.id, (error) => {
        if (!delivery.isDead()) report(error);
      }),
      opened: ({ index }) => {
        if (delivery.isDead()) return;
        checker.applies.restored(this.id, index);
        checker.sessions.restored(this.id);
      },
      applying: (command, at) => {
        try {
          if (delivery.isDead()) return;
          checker.applies.applying(this.id, at, subject.describe(command));
          checker.logTime.applying(this.id, at, clock.elapsedMs);
          const name = subject.nameOf?.(command) ?? null;
          if (name !== null) applying(name, at.index);
        } catch (error) {
          report(error);
        }
      },
    });
  }

  #observedLog(delivery: EventDelivery): ObservedLog {
    const { plan, checker, report } = this.#parts;
    return new ObservedLog(wal(`/${this.id}`, { segmentBytes: plan.segmentBytes }), {
      id: this.id,
      checker: checker.stores,
      delivery,
      report,
      shortReads: plan.shortReads,
      events: {
        voteDurable: (votedFor) => this.onVoteDurable?.(votedFor),
        ownRemoval: (isDurable) => this.onOwnRemoval?.(isDurable),
        configWritten: () => {
          if (this.#core?.role === "leader") this.onConfigAppended?.();
        },
      },
    });
  }

  #observedTransport(delivery: EventDelivery): ObservedTransport {
    const { plan, checker, report, sending, transport } = this.#parts;
    checker.processStarts(this.id);
    const watch = new MessageWatch({ process: this, plan, checker, report, sending });
    const replayer = plan.replayOldMessages ? new MessageReplayer(() => this.#receiverTerm()) : null;
    return new ObservedTransport(transport(this.address), delivery, watch, replayer);
  }

  #receiverTerm(): ReceiverTerm | null {
    const state = this.state();
    return state === null ? null : { term: state.term, leads: state.role === "leader" };
  }

  #readChanges(delivery: EventDelivery, raft: Raft<unknown, unknown>): void {
    this.#changeReader = new ChangeReader();
    void this.#changeReader.run({
      raft,
      listeners: this.#parts.plan.usage.listeners,
      isDead: () => delivery.isDead(),
      wait: (ms) => this.#waitInTrueTime(ms),
    });
  }

  #readCommitted(delivery: EventDelivery, raft: Raft<unknown, unknown>): void {
    const { plan, subject, checker, report } = this.#parts;
    this.#committedReader = null;
    if (plan.reopenCommittedAfter === null) return;
    this.#committedReader = new CommittedReader({
      id: this.id,
      raft,
      checker: checker.applies,
      describe: (command) => subject.describe(command),
      reopenAfter: plan.reopenCommittedAfter,
      isDead: () => delivery.isDead(),
      report,
      wait: (ms) => this.#waitInTrueTime(ms),
    });
    void this.#committedReader.run();
  }

  #waitInTrueTime(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#parts.clock.setTimer(ms, resolve);
    });
  }

  #newDisk(): SimulatedFiles {
    const disk = new SimulatedFiles();
    disk.intercept = (operation) => this.#faultFor(operation);
    return disk;
  }

  #faultFor(operation: FileOperation): FileFault | null {
    if (operation.type === "rename" && isSnapshotFile(operation.path)) {
      const name = operation.path.slice(operation.path.lastIndexOf("/") + 1);
      this.onSnapshotRename?.(fileKind(name) === "incoming");
    }
    const fault = this.diskFaults.next?.(operation) ?? null;
    if (fault !== null) {
      this.diskFaults.next = null;
      if (fault.type === "lost-write") this.hasDamagedData = true;
      return fault;
    }
    const { chance } = this.#parts;
    const needsSpace = operation.type === "write" || operation.type === "allocate";
    if (this.diskSpace.isFull && needsSpace) {
      const isShort = operation.type === "write" && chance.happens(SHORT_WRITE_SHARE);
      const bytes = chance.whole(1, SHORT_TRANSFER_BYTES_MAX);
      return isShort ? { type: "short-write", bytes, code: "ENOSPC" } : { type: "error", code: "ENOSPC" };
    }
    const isTransfer = operation.type === "read" || operation.type === "write";
    if (!isTransfer || !this.diskFaults.shortTransfers || !chance.happens(SHORT_TRANSFER_SHARE)) return null;
    return { type: "short-transfer", bytes: chance.whole(1, SHORT_TRANSFER_BYTES_MAX) };
  }
}

/** Whether a file is one of a node's snapshots. */
export function isSnapshotFile(path: string): boolean {
  return path.includes(".snapshots/");
}
