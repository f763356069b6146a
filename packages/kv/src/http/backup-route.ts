/** `GET /snapshot`: takes a snapshot of the node's state and streams its file, as a backup. */
import type { SnapshotReader, SnapshotStore } from "keelson/storage/snapshots";
import type { KvNode } from "../node/kv-node.ts";
import { errorAnswer, overloaded, type ErrorAnswer } from "./error-answers.ts";

/** The most backups at once. Each keeps its snapshot file from being deleted. */
const BACKUPS_MAX = 4;
/** Bytes read from the file at a time. The next part is read when the client has taken this one. */
const PART_BYTES = 256 * 1024;

/** Streams snapshot files to clients, a limited number at a time. */
export class Backups {
  /** Backups being prepared or sent; while one goes over from one to the other, it counts as two. */
  #running = 0;

  /**
   * Takes a snapshot and answers with its file. Unless `mayBeStale`, the snapshot holds every write that was
   * answered before this call.
   */
  async send(node: KvNode, snapshots: SnapshotStore, mayBeStale: boolean): Promise<Response | ErrorAnswer> {
    if (this.#running >= BACKUPS_MAX) return overloaded(`${BACKUPS_MAX} backups are on their way already`);
    this.#running += 1;
    try {
      // A follower may lag. A linearizable read waits until it has applied what the leader has committed.
      if (!mayBeStale) await node.read(() => null);
      await node.snapshot();
      const { newest } = snapshots;
      const reader = newest === null ? null : await snapshots.read(newest.id);
      if (reader === null)
        return errorAnswer(503, "SNAPSHOT_FAILED", "the snapshot is gone already; try again");
      return this.#stream(reader);
    } finally {
      this.#running -= 1;
    }
  }

  #stream(reader: SnapshotReader): Response {
    const { position, bytes } = reader.snapshot;
    let offset = 0;
    this.#running += 1;
    const end = async (): Promise<void> => {
      this.#running -= 1;
      await reader.close();
    };
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        try {
          const part = await reader.read(offset, PART_BYTES);
          offset += part.length;
          if (part.length > 0) controller.enqueue(part);
          if (offset < bytes && part.length > 0) return;
          await end();
          controller.close();
        } catch (error) {
          await end();
          controller.error(error);
        }
      },
      // The client closed the connection.
      cancel: end,
    });
    return new Response(body, {
      headers: {
        "Content-Type": "application/octet-stream",
        "Content-Length": String(bytes),
        "Cache-Control": "no-store",
        "Keelson-Snapshot": `index=${position.index}, term=${position.term}`,
      },
    });
  }
}
