// Fetches a snapshot from another node into the snapshot store, by requesting it chunk by chunk.
import type { LogFields } from "../../log-event.ts";
import type { RuntimeMessage, SnapshotChunk, SnapshotGone } from "../../codec/frame-runtime-message.ts";
import { assert, ProtocolViolation } from "../../core/assert.ts";
import type { LogIndex, NodeId } from "../../core/position.ts";
import type { Environment, Timer } from "../../environment/environment.ts";
import { CorruptSnapshotError, StorageFailedError } from "../../errors.ts";
import type { IncomingSnapshot, SnapshotStore, StoredSnapshot } from "../../storage/snapshot-store.ts";
import { reasonOf, type Failure, type SnapshotFetchMetrics } from "../shared/index.ts";

/** Bytes of one chunk: large enough that requests cost little, small enough not to hold up a heartbeat. */
export const CHUNK_BYTES: number = 256 * 1024;

/** Bytes of one chunk at least, however low the rate limit: a smaller one would be mostly header. */
const CHUNK_BYTES_MIN = 4 * 1024;

/**
 * Chunks that are requested, or received and waiting for an earlier one. Enough to keep a link busy during a
 * round trip; it also bounds the memory for chunks that came out of order.
 */
const WINDOW_CHUNKS = 8;

/** A request that was not answered within this many milliseconds is sent again: messages may be lost. */
export const RETRY_MS = 1_000;

/**
 * After this node failed to write or check a snapshot, it takes no offer for this many milliseconds. The
 * leader repeats its offer with every heartbeat, and each attempt on a full disk would fail, and log a
 * warning, again.
 */
const FAILURE_PAUSE_MS = 2_000;

/**
 * A source that has not answered for this many milliseconds is given up. The bytes received so far stay in
 * the store, and the next offer, from any leader that has the same snapshot, resumes after them.
 */
const STALLED_MS = 10_000;

/**
 * A snapshot in the store that could not be installed is tried so many times before one is fetched again. A
 * transient error is over by then. Where the disk can't read the file, only a new copy helps, and it is
 * written to another place.
 */
export const STORED_ATTEMPTS_MAX = 3;

export interface SnapshotFetcherParts {
  readonly id: NodeId;
  readonly store: SnapshotStore;
  readonly environment: Environment;
  /** The rate limit, in bytes a second; Infinity: none. */
  readonly bytesPerSecondMax: number;
  /** Sends a message to a node; false: the transport has dropped it. */
  readonly send: (to: NodeId, message: RuntimeMessage) => boolean;
  /**
   * Installs a snapshot that is complete, checked and durable. Resolves when done, or the node stopped.
   * Rejects if nothing was replaced yet, so that the installation can be tried again.
   */
  readonly install: (snapshot: StoredSnapshot) => Promise<void>;
  /** The store's newest snapshot was found damaged, and thrown away. */
  readonly damaged: (error: CorruptSnapshotError) => void;
  /** Something happened that must not, so the node must stop. */
  readonly failed: (failure: Failure) => void;
  readonly warn: (text: string, fields?: LogFields) => void;
}

/** A request for a chunk that has not been answered yet. */
interface ChunkRequest {
  readonly bytes: number;
  /** In milliseconds of the environment's clock. */
  readonly sentAt: number;
}

/** The snapshot that is being fetched, or installed from the store. */
interface IncomingTransfer {
  /** The node that is asked for chunks: the leader that offered the snapshot last. */
  source: NodeId;
  /** The snapshot must cover the entries up to this one. */
  readonly index: LogIndex;
  /** The snapshot in the store that is installed without fetching one; null: one is fetched. */
  readonly stored: StoredSnapshot | null;
  /**
   * The file that the chunks are written to; null: the source has not said yet which snapshot it has, or none
   * is fetched.
   */
  incoming: IncomingSnapshot | null;
  /** The offset in the file of the next chunk to request. Every byte before it is received or requested. */
  nextOffset: number;
  /** Requests without an answer, by the chunk's offset. */
  readonly outstanding: Map<number, ChunkRequest>;
  /** Received chunks that wait for an earlier one, by offset: the file is written in order. */
  readonly outOfOrder: Map<number, Uint8Array>;
  /**
   * Since when the source has owed an answer and sent nothing, in milliseconds of the environment's clock:
   * the time of its last message, or, if no request was outstanding after that, of the request that was sent
   * next.
   */
  silentSince: number;
  /**
   * Goes from `fetching` (chunks are missing) to `checking` (the file is read back) to `installing`. With
   * `stored`, it begins with `checking`.
   */
  phase: SnapshotFetchMetrics["phase"];
}

