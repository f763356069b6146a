import {
  SimulatedFiles,
  type FileFault,
  type FileOperation,
} from "../../../environment/simulated/simulated-files.ts";
import type { SimulatedClock } from "../../../environment/simulated/simulated-clock.ts";
import type { Environment, Network } from "../../../environment/environment.ts";
import { isRuntimeMessage } from "../../../codec/frame-runtime-message.ts";
import { RECORD_HEADER_BYTES } from "../../../codec/record.ts";
import { SESSION_COMMAND_HEADER_BYTES } from "../../../codec/session-entry.ts";
import { CorruptLogError, CorruptSnapshotError, type RaftError } from "../../../errors.ts";
import { Raft } from "../../../runtime/raft.ts";
import type { SnapshotPolicy, StateMachine } from "../../../runtime/shared/index.ts";
import { fileKind } from "../../../storage/snapshots/file-names.ts";
import { snapshotFiles } from "../../../storage/snapshots/index.ts";
import { wal } from "../../../storage/wal/index.ts";
import type { TransportMessage, Transport } from "../../../transport/transport.ts";
import type { Message } from "../../../core/message.ts";
import type { Chance } from "../plan/chance.ts";
import type { ClusterChecker } from "../checkers/cluster-checker.ts";
import { CommittedReader } from "./committed-reader.ts";
import { LeaseChecker, type ReceiverState } from "../checkers/lease-checker.ts";
import {
  EventDelivery,
  processEnvironment,
  type ClockConditions,
  type DiskConditions,
} from "./process-environment.ts";
import { MessageReplayer, ObservedLog, ObservedTransport, type TransportObserver } from "./observed-log.ts";
import { ObservedMachine, type MachineConditions } from "../subject/observed-machine.ts";
import type { Plan } from "../plan/plan.ts";
import type { AnySubject } from "../subject/subject.ts";
import { assertInvariant, Violation } from "../checkers/violation.ts";

/** What a process needs of the world that it runs in. */
export interface ProcessParts {
  readonly plan: Plan;
  /** Its place in the plan. */
  readonly node: number;
  readonly subject: AnySubject;
  readonly clock: SimulatedClock;
  readonly chance: Chance;
  readonly checker: ClusterChecker;
  readonly network: Network;
  /** A transport for a process that is about to start. */
  readonly transport: (address: string) => Transport;
  /** A state machine applies a command that has this name. */
  readonly applying: (name: string, index: number) => void;
  readonly trace: (text: string) => void;
  readonly report: (error: unknown) => void;
  /** The process is gone, with what it was asked and did not answer. */
  readonly died: (process: SimProcess) => void;
  /** The node stopped by itself: every call to it has an answer by now. */
  readonly stopped: (process: SimProcess) => void;
  readonly sending: (from: string, to: string, transportMessage: TransportMessage) => void;
}

/** What its disk does wrong, beyond being slow. */
export interface DiskFaults {
  /** Asked for each operation until it has a fault for one. */
  next: ((operation: FileOperation) => FileFault | null) | null;
  /** Reads and writes are done in several parts. */
  shortTransfers: boolean;
}

/** Everything of a node that outlives its process. */
export class SimProcess {
  readonly id: string;
  /** Where it listens from its next start on. */
  address: string;
  #disk: SimulatedFiles;
  /** It was a member, and its disk is gone: the others must not take it for the one that it was. */
  hasLostDisk = false;
  /** The disk was slow, or hung, since the process was started. */
  diskWasSlow = false;
  /** What the node last told those who listen to it. */
  announced: { role: string; leader: string | null } = { role: "follower", leader: null };
  readonly diskConditions: DiskConditions;
  readonly diskFaults: DiskFaults = { next: null, shortTransfers: false };
  /** Called when a vote is durable, before anybody is told of it. */
  onVoteDurable: (() => void) | null = null;
  /** Called when an entry is written that takes its vote away, and when that is durable. */
  onOwnRemoval: ((isDurable: boolean) => void) | null = null;
  /** Called when it tells another node to take over from it. */
  onTimeoutNowSent: (() => void) | null = null;
  /** Called when the file of a snapshot is about to be complete here: one that was taken, or came. */
  onSnapshotRename: ((isReceived: boolean) => void) | null = null;
  readonly clockConditions: ClockConditions;
  readonly machineConditions: MachineConditions = { delayMs: 0, fails: false, isApplying: false };
  readonly #parts: ProcessParts;
  #delivery: EventDelivery | null = null;
  #raft: Raft<unknown, unknown> | null = null;
  #machine: StateMachine<unknown, unknown> | null = null;
  #log: ObservedLog | null = null;
  #reader: CommittedReader | null = null;
  /** When it last went on after a pause. */
  resumedAt = -Infinity;
  #environment: Environment | null = null;
  #starting = false;
  #closing = false;
  /** Acknowledged data on its disk was damaged, by us: it may refuse to start for ever. */
  hasDamagedData = false;
  /** Its disk was replaced by an older copy of itself. */
  wasSetBack = false;
  /** It refused to start because its log is damaged, or stopped because it had lost entries. */
  refusesToStart = false;

