/**
 * What all binary connections of a server do once per turn of the event loop: send their answers, and go on
 * with calls for which a turn had no time.
 *
 * Hazard: one frame has up to 4,096 calls, and to begin them takes tens of milliseconds, in which a leader
 * sends no heartbeats. So calls are begun until a turn's time is used up; the rest is for the next turn.
 */

/** Milliseconds of a turn in which calls are begun. */
const TURN_MS_MAX = 5;

/** A connection, as the queue sees it. */
export interface Turning {
  /** Sends the answers that were written since the last time. */
  flush(): void;
  /** Goes on with what was received. */
  proceed(): void;
}

export class TurnQueue {
  /** Connections that have written answers in this turn. */
  #toFlush = new Set<Turning>();
  /** Connections that have calls left, in the order of their turns. */
  readonly #toProceed = new Set<Turning>();
  #isScheduled = false;
  /** When the first connection was active in this turn, by `performance.now`. */
  #startedAt = 0;

  /** Whether no more calls may be begun in this turn. */
  get isSpent(): boolean {
    this.#schedule();
    return performance.now() - this.#startedAt > TURN_MS_MAX;
  }

  /** Has the connection send its answers at the end of the turn. */
  flushLater(connection: Turning): void {
    this.#toFlush.add(connection);
    this.#schedule();
  }

  /** Has the connection go on in the next turn. */
  proceedLater(connection: Turning): void {
    this.#toProceed.add(connection);
    this.#schedule();
  }

  remove(connection: Turning): void {
    this.#toFlush.delete(connection);
    this.#toProceed.delete(connection);
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#startedAt = performance.now();
    setImmediate(() => {
      this.#isScheduled = false;
      this.#endTurn();
    });
  }

  #endTurn(): void {
    const flushed = this.#toFlush;
    this.#toFlush = new Set();
    for (const connection of flushed) connection.flush();
    // A connection that isn't done puts itself behind the others.
    for (const connection of [...this.#toProceed]) {
      if (this.isSpent) break;
      this.#toProceed.delete(connection);
      connection.proceed();
    }
    if (this.#toProceed.size > 0) this.#schedule();
  }
}