/**
 * Fetches one snapshot at a time.
 *
 * The receiver pulls: no chunk is sent that it did not request. So it alone decides how fast the transfer
 * goes, how much is buffered, and what to request again. A chunk that is lost, doubled or late costs at most
 * one more request (S6). The bytes written stay in the store, so after a lost connection, a change of leader,
 * or a restart of this node, the transfer resumes where it was, as long as the source has the same snapshot.
 *
 * A failure ends the transfer and not the node: the log and the state are as they were, and the next offer
 * tries again. Only a failed assertion stops the node.
 *
 * If an installation fails before it has replaced anything, the store holds a complete snapshot ahead of the
 * node's state. The next offer installs that one. To fetch one again would cost the transfer; and a snapshot
 * of an earlier entry, from a leader that has no later one, would be removed by the store as soon as it is
 * complete, because a later one is there: the node would fetch it again and again, and never catch up (Z9).
 */
export class SnapshotFetcher {
  readonly #parts: SnapshotFetcherParts;
  /** null: none. Set by an offer; cleared when the snapshot is installed, or the transfer has ended. */
  #transfer: IncomingTransfer | null = null;
  /** Resolves after the last step that was enqueued: steps on the store never overlap (see `#enqueue`). */
  #tail: Promise<void> = Promise.resolve();
  /**
   * The rate limit: no chunk is requested, or requested again, before this time, in milliseconds of the
   * environment's clock. Each request moves it on: the answer to a repeated one takes as many bytes.
   */
  #nextRequestAt = -Infinity;
  /** In milliseconds of the environment's clock; set by each failure. No offer is taken before it. */
  #notBefore = -Infinity;
  /**
   * How often in a row the snapshot in the store could not be installed. Reset when one is fetched instead.
   */
  #storedFailures = 0;
  /** Bytes of one chunk: fewer at a low rate limit, so that several requests are sent each second. */
  readonly #chunkBytes: number;
  /** Sends requests again, and notices a silent source. Runs while there is a transfer. */
  #retryTimer: Timer | null = null;
  /** Fires when the rate limit allows the next request. */
  #rateTimer: Timer | null = null;
  #stopped = false;

  constructor(parts: SnapshotFetcherParts) {
    this.#parts = parts;
    const share = Math.floor(parts.bytesPerSecondMax / 4);
    this.#chunkBytes = Math.min(CHUNK_BYTES, Math.max(CHUNK_BYTES_MIN, share));
  }

  get isInstalling(): boolean {
    return this.#transfer?.phase === "installing";
  }

  get metrics(): SnapshotFetchMetrics | null {
    const transfer = this.#transfer;
    if (transfer === null) return null;
    const { source: from, phase, incoming, stored } = transfer;
    const bytesDone = incoming?.offset ?? stored?.bytes ?? 0;
    return { from, phase, bytesDone, bytesTotal: incoming?.bytes ?? stored?.bytes ?? null };
  }

