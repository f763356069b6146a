import { KvClient, KvClientError } from "../../src/index.ts";
import { pause } from "./process.ts";

/** A key with what its client knows about it. No other client writes it. */
interface Counter {
  readonly key: string;
  /** The last number whose write was acknowledged. */
  acknowledged: number;
  /** The last number that was written, with whatever outcome. */
  tried: number;
  /** The highest number that was read. */
  seen: number;
}

const KEYS_PER_CLIENT = 4;
/** The pause between two calls of a client: a steady load that leaves the machine time for other things. */
const PAUSE_MS = 4;
/** The client's time limit, so that a paused node doesn't hold up a client for long. */
const CALL_MS_MAX = 2000;

/**
 * A steady load: each client counts up its own keys and reads them back. `violations` collects what must not
 * happen: a value that goes back, an acknowledged write that is missing, a value that was never written.
 */
export class Load {
  readonly violations: string[] = [];
  readonly #nodes: readonly string[];
  readonly #counters: Counter[] = [];
  readonly #running: Promise<void>[] = [];
  #isEnding = false;
  #lastSuccess = performance.now();
  #longestGapMs = 0;
  writes = 0;
  reads = 0;
  unknown = 0;
  /** Writes that failed with the outcome "not done" in spite of the client's retries. */
  refused = 0;

  constructor(nodes: readonly string[], clients = 8) {
    this.#nodes = nodes;
    for (let number = 0; number < clients; number++) this.#running.push(this.#client(number));
  }

  /** The longest time without a successful write since the last call of this method, in milliseconds. */
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

  /** Reads every key once more: every acknowledged write must be there. */
  async check(): Promise<void> {
    const client = new KvClient({ nodes: this.#nodes });
    for (const counter of this.#counters) await this.#read(client, counter);
  }

  async #client(number: number): Promise<void> {
    // Each client begins at another node.
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
      // A new client, so that reads go to all nodes and not only to the leader that the writes have found.
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
      // While faults go on, a read may fail. At the end it must succeed.
      if (error instanceof KvClientError && !this.#isEnding) return;
      throw error;
    }
    this.reads += 1;
    if (value < acknowledged)
      this.violations.push(`${key}: ${value} was read, and ${acknowledged} is acknowledged`);
    if (value < seen) this.violations.push(`${key}: ${value} was read, and before that ${seen}`);
    if (!(value <= counter.tried))
      this.violations.push(`${key}: ${value} was read, and ${counter.tried} is the last tried`);
    counter.seen = Math.max(counter.seen, value);
  }

  #noteGap(): void {
    const now = performance.now();
    this.#longestGapMs = Math.max(this.#longestGapMs, now - this.#lastSuccess);
    this.#lastSuccess = now;
  }
}
