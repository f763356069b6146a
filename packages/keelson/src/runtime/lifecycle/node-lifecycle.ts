// How a running node ends: closed by its program, or stopped by a failure of one of its parts.
//
// Either way it happens in the same steps: every open call gets its outcome and every stream its end (`end`);
// then what the node holds is closed, as far as that can be done in time (`release`); then `stopped`
// resolves.
import type { ComponentLog } from "../../log-event.ts";
import { ClosedError, type Outcome, type RaftError } from "../../errors.ts";
import { errorOf, reasonOf, type Failure } from "../shared/index.ts";
import type { NodeStatus } from "./node-status.ts";

export interface NodeLifecycleParts {
  readonly status: NodeStatus;
  readonly log: ComponentLog;
  /**
   * Hands leadership over before the node closes; resolves when another node leads, or when the time for that
   * is over. null: not needed.
   */
  readonly handOver: () => Promise<void> | null;
  /**
   * Stops every part at once: nothing is sent, written or acknowledged after this. Ends each open call with
   * the error for its outcome, and each stream with `streamError` (null: without an error).
   */
  readonly end: (error: (outcome: Outcome) => RaftError, streamError: RaftError | null) => void;
  /** Closes everything that the node holds; resolves in bounded time, even if a part hangs. */
  readonly release: () => Promise<void>;
}

/** Ends a node, once. */
export class NodeLifecycle {
  readonly #parts: NodeLifecycleParts;
  readonly #stopped = Promise.withResolvers<RaftError | undefined>();
  /** Set by the first `close`, or by a failure before it. */
  #closing: Promise<void> | null = null;
  /** Set when the node ends. */
  #released: Promise<void> | null = null;

  constructor(parts: NodeLifecycleParts) {
    this.#parts = parts;
  }

  /**
   * Resolves when the node has stopped: with undefined after `close`, with the error after a failure. Never
   * rejects.
   */
  get stopped(): Promise<RaftError | undefined> {
    return this.#stopped.promise;
  }

  /** Closes the node. Idempotent: all callers get the same promise. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    this.#parts.status.markClosing();
    return this.#closing;
  }

  /**
   * A part of the node failed: the node stops at once, so that it acknowledges nothing that depends on this
   * part.
   */
  onFailure(failure: Failure): void {
    const error = errorOf(failure, "unknown");
    this.#parts.log("error", failure.message, { cause: reasonOf(failure.cause) });
    this.#end((outcome) => errorOf(failure, outcome), error);
    const released = this.#release().then(() => {
      this.#stopped.resolve(error);
    });
    this.#closing ??= released;
  }

  async #close(): Promise<void> {
    const { status, handOver } = this.#parts;
    const handingOver = status.hasEnded ? null : handOver();
    if (handingOver !== null) await handingOver;
    // The node may have failed meanwhile.
    if (!status.hasEnded) this.#end((outcome) => new ClosedError(outcome), null);
    await this.#release();
    this.#stopped.resolve(undefined);
  }

  #end(error: (outcome: Outcome) => RaftError, streamError: RaftError | null): void {
    this.#parts.status.markEnded();
    this.#parts.end(error, streamError);
  }

  #release(): Promise<void> {
    this.#released ??= this.#parts.release();
    return this.#released;
  }
}