  /**
   * A leader offers a snapshot that covers the entries up to `index`. It repeats the offer with each
   * heartbeat, as long as this node needs one; only the first begins a transfer.
   */
  onOffer(source: NodeId, index: LogIndex): void {
    if (this.#stopped) return;
    const now = this.#parts.environment.now();
    const transfer = this.#transfer;
    if (transfer === null) {
      if (now < this.#notBefore) return;
      this.#transfer = this.#newTransfer(source, index, now);
      this.#begin(this.#transfer);
      return;
    }
    // A new leader: go on with it. If it has another snapshot, it says so (`onGone`).
    if (transfer.source === source || transfer.phase !== "fetching") return;
    transfer.source = source;
    transfer.silentSince = now;
    this.#resendAll(transfer);
  }

  /**
   * The state is now that after entry `index`. If it has passed the snapshot that is being fetched, as the
   * entries came from another leader's log, the transfer ends: its rest would cost the source and the
   * network, and the source would keep its log for it.
   */
  onApplied(index: LogIndex): void {
    const transfer = this.#transfer;
    if (transfer?.phase !== "fetching" || index < transfer.index) return;
    const { incoming } = transfer;
    if (incoming === null) {
      // A source that has not named its snapshot yet notices by itself that no more requests come. `#open`
      // removes a file that is being opened.
      this.#transfer = null;
      return;
    }
    this.#end(transfer, incoming.id, true);
    // The file is removed after the step under way, which may be writing it. Another offer, if there ever is
    // one, will be of a later snapshot.
    this.#tail = this.#tail.then(() => this.#remove(incoming));
  }

  onChunk(message: SnapshotChunk): void {
    const transfer = this.#transfer;
    if (transfer?.source !== message.from || transfer.phase !== "fetching") return;
    transfer.silentSince = this.#parts.environment.now();
    if (transfer.incoming === null) {
      // The answer to the first request. It names the snapshot, of which the store may hold a part already.
      if (!transfer.outstanding.has(0)) return;
      transfer.outstanding.clear();
      this.#enqueue(transfer, () => this.#open(transfer, message.id, message.size));
      return;
    }
    const { incoming } = transfer;
    if (message.id !== incoming.id || message.size !== incoming.bytes) return;
    const request = transfer.outstanding.get(message.offset);
    // Ignored: it is a duplicate, or shorter than requested, which would leave a hole in the file (S6).
    if (request?.bytes !== message.payload.length) return;
    transfer.outstanding.delete(message.offset);
    transfer.outOfOrder.set(message.offset, message.payload);
    this.#enqueue(transfer, () => this.#write(transfer, incoming));
  }

  /** The source doesn't have that snapshot (any more). Its next offer begins a transfer of the one it has. */
  onGone(message: SnapshotGone): void {
    const transfer = this.#transfer;
    if (transfer?.source !== message.from || transfer.phase !== "fetching") return;
    if (message.id !== (transfer.incoming?.id ?? null)) return;
    this.#enqueue(transfer, () => this.#giveUp(transfer));
  }

  /** Ends the transfer; what has come stays in the store. Resolves when its file is closed; never rejects. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#retryTimer?.cancel();
    this.#rateTimer?.cancel();
    const transfer = this.#transfer;
    this.#transfer = null;
    await this.#tail;
    if (transfer?.phase !== "fetching") return;
    try {
      await transfer.incoming?.suspend();
    } catch (error) {
      // The state machine is closed after this, whatever becomes of the file.
      this.#parts.warn(`the file of a snapshot could not be closed: ${reasonOf(error)}`);
    }
  }

  #newTransfer(source: NodeId, index: LogIndex, now: number): IncomingTransfer {
    const { newest } = this.#parts.store;
    const isStored = newest !== null && newest.position.index >= index;
    const usesStored = isStored && this.#storedFailures < STORED_ATTEMPTS_MAX;
    if (!usesStored) this.#storedFailures = 0;
    return {
      source,
      // The store would remove one of an earlier entry than its newest.
      index: isStored ? newest.position.index : index,
      stored: usesStored ? newest : null,
      ...{ incoming: null, nextOffset: 0, outstanding: new Map(), outOfOrder: new Map() },
      ...{ silentSince: now, phase: usesStored ? "checking" : "fetching" },
    };
  }

  #begin(transfer: IncomingTransfer): void {
    const { stored } = transfer;
    if (stored === null) {
      this.#requestMore(transfer);
      return;
    }
    this.#armRetryTimer();
    this.#enqueue(transfer, () => this.#installStored(transfer, stored));
  }

  // --- Steps on the store, one after another -----------------------------------------------------

  /** Installs the store's snapshot, whose installation has failed before. */
  async #installStored(transfer: IncomingTransfer, stored: StoredSnapshot): Promise<void> {
    const { store, damaged } = this.#parts;
    this.#storedFailures += 1;
    try {
      // The whole file is read before anything is replaced: the error that made the installation fail may
      // have been the first of a failing disk.
      await verifyStored(store, stored);
    } catch (error) {
      if (!(error instanceof CorruptSnapshotError)) throw error;
      if (this.#transfer === transfer) this.#transfer = null;
      await store.discard(stored.id);
      damaged(error);
      return;
    }
    if (this.#transfer !== transfer) return;
    transfer.phase = "installing";
    await this.#parts.install(stored);
    this.#storedFailures = 0;
    this.#end(transfer, stored.id, true);
  }

  async #open(transfer: IncomingTransfer, id: string, bytes: number): Promise<void> {
    const incoming = await this.#parts.store.receive(id, bytes);
    if (this.#transfer !== transfer) {
      // Only `stop` and `onApplied` end a transfer meanwhile.
      await (this.#stopped ? incoming.suspend() : this.#remove(incoming));
      return;
    }
    transfer.incoming = incoming;
    if (incoming.offset > bytes) {
      // Nothing would be requested, and so nothing answered: the transfer would never end.
      const text = `${transfer.source} announces ${String(bytes)} bytes, and ${String(incoming.offset)} are here`;
      throw new StorageFailedError(text, "not-done");
    }
    transfer.nextOffset = incoming.offset;
    if (incoming.offset === bytes) await this.#complete(transfer, incoming);
    else this.#requestMore(transfer);
  }

  async #write(transfer: IncomingTransfer, incoming: IncomingSnapshot): Promise<void> {
    for (;;) {
      const payload = transfer.outOfOrder.get(incoming.offset);
      if (payload === undefined || this.#transfer !== transfer) break;
      transfer.outOfOrder.delete(incoming.offset);
      await incoming.write(payload);
    }
    if (this.#transfer !== transfer || transfer.phase !== "fetching") return;
    if (incoming.offset === incoming.bytes) await this.#complete(transfer, incoming);
    else this.#requestMore(transfer);
  }

  async #complete(transfer: IncomingTransfer, incoming: IncomingSnapshot): Promise<void> {
    transfer.phase = "checking";
    let intact = false;
    try {
      const snapshot = await incoming.finish();
      intact = true;
      transfer.phase = "installing";
      await this.#parts.install(snapshot);
    } catch (error) {
      if (!(error instanceof CorruptSnapshotError)) throw error;
      this.#pauseAfterFailure();
      this.#parts.warn(
        `a snapshot from ${transfer.source} did not arrive as it was written: ${error.message}`,
        {
          from: transfer.source,
        },
      );
    }
    // The file may be damaged where it came from: `intact` false makes the sender check it.
    this.#end(transfer, incoming.id, intact);
  }

  /** The transfer has ended. The source is told, so that it closes its file and keeps less of its log. */
  #end(transfer: IncomingTransfer, id: string, intact: boolean): void {
    const { id: from, send } = this.#parts;
    if (!this.#stopped) send(transfer.source, { type: "snapshot-end", from, id, intact });
    if (this.#transfer === transfer) this.#transfer = null;
  }

  /** Removes the file of a snapshot that is of no use any more. */
  async #remove(incoming: IncomingSnapshot): Promise<void> {
    try {
      await incoming.abort();
    } catch (error) {
      this.#parts.warn(`the file of a snapshot could not be removed: ${reasonOf(error)}`);
    }
  }

  async #giveUp(transfer: IncomingTransfer): Promise<void> {
    if (this.#transfer !== transfer) return;
    this.#transfer = null;
    await transfer.incoming?.suspend();
  }

  /** Runs a step after those before it, unless the transfer has ended by then. An error ends the transfer. */
  #enqueue(transfer: IncomingTransfer, step: () => Promise<void>): void {
    this.#tail = this.#tail.then(async () => {
      if (this.#transfer !== transfer) return;
      try {
        await step();
      } catch (error) {
        if (this.#transfer === transfer) this.#transfer = null;
        this.#onFailure(transfer, error);
        await transfer.incoming?.abort().catch(() => undefined);
      }
    });
  }

  #onFailure({ source: from, stored }: IncomingTransfer, error: unknown): void {
    if (this.#stopped) return;
    // A retry would fail the same way, and hide it.
    if (error instanceof ProtocolViolation) {
      const message = `something happened with a snapshot that must not, so the node stops: ${reasonOf(error)}`;
      this.#parts.failed({ kind: "node", message, cause: error });
      return;
    }
    this.#pauseAfterFailure();
    const what = stored === null ? "received" : "installed";
    this.#parts.warn(`a snapshot could not be ${what}: ${reasonOf(error)}`, { from });
  }

  #pauseAfterFailure(): void {
    this.#notBefore = this.#parts.environment.now() + FAILURE_PAUSE_MS;
  }