  constructor(id: string, address: string, clockRate: number, wallOffsetMs: number, host: ProcessParts) {
    this.id = id;
    this.address = address;
    this.#disk = new SimulatedFiles();
    this.diskConditions = { baseDelayMs: host.plan.diskMs, extraDelayMs: 0, hangs: false, beforeWrite: null };
    this.clockConditions = {
      rate: clockRate,
      timersLateByMsMax: 0,
      timersLateShareMin: 0,
      timersLateUntil: -Infinity,
      wallOffsetMs,
    };
    this.#parts = host;
    this.#disk.intercept = (operation) => this.#faultFor(operation);
  }

  get disk(): SimulatedFiles {
    return this.#disk;
  }

  /** The process dies, and its disk is replaced by an empty one; so is what its state machine kept elsewhere. */
  wipe(): void {
    this.kill(true);
    this.#disk = new SimulatedFiles();
    this.#disk.intercept = (operation) => this.#faultFor(operation);
    this.hasDamagedData = false;
    this.refusesToStart = false;
    this.#parts.subject.forget?.(this.id);
    this.#parts.checker.stores.diskLost(this.id);
  }

  get raft(): Raft<unknown, unknown> | null {
    return this.#raft;
  }

  /** As the subject made it. */
  get machine(): StateMachine<unknown, unknown> | null {
    return this.#machine;
  }

  get delivery(): EventDelivery | null {
    return this.#delivery;
  }

  get isPaused(): boolean {
    return this.#delivery?.isPaused ?? false;
  }

  /** Timers come late, or may still because of what was. */
  get timersAreLate(): boolean {
    return (
      this.clockConditions.timersLateByMsMax > 0 ||
      this.#parts.clock.now() <= this.clockConditions.timersLateUntil
    );
  }

  pause(): void {
    this.#delivery?.pause();
  }

  resume(): void {
    if (this.isPaused) this.resumedAt = this.#parts.clock.now();
    this.#delivery?.resume();
  }

  get isDown(): boolean {
    return this.#delivery === null;
  }

  get isUp(): boolean {
    return this.#raft !== null;
  }

  /** Starts the process, unless it runs. It is up once its log is open. */
  start(): void {
    if (this.#delivery !== null || this.#starting || this.refusesToStart) return;
    this.#starting = true;
    this.#closing = false;
    const delivery = new EventDelivery(this.#parts.clock);
    this.#delivery = delivery;
    this.diskWasSlow = false;
    this.#open(delivery).then(
      (raft) => {
        this.#starting = false;
        if (delivery.isDead()) return;
        this.#raft = raft;
        this.#parts.trace(`${this.id} is up`);
        void this.#readChanges(delivery, raft);
        this.#readCommitted(delivery, raft);
        void raft.stopped.then((error) => {
          if (!delivery.isDead()) this.#stopped(delivery, error);
        });
      },
      (error: unknown) => {
        this.#starting = false;
        if (!delivery.isDead()) this.#failedToStart(delivery, error);
      },
    );
  }

  /** The process dies at once. `power`: so does the machine, and what was not synced is lost, wholly or in part. */
  kill(power: boolean): void {
    const delivery = this.#delivery;
    if (delivery === null) return;
    delivery.kill();
    this.#delivery = null;
    this.#raft = null;
    this.#machine = null;
    this.#starting = false;
    if (power) this.disk.crash(this.#parts.chance.random);
    else this.disk.kill();
    this.#parts.died(this);
  }

  /** Reads the whole log from the disk, for the checker to compare with what the store was given. */
  async readBack(): Promise<void> {
    const delivery = this.#delivery;
    try {
      await this.#log?.readBack(1);
    } catch (error) {
      // What its disk did wrong is no finding; that it passes for right would be.
      if (this.hasDamagedData || this.#delivery !== delivery || isDiskTrouble(error)) return;
      throw new Violation("DUR", `${this.id} cannot read its log: ${String(error)}`);
    }
  }

  /** Closes the node in good order, as a program does that ends; the time on its own clock goes on. */
  async close(): Promise<void> {
    this.#closing = true;
    await this.#raft?.close();
  }

  /** Closes the node in the middle of everything; then the process ends. It must not take long (KNOWN). */
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
      if (closed || delivery.isDead() || this.isPaused || this.timersAreLate || this.resumedAt > began)
        return;
      report(new Violation("KNOWN", `${this.id} has not closed after ${String(SHUT_DOWN_MS_MAX)} ms`));
    });
    void raft.close().then(() => {
      closed = true;
      if (delivery.isDead()) return;
      stopped(this);
      this.kill(false);
    });
  }

