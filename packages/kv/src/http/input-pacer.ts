/**
 * Hands what clients send to Node's HTTP parser in slices, and no more in a turn of the event loop than fits
 * into a limit of time.
 *
 * Hazard: libuv reads up to 2 MiB from one connection in a turn, and Node parses all of it at once. As chunks
 * of one byte that takes a second, in which the leader sends no heartbeats. As requests of 30 bytes it is
 * tens of thousands of them, with several kilobytes of objects each, before this program sees the first. So
 * each connection's bytes are parsed in slices; when the turn's time is used up, or the connection is paused,
 * the rest goes back into the socket's buffer, and the socket is not read from. The connections whose rest
 * waits for time take turns.
 *
 * It costs a few microseconds for each request, and more for a large body, because Node's parser otherwise
 * takes the bytes from the socket without JavaScript in between: puts of 20 and 100 KB took the HTTP layer
 * about a third more processor time, puts of 1 MB a tenth.
 */
import type { Socket } from "node:net";

/** Bytes parsed before the time is looked at. No more than about 70 requests, or 350 chunks of one byte. */
const SLICE_BYTES = 2048;
/** Milliseconds of a turn for parsing, and for what the requests do in the same turn. */
const TURN_MS_MAX = 5;
/** How many of these milliseconds one connection may use in a turn, so that others get some too. */
const SHARE_MS = 1;
/** The most connections that are resumed in one turn: as many as there are shares. */
const RESUMED_MAX = TURN_MS_MAX / SHARE_MS;

type Listener = (chunk: Buffer) => void;

/** What the pacer must know of a connection's requests. */
export interface PacedRequests {
  /** Nothing more of the connection is parsed: it closes after the answers to what waits. */
  readonly isOver: boolean;
  /**
   * How many of the next bytes can only be a body, which costs the parser nothing: they aren't cut into
   * slices.
   */
  readonly bodyBytesLeft: number;
}

/** Shares a server's time for parsing among its connections. */
export class InputPacer {
  /** Connections whose rest waits for time, in the order of their turns. */
  readonly #waiting = new Set<Socket>();
  /** Time spent on parsing in this turn. */
  #usedMs = 0;
  #isTurnScheduled = false;

  /**
   * Takes over a connection. Call it when the HTTP server has been given the connection, before the client
   * sends anything.
   */
  pace(socket: Socket, requests: PacedRequests): void {
    // Node's HTTP server feeds its parser from a listener of the socket's "data" events. The pacer's own
    // listener takes the place of that one. Because it isn't Node's, the parser also doesn't read from the
    // socket's handle, past the listener. The tests of memory fail if it does.
    const [parse, ...others] = socket.listeners("data") as Listener[];
    // If another version of Node does this differently, leave the connection as it is: to serve clients
    // without this limit is better than not to serve them.
    if (parse === undefined || others.length > 0) return;
    socket.off("data", parse);
    socket.on("data", (chunk: Buffer) => {
      this.#onData(socket, chunk, requests, parse);
    });
    socket.once("close", () => this.#waiting.delete(socket));
  }

  #onData(socket: Socket, chunk: Buffer, requests: PacedRequests, parse: Listener): void {
    const startedAt = performance.now();
    const before = this.#usedMs;
    const usedMsMax = Math.min(TURN_MS_MAX, before + SHARE_MS);
    let at = 0;
    // The parser's events pause the socket when a body has no room.
    while (at < chunk.length && this.#usedMs < usedMsMax && !requests.isOver && !socket.isPaused()) {
      const bytes = Math.max(SLICE_BYTES, requests.bodyBytesLeft);
      parse(at === 0 && chunk.length <= bytes ? chunk : chunk.subarray(at, at + bytes));
      at += bytes;
      this.#usedMs = before + performance.now() - startedAt;
      if (socket.destroyed) break;
    }
    this.#scheduleTurn();
    if (requests.isOver || socket.destroyed) {
      // Node resumes the socket whenever a request ends. Pause it again, and drop what came.
      socket.pause();
      return;
    }
    if (at >= chunk.length) return;
    // If the parser's events have paused the socket, they also resume it. Else the pacer pauses and resumes
    // it.
    if (!socket.isPaused()) {
      socket.pause();
      this.#waiting.add(socket);
    }
    socket.unshift(chunk.subarray(at));
  }

  /** Has the next turn of the event loop begin with all of its time, and resume connections that wait. */
  #scheduleTurn(): void {
    if (this.#isTurnScheduled) return;
    this.#isTurnScheduled = true;
    setImmediate(() => {
      this.#isTurnScheduled = false;
      this.#usedMs = 0;
      let resumed = 0;
      for (const socket of this.#waiting) {
        if ((resumed += 1) > RESUMED_MAX) break;
        this.#waiting.delete(socket);
        socket.resume();
      }
      if (this.#waiting.size > 0) this.#scheduleTurn();
    });
  }
}