  // --- Requests ----------------------------------------------------------------------------------

  /** Requests as many chunks as the window and the rate limit allow. */
  #requestMore(transfer: IncomingTransfer): void {
    this.#armRetryTimer();
    const { incoming } = transfer;
    if (incoming === null) {
      this.#request(transfer, 0, 0);
      return;
    }
    while (
      transfer.nextOffset < incoming.bytes &&
      transfer.outstanding.size + transfer.outOfOrder.size < WINDOW_CHUNKS
    ) {
      if (this.#mustWait()) return;
      const bytes = Math.min(this.#chunkBytes, incoming.bytes - transfer.nextOffset);
      this.#request(transfer, transfer.nextOffset, bytes);
      transfer.nextOffset += bytes;
    }
  }

  /** Whether the rate limit allows no request now. Then a timer goes on when it does. */
  #mustWait(): boolean {
    if (this.#parts.environment.now() >= this.#nextRequestAt) return false;
    this.#armRateTimer();
    return true;
  }

  #request(transfer: IncomingTransfer, offset: number, bytes: number): void {
    const sentAt = this.#parts.environment.now();
    const costMs = (bytes / this.#parts.bytesPerSecondMax) * 1000;
    this.#nextRequestAt = Math.max(this.#nextRequestAt, sentAt) + costMs;
    if (transfer.outstanding.size === 0) transfer.silentSince = sentAt;
    transfer.outstanding.set(offset, { bytes, sentAt });
    this.#sendRequest(transfer, offset, bytes);
  }

  #sendRequest(transfer: IncomingTransfer, offset: number, bytes: number): void {
    const { id: from, send } = this.#parts;
    const { source, index, incoming, stored } = transfer;
    const id = (incoming ?? stored)?.id ?? null;
    send(source, { type: "snapshot-request", from, id, index, offset, bytes });
  }

