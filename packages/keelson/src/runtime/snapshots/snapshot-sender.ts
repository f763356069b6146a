import type { RuntimeMessage, SnapshotEnd, SnapshotRequest } from "../../codec/frame-runtime-message.ts";
import type { LogIndex, NodeId } from "../../core/position.ts";
import type { Environment, Timer } from "../../environment/environment.ts";
import { CorruptSnapshotError } from "../../errors.ts";
import type { SnapshotReader, SnapshotStore, StoredSnapshot } from "../../storage/snapshot-store.ts";
import { reasonOf } from "../failure.ts";
import type { SnapshotSendMetrics } from "../metrics.ts";

/** Nodes that are sent a snapshot at once; others ask again until it is their turn. */
const SENDS_MAX = 8;

/** Requests of one node under way at once: more than its window is a mistake of its own. */
const REQUESTS_MAX = 64;

/** A transfer about which nothing was heard for so long is over: its snapshot, and the log after it, may go. */
export const SEND_IDLE_MS = 30_000;

export interface SnapshotSenderParts {
  readonly id: NodeId;
  readonly store: SnapshotStore;
  readonly environment: Environment;
  readonly send: (to: NodeId, message: RuntimeMessage) => boolean;
  /** How far a follower's log is known to be there; null: this node does not lead, or it is no follower. */
  readonly matchOf: (id: NodeId) => LogIndex | null;
  /** A transfer ended: what was kept for it may go. */
  readonly ended: () => void;
  /** A snapshot turned out to be damaged, and was thrown away: another one is wanted. */
  readonly damaged: (error: CorruptSnapshotError) => void;
  readonly warn: (text: string, fields?: Readonly<Record<string, unknown>>) => void;
}

/** A snapshot on its way to one node. */
interface Send {
  readonly snapshot: StoredSnapshot;
  /** null: it is gone. */
  readonly reader: Promise<SnapshotReader | null>;
  askedAt: number;
  requests: number;
  /** How far the node has asked. */
  bytesDone: number;
}

/**
 * Answers the nodes that fetch a snapshot. It keeps no more than an open file for each of them: they say what they want
 * and how fast, and repeat what was lost.
 */
export class SnapshotSender {
  readonly #parts: SnapshotSenderParts;
  readonly #sends = new Map<NodeId, Send>();
  /** Who has a snapshot of the entries up to `index` now, since when, and needs the log that follows it. */
  readonly #followingUp = new Map<NodeId, { readonly since: number; readonly index: LogIndex }>();
  /** Snapshots that this process has read, or written itself: a damaged one is not sent around. */
  readonly #trusted = new Set<string>();
  #timer: Timer | null = null;
  #stopped = false;

  constructor(parts: SnapshotSenderParts) {
    this.#parts = parts;
  }

