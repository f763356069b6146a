/** Single requests to single nodes, without redirects: what does this node itself acknowledge? */
import { setTimeout as pause } from "node:timers/promises";

/** A node without a majority may not answer at all. */
const PROBE_MS_MAX = 1500;
const PAUSE_MS = 100;

/** A value that a node acknowledged. */
export interface Acknowledged {
  readonly key: string;
  readonly value: string;
}

/** What a node answered: a status, or null for no answer. */
async function request(
  address: string,
  target: string,
  body: string | null,
): Promise<[number, string] | null> {
  try {
    const response = await fetch(`http://${address}${target}`, {
      ...{ redirect: "manual", signal: AbortSignal.timeout(PROBE_MS_MAX) },
      ...(body === null ? {} : { method: "PUT", body }),
    });
    return [response.status, await response.text()];
  } catch {
    return null;
  }
}

export class Probe {
  readonly acknowledged: Acknowledged[] = [];
  #number = 0;

  /** Puts a new value at one node, or has it refused. Each key is used once. */
  async put(address: string): Promise<boolean> {
    const number = ++this.#number;
    const key = `probe/${number}`;
    const value = `probed ${number}`;
    const answer = await request(address, `/kv/${key}`, value);
    if (answer?.[0] !== 200) return false;
    this.acknowledged.push({ key, value });
    return true;
  }

  /** Whether one node answers a linearizable read, of a key that may have no value. */
  async reads(address: string): Promise<boolean> {
    const answer = await request(address, "/kv/probe/1", null);
    return answer?.[0] === 200 || answer?.[0] === 404;
  }

  /**
   * Milliseconds until one of the nodes acknowledges a write that began after this call; null: none did in
   * time.
   */
  async untilWrite(addresses: readonly string[], msMax: number): Promise<number | null> {
    const begun = performance.now();
    while (performance.now() - begun < msMax) {
      for (const address of addresses) {
        if (await this.put(address)) return performance.now() - begun;
      }
      await pause(PAUSE_MS);
    }
    return null;
  }

  /** Milliseconds until each of the nodes has answered a linearizable read; null: not all did in time. */
  async untilAllRead(addresses: readonly string[], msMax: number): Promise<number | null> {
    const begun = performance.now();
    const missing = new Set(addresses);
    while (missing.size > 0) {
      if (performance.now() - begun > msMax) return null;
      await Promise.all(
        [...missing].map(async (address) => {
          if (await this.reads(address)) missing.delete(address);
        }),
      );
      if (missing.size > 0) await pause(PAUSE_MS);
    }
    return performance.now() - begun;
  }

  /** Acknowledged values that a node doesn't have. Throws if the node doesn't answer. */
  async lost(address: string): Promise<Acknowledged[]> {
    const lost: Acknowledged[] = [];
    for (const one of this.acknowledged) {
      const answer = await request(address, `/kv/${one.key}`, null);
      if (answer === null || (answer[0] !== 200 && answer[0] !== 404))
        throw new Error(
          `${address} answers the last read of ${one.key} with ${String(answer?.[0] ?? "nothing")}`,
        );
      if (answer[0] === 404 || answer[1] !== one.value) lost.push(one);
    }
    return lost;
  }
}
