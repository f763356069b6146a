/**
 * Slows down bodies that arrive in tiny pieces.
 *
 * Hazard: a chunk of one byte costs Node more than a microsecond, so a megabyte in such chunks keeps the event loop
 * busy for over a second, and libuv reads up to 2 MiB from one connection in one turn. A few such clients would delay
 * the leader's heartbeats until it is replaced. So tiny pieces of all bodies together get a share of the time:
 * when a connection has brought some, it is not read from until their share has passed.
 */
import type { IncomingMessage } from "node:http";

/** A piece of fewer bytes is tiny. TCP's packets have more, and so have the chunks of any sensible client. */
const TINY_BYTES = 256;
/** Tiny pieces of one body that cost nothing. Ordinary bodies have one or two: their ends. */
const FREE_PIECES = 64;
/** Milliseconds until the next read that a tiny piece costs: about five times what it takes. */
const MS_PER_PIECE = 0.008;

/** A connection that waits for its turn to be read from. */
interface Waiting {
  readonly incoming: IncomingMessage;
  /** What its tiny pieces since it was last read from cost. */
  readonly restMs: number;
}

/** The share of time of all bodies of a server. */
export class PieceThrottle {
  /** Connections that are not read from, in the order of their turns. */
  readonly #waiting: Waiting[] = [];
  #isRunning = false;

  /** For one body: call it with each piece. */
  open(incoming: IncomingMessage): (piece: Uint8Array) => void {
    let pieces = 0;
    /** Tiny pieces since the connection was last read from. */
    let owed = 0;
    const wait = (): void => {
      // Not before the end of the turn: Node would keep what it has read already, a buffer for each piece. And not
      // only the socket: Node resumes it for each piece that a flowing request takes.
      incoming.pause();
      incoming.socket.pause();
      this.#waiting.push({ incoming, restMs: owed * MS_PER_PIECE });
      owed = 0;
      if (!this.#isRunning) this.#next();
    };
    return (piece) => {
      if (piece.length >= TINY_BYTES) return;
      pieces += 1;
      if (pieces <= FREE_PIECES) return;
      // The pieces that were read together with this one still come; they are counted, and paid for together.
      if (owed === 0) setImmediate(wait);
      owed += 1;
    };
  }

  /**
   * Reads from one connection after another. Times to be read from wouldn't do: on a busy machine several would
   * have passed when the event loop comes to them, and the next turn would be as long as all of them together.
   */
  #next(): void {
    const next = this.#waiting.shift();
    this.#isRunning = next !== undefined;
    if (next === undefined) return;
    setTimeout(() => {
      if (!next.incoming.socket.destroyed) {
        next.incoming.resume();
        next.incoming.socket.resume();
      }
      this.#next();
    }, next.restMs);
  }
}
