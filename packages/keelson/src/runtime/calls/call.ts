import type { RaftError } from "../../errors.ts";
import type { CallDeadlines, Expiring } from "./call-deadlines.ts";

/** How long a call may take, and how its caller may end it. */
export interface CallOptions {
  /** Ends the wait with `AbortedError`; a command that was proposed may still take effect. */
  readonly signal?: AbortSignal;
  /** Milliseconds; Infinity: no limit. Default `timings.callTimeoutMs`. */
  readonly timeoutMs?: number;
}

/** Why a call ended before its answer came. */
export type Cancellation =
  | { readonly type: "aborted"; readonly cause: unknown }
  | { readonly type: "timed-out"; readonly timeoutMs: number };

export interface CallSettings {
  readonly deadlines: CallDeadlines;
  readonly now: number;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  /** Makes the error for the caller: only the owner of the call knows what it may have done. */
  readonly onCancel: (cancellation: Cancellation) => RaftError;
}

/**
 * One caller who waits. It is settled once, by whoever comes first: the answer, the caller's
 * signal, the time limit, or the end of the node; after that it holds no listener and no timer.
 */
export class Call<T> implements Expiring {
  readonly promise: Promise<T>;
  readonly deadline: number;
  readonly #timeoutMs: number;
  readonly #deadlines: CallDeadlines;
  readonly #signal: AbortSignal | undefined;
  readonly #onCancel: (cancellation: Cancellation) => RaftError;
  readonly #resolve: (value: T) => void;
  readonly #reject: (error: unknown) => void;
  #settled = false;

  constructor({ deadlines, now, timeoutMs, signal, onCancel }: CallSettings) {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.promise = promise;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#timeoutMs = timeoutMs;
    this.deadline = now + timeoutMs;
    this.#deadlines = deadlines;
    this.#signal = signal;
    this.#onCancel = onCancel;
    deadlines.add(this);
    signal?.addEventListener("abort", this.#abort);
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

  expire(): void {
    if (this.#settle()) this.#reject(this.#onCancel({ type: "timed-out", timeoutMs: this.#timeoutMs }));
  }

  readonly #abort = (): void => {
    if (this.#settle()) this.#reject(this.#onCancel({ type: "aborted", cause: this.#signal?.reason }));
  };

  /** False: it was settled before. */
  #settle(): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    this.#deadlines.delete(this);
    this.#signal?.removeEventListener("abort", this.#abort);
    return true;
  }
}

/** What happened, for the message of an `AbortedError`. */
export function describeCancellation(cancellation: Cancellation): string {
  return cancellation.type === "aborted"
    ? "the caller's signal ended the wait"
    : `no answer within ${String(cancellation.timeoutMs)} ms`;
}

/** The reason that the caller's signal gave, as the `cause` of an error. */
export function causeOf(cancellation: Cancellation): ErrorOptions {
  return cancellation.type === "aborted" ? { cause: cancellation.cause } : {};
}
