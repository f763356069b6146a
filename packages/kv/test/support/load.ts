import { KvClient, KvClientError } from "../../src/index.ts";
import { pause } from "./process.ts";

/** A key, and what its client knows of it: only that client writes it. */
interface Counter {
  readonly key: string;
  /** The last number that a write was acknowledged with. */
  acknowledged: number;
  /** The last number that was tried: what it did may be unknown. */
  tried: number;
  /** The highest number that was ever read. */
  seen: number;
}

const KEYS_PER_CLIENT = 4;
/** Between two calls of a client: a steady load, not one that takes the whole machine. */
const PAUSE_MS = 4;
/** A call that has not ended by then is given up, so that a paused node does not hold its client for long. */
const CALL_MS_MAX = 2000;

/**
 * A steady load: each client counts up its own keys and reads them back. What must not be is kept in
 * `faults`: a value that went back, an acknowledged write that is not there, a value nobody wrote.
 */
export class Load {
  readonly faults: string[] = [];
  readonly #nodes: readonly string[];
  readonly #counters: Counter[] = [];
  readonly #running: Promise<void>[] = [];
  #isEnding = false;
  #lastSuccess = performance.now();
  #longestGapMs = 0;
  writes = 0;
  reads = 0;
  unknown = 0;
  /** Writes that surely did nothing, though their client asked again and again. */
  refused = 0;

  constructor(nodes: readonly string[], clients = 8) {
    this.#nodes = nodes;
    for (let number = 0; number < clients; number++) this.#running.push(this.#client(number));
  }

  /** The longest stretch without a successful write since this was last asked, in milliseconds. */
  takeLongestGapMs(): number {
    this.#noteGap();
    const longest = this.#longestGapMs;
    this.#longestGapMs = 0;
    this.#lastSuccess = performance.now();
    return longest;
  }

  async stop(): Promise<void> {
    this.#isEnding = true;
    await Promise.all(this.#running);
  }

  /** Reads every key once more: all that was acknowledged must be there. */
  async check(): Promise<void> {
    const client = new KvClient({ nodes: this.#nodes });
    for (const counter of this.#counters) await this.#read(client, counter);
  }

  async #client(number: number): Promise<void> {
    // Each begins at another node.
    const nodes = this.#nodes.map((_, at) => this.#nodes[(at + number) % this.#nodes.length] ?? "");
    const client = new KvClient({ nodes, timeoutMs: CALL_MS_MAX });
    const counters = Array.from({ length: KEYS_PER_CLIENT }, (_, at) => {
      return { key: `client-${number}/${at}`, acknowledged: 0, tried: 0, seen: 0 };
    });
    this.#counters.push(...counters);
    for (let turn = 0; !this.#isEnding; turn++) {
      const counter = counters[turn % counters.length];
      if (counter === undefined) return;
      await this.#write(client, counter);
      // Reads go to any node, not only to the leader that the writes have found.
      if (turn % 2 === 0) await this.#read(new KvClient({ nodes, timeoutMs: CALL_MS_MAX }), counter);
      await pause(PAUSE_MS);
    }
  }

  async #write(client: KvClient, counter: Counter): Promise<void> {
    counter.tried += 1;
    const value = counter.tried;
    try {
      await client.put(counter.key, String(value));
      counter.acknowledged = value;
      this.writes += 1;
      this.#noteGap();
    } catch (error) {
      if (!(error instanceof KvClientError)) throw error;
      if (error.outcome === "unknown") this.unknown += 1;
      else this.refused += 1;
    }
  }

  async #read(client: KvClient, counter: Counter): Promise<void> {
    const { key, acknowledged, seen } = counter;
    let value: number;
    try {
      const found = await client.get(key);
      value = found === null ? 0 : Number(Buffer.from(found.value).toString());
    } catch (error) {
      // During the load a read may find nobody; in the end it may not.
      if (error instanceof KvClientError && !this.#isEnding) return;
      throw error;
    }
    this.reads += 1;
    if (value < acknowledged)
      this.faults.push(`${key}: ${value} was read, and ${acknowledged} is acknowledged`);
    if (value < seen) this.faults.push(`${key}: ${value} was read, and before that ${seen}`);
    if (!(value <= counter.tried))
      this.faults.push(`${key}: ${value} was read, and ${counter.tried} is the last tried`);
    counter.seen = Math.max(counter.seen, value);
  }

  #noteGap(): void {
    const now = performance.now();
    this.#longestGapMs = Math.max(this.#longestGapMs, now - this.#lastSuccess);
    this.#lastSuccess = now;
  }
}
