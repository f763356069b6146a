// Every open public call of a node, by kind. Whatever a call waits for (an entry, a read index, another node, a disk, the
// state machine), it is begun here, and the end of the node ends it here, so no call is left without an outcome.
import type { Environment } from "../../environment/environment.ts";
import { AbortedError, InvalidOptionError, type Outcome, type RaftError } from "../../errors.ts";
import { Call, type CallEndings, type CallOptions } from "./call.ts";
import type { CallDeadlines } from "./call-deadlines.ts";

/**
 * The outcome of a call whose node ends first, by its kind. It must not be "not-done" if the call may have had an effect,
 * or may still have one: the caller would make it again, and the effect would come twice (K4).
 */
const OUTCOME_AT_NODE_END = {
  /** An entry that was proposed here. It may be on its way to a majority already. */
  proposal: "unknown",
  /** A call that the leader was asked to make. Whether it was asked yet, only the forwarder knows. */
  forwarded: "unknown",
  /** A read changes nothing. */
  read: "not-done",
  /** The log may be bound to the new cluster already. */
  initialize: "unknown",
  /** One of several steps may be on its way to a majority. */
  "membership-change": "unknown",
  /** The other node may have been told to take over. */
  transfer: "unknown",
  /** Its file may be durable already. */
  snapshot: "unknown",
} as const satisfies Record<string, Outcome>;

/** What a call is about. Calls of one kind end the same way when the node ends. */
export type CallKind = keyof typeof OUTCOME_AT_NODE_END;

const KINDS = Object.keys(OUTCOME_AT_NODE_END) as CallKind[];

/** A call that is not settled. Its result concerns only the part that began it. */
export type OpenCall = Pick<Call<unknown>, "end">;

export interface CallRegistryParts {
  readonly environment: Environment;
  readonly deadlines: CallDeadlines;
  /** Milliseconds, for calls that name no time limit. */
  readonly timeoutMs: number;
  /** The error for a call that is made now; null: the node takes calls. */
  readonly refusal: () => RaftError | null;
}

/** Begins calls, knows every open one, and ends them when the node ends. */
export class CallRegistry {
  readonly #parts: CallRegistryParts;
  /** The calls that are not settled, by kind, each kind in the order in which they began. */
  readonly #open: Readonly<Record<CallKind, Set<OpenCall>>>;
  /** Set by `endAll`: the error with which calls end that are begun after it. */
  #endError: ((outcome: Outcome) => RaftError) | null = null;

  constructor(parts: CallRegistryParts) {
    this.#parts = parts;
    const noCalls = KINDS.map((kind) => [kind, new Set<OpenCall>()] as const);
    this.#open = Object.fromEntries(noCalls) as Record<CallKind, Set<OpenCall>>;
  }

  /** How many calls are open, of one kind or of all. */
  count(kind?: CallKind): number {
    const kinds = kind === undefined ? KINDS : [kind];
    return kinds.reduce((sum, one) => sum + this.#open[one].size, 0);
  }

  /**
   * Checks what every call checks before it has any effect: the node takes calls, the time limit is a number, and the
   * caller's signal isn't aborted yet.
   *
   * @throws RaftError, InvalidOptionError, AbortedError
   */
  check({ signal, timeoutMs }: CallOptions): void {
    const refusal = this.#parts.refusal();
    if (refusal !== null) throw refusal;
    if (timeoutMs !== undefined && !(timeoutMs >= 0)) {
      throw new InvalidOptionError(
        `timeoutMs is ${String(timeoutMs)}; it should be a number of milliseconds`,
      );
    }
    if (signal?.aborted === true) {
      throw new AbortedError("not-done", "the caller's signal was aborted before the call", {
        cause: signal.reason,
      });
    }
  }

  /**
   * Begins a call. `outcomeAtNodeEnd` is for calls whose outcome depends on how far they have come; the kind decides for
   * all others.
   */
  begin<T>(
    kind: CallKind,
    options: CallOptions,
    { onCancel, outcomeAtNodeEnd }: Pick<CallEndings, "onCancel"> & Partial<CallEndings>,
  ): Call<T> {
    const { environment, deadlines, timeoutMs } = this.#parts;
    const open = this.#open[kind];
    const call: Call<T> = new Call<T>({
      deadlines,
      now: environment.now(),
      timeoutMs: options.timeoutMs ?? timeoutMs,
      signal: options.signal,
      onCancel,
      outcomeAtNodeEnd: outcomeAtNodeEnd ?? (() => OUTCOME_AT_NODE_END[kind]),
      onSettled: () => open.delete(call),
    });
    open.add(call);
    if (this.#endError !== null) call.end(this.#endError);
    return call;
  }

  /**
   * The node ends: every open call ends with the error for its outcome, and so does each call that is begun after this.
   * Reads end in the order of `reads`, which is that of their queue; all other calls in the order in which they began.
   */
  endAll(error: (outcome: Outcome) => RaftError, reads: readonly OpenCall[]): void {
    this.#endError = error;
    for (const kind of KINDS) {
      if (kind === "read") for (const call of reads) call.end(error);
      for (const call of [...this.#open[kind]]) call.end(error);
    }
  }
}
