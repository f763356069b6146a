/** `GET /snapshot`: takes a snapshot of the node's state and streams its file, as a backup. */
import type { SnapshotReader, SnapshotStore } from "keelson/storage/snapshots";
import type { KvNode } from "../node/kv-node.ts";
import { errorResponse, type Answer } from "./answer.ts";
import { errorAnswer, overloaded } from "./error-answers.ts";

/** The most backups at once. Each keeps its snapshot file from being deleted. */
const BACKUPS_MAX = 4;
/** Bytes read from the file at a time. The next part is read when the client has taken this one. */
const PART_BYTES = 256 * 1024;
/**
 * A backup whose client has not taken a part for this long ends when another backup needs its place, though
 * its own deadline has not passed: otherwise four clients that don't read would block all backups until then.
 */
const STALLED_MS = 5000;

/** One backup, from its request to its end. */
interface Backup {
  /**
   * Since when its client has had a part to take, by `performance.now`. null: it isn't waiting for the
   * client.
   */
  waitsSince: number | null;
  readonly ending: AbortController;
}

/** Streams snapshot files to clients, a limited number at a time. */
export class Backups {
  /** Backups being prepared or sent. */
  readonly #running = new Set<Backup>();

  /**
   * Takes a snapshot and answers with its file. Unless `mayBeStale`, the snapshot holds every write that was
   * answered before this call.
   */
  async send(node: KvNode, snapshots: SnapshotStore, mayBeStale: boolean): Promise<Answer> {
    if (this.#running.size >= BACKUPS_MAX) this.#endStalled();
    if (this.#running.size >= BACKUPS_MAX)
      return errorResponse(overloaded(`${BACKUPS_MAX} backups are on their way already`));
    const backup: Backup = { waitsSince: null, ending: new AbortController() };
    this.#running.add(backup);
    let isSending = false;
    try {
      // A follower may lag. A linearizable read waits until it has applied what the leader has committed.
      if (!mayBeStale) await node.read(() => null);
      await node.snapshot();
      const { newest } = snapshots;
      const reader = newest === null ? null : await snapshots.read(newest.id);
      if (reader === null) {
        const message = "the snapshot is gone already; try again";
        return errorResponse(errorAnswer(503, "SNAPSHOT_FAILED", message));
      }
      isSending = true;
      return this.#answer(backup, reader);
    } finally {
      if (!isSending) this.#running.delete(backup);
    }
  }

  #answer(backup: Backup, reader: SnapshotReader): Answer {
    const { position, bytes } = reader.snapshot;
    let offset = 0;
    return {
      status: 200,
      headers: {
        "Content-Type": "application/octet-stream",
        "Cache-Control": "no-store",
        "Keelson-Snapshot": `index=${position.index}, term=${position.term}`,
      },
      body: {
        bytes,
        read: async () => {
          backup.waitsSince = null;
          const part = await reader.read(offset, Math.min(PART_BYTES, bytes - offset));
          offset += part.length;
          backup.waitsSince = performance.now();
          return part;
        },
        close: async () => {
          this.#running.delete(backup);
          await reader.close();
        },
        evicted: backup.ending.signal,
      },
    };
  }

  /** Ends the backup whose client has stalled longest, if one has for `STALLED_MS`. */
  #endStalled(): void {
    let stalled: Backup | null = null;
    let since = performance.now() - STALLED_MS;
    for (const backup of this.#running) {
      if (backup.waitsSince === null || backup.waitsSince > since) continue;
      stalled = backup;
      since = backup.waitsSince;
    }
    if (stalled === null) return;
    this.#running.delete(stalled);
    stalled.ending.abort();
  }
}
