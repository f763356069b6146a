/**
 * How many calls all binary connections of a server have in progress.
 *
 * Hazard: the limit of each connection allows as many calls as one busy client needs. A call that waits in
 * the node takes some four kilobytes of objects, which no budget of bytes counts, so forty connections with
 * all calls that they may have took half a gigabyte. Rule: all connections together begin no more than
 * `callsMax`; beyond that a connection begins only what keeps it going, `SHARE_MIN` calls at a time.
 */
import type { Turning, TurnQueue } from "./turn-queue.ts";

/**
 * Calls that a connection may have in progress whatever the others have: then clients that wait for many
 * calls can't lock out one that makes a few.
 */
const SHARE_MIN = 32;

export class CallSlots {
  readonly #callsMax: number;
  readonly #turns: TurnQueue;
  #inProgress = 0;
  /** Connections that wait for others' calls to end, the longest waiting first. */
  readonly #waiting = new Set<Turning>();

  constructor(callsMax: number, turns: TurnQueue) {
    this.#callsMax = callsMax;
    this.#turns = turns;
  }

  /** Calls in progress, also those of connections that are gone. For tests. */
  get inProgress(): number {
    return this.#inProgress;
  }

  /** Whether a connection may begin another call that has `own` in progress. */
  isFree(own: number): boolean {
    return own < SHARE_MIN || this.#inProgress < this.#callsMax;
  }

  take(): void {
    this.#inProgress += 1;
  }

  /** A call has ended. The connection that has waited longest goes on. */
  give(): void {
    this.#inProgress -= 1;
    this.passOn();
  }

  /**
   * Has the connection that has waited longest go on, if there is room. Also called when a connection has
   * gone on: it may have left room, because of a limit of its own.
   */
  passOn(): void {
    if (this.#inProgress >= this.#callsMax) return;
    const [first] = this.#waiting;
    if (first === undefined) return;
    this.#waiting.delete(first);
    this.#turns.proceedLater(first);
  }

  /** Has the connection go on once there is room. */
  wait(connection: Turning): void {
    this.#waiting.add(connection);
  }

  remove(connection: Turning): void {
    this.#waiting.delete(connection);
  }
}
