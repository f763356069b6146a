import type { LogPosition } from "../../../core/position.ts";
import type { Environment } from "../../../environment/environment.ts";
import {
  StateMachineFailure,
  type OpenedState,
  type SessionChanges,
  type SessionRecords,
  type StateIdentity,
  type StateMachine,
  type StateMachineCodec,
} from "../../../runtime/shared/index.ts";

/** The moods of a state machine: how it fails beyond what its disk does to it. */
export interface MachineConditions {
  delayMs: number;
  fails: boolean;
  /** A command is being applied: what a query saw now might be half of it. Set by the machine itself. */
  isApplying: boolean;
}

/** Who watches a state machine. */
export interface MachineObserver {
  /** It holds the effects up to this entry. */
  opened(applied: LogPosition): void;
  applying(command: unknown, at: LogPosition): void;
  /** Its process is gone: what it keeps elsewhere than in memory must stay as it was then. */
  isDead(): boolean;
}

/** A state machine with moods, watched from outside; its own code runs as it is. */
export class ObservedMachine implements StateMachine<unknown, unknown> {
  readonly codec: StateMachineCodec<unknown, unknown>;
  /** Absent if the state machine has none. */
  readonly snapshot?: () => AsyncIterable<Uint8Array>;
  readonly restore?: (
    state: AsyncIterable<Uint8Array>,
    at: LogPosition,
    sessions: SessionRecords,
  ) => Promise<void>;
  readonly #inner: StateMachine<unknown, unknown>;
  readonly #conditions: MachineConditions;
  readonly #environment: Environment;
  readonly #observer: MachineObserver;

  constructor(
    inner: StateMachine<unknown, unknown>,
    conditions: MachineConditions,
    environment: Environment,
    observer: MachineObserver,
  ) {
    this.codec = lendingCodec(inner.codec);
    this.#inner = inner;
    this.#conditions = conditions;
    this.#environment = environment;
    this.#observer = observer;
    conditions.isApplying = false;
    if (inner.snapshot === undefined || inner.restore === undefined) return;
    this.snapshot = () => this.#withDelays(inner.snapshot?.() ?? nothing());
    this.restore = async (state, at, sessions) => {
      if (this.#observer.isDead()) return never();
      this.#failIfTold();
      await inner.restore?.(state, at, sessions);
      this.#observer.opened(at);
    };
  }

  /** The bytes may take as long as commands do; the first of them are asked for at once. */
  async *#withDelays(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of chunks) {
      if (this.#conditions.delayMs > 0) await this.#wait(this.#conditions.delayMs);
      // A chunk may be used until the next one is asked for: then this generator reuses its buffer.
      const lent = new Uint8Array(chunk);
      yield lent;
      lent.fill(REUSED_BYTE);
    }
  }

  open(identity: StateIdentity): Promise<OpenedState> | OpenedState {
    const tell = (state: OpenedState): OpenedState => {
      this.#observer.opened(state);
      return state;
    };
    const opening = this.#inner.open(identity);
    return "then" in opening ? opening.then(tell) : tell(opening);
  }

  async apply(command: unknown, at: LogPosition): Promise<unknown> {
    this.#conditions.isApplying = true;
    try {
      return await this.#apply(command, at);
    } finally {
      if (!this.#observer.isDead()) this.#conditions.isApplying = false;
    }
  }

  async #apply(command: unknown, at: LogPosition): Promise<unknown> {
    const { delayMs } = this.#conditions;
    if (delayMs > 0) await this.#wait(delayMs / 2);
    if (this.#observer.isDead()) return never();
    this.#failIfTold();
    this.#observer.applying(command, at);
    const result = await this.#inner.apply(command, at);
    // It has taken effect, and nobody knows of it yet.
    if (delayMs > 0) await this.#wait(delayMs / 2);
    return result;
  }

  flush(applied: LogPosition, sessions: SessionChanges): Promise<void> | void {
    if (this.#observer.isDead()) return never();
    this.#failIfTold();
    return this.#inner.flush?.(applied, sessions);
  }

  close(): Promise<void> | void {
    return this.#inner.close?.();
  }

  #failIfTold(): void {
    if (!this.#conditions.fails) return;
    const cause = Object.assign(new Error("EIO: made up by the simulation"), { code: "EIO" });
    throw new StateMachineFailure("the simulated state machine's disk failed", { cause });
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#environment.setTimer(ms, resolve);
    });
  }
}

const NO_BYTES = new Uint8Array(0);

/** What is in a buffer that its owner has taken back. */
const REUSED_BYTE = 0xaa;

/**
 * A codec that lends its bytes for the call only, as the interface allows: it overwrites them in the microtask after it.
 * Bytes that were kept without a copy then no longer decode, or differ between nodes (Z11).
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
