/** A simulated node's state machine, with injected delays, failures and hangs. */
import { ORIGIN, type LogPosition } from "../../../core/position.ts";
import type { Environment } from "../../../environment/environment.ts";
import {
  jsonCodec,
  StateMachineFailure,
  type ApplyContext,
  type OpenedState,
  type SessionChanges,
  type SessionRecords,
  type StandardSchema,
  type StateIdentity,
  type StateMachine,
  type StateMachineCodec,
  type StateMachineHost,
} from "../../../runtime/shared/index.ts";
import type { MachineContract } from "../checkers/machine-contract.ts";
import type { DiskErrorCode } from "../plan/faults.ts";
import type { MachineConditions } from "./conditions.ts";

/** What sees the state machine's calls. */
export interface MachineObserver {
  /** The state machine holds the effects up to this entry: it was opened, or restored from a snapshot. */
  opened(applied: LogPosition): void;
  /** The state machine is about to be given this command. */
  applying(command: unknown, at: ApplyContext): void;
  /**
   * The process is dead. Nothing may reach the state machine any more, since it may keep state outside of
   * memory.
   */
  isDead(): boolean;
  /** Checks that the library keeps what it promises about these calls. */
  readonly contract: MachineContract;
}

/**
 * Wraps the subject's state machine, and calls it as the node would. On the way it may be slow or fail, and
 * an observer sees each call.
 */
export class ObservedMachine implements StateMachine<unknown, unknown> {
  readonly codec: StateMachineCodec<unknown, unknown>;
  readonly schema: StandardSchema | undefined;
  readonly logTimeStepMs: number | undefined;
  /** Absent, like `restore`, if the state machine has no snapshots. */
  readonly snapshot?: () => AsyncIterable<Uint8Array>;
  readonly restore?: (
    state: AsyncIterable<Uint8Array>,
    at: LogPosition,
    sessions: SessionRecords,
  ) => Promise<void>;
  readonly #inner: StateMachine<unknown, unknown>;
  /** The last command's result, as the node has it; null: it is none that can change. */
  #lentResult: Record<string, unknown> | null = null;
  readonly #conditions: MachineConditions;
  readonly #environment: Environment;
  readonly #observer: MachineObserver;
  /** When the last call began that excludes others, in milliseconds of the environment's clock. */
  #begunAt = -Infinity;
  /** null: the state machine isn't open. */
  #host: StateMachineHost | null = null;

  constructor(
    inner: StateMachine<unknown, unknown>,
    conditions: MachineConditions,
    environment: Environment,
    observer: MachineObserver,
  ) {
    this.codec = lendingCodec(inner.codec ?? jsonCodec());
    this.schema = inner.schema;
    this.logTimeStepMs = inner.logTimeStepMs;
    this.#inner = inner;
    this.#conditions = conditions;
    this.#environment = environment;
    this.#observer = observer;
    conditions.isApplying = false;
    if (inner.snapshot === undefined || inner.restore === undefined) return;
    this.snapshot = () => {
      observer.contract.snapshotBegan();
      return this.#withDelays(inner.snapshot?.() ?? nothing());
    };
    this.restore = async (state, at, sessions) => {
      observer.contract.restoring(at, sessions);
      this.#begunAt = environment.now();
      try {
        if (this.#conditions.hangs) await this.#untilItAnswers();
        await this.#restoreSlowly();
        if (this.#observer.isDead()) return await never();
        this.#failIfTold();
        await inner.restore?.(state, at, sessions);
        this.#observer.opened(at);
      } finally {
        observer.contract.ended();
      }
    };
  }

  /**
   * Each chunk takes as long as a command. The first one is asked of the state machine before any delay, so
   * that it holds the state of the moment at which the node asks.
   */
  async *#withDelays(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for await (const chunk of chunks) {
        if (this.#conditions.hangs) await this.#untilItAnswers();
        if (this.#conditions.delayMs > 0) await this.#wait(this.#conditions.delayMs);
        // A chunk may be used until the next one is asked for: then this generator reuses its buffer.
        const lent = new Uint8Array(chunk);
        yield lent;
        lent.fill(REUSED_BYTE);
      }
    } finally {
      this.#observer.contract.snapshotEnded();
    }
  }

  open(identity: StateIdentity, host: StateMachineHost): Promise<OpenedState> | OpenedState {
    this.#host = host;
    const tell = (state: OpenedState): OpenedState => {
      this.#observer.opened(state);
      return state;
    };
    if (this.#conditions.hangs) return this.#openLater(identity, host).then(tell);
    const opening = this.#openInner(identity, host);
    return "then" in opening ? opening.then(tell) : tell(opening);
  }

  async #openLater(identity: StateIdentity, host: StateMachineHost): Promise<OpenedState> {
    await this.#untilItAnswers();
    return this.#observer.isDead() ? never() : this.#openInner(identity, host);
  }

  #openInner(identity: StateIdentity, host: StateMachineHost): Promise<OpenedState> | OpenedState {
    return this.#inner.open?.(identity, host) ?? ORIGIN;
  }

