import type { RuntimeMessage, SnapshotChunk, SnapshotGone } from "../../codec/frame-runtime-message.ts";
import { assert } from "../../core/assert.ts";
import type { LogIndex, NodeId } from "../../core/position.ts";
import type { Environment, Timer } from "../../environment/environment.ts";
import { CorruptSnapshotError } from "../../errors.ts";
import type { SnapshotIntake, SnapshotStore, StoredSnapshot } from "../../storage/snapshot-store.ts";
import { reasonOf } from "../failure.ts";
import type { SnapshotFetchMetrics } from "../metrics.ts";

/** What is asked for at once. */
export const CHUNK_BYTES = 256 * 1024;

/** Requests under way: what a link takes in a round trip, and no more than that waits in memory for those before it. */
const WINDOW = 8;

/** A request that was not answered for so long is made again. */
export const RETRY_MS = 1_000;

/** After a failure of this node's own, offers are left alone for so long: the next attempt may need another's help. */
const REST_MS = 2_000;

/** At a low rate less is asked for at once, so that there is always something under way. */
const CHUNK_BYTES_MIN = 4 * 1024;

/** A source from which nothing came for so long is given up; the next offer goes on from where this one ended. */
const STALLED_MS = 10_000;

export interface SnapshotFetcherParts {
  readonly id: NodeId;
  readonly store: SnapshotStore;
  readonly environment: Environment;
  readonly bytesPerSecondMax: number;
  readonly send: (to: NodeId, message: RuntimeMessage) => boolean;
  /** A snapshot is complete, checked and durable; the promise ends when it is installed, or the node has stopped. */
  readonly fetched: (snapshot: StoredSnapshot) => Promise<void>;
  readonly warn: (text: string, fields?: Readonly<Record<string, unknown>>) => void;
}

interface Request {
  readonly bytes: number;
  readonly askedAt: number;
}

/** One snapshot that is being fetched. */
interface Fetch {
  source: NodeId;
  /** It must cover the entries up to this one. */
  readonly index: LogIndex;
  /** null: the source has not said yet which snapshot it is. */
  intake: SnapshotIntake | null;
  /** The next part to ask for. */
  next: number;
  readonly asked: Map<number, Request>;
  /** Came before a part that comes before them. */
  readonly early: Map<number, Uint8Array>;
  /** When something came, or, if nothing was under way, when it was asked for. */
  heardAt: number;
  phase: SnapshotFetchMetrics["phase"];
}

/**
 * Fetches a snapshot from another node, part by part, into a file. The receiver asks, so it alone decides over speed
 * and repetition: nobody sends what nobody has room for, and a lost connection costs the parts that were under way.
 */
export class SnapshotFetcher {
  readonly #parts: SnapshotFetcherParts;
  #fetch: Fetch | null = null;
  /** Parts are written in order, one after another. */
  #tail: Promise<void> = Promise.resolve();
  /** The rate limit: no request leaves before this time. */
  #paceAt = -Infinity;
  #restUntil = -Infinity;
  readonly #chunkBytes: number;
  #timer: Timer | null = null;
  #paceTimer: Timer | null = null;
  #stopped = false;

  constructor(parts: SnapshotFetcherParts) {
    this.#parts = parts;
    const share = Math.floor(parts.bytesPerSecondMax / 4);
    this.#chunkBytes = Math.min(CHUNK_BYTES, Math.max(CHUNK_BYTES_MIN, share));
  }

  get metrics(): SnapshotFetchMetrics | null {
    const fetch = this.#fetch;
    if (fetch === null) return null;
    const { source: from, phase, intake } = fetch;
    return { from, phase, bytesDone: intake?.offset ?? 0, bytesTotal: intake?.bytes ?? null };
  }

