// Every open public call of a node. A call is begun here whatever it waits for (an entry, a read index,
// another node, a disk, the state machine). When the node ends, all open calls are ended here, so none is
// left without an outcome.
import type { Environment } from "../../environment/environment.ts";
import { AbortedError, InvalidOptionError, type Outcome, type RaftError } from "../../errors.ts";
import { Call, type CallEndings, type CallOptions } from "./call.ts";
import { OUTCOME_AT_NODE_END, type CallKind } from "./call-kind.ts";
import type { CallDeadlines } from "./call-deadlines.ts";

const KINDS = Object.keys(OUTCOME_AT_NODE_END) as CallKind[];

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
  /**
   * The calls that are not settled. In no order, so that a call is added and removed in constant time,
   * without hashing: every write goes through here twice. Each call knows its place (`Call.slot`).
   */
  readonly #open: Call<unknown>[] = [];
  /** Calls begun since the node was opened. */
  #begun = 0;
  /** Set by `endAll`: the error with which calls end that are begun after it. */
  #endError: ((outcome: Outcome) => RaftError) | null = null;

  constructor(parts: CallRegistryParts) {
    this.#parts = parts;
  }

  /** How many calls are open, of one kind or of all. */
  count(kind?: CallKind): number {
    return kind === undefined ? this.#open.length : this.#open.filter((open) => open.kind === kind).length;
  }

  /**
   * Checks what every call checks before it has any effect: the node takes calls, the time limit is a number,
   * and the caller's signal isn't aborted yet.
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
   * Begins a call. How it ends early, only the part that begins it knows.
   */
  begin<T>(kind: CallKind, options: CallOptions, endings: CallEndings): Call<T> {
    const { environment, deadlines, timeoutMs } = this.#parts;
    const call = new Call<T>({
      registry: this,
      kind,
      number: ++this.#begun,
      deadlines,
      now: environment.now(),
      timeoutMs: options.timeoutMs ?? timeoutMs,
      signal: options.signal,
      endings,
    });
    call.slot = this.#open.length;
    this.#open.push(call as Call<unknown>);
    if (this.#endError !== null) call.end(this.#endError);
    return call;
  }

  /**
   * The node ends: every open call ends with the error for its outcome, and so does each call that is begun
   * after this. They end by kind, and within a kind in the order in which they began.
   */
  endAll(error: (outcome: Outcome) => RaftError): void {
    this.#endError = error;
    const open = this.#open.toSorted((a, b) => a.number - b.number);
    for (const kind of KINDS) {
      for (const call of open) if (call.kind === kind) call.end(error);
    }
  }

  /** Called by a call that is settled: the last one of the list takes its place. */
  onSettled({ slot }: Call<unknown>): void {
    const last = this.#open.pop();
    if (last === undefined || last.slot === slot) return;
    this.#open[slot] = last;
    last.slot = slot;
  }
}
