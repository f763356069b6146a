import type { Outcome, RaftError } from "../../errors.ts";
import { OUTCOME_AT_NODE_END, type CallKind } from "./call-kind.ts";
import type { CallDeadlines, Expiring } from "./call-deadlines.ts";

/** How long a call may take, and how its caller may stop waiting. */
export interface CallOptions {
  /** Ends the wait with `AbortedError`. A command that was already proposed may still take effect. */
  readonly signal?: AbortSignal | undefined;
  /** Time limit in milliseconds; Infinity: none. Default `timings.callTimeoutMs`. */
  readonly timeoutMs?: number | undefined;
}

/** Why a call ended before its answer came: its caller's signal, or its time limit. */
export type Cancellation =
  | { readonly type: "aborted"; readonly cause: unknown }
  | { readonly type: "timed-out"; readonly timeoutMs: number };

/**
 * How a call ends when its answer doesn't come. Only the part that runs the call knows what it may have done.
 */
export interface CallEndings {
  /** Makes the error for a caller whose signal or time limit ended the wait. */
  readonly onCancel: (cancellation: Cancellation) => RaftError;
  /**
   * The outcome if the node ends first, for calls for which it depends on how far they have come. Default: by
   * the kind.
   */
  readonly outcomeAtNodeEnd?: (() => Outcome) | undefined;
}

/**
 * What a call is made of. The call keeps single fields of it, and no closure of its own but that for a
 * signal: up to `limits.pendingEntriesMax` calls wait at once, and the garbage collector copies and marks
 * all that they hold in pauses that count towards a turn (Z19).
 */
export interface CallParts {
  /** Told once, when the call is settled. */
  readonly registry: { onSettled(call: Call<unknown>): void };
  readonly kind: CallKind;
  /** Which call of the node it is, from 1 on. */
  readonly number: number;
  readonly deadlines: CallDeadlines;
  /** The time of the environment's clock, in milliseconds. */
  readonly now: number;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  /** Calls of one kind may share one object. */
  readonly endings: CallEndings;
}

/**
 * One caller that waits for an answer. Four things may end the wait: the answer, the caller's signal, the
 * time limit, or the end of the node. The first one settles the call; after that the call holds no listener
 * and no timer, and later ones have no effect.
 */
export class Call<T> implements Expiring {
  /** What the caller gets. */
  readonly promise: Promise<T>;
  /** When the time limit ends the wait, in milliseconds of the environment's clock. */
  readonly deadline: number;
  readonly kind: CallKind;
  /** Which call of the node it is: calls that began earlier have lower numbers. */
  readonly number: number;
  /** The call's index in the registry's list of open calls. Only the registry reads and writes it. */
  slot = -1;
  readonly #registry: CallParts["registry"];
  readonly #deadlines: CallDeadlines;
  readonly #endings: CallEndings;
  readonly #timeoutMs: number;
  readonly #signal: AbortSignal | undefined;
  /** Listens to the signal; null: there is none. */
  readonly #onAbort: (() => void) | null;
  readonly #resolve: (value: T) => void;
  readonly #reject: (error: unknown) => void;
  #settled = false;

  constructor({ registry, kind, number, deadlines, now, timeoutMs, signal, endings }: CallParts) {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.promise = promise;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#registry = registry;
    this.#deadlines = deadlines;
    this.#endings = endings;
    this.#timeoutMs = timeoutMs;
    this.#signal = signal;
    this.kind = kind;
    this.number = number;
    this.deadline = now + timeoutMs;
    deadlines.add(this);
    this.#onAbort = signal === undefined ? null : this.#listenTo(signal);
  }

  get settled(): boolean {
    return this.#settled;
  }

  resolve(value: T): void {
    if (this.#settle()) this.#resolve(value);
  }

  reject(error: unknown): void {
    if (this.#settle()) this.#reject(error);
  }

  /** The time limit is over. */
  expire(): void {
    if (this.#settle()) {
      this.#reject(this.#endings.onCancel({ type: "timed-out", timeoutMs: this.#timeoutMs }));
    }
  }

  /** The node ends: the caller gets the error for what the call may have done by now. */
  end(error: (outcome: Outcome) => RaftError): void {
    const outcome = this.#endings.outcomeAtNodeEnd?.() ?? OUTCOME_AT_NODE_END[this.kind];
    if (this.#settle()) this.#reject(error(outcome));
  }

  /** Ends the call when the signal is aborted. Returns the listener. */
  #listenTo(signal: AbortSignal): () => void {
    const onAbort = (): void => {
      if (this.#settle()) this.#reject(this.#endings.onCancel({ type: "aborted", cause: signal.reason }));
    };
    signal.addEventListener("abort", onAbort);
    return onAbort;
  }

  /** False: it was settled before. */
  #settle(): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    this.#deadlines.delete(this);
    if (this.#onAbort !== null) this.#signal?.removeEventListener("abort", this.#onAbort);
    this.#registry.onSettled(this as Call<unknown>);
    return true;
  }
}

/** What happened, for the message of an error. */
export function describeCancellation(cancellation: Cancellation): string {
  return cancellation.type === "aborted"
    ? "the caller's signal ended the wait"
    : `no answer within ${String(cancellation.timeoutMs)} ms`;
}

/** Why no leader became known to a node that is in no cluster, and what to do; for `NotLeaderError`. */
export const NO_CLUSTER: string =
  "this node belongs to no cluster yet. To create one, call initialize, or open the nodes with members and wait " +
  "until all of them run; to join one, call addLearner or changeMembership at a member of it";

/** The reason that the caller's signal gave, as the `cause` of an error. */
export function causeOf(cancellation: Cancellation): ErrorOptions {
  return cancellation.type === "aborted" ? { cause: cancellation.cause } : {};
}
