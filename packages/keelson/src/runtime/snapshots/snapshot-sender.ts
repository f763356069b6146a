// Sends this node's newest snapshot to the nodes that fetch it, by answering their requests for chunks.
import type { LogFields } from "../../log-event.ts";
import type { RuntimeMessage, SnapshotEnd, SnapshotRequest } from "../../codec/frame-runtime-message.ts";
import { assert } from "../../core/assert.ts";
import type { LogIndex, NodeId } from "../../core/position.ts";
import type { Environment, Timer } from "../../environment/environment.ts";
import { CorruptSnapshotError } from "../../errors.ts";
import type { SnapshotReader, SnapshotStore, StoredSnapshot } from "../../storage/snapshot-store.ts";
import { reasonOf, type SnapshotSendMetrics } from "../shared/index.ts";

/** Nodes that are served at once, each by an open file. A further node's request is dropped; it retries. */
const TRANSFERS_MAX = 8;

/** Requests of one node that are answered at once. Its own window is smaller: more would be a fault. */
const REQUESTS_MAX = 64;

/**
 * Bytes of one node's requests that are answered at once: twice what its window of requests asks for, as each
 * may be repeated. More are dropped. They are in memory from the file to the socket, and a node may ask for a
 * mebibyte in each request, again and again.
 */
export const REQUESTED_BYTES_MAX: number = 4 * 1024 * 1024;

/**
 * A transfer ends when its node has sent nothing for this many milliseconds, as it is down or has given up.
 * Without an end the snapshot's file would stay on disk, and the log after it (S12). A node that fetches a
 * snapshot normally sends something every second. After its transfer, the log is kept for it for the same
 * time.
 */
export const TRANSFER_IDLE_MS = 30_000;

export interface SnapshotSenderParts {
  readonly id: NodeId;
  readonly store: SnapshotStore;
  readonly environment: Environment;
  /** Sends a message to a node; false: the transport has dropped it. */
  readonly send: (to: NodeId, message: RuntimeMessage) => boolean;
  /** The last entry known to be on a follower's disk; null: unknown, or this node doesn't lead. */
  readonly matchOf: (id: NodeId) => LogIndex | null;
  readonly warn: (text: string, fields?: LogFields) => void;
}

/** What the sender reports. */
export interface SnapshotSenderHost {
  /** A transfer ended, or the node after one has caught up: less of the log is needed than before. */
  readonly ended: () => void;
  /** A snapshot was found to be damaged and thrown away, so the store may have none now. */
  readonly damaged: (error: CorruptSnapshotError) => void;
}

/** A snapshot on its way to one node. */
interface OutgoingTransfer {
  readonly snapshot: StoredSnapshot;
  /** Open until the transfer ends: the store keeps the file so long. null: the snapshot is gone. */
  readonly reader: Promise<SnapshotReader | null>;
  /** When the node's last request came, in milliseconds of the environment's clock. */
  requestedAt: number;
  /** Requests that are being answered. */
  answering: number;
  /** Bytes that these ask for; at most REQUESTED_BYTES_MAX. */
  answeringBytes: number;
  /** The end of the furthest chunk that was sent, for the metrics. */
  bytesDone: number;
}

/**
 * Answers the nodes that fetch a snapshot.
 *
 * The receiver decides what to request, how fast, and what to request again, so the sender keeps no more than
 * an open file for each receiver. A snapshot's file is the same, byte for byte, on every node that has it, so
 * a receiver can continue with another sender, or with this one after a restart.
 */
export class SnapshotSender {
  readonly #parts: SnapshotSenderParts;
  /** Set once, by `attach`. */
  #attachedHost: SnapshotSenderHost | null = null;
  /** By receiver: one transfer each. */
  readonly #transfers = new Map<NodeId, OutgoingTransfer>();
  /**
   * Receivers that have fetched a snapshot of the entries up to `index`, and still need the log after it.
   * Entered by `onEnd`, at the time `since`; left when the node has caught up with the newest snapshot, or
   * after TRANSFER_IDLE_MS.
   */
  readonly #catchingUp = new Map<NodeId, { readonly since: number; readonly index: LogIndex }>();
  /**
   * The id of the newest snapshot, if this process has written it, or read it in full and found it intact; or
   * of an older one; null: neither. Every other one is read in full before its first chunk is sent: each
   * receiver of a damaged one would fetch it to the end, reject it, and fetch it again.
   */
  #verified: string | null = null;
  #timer: Timer | null = null;
  #stopped = false;

