import { pause } from "./victims.ts";

const CALL_MS_MAX = 2000;
const EVERY_MS = 50;

/** What an honest client met. */
export interface Service {
  readonly done: number;
  readonly failed: number;
  /** The longest time without a successful call. */
  readonly gapMs: number;
  readonly lastError: string;
}

/** An honest client: writes and reads through the attack, and counts what succeeds. */
export class Bystander {
  readonly #url: string;
  readonly #bytes: number;
  #done = 0;
  #failed = 0;
  #gapMs = 0;
  #lastAt = performance.now();
  #lastError = "";
  #isOver = false;
  readonly #run: Promise<void>;

  /** `url`: of the HTTP port. `bytes`: how large its values are. */
  constructor(url: string, bytes = 0) {
    this.#url = url;
    this.#bytes = bytes;
    this.#run = this.#calls();
  }

  async stop(): Promise<Service> {
    this.#isOver = true;
    await this.#run;
    this.#note();
    return { done: this.#done, failed: this.#failed, gapMs: this.#gapMs, lastError: this.#lastError };
  }

  async #calls(): Promise<void> {
    for (let at = 0; !this.#isOver; at++) {
      try {
        await this.#call(at);
        this.#done += 1;
        this.#note();
      } catch (error) {
        this.#failed += 1;
        this.#lastError = String(error);
      }
      await pause(EVERY_MS);
    }
  }

  /** A put, and a get that must see it. */
  async #call(at: number): Promise<void> {
    const url = `${this.#url}/kv/bystander`;
    const value = `value ${at}`.padEnd(this.#bytes, ".");
    const put = await fetch(url, { method: "PUT", body: value, signal: AbortSignal.timeout(CALL_MS_MAX) });
    await put.arrayBuffer();
    if (!put.ok) throw new Error(`put: status ${put.status}`);
    const got = await fetch(url, { signal: AbortSignal.timeout(CALL_MS_MAX) });
    const text = await got.text();
    if (!got.ok || text !== value) throw new Error(`get: status ${got.status}, ${text.slice(0, 100)}`);
  }

  #note(): void {
    const now = performance.now();
    this.#gapMs = Math.max(this.#gapMs, now - this.#lastAt);
    this.#lastAt = now;
  }
}