  /** Waits in the process's own time; for ever, if it dies meanwhile. */
  wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#environment?.setTimer(ms, resolve);
    });
  }

  /** The time as this process has it. */
  now(): number {
    return this.#parts.clock.now() * this.clockConditions.rate;
  }

  /** Whoever follows the committed commands, if the plan has somebody do it, has been given all of them. */
  get committedReaderIsCurrent(): boolean {
    return (
      this.#reader === null ||
      this.hasDamagedData ||
      this.#reader.readTo >= this.#parts.checker.history.lastCommand(this.id)
    );
  }

  #readCommitted(delivery: EventDelivery, raft: Raft<unknown, unknown>): void {
    const { plan, subject, checker, report } = this.#parts;
    this.#reader = null;
    if (plan.reopenCommittedAfter === null) return;
    this.#reader = new CommittedReader({
      id: this.id,
      raft,
      checker,
      describe: (command) => subject.describe(command),
      commandsEach: plan.reopenCommittedAfter,
      isDead: () => delivery.isDead(),
      report,
      wait: (ms) => this.#waitOutside(ms),
    });
    void this.#reader.run();
  }

  async #readChanges(delivery: EventDelivery, raft: Raft<unknown, unknown>): Promise<void> {
    const told = { role: "follower", leader: null as string | null };
    this.announced = told;
    const { listeners } = this.#parts.plan.usage;
    for (let isOver = false; !isOver && !delivery.isDead();) {
      let count = 0;
      for await (const change of raft.changes()) {
        if (change.type === "role") told.role = change.role;
        else if (change.type === "leader") told.leader = change.leader;
        isOver = change.type === "stopped";
        if (listeners === null || isOver) continue;
        await this.#waitOutside(listeners.pauseMs);
        count += 1;
        if (count >= listeners.leaveAfter) break;
      }
    }
  }

  /** In true time: whoever waits so is no part of the process. */
  #waitOutside(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#parts.clock.setTimer(ms, resolve);
    });
  }

  async #open(delivery: EventDelivery): Promise<Raft<unknown, unknown>> {
    const { plan, subject, clock, chance, checker, network } = this.#parts;
    const parts = { clock, random: chance.random, files: this.disk, network };
    const environment = processEnvironment(parts, delivery, this.clockConditions, this.diskConditions);
    this.#environment = environment;
    const machine = subject.machine({ id: this.id, environment });
    const observedMachine = new ObservedMachine(machine, this.machineConditions, environment, {
      isDead: () => delivery.isDead(),
      opened: ({ index }) => {
        if (!delivery.isDead()) checker.applies.restored(this.id, index);
      },
      applying: (command, at) => {
        this.#check(() => {
          if (delivery.isDead()) return;
          checker.applies.applying(this.id, at, subject.describe(command));
          const name = subject.nameOf?.(command) ?? null;
          if (name !== null) this.#parts.applying(name, at.index);
        });
      },
    });
    const log = new ObservedLog(
      wal(`/${this.id}`, { segmentBytes: plan.segmentBytes }),
      this.id,
      checker,
      delivery,
      this.#parts.report,
      plan.shortReads,
      {
        voteDurable: () => this.onVoteDurable?.(),
        ownRemoval: (isDurable) => this.onOwnRemoval?.(isDurable),
      },
    );
    const transport = this.#parts.transport(this.address);
    const sessionBytes = plan.sessions === null ? 0 : SESSION_COMMAND_HEADER_BYTES;
    this.#machine = machine;
    this.#log = log;
    const replayer = plan.replayOldMessages ? new MessageReplayer(() => this.#ledTerm()) : null;
    const observed = new ObservedTransport(transport, delivery, this.#observer(), replayer);
    return Raft.open<unknown, unknown>({
      id: this.id,
      stateMachine: observedMachine,
      log,
      transport: observed,
      environment,
      ...(plan.snapshots === null || observedMachine.snapshot === undefined
        ? {}
        : { snapshots: { store: snapshotFiles(`/${this.id}.snapshots`), ...policyOf(plan.snapshots) } }),
      forward: plan.usage.forward && observedMachine.codec.encodeResult !== undefined,
      preVote: plan.preVote,
      checkQuorum: plan.checkQuorum,
      clockDriftMax: plan.clockDriftMax,
      priority: plan.priorities[this.#parts.node] ?? 0,
      limits: {
        cacheBytesMax: plan.cacheBytes,
        commandBytesMax: plan.pendingBytesMax - RECORD_HEADER_BYTES - sessionBytes,
        pendingEntriesMax: plan.pendingEntriesMax,
        pendingReadsMax: plan.usage.pendingReadsMax,
        ...(plan.usage.listeners === null ? {} : { changesMax: plan.usage.listeners.changesMax }),
        pendingBytesMax: plan.pendingBytesMax,
      },
      timings: {
        electionTimeoutMinMs: plan.electionTimeoutMs.min,
        electionTimeoutMaxMs: plan.electionTimeoutMs.max,
        heartbeatMs: plan.heartbeatMs,
        callTimeoutMs: plan.callTimeoutMs,
        storageTimeoutMs: STORAGE_TIMEOUT_MS,
        storageStallMs: plan.storageStallMs,
      },
      onLog: (_level, text) => {
        // Nothing damages what travels here, so whatever cannot be read was written wrong, or read wrong.
        if (UNREADABLE_FRAME.test(text)) this.#parts.report(new Violation("WIRE", `${this.id}: ${text}`));
      },
    });
  }

  #observer(): TransportObserver {
    const { plan, checker } = this.#parts;
    const lease = new LeaseChecker(plan.electionTimeoutMs.min, plan.checkQuorum);
    let matches: string | null = null;
    const listener = (): ReceiverState | null => {
      const raft = this.#raft;
      if (raft === null) return null;
      const { role, term } = raft.metrics();
      return { isLeader: role === "leader", term, now: this.now() };
    };
    return {
      sending: (to, transportMessage) => {
        this.#check(() => {
          const { message } = transportMessage;
          checkRecords(transportMessage);
          // What the runtimes tell each other promises nothing that the invariants speak of.
          if (isRuntimeMessage(message)) return;
          checker.messages.sending(this.id, to, message);
          // What it promised before is forgotten with its disk, and everybody could tell (M11).
          assertInvariant(
            !this.hasLostDisk || !assertsDurableState(message),
            "ES",
            () => `${this.id} lost its disk, and ${to} has a ${message.type} of it as of a member`,
          );
          lease.sending(to, message);
          if (message.type === "timeout-now") this.onTimeoutNowSent?.();
        });
        this.#parts.sending(this.id, to, transportMessage);
      },
      receiving: (message) => {
        matches = message.type === "append-entries-reply" ? this.#matches(message.term) : null;
        const now = asksForVote(message) ? listener() : null;
        if (now !== null) lease.receiving(message, now);
      },
      received: (message) => {
        this.#check(() => {
          assertInvariant(
            matches === null || matches === this.#matches(message.term),
            "CQ",
            () =>
              `${this.id} counts an answer of ${message.from} to a leader of the earlier term ${String(message.term)}`,
          );
        });
        const now = message.type === "append-entries" ? listener() : null;
        if (now !== null) lease.received(message, now);
      },
    };
  }

  /** The term that it leads; null: it does not. */
  #ledTerm(): number | null {
    const metrics = this.#raft?.metrics();
    return metrics?.role === "leader" ? metrics.term : null;
  }

  /** What it knows of the others as leader of a term later than this; null: it leads none. */
  #matches(term: number): string | null {
    const metrics = this.#raft?.metrics();
    if (metrics?.role !== "leader" || metrics.term <= term) return null;
    return JSON.stringify(metrics.members.map(({ match }) => match));
  }

  /** A node that stopped by itself is a process that exits; whoever looks after it starts it again. */
  #stopped(delivery: EventDelivery, error: RaftError | undefined): void {
    if (this.#closing) return;
    this.#parts.trace(`${this.id} stopped: ${error?.message ?? "closed"}`);
    this.#parts.stopped(this);
    if (error?.code === "NODE_FAILED") {
      this.#parts.report(new Violation("FAILSTOP", `${this.id} saw what cannot be: ${error.message}`));
    }
    if (error?.code === "LOST_ENTRIES") {
      // Only a disk that forgot what was durable may be taken for one, and then it is lost for good.
      const isRight = this.hasDamagedData || this.wasSetBack;
      if (!isRight) this.#parts.report(new Violation("DUR", `${this.id} stopped: ${error.message}`));
      this.hasLostDisk = true;
      this.refusesToStart = true;
    } else if (isCorruption(error)) {
      if (!this.hasDamagedData) {
        this.#parts.report(
          new Violation("DUR", `${this.id} found its log damaged: ${String(error?.message)}`),
        );
      }
    } else if (!isDiskTrouble(error) && !(error?.code === "STORAGE_FAILED" && this.diskWasSlow)) {
      this.#parts.report(
        new Violation("FAILSTOP", `${this.id} stopped for no reason: ${String(error?.message)}`),
      );
    }
    if (this.#delivery === delivery) this.kill(false);
  }

  #failedToStart(delivery: EventDelivery, error: unknown): void {
    const text = error instanceof Error ? error.message : String(error);
    this.#parts.trace(`${this.id} did not start: ${text}`);
    if (isCorruption(error)) {
      if (!this.hasDamagedData)
        this.#parts.report(new Violation("DUR", `${this.id} found its log damaged: ${text}`));
      this.refusesToStart = true;
    } else if (!isDiskTrouble(error)) {
      this.#parts.report(new Violation("START", `${this.id} did not start: ${text}`));
    }
    if (this.#delivery === delivery) this.kill(false);
  }

  #faultFor(operation: FileOperation): FileFault | null {
    if (operation.type === "rename" && isOfSnapshots(operation.path)) {
      this.onSnapshotRename?.(
        fileKind(operation.path.slice(operation.path.lastIndexOf("/") + 1)) === "incoming",
      );
    }
    const fault = this.diskFaults.next?.(operation) ?? null;
    if (fault !== null) {
      this.diskFaults.next = null;
      if (fault.type === "lost-write") this.hasDamagedData = true;
      return fault;
    }
    const { chance } = this.#parts;
    const isTransfer = operation.type === "read" || operation.type === "write";
    if (!isTransfer || !this.diskFaults.shortTransfers || !chance.happens(SHORT_TRANSFER_SHARE)) return null;
    return { type: "short-transfer", bytes: chance.whole(1, SHORT_TRANSFER_BYTES_MAX) };
  }

  #check(look: () => void): void {
    try {
      look();
    } catch (error) {
      this.#parts.report(error);
    }
  }
}

