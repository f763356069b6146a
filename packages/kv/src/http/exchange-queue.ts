/**
 * The requests of one connection, answered one after another.
 *
 * Hazard: HTTP allows a client to send requests without waiting for answers (pipelining; RFC 9112, 9.3.2),
 * and Node hands over all that came in one slice (`input-pacer.ts`), each of which may ask for a megabyte. So
 * a connection has one request in progress and a few that wait; the next one is begun when the client has
 * taken the answer to the last. A client that puts a key and then gets it also relies on that order. If a
 * client sends more requests ahead than may wait, its connection is closed after the answers to those that
 * wait.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { HttpRequest } from "./http-request.ts";

/** The most requests that wait on one connection while another is in progress. */
const WAITING_MAX = 16;

/** A limit on the requests that wait on all connections of a server together. */
export class WaitingRequests {
  readonly max: number;
  count = 0;

  constructor(max: number) {
    this.max = max;
  }
}

/** One request and its answer. */
export interface Exchange {
  readonly request: HttpRequest;
  readonly outgoing: ServerResponse;
}

export class ExchangeQueue {
  /** The requests in the order in which they came. The first is in progress; the others wait. */
  readonly #exchanges: Exchange[] = [];
  readonly #waiting: WaitingRequests;
  readonly #run: (exchange: Exchange) => Promise<void>;
  /**
   * The client sent more requests ahead than may wait, or its connection is gone: no further request is
   * accepted.
   */
  #isOver = false;

  constructor(waiting: WaitingRequests, run: (exchange: Exchange) => Promise<void>) {
    this.#waiting = waiting;
    this.#run = run;
  }

  /** Requests that wait while another is in progress. */
  get waiting(): number {
    return Math.max(0, this.#exchanges.length - 1);
  }

  /**
   * Since when (`performance.now`) the request in progress waits for its client to send or to take something.
   * null: it doesn't.
   */
  get waitsSince(): number | null {
    const request = this.#exchanges[0]?.request;
    return request?.answerAccount.waitsSince ?? request?.body?.waitsSince ?? null;
  }

  /** Nothing more of the connection is read. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** How many of the connection's next bytes can only be the body of the last request. 0: not known. */
  get bodyBytesLeft(): number {
    return this.#exchanges.at(-1)?.request.body?.bytesLeft ?? 0;
  }

  /** Begins the request, or makes it wait. False: it is not answered, and the connection will close. */
  add(incoming: IncomingMessage, make: () => Exchange): boolean {
    if (this.#isOver) return false;
    if (this.#exchanges.length > 0) {
      // Until the connection closes, Node keeps those of its requests that it has parsed and we don't answer
      // (`input-pacer.ts` bounds how many). While few requests wait on the server, the connection may stay
      // open for its remaining answers. When many wait, close it at once: thousands of connections could each
      // keep some.
      if (this.#waiting.count >= this.#waiting.max) return this.#refuse(incoming, true);
      if (this.waiting >= WAITING_MAX) return this.#refuse(incoming, false);
    }
    const exchange = make();
    this.#exchanges.push(exchange);
    if (this.#exchanges.length === 1) void this.#next();
    else this.#waiting.count += 1;
    return true;
  }

  /**
   * From now on nothing more is read from the connection. It closes at once, or after the answers to the
   * requests that wait.
   */
  #refuse(incoming: IncomingMessage, isAtOnce: boolean): false {
    this.#isOver = true;
    // While the socket is paused, the pacer hands nothing more of it to Node's parser.
    incoming.socket.pause();
    const last = this.#exchanges.at(-1);
    // The answer then says "Connection: close", and Node closes the connection after it.
    if (!isAtOnce && last !== undefined && !last.outgoing.headersSent) last.outgoing.shouldKeepAlive = false;
    else incoming.socket.destroy();
    return false;
  }

  /** To be called when the connection is gone. Drops the requests that wait. */
  close(): void {
    this.#isOver = true;
    const waiting = this.#exchanges.splice(1);
    this.#waiting.count -= waiting.length;
    for (const { request } of waiting) request.body?.drop();
  }

  async #next(): Promise<void> {
    for (;;) {
      const [exchange] = this.#exchanges;
      if (exchange === undefined) return;
      await this.#run(exchange);
      this.#exchanges.shift();
      if (this.#exchanges.length > 0) this.#waiting.count -= 1;
    }
  }
}