  get metrics(): SnapshotSendMetrics[] {
    return [...this.#sends].map(([to, { snapshot, bytesDone }]) => ({
      to,
      index: snapshot.position.index,
      bytesDone,
      bytesTotal: snapshot.bytes,
    }));
  }

  /** The log after this entry will be wanted by those who fetch a snapshot, or have just got one; null: by nobody. */
  get floor(): LogIndex | null {
    const indexes = [...this.#sends.values()].map(({ snapshot }) => snapshot.position.index);
    for (const [to, { index }] of this.#followingUp) {
      const match = this.#parts.matchOf(to);
      if (match !== null) indexes.push(Math.max(match, index));
    }
    return indexes.length === 0 ? null : Math.min(...indexes);
  }

  /** What to offer to a node: what it is fetching already, or the newest. */
  offerFor(to: NodeId, base: LogIndex): StoredSnapshot | null {
    const current = this.#sends.get(to)?.snapshot;
    return current !== undefined && current.position.index >= base ? current : this.#parts.store.newest;
  }

  /** This process has just written it. */
  trust({ id }: StoredSnapshot): void {
    this.#trusted.add(id);
  }

  request(message: SnapshotRequest): void {
    if (this.#stopped) return;
    const { newest } = this.#parts.store;
    const current = this.#sends.get(message.from);
    const id = message.id ?? (newest !== null && newest.position.index >= message.index ? newest.id : null);
    if (id === null) {
      this.#gone(message);
      return;
    }
    const send = current?.snapshot.id === id ? current : this.#begin(message, id);
    if (send === null) return;
    send.askedAt = this.#parts.environment.now();
    if (send.requests >= REQUESTS_MAX || message.offset > send.snapshot.bytes) return;
    send.requests += 1;
    void this.#answer(message, send).finally(() => {
      send.requests -= 1;
    });
  }

  /** The node has the snapshot, or gave it up. */
  ended({ from, id, intact }: SnapshotEnd): void {
    const send = this.#sends.get(from);
    if (send?.snapshot.id !== id) return;
    // It may be ours that is damaged: look before it is sent again.
    if (!intact) this.#trusted.delete(id);
    else
      this.#followingUp.set(from, {
        since: this.#parts.environment.now(),
        index: send.snapshot.position.index,
      });
    this.#end(from);
    this.#watch();
  }

  /** Ends all of them; resolves when every file is closed. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#timer = null;
    const sends = [...this.#sends.values()];
    this.#sends.clear();
    await Promise.all(sends.map((send) => this.#close(send)));
  }

  #begin(message: SnapshotRequest, id: string): Send | null {
    const { store, environment } = this.#parts;
    const { from } = message;
    if (this.#sends.has(from)) this.#end(from);
    const snapshot = store.newest;
    if (snapshot?.id !== id) {
      this.#gone(message);
      return null;
    }
    if (this.#sends.size >= SENDS_MAX) return null;
    const send: Send = {
      snapshot,
      reader: this.#open(id),
      askedAt: environment.now(),
      requests: 0,
      bytesDone: 0,
    };
    // Whoever waits for it is told; nobody may.
    send.reader.catch(() => undefined);
    this.#sends.set(from, send);
    this.#watch();
    return send;
  }

  async #open(id: string): Promise<SnapshotReader | null> {
    const { store, damaged } = this.#parts;
    const reader = await store.read(id);
    if (reader === null || this.#trusted.has(id)) return reader;
    try {
      await reader.verify();
      this.#trusted.add(id);
      return reader;
    } catch (error) {
      await reader.close();
      if (!(error instanceof CorruptSnapshotError)) throw error;
      await store.discard(id);
      damaged(error);
      return null;
    }
  }

  async #answer(message: SnapshotRequest, send: Send): Promise<void> {
    const { id: from, warn } = this.#parts;
    const { from: to, offset, bytes } = message;
    try {
      const reader = await send.reader;
      if (reader === null) {
        if (this.#sends.get(to) === send) this.#end(to);
        this.#gone(message);
        return;
      }
      const payload = bytes === 0 ? NOTHING : await reader.read(offset, bytes);
      if (this.#sends.get(to) !== send) return;
      const { id, bytes: size } = send.snapshot;
      this.#parts.send(to, { type: "snapshot-chunk", from, id, size, offset, payload });
      send.bytesDone = Math.max(send.bytesDone, offset + payload.length);
    } catch (error) {
      if (this.#sends.get(to) !== send) return;
      warn(`a snapshot could not be read to be sent to ${to}: ${reasonOf(error)}`, { to });
      this.#end(to);
    }
  }

  #gone({ from: to, id }: SnapshotRequest): void {
    this.#parts.send(to, { type: "snapshot-gone", from: this.#parts.id, id });
  }

  #end(to: NodeId): void {
    const send = this.#sends.get(to);
    if (send === undefined) return;
    this.#sends.delete(to);
    void this.#close(send).then(() => {
      if (!this.#stopped) this.#parts.ended();
    });
  }

  async #close(send: Send): Promise<void> {
    try {
      await (await send.reader)?.close();
    } catch {
      // It was not opened, or is closed already: nothing is held in either case.
    }
  }

  #watch(): void {
    this.#timer ??= this.#parts.environment.setTimer(SEND_IDLE_MS / 4, () => {
      this.#timer = null;
      const now = this.#parts.environment.now();
      for (const [to, { askedAt }] of [...this.#sends]) if (now - askedAt >= SEND_IDLE_MS) this.#end(to);
      this.#stopFollowingUp(now);
      if (this.#sends.size + this.#followingUp.size > 0) this.#watch();
    });
  }

  #stopFollowingUp(now: number): void {
    const { store, matchOf, ended } = this.#parts;
    const newest = store.newest?.position.index ?? 0;
    const before = this.#followingUp.size;
    for (const [to, { since }] of [...this.#followingUp]) {
      if (now - since >= SEND_IDLE_MS || (matchOf(to) ?? Infinity) >= newest) this.#followingUp.delete(to);
    }
    if (this.#followingUp.size < before) ended();
  }
}

const NOTHING = new Uint8Array(0);
