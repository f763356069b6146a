/**
 * Limits the calls of a client that are in progress, and the bytes that they hold.
 *
 * Hazard: a program that calls faster than the cluster answers, and doesn't wait for the answers, fills its
 * memory. So beyond the limits a call is refused at once; it had no effect.
 */
import { KvClientError } from "./client-error.ts";
import type { NodeCall } from "./node-call.ts";

/** The most calls of a client in progress: 64 times as many as one session takes. */
export const CALLS_MAX_DEFAULT = 65_536;
/** The most bytes that they hold. */
export const BYTES_MAX_DEFAULT: number = 256 * 1024 * 1024;
/** The code of the error if a call is refused because of these limits. */
export const TOO_MANY_CALLS = "TOO_MANY_CALLS";
/** What a call holds besides its key and value: its record, its promises and its closures, roughly. */
const CALL_BYTES = 1024;

/** Counts the calls of one client. */
export class CallBudget {
  readonly #callsMax: number;
  readonly #bytesMax: number;
  #calls = 0;
  #bytes = 0;

  constructor(callsMax: number = CALLS_MAX_DEFAULT, bytesMax: number = BYTES_MAX_DEFAULT) {
    this.#callsMax = callsMax;
    this.#bytesMax = bytesMax;
  }

  /**
   * Counts the call, and returns what to `give` back when it has ended.
   *
   * @throws KvClientError (`TOO_MANY_CALLS`) there is no room for it
   */
  take(call: NodeCall): number {
    const key = "key" in call ? call.key.length : 0;
    const value = call.type === "put" ? call.value.length : 0;
    const bytes = CALL_BYTES + key + value;
    if (this.#calls >= this.#callsMax || this.#bytes + bytes > this.#bytesMax) {
      throw new KvClientError(
        TOO_MANY_CALLS,
        "not-done",
        null,
        `${this.#calls} calls with ${this.#bytes} bytes are in progress; this client takes at most ` +
          `${this.#callsMax} calls and ${this.#bytesMax} bytes: wait for some of them first`,
      );
    }
    this.#calls += 1;
    this.#bytes += bytes;
    return bytes;
  }

  give(bytes: number): void {
    this.#calls -= 1;
    this.#bytes -= bytes;
  }
}
