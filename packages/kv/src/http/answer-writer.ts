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

/** One answer on its way. */
export class AnswerWriter {
  readonly #outgoing: ServerResponse;
  readonly #account: MemoryAccount;
  /** Milliseconds in which the client must take a part. */
  readonly #partMsMax: number;
  /** The connection is gone, or the answer is complete. */
  #isOver = false;
  /** Ends the wait for the part that is being sent. */
  #wake: () => void = () => undefined;

  /** `account`: was charged for the answer's body already; `send` closes it when the body is sent. */
  constructor(outgoing: ServerResponse, account: MemoryAccount, partMsMax: number) {
    this.#outgoing = outgoing;
    this.#account = account;
    this.#partMsMax = partMsMax;
    outgoing.once("close", () => {
      this.#isOver = true;
      this.#wake();
    });
  }

  /** Resolves when the client has taken the answer, or its connection is gone. */
  async send({ status, headers, body }: Answer, isHead: boolean): Promise<void> {
    const bytes = body === null ? null : body instanceof Uint8Array ? body.length : body.bytes;
    this.#account.waitForClient(() => {
      this.#destroy();
    });
    try {
      if (this.#isOver) return;
      this.#outgoing.writeHead(status, {
        ...headers,
        ...(bytes === null ? {} : { "Content-Length": String(bytes) }),
      });
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
    await this.#end(body.subarray(from));
  }

  async #sendSource(body: BodySource): Promise<void> {
    const onEvicted = (): void => {
      this.#destroy();
    };
    body.evicted.addEventListener("abort", onEvicted);
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

  #end(part?: Uint8Array): Promise<boolean> {
    return this.#taken((done) =>
      part === undefined ? this.#outgoing.end(done) : this.#outgoing.end(part, done),
    );
  }

  /** Resolves when the operating system has taken what `write` writes. False: the connection is gone. */
  async #taken(write: (done: () => void) => unknown): Promise<boolean> {
    if (this.#isOver) return false;
    const isTaken = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => {
        this.#destroy();
      }, this.#partMsMax);
      const settle = (): void => {
        clearTimeout(timer);
        resolve(!this.#isOver);
      };
      this.#wake = settle;
      write(settle);
    });
    this.#account.progress();
    return isTaken;
  }

  #destroy(): void {
    this.#outgoing.req.socket.destroy();
    this.#isOver = true;
    this.#wake();
  }
}