  constructor(parts: SnapshotSenderParts) {
    this.#parts = parts;
  }

  /**
   * Names the host, before the first message. What the host calls uses the sender, so it can't exist before.
   */
  attach(host: SnapshotSenderHost): void {
    assert(this.#attachedHost === null, "a sender has one host");
    this.#attachedHost = host;
  }

  get #host(): SnapshotSenderHost {
    assert(this.#attachedHost !== null, "a host is attached before the first message");
    return this.#attachedHost;
  }

  get metrics(): SnapshotSendMetrics[] {
    return [...this.#transfers].map(([to, { snapshot, bytesDone }]) => ({
      to,
      index: snapshot.position.index,
      bytesDone,
      bytesTotal: snapshot.bytes,
    }));
  }

  /**
   * For each node that is fetching a snapshot, or has just fetched one: the index after which it needs the
   * entries (S12).
   */
  get logNeededAfter(): LogIndex[] {
    const indexes = [...this.#transfers.values()].map(({ snapshot }) => snapshot.position.index);
    for (const [to, { index }] of this.#catchingUp) {
      const match = this.#parts.matchOf(to);
      if (match !== null) indexes.push(Math.max(match, index));
    }
    return indexes;
  }

  /**
   * The snapshot to offer to a follower: the one that it is fetching, if the log (which begins after `base`)
   * still continues from it; else the newest. Offered each newer one, the follower would start over again and
   * again.
   */
  snapshotFor(to: NodeId, base: LogIndex): StoredSnapshot | null {
    const current = this.#transfers.get(to)?.snapshot;
    return current !== undefined && current.position.index >= base ? current : this.#parts.store.newest;
  }

  /** This process has just written the snapshot, so it need not be read before it is sent. */
  markVerified({ id }: StoredSnapshot): void {
    // Transfers begin with the newest one only. To note every id would take memory for each snapshot.
    if (id === this.#parts.store.newest?.id) this.#verified = id;
  }

  /** A node asks for a chunk; a request of zero bytes only says that the node still needs the snapshot. */
  onRequest(message: SnapshotRequest): void {
    if (this.#stopped) return;
    const { newest } = this.#parts.store;
    const current = this.#transfers.get(message.from);
    const id = message.id ?? (newest !== null && newest.position.index >= message.index ? newest.id : null);
    if (id === null) {
      this.#sendGone(message);
      return;
    }
    const transfer = current?.snapshot.id === id ? current : this.#begin(message, id);
    if (transfer === null) return;
    transfer.requestedAt = this.#parts.environment.now();
    if (transfer.answering >= REQUESTS_MAX || message.offset > transfer.snapshot.bytes) return;
    if (transfer.answeringBytes + message.bytes > REQUESTED_BYTES_MAX) return;
    transfer.answering += 1;
    transfer.answeringBytes += message.bytes;
    void this.#answer(message, transfer).finally(() => {
      transfer.answering -= 1;
      transfer.answeringBytes -= message.bytes;
    });
  }

  /**
   * A node needs the snapshot no longer. `intact`: it has installed it, or has caught up without it;
   * otherwise what it received was damaged.
   */
  onEnd({ from, id, intact }: SnapshotEnd): void {
    const transfer = this.#transfers.get(from);
    if (transfer?.snapshot.id !== id) return;
    // The file may have been damaged on this node's disk since it was verified, so the next transfer begins
    // with reading it in full.
    if (!intact) {
      if (this.#verified === id) this.#verified = null;
    } else
      this.#catchingUp.set(from, {
        since: this.#parts.environment.now(),
        index: transfer.snapshot.position.index,
      });
    this.#end(from);
    this.#armTimer();
  }

  /** Ends all transfers; resolves when every file is closed. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#timer = null;
    const transfers = [...this.#transfers.values()];
    this.#transfers.clear();
    await Promise.all(transfers.map((transfer) => this.#close(transfer)));
  }

  /**
   * Begins a transfer to the node, in place of an earlier one; null: this node has no such snapshot, or
   * serves too many nodes already.
   */
  #begin(message: SnapshotRequest, id: string): OutgoingTransfer | null {
    const { store, environment } = this.#parts;
    const { from } = message;
    if (this.#transfers.has(from)) this.#end(from);
    const snapshot = store.newest;
    if (snapshot?.id !== id) {
      this.#sendGone(message);
      return null;
    }
    if (this.#transfers.size >= TRANSFERS_MAX) return null;
    const transfer: OutgoingTransfer = {
      snapshot,
      reader: this.#open(id),
      requestedAt: environment.now(),
      answering: 0,
      answeringBytes: 0,
      bytesDone: 0,
    };
    // Each request awaits the reader and reports its error; here the rejection is only marked as handled.
    transfer.reader.catch(() => undefined);
    this.#transfers.set(from, transfer);
    this.#armTimer();
    return transfer;
  }

  /** Opens a snapshot, and checks all of it unless it is known to be intact. A damaged one is discarded. */
  async #open(id: string): Promise<SnapshotReader | null> {
    const { store } = this.#parts;
    const reader = await store.read(id);
    if (reader === null || this.#verified === id) return reader;
    try {
      await reader.verify();
      if (id === store.newest?.id) this.#verified = id;
      return reader;
    } catch (error) {
      await reader.close();
      if (!(error instanceof CorruptSnapshotError)) throw error;
      await store.discard(id);
      this.#host.damaged(error);
      return null;
    }
  }

  async #answer(message: SnapshotRequest, transfer: OutgoingTransfer): Promise<void> {
    const { id: from, warn } = this.#parts;
    const { from: to, offset, bytes } = message;
    try {
      const reader = await transfer.reader;
      if (reader === null) {
        if (this.#transfers.get(to) === transfer) this.#end(to);
        this.#sendGone(message);
        return;
      }
      const payload = bytes === 0 ? NO_BYTES : await reader.read(offset, bytes);
      if (this.#transfers.get(to) !== transfer) return;
      const { id, bytes: size } = transfer.snapshot;
      this.#parts.send(to, { type: "snapshot-chunk", from, id, size, offset, payload });
      transfer.bytesDone = Math.max(transfer.bytesDone, offset + payload.length);
    } catch (error) {
      if (this.#transfers.get(to) !== transfer) return;
      warn(`a snapshot could not be read to be sent to ${to}: ${reasonOf(error)}`, { to });
      this.#end(to);
    }
  }

  #sendGone({ from: to, id }: SnapshotRequest): void {
    this.#parts.send(to, { type: "snapshot-gone", from: this.#parts.id, id });
  }

  #end(to: NodeId): void {
    const transfer = this.#transfers.get(to);
    if (transfer === undefined) return;
    this.#transfers.delete(to);
    void this.#close(transfer).then(() => {
      if (!this.#stopped) this.#host.ended();
    });
  }

  async #close(transfer: OutgoingTransfer): Promise<void> {
    try {
      await (await transfer.reader)?.close();
    } catch {
      // It was not opened, or is closed already: nothing is held in either case.
    }
  }

  /**
   * Ends the transfers that have become idle: checks every quarter of `TRANSFER_IDLE_MS`, while there are
   * any.
   */
  #armTimer(): void {
    this.#timer ??= this.#parts.environment.setTimer(TRANSFER_IDLE_MS / 4, () => {
      this.#timer = null;
      const now = this.#parts.environment.now();
      for (const [to, { requestedAt }] of [...this.#transfers]) {
        if (now - requestedAt >= TRANSFER_IDLE_MS) this.#end(to);
      }
      this.#removeCaughtUp(now);
      if (this.#transfers.size + this.#catchingUp.size > 0) this.#armTimer();
    });
  }

  #removeCaughtUp(now: number): void {
    const { store, matchOf } = this.#parts;
    const newest = store.newest?.position.index ?? 0;
    const before = this.#catchingUp.size;
    for (const [to, { since }] of [...this.#catchingUp]) {
      if (now - since >= TRANSFER_IDLE_MS || (matchOf(to) ?? Infinity) >= newest) this.#catchingUp.delete(to);
    }
    if (this.#catchingUp.size < before) this.#host.ended();
  }
}

const NO_BYTES = new Uint8Array(0);