  /** Sends requests again that were not answered in time, as the rate limit allows. False: some must wait. */
  #resend(transfer: IncomingTransfer): boolean {
    const now = this.#parts.environment.now();
    for (const [offset, { bytes, sentAt }] of [...transfer.outstanding]) {
      if (now - sentAt < RETRY_MS) continue;
      if (this.#mustWait()) return false;
      this.#request(transfer, offset, bytes);
    }
    return true;
  }

  /** Sends all open requests again: the source has changed, and the new source has got none of them. */
  #resendAll(transfer: IncomingTransfer): void {
    for (const [offset, request] of transfer.outstanding)
      transfer.outstanding.set(offset, { ...request, sentAt: -Infinity });
    this.#resend(transfer);
  }

  #armRetryTimer(): void {
    this.#retryTimer ??= this.#parts.environment.setTimer(RETRY_MS, () => {
      this.#retryTimer = null;
      const transfer = this.#transfer;
      if (transfer === null) return;
      const now = this.#parts.environment.now();
      if (transfer.phase !== "fetching") {
        this.#keepTransferAlive(transfer);
      } else if (now - transfer.silentSince >= STALLED_MS && transfer.outstanding.size > 0) {
        this.#enqueue(transfer, () => this.#giveUp(transfer));
        return;
      } else {
        this.#resend(transfer);
      }
      this.#armRetryTimer();
    });
  }

  /**
   * All chunks have come, and the snapshot is being checked or installed. Requests of zero bytes keep the
   * transfer open at the sender, so that the log after the snapshot stays until this node can go on with it
   * (S12).
   */
  #keepTransferAlive(transfer: IncomingTransfer): void {
    const snapshot = transfer.incoming ?? transfer.stored;
    assert(snapshot !== null, "what is checked was fetched, or is in the store");
    this.#sendRequest(transfer, snapshot.bytes, 0);
  }

  #armRateTimer(): void {
    const delayMs = this.#nextRequestAt - this.#parts.environment.now();
    this.#rateTimer ??= this.#parts.environment.setTimer(delayMs, () => {
      this.#rateTimer = null;
      // Another transfer may have begun meanwhile: the limit holds for all of them together.
      const transfer = this.#transfer;
      if (transfer?.phase === "fetching" && this.#resend(transfer)) this.#requestMore(transfer);
    });
  }
}

/**
 * Reads and checks a whole snapshot.
 *
 * @throws CorruptSnapshotError it is damaged; StorageFailedError it is not in the store any more
 */
async function verifyStored(store: SnapshotStore, { id }: StoredSnapshot): Promise<void> {
  const reader = await store.read(id);
  if (reader === null) throw new StorageFailedError("it is not in the store any more", "not-done");
  try {
    await reader.verify();
  } finally {
    await reader.close();
  }
}