  async apply(command: unknown, at: ApplyContext): Promise<unknown> {
    this.#conditions.isApplying = true;
    this.#observer.contract.applying(at);
    this.#begunAt = this.#environment.now();
    try {
      return await this.#apply(command, at);
    } finally {
      if (!this.#observer.isDead()) this.#conditions.isApplying = false;
      this.#observer.contract.ended();
    }
  }

  async #apply(command: unknown, at: ApplyContext): Promise<unknown> {
    const { delayMs } = this.#conditions;
    if (delayMs > 0) await this.#wait(delayMs / 2);
    if (this.#conditions.hangs) await this.#untilItAnswers();
    if (this.#observer.isDead()) return never();
    this.#failIfTold();
    this.#observer.applying(command, at);
    if (this.#lentResult !== null) takeBack(this.#lentResult);
    const result = this.#lend(await this.#inner.apply(command, at));
    // The command has taken effect, but the node doesn't know it yet: it may crash now.
    if (delayMs > 0) await this.#wait(delayMs / 2);
    return result;
  }

  /**
   * A result that changes when the next command is applied, as one does that is a part of the state. The
   * library must have encoded it by then (Z11).
   */
  #lend(result: unknown): unknown {
    this.#lentResult = null;
    if (this.codec.encodeResult === undefined || !isPlainObject(result)) return result;
    this.#lentResult = { ...result };
    return this.#lentResult;
  }

  flush(applied: LogPosition, sessions: SessionChanges): Promise<void> | void {
    const { contract } = this.#observer;
    contract.flushing(applied, sessions);
    this.#begunAt = this.#environment.now();
    const ended = (): void => {
      contract.ended();
    };
    try {
      const flushing = this.#flush(applied, sessions);
      if (flushing === undefined) ended();
      else flushing.then(ended, ended);
      return flushing;
    } catch (error) {
      ended();
      throw error;
    }
  }

  #flush(applied: LogPosition, sessions: SessionChanges): Promise<void> | void {
    if (this.#conditions.hangs) return this.#flushLater(applied, sessions);
    if (this.#observer.isDead()) return never();
    this.#failIfTold();
    return this.#inner.flush?.(applied, sessions);
  }

  async #flushLater(applied: LogPosition, sessions: SessionChanges): Promise<void> {
    await this.#untilItAnswers();
    if (this.#observer.isDead()) return never();
    this.#failIfTold();
    await this.#inner.flush?.(applied, sessions);
  }

  close(): Promise<void> | void {
    if (!this.#observer.isDead()) this.#observer.contract.closing(this.#environment.now() - this.#begunAt);
    return this.#inner.close?.();
  }

  #failIfTold(): void {
    if (!this.#conditions.fails) return;
    const code: DiskErrorCode = "EIO";
    const cause = Object.assign(new Error(`${code}: made up by the simulation`), { code });
    throw new StateMachineFailure("the simulated state machine's disk failed", { cause });
  }

  /** Waits until a restore has taken as long as the fault wants, if the fault doesn't end before. */
  async #restoreSlowly(): Promise<void> {
    const begun = this.#environment.now();
    while (this.#environment.now() - begun < this.#conditions.restoreMs && !this.#observer.isDead()) {
      await this.#wait(RESTORE_STEP_MS);
      this.#host?.progress();
    }
  }

  /** Waits while the state machine hangs. */
  async #untilItAnswers(): Promise<void> {
    const { hungCalls } = this.#conditions;
    const call = {};
    while (this.#conditions.hangs && !this.#observer.isDead()) {
      hungCalls.add(call);
      await this.#wait(HANG_POLL_MS);
    }
    hungCalls.delete(call);
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#environment.setTimer(ms, resolve);
    });
  }
}

/** How often a slow restore reports progress, in milliseconds: well within the limit on stalls. */
const RESTORE_STEP_MS = 50;

/** How often a hanging call checks whether it may go on, in milliseconds. */
const HANG_POLL_MS = 5;

const NO_BYTES = new Uint8Array(0);

/** Fills the buffers that the codec has lent and taken back. */
const REUSED_BYTE = 0xaa;

/**
 * A codec that lends its bytes for the call only, as the interface allows: it overwrites them in the
 * microtask after it. Bytes that were kept without a copy then no longer decode, or differ between nodes
 * (Z11).
 */
function lendingCodec(inner: StateMachineCodec<unknown, unknown>): StateMachineCodec<unknown, unknown> {
  const lending: StateMachineCodec<unknown, unknown> = {
    encode: (command) => lent(inner.encode(command)),
    decode: (bytes) => inner.decode(bytes),
  };
  if (inner.encodeResult !== undefined)
    lending.encodeResult = (result) => lent(inner.encodeResult?.(result) ?? NO_BYTES);
  if (inner.decodeResult !== undefined) lending.decodeResult = (bytes) => inner.decodeResult?.(bytes);
  return lending;
}

function isPlainObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

/** Changes each property of a result, so that the result says something that isn't true. */
function takeBack(result: Record<string, unknown>): void {
  for (const [name, value] of Object.entries(result)) {
    result[name] = typeof value === "boolean" ? !value : typeof value === "number" ? value + 1 : null;
  }
}

function lent(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(bytes);
  queueMicrotask(() => copy.fill(REUSED_BYTE));
  return copy;
}

function never(): Promise<never> {
  return new Promise(() => undefined);
}

async function* nothing(): AsyncGenerator<Uint8Array, void, undefined> {
  yield* [];
}