/** Whether a file is one of a node's snapshots. */
export function isOfSnapshots(path: string): boolean {
  return path.includes(".snapshots/");
}

function policyOf({
  everyEntries,
  keepEntries,
  transferKeepBytes,
  fetchBytesPerSecond,
}: NonNullable<Plan["snapshots"]>): Partial<SnapshotPolicy> {
  return { everyEntries, keepEntries, transferKeepBytes, fetchBytesPerSecond };
}

/** What nodes say of a frame that they cannot read. */
const UNREADABLE_FRAME = /damaged on its way|is not a frame|announces|unknown type|records are not those/;

function assertsDurableState(message: Message): boolean {
  if (message.type === "append-entries-reply") return message.outcome.accepted;
  return message.type === "request-vote-reply" && message.granted;
}

function asksForVote({ type }: Message): boolean {
  return type === "pre-vote" || type === "request-vote";
}

/** A message goes with the records that it names. */
function checkRecords({ message, records }: TransportMessage): void {
  const count =
    message.type === "append-entries" ? message.entries.lastIndex - message.entries.prev.index : 0;
  assertInvariant(
    records.length === count,
    "LM",
    () => `${message.from} sends ${String(records.length)} records for ${String(count)} entries`,
  );
}

/** Of the calls to a disk that does things in parts; the others are done at once, or reading a segment would never end. */
const SHORT_TRANSFER_SHARE = 0.3;

const SHORT_TRANSFER_BYTES_MAX = 700;

/** A leader hands over for 400 ms at most, then its parts have a second. */
const SHUT_DOWN_MS_MAX = 2_000;

/** A disk that hangs for longer stops the node. */
const STORAGE_TIMEOUT_MS = 1_000;

/** Whether something on a disk is not what was written. */
function isCorruption(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof CorruptLogError || cause instanceof CorruptSnapshotError) return true;
  }
  return false;
}

/** The causes that an error of the disk has; a process that does not start for one of them is started again. */
function isDiskTrouble(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const { code } = cause as { readonly code?: unknown };
    if (code === "EIO" || code === "ENOSPC") return true;
  }
  return false;
}
