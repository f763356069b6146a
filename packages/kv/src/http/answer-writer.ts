/**
 * Sends one answer, as fast as the client takes it.
 *
 * Hazard: a client that doesn't read keeps its answer in memory, and a backup's file open, for as long as its
 * connection lasts. So each part of an answer has a deadline by which the operating system must have taken
 * it; after that the connection is destroyed. (Ending the socket instead would not help: that waits until
 * everything is sent.)
 */
import type { ServerResponse } from "node:http";
import type { MemoryAccount } from "../shared/memory-budget.ts";
import type { Answer, BodySource } from "./answer.ts";

/** Bytes given to the socket at a time; a part must be taken within the deadline. */
const PART_BYTES = 64 * 1024;
/**
 * The last bytes of a body, up to so many, are given to Node as a string. Node joins a string to the headers
 * and copies both into one system call's buffer, which costs less than `writev` with a buffer for each. For
 * more bytes the copies would cost more than they save.
 */
const STRING_BYTES_MAX = 4096;

/** For every answer: a browser must neither guess its type nor give it to pages of other origins. */
const HEADERS_OF_ALL = {
  "X-Content-Type-Options": "nosniff",
  "Cross-Origin-Resource-Policy": "same-origin",
};

/** One answer on its way. */
export class AnswerWriter {
  readonly #outgoing: ServerResponse;
  readonly #account: MemoryAccount;
  /** Milliseconds in which the client must take a part. */
  readonly #partMsMax: number;
  /** This writer has destroyed the connection. */
  #isDestroyed = false;
  /** Ends the wait for the part that is being sent. */
  #wake: () => void = () => undefined;

  /** `account`: was charged for the answer's body already; `send` closes it when the body is sent. */
  constructor(outgoing: ServerResponse, account: MemoryAccount, partMsMax: number) {
    this.#outgoing = outgoing;
    this.#account = account;
    this.#partMsMax = partMsMax;
  }

  /** The connection is gone. */
  get #isOver(): boolean {
    return this.#isDestroyed || this.#outgoing.destroyed;
  }

  /** Resolves when the client has taken the answer, or its connection is gone. */
  async send({ status, headers, body }: Answer, isHead: boolean): Promise<void> {
    try {
      if (this.#isOver) return;
      const bytes = body === null ? null : body instanceof Uint8Array ? body.length : body.bytes;
      this.#outgoing.writeHead(
        status,
        bytes === null
          ? { ...HEADERS_OF_ALL, ...headers }
          : { ...HEADERS_OF_ALL, ...headers, "Content-Length": bytes },
      );
      if (body === null || isHead) await this.#end();
      else if (body instanceof Uint8Array) await this.#sendBytes(body);
      else await this.#sendSource(body);
    } finally {
      if (body !== null && !(body instanceof Uint8Array)) await body.close();
      this.#account.close();
    }
  }

  async #sendBytes(body: Uint8Array): Promise<void> {
    let from = 0;
    while (body.length - from > PART_BYTES) {
      if (!(await this.#part(body.subarray(from, from + PART_BYTES)))) return;
      from += PART_BYTES;
    }
    await this.#end(from === 0 ? body : body.subarray(from));
  }

  async #sendSource(body: BodySource): Promise<void> {
    const onEvicted = (): void => {
      this.#destroy();
    };
    body.evicted.addEventListener("abort", onEvicted);
    this.#waitForClient();
    try {
      for (;;) {
        const part = await body.read();
        if (part.length === 0) break;
        if (!(await this.#part(part))) return;
      }
      await this.#end();
    } catch (error) {
      // The length was promised in the header, so a short answer can only be told by the connection's end.
      this.#destroy();
      throw error;
    } finally {
      body.evicted.removeEventListener("abort", onEvicted);
    }
  }

  #part(part: Uint8Array): Promise<boolean> {
    return this.#taken((done) => this.#outgoing.write(part, done));
  }

  /** Ends the answer with `part`. Returns a promise only if the client must take something first. */
  #end(part?: Uint8Array): Promise<boolean> | boolean {
    if (this.#isOver) return false;
    const outgoing = this.#outgoing;
    if (part === undefined) outgoing.end();
    else if (part.length <= STRING_BYTES_MAX) outgoing.end(latin1Of(part), "latin1");
    else outgoing.end(part);
    // Mostly the operating system has taken all of it by now: a promise and a timer would be for nothing.
    if (outgoing.writableLength === 0) return true;
    return this.#taken((done) => outgoing.once("finish", done));
  }

  /** Resolves when the operating system has taken what `write` writes. False: the connection is gone. */
  async #taken(write: (done: () => void) => unknown): Promise<boolean> {
    if (this.#isOver) return false;
    this.#waitForClient();
    const outgoing = this.#outgoing;
    const isTaken = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => {
        this.#destroy();
      }, this.#partMsMax);
      const settle = (): void => {
        clearTimeout(timer);
        outgoing.off("close", settle);
        resolve(!this.#isOver);
      };
      this.#wake = settle;
      outgoing.once("close", settle);
      write(settle);
    });
    this.#account.progress();
    return isTaken;
  }

  /** From now on the account may lose its room if the client stalls; the connection is then destroyed. */
  #waitForClient(): void {
    this.#account.waitForClient(() => {
      this.#destroy();
    });
  }

  #destroy(): void {
    this.#outgoing.req.socket.destroy();
    this.#isDestroyed = true;
    this.#wake();
  }
}

/** The bytes as a string with a character for each. */
function latin1Of(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
}