  /** A leader offers a snapshot of the entries up to `index`. Offers come again and again; one is taken up at a time. */
  offered(source: NodeId, index: LogIndex): void {
    if (this.#stopped) return;
    const now = this.#parts.environment.now();
    const fetch = this.#fetch;
    if (fetch === null) {
      if (now < this.#restUntil) return;
      this.#fetch = {
        ...{ source, index, intake: null, next: 0, asked: new Map(), early: new Map() },
        ...{ heardAt: now, phase: "fetching" },
      };
      this.#ask(this.#fetch);
      return;
    }
    // A new leader goes on where the old one ended, if it has the same snapshot.
    if (fetch.source === source || fetch.phase !== "fetching") return;
    fetch.source = source;
    fetch.heardAt = now;
    this.#repeat(fetch, true);
  }

  chunk(message: SnapshotChunk): void {
    const fetch = this.#fetch;
    if (fetch?.source !== message.from || fetch.phase !== "fetching") return;
    fetch.heardAt = this.#parts.environment.now();
    if (fetch.intake === null) {
      // The answer to the first question: which snapshot it is. All else is done in order, after that.
      if (!fetch.asked.has(0)) return;
      fetch.asked.clear();
      this.#enqueue(fetch, () => this.#begin(fetch, message.id, message.size));
      return;
    }
    const { intake } = fetch;
    if (message.id !== intake.id || message.size !== intake.bytes) return;
    const request = fetch.asked.get(message.offset);
    // Doubled, or late and asked for again meanwhile; or a part of the part that was asked for.
    if (request?.bytes !== message.payload.length) return;
    fetch.asked.delete(message.offset);
    fetch.early.set(message.offset, message.payload);
    this.#enqueue(fetch, () => this.#write(fetch, intake));
  }

  /** The source does not have that snapshot, or no such one any more: begin anew with the one that it has. */
  gone(message: SnapshotGone): void {
    const fetch = this.#fetch;
    if (fetch?.source !== message.from || fetch.phase !== "fetching") return;
    if (message.id !== (fetch.intake?.id ?? null)) return;
    this.#enqueue(fetch, () => this.#giveUp(fetch));
  }

  /** Ends what is under way; what has come stays on disk. Resolves when the file is closed. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#paceTimer?.cancel();
    const fetch = this.#fetch;
    this.#fetch = null;
    await this.#tail;
    if (fetch?.phase === "fetching") await fetch.intake?.suspend();
  }

  async #begin(fetch: Fetch, id: string, bytes: number): Promise<void> {
    const intake = await this.#parts.store.receive(id, bytes);
    if (this.#fetch !== fetch) {
      await intake.suspend();
      return;
    }
    fetch.intake = intake;
    fetch.next = intake.offset;
    if (intake.offset === bytes) await this.#complete(fetch, intake);
    else this.#ask(fetch);
  }

  async #write(fetch: Fetch, intake: SnapshotIntake): Promise<void> {
    for (;;) {
      const payload = fetch.early.get(intake.offset);
      if (payload === undefined || this.#fetch !== fetch) break;
      fetch.early.delete(intake.offset);
      await intake.write(payload);
    }
    if (this.#fetch !== fetch || fetch.phase !== "fetching") return;
    if (intake.offset === intake.bytes) await this.#complete(fetch, intake);
    else this.#ask(fetch);
  }

  async #complete(fetch: Fetch, intake: SnapshotIntake): Promise<void> {
    fetch.phase = "checking";
    let intact = false;
    try {
      const snapshot = await intake.finish();
      intact = true;
      fetch.phase = "installing";
      await this.#parts.fetched(snapshot);
    } catch (error) {
      if (!(error instanceof CorruptSnapshotError)) throw error;
      this.#rest();
      this.#parts.warn(`a snapshot from ${fetch.source} did not arrive as it was written: ${error.message}`, {
        from: fetch.source,
      });
    }
    const { id: from } = this.#parts;
    if (!this.#stopped) this.#parts.send(fetch.source, { type: "snapshot-end", from, id: intake.id, intact });
    if (this.#fetch === fetch) this.#fetch = null;
  }

  async #giveUp(fetch: Fetch): Promise<void> {
    if (this.#fetch !== fetch) return;
    this.#fetch = null;
    await fetch.intake?.suspend();
  }

  /** Asks for as much as the window and the rate allow. */
  #ask(fetch: Fetch): void {
    this.#watch();
    const { intake } = fetch;
    const now = this.#parts.environment.now();
    if (intake === null) {
      this.#request(fetch, 0, 0);
      return;
    }
    while (fetch.next < intake.bytes && fetch.asked.size + fetch.early.size < WINDOW) {
      if (now < this.#paceAt) {
        this.#pace();
        return;
      }
      const bytes = Math.min(this.#chunkBytes, intake.bytes - fetch.next);
      this.#paceAt = Math.max(this.#paceAt, now) + (bytes / this.#parts.bytesPerSecondMax) * 1000;
      this.#request(fetch, fetch.next, bytes);
      fetch.next += bytes;
    }
  }

  #request(fetch: Fetch, offset: number, bytes: number): void {
    const askedAt = this.#parts.environment.now();
    if (fetch.asked.size === 0) fetch.heardAt = askedAt;
    fetch.asked.set(offset, { bytes, askedAt });
    const { source, index, intake } = fetch;
    const { id: from } = this.#parts;
    this.#parts.send(source, {
      type: "snapshot-request",
      from,
      id: intake?.id ?? null,
      index,
      offset,
      bytes,
    });
  }

  /** Asks again for what did not come; `all`: for everything, as it is another source now. */
  #repeat(fetch: Fetch, all: boolean): void {
    const now = this.#parts.environment.now();
    for (const [offset, { bytes, askedAt }] of [...fetch.asked]) {
      if (all || now - askedAt >= RETRY_MS) this.#request(fetch, offset, bytes);
    }
  }

  #watch(): void {
    this.#timer ??= this.#parts.environment.setTimer(RETRY_MS, () => {
      this.#timer = null;
      const fetch = this.#fetch;
      if (fetch === null) return;
      const now = this.#parts.environment.now();
      if (fetch.phase !== "fetching") {
        // Nothing is missing; the source should keep the log after the snapshot until it is installed.
        this.#remind(fetch);
      } else if (now - fetch.heardAt >= STALLED_MS && fetch.asked.size > 0) {
        this.#enqueue(fetch, () => this.#giveUp(fetch));
        return;
      } else {
        this.#repeat(fetch, false);
      }
      this.#watch();
    });
  }

  #remind({ source, index, intake }: Fetch): void {
    assert(intake !== null, "what is checked was fetched");
    const { id: from } = this.#parts;
    const { id, bytes: offset } = intake;
    this.#parts.send(source, { type: "snapshot-request", from, id, index, offset, bytes: 0 });
  }

  #pace(): void {
    const delayMs = this.#paceAt - this.#parts.environment.now();
    this.#paceTimer ??= this.#parts.environment.setTimer(delayMs, () => {
      this.#paceTimer = null;
      // Whichever one it is by now.
      if (this.#fetch?.phase === "fetching") this.#ask(this.#fetch);
    });
  }

  #rest(): void {
    this.#restUntil = this.#parts.environment.now() + REST_MS;
  }

  /** A failing disk ends this fetch and not the node: the log is another file, and the next offer tries again. */
  #enqueue(fetch: Fetch, step: () => Promise<void>): void {
    this.#tail = this.#tail.then(async () => {
      if (this.#fetch !== fetch) return;
      try {
        await step();
      } catch (error) {
        if (this.#fetch === fetch) this.#fetch = null;
        if (this.#stopped) return;
        this.#rest();
        this.#parts.warn(`a snapshot could not be received: ${reasonOf(error)}`, { from: fetch.source });
        await fetch.intake?.abort().catch(() => undefined);
      }
    });
  }
}
