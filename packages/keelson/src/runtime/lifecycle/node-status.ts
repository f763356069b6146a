import { ClosedError, type RaftError } from "../../errors.ts";
import { errorOf, type Failure } from "../shared/index.ts";

/**
 * Whether a node takes calls, and why not. Every part of the node may read it and report a failure to it, so
 * it is made first; `NodeLifecycle`, which is made last, reacts to failures and sets the other fields.
 */
export class NodeStatus {
  /** The failure that stopped the node; null: none. Set once, by `fail`. */
  #failure: Failure | null = null;
  /**
   * Set when `close` is called: new calls are refused, while calls and hand-over under way may still finish.
   */
  #isClosing = false;
  /** Set when the node has stopped: no input is taken, and every call has its outcome. */
  #hasEnded = false;
  /** Set once, by `attach`. */
  #onFailure: ((failure: Failure) => void) | null = null;

  /** The error for a call that is made now; null: calls are taken. Such a call had no effect. */
  get refusal(): RaftError | null {
    if (this.#failure !== null) return errorOf(this.#failure, "not-done");
    return this.#isClosing || this.#hasEnded ? new ClosedError("not-done") : null;
  }

  /** Whether calls are taken: `refusal` is null. Making an error to learn that would cost a stack trace. */
  get takesCalls(): boolean {
    return this.#failure === null && !this.#isClosing && !this.#hasEnded;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  markClosing(): void {
    this.#isClosing = true;
  }

  markEnded(): void {
    this.#hasEnded = true;
  }

  /** A part of the node can't go on: the node stops at once. Failures after the node's end have no effect. */
  readonly fail = (failure: Failure): void => {
    if (this.#hasEnded) return;
    this.#failure = failure;
    this.#onFailure?.(failure);
  };

  /**
   * Names the function that stops the node when a part fails. It is called at once if a part has failed
   * already, while the node was opening.
   */
  attach(onFailure: (failure: Failure) => void): void {
    this.#onFailure = onFailure;
    if (this.#failure !== null) onFailure(this.#failure);
  }
}
