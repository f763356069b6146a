import type { SnapshotReader, SnapshotStore } from "keelson/storage/snapshots";
import { errorAnswer, overloaded, type ErrorAnswer } from "./error-answers.ts";
import type { KvNode } from "../node/kv-node.ts";

/** Backups sent at once: each keeps a snapshot from being deleted. */
const BACKUPS_MAX = 4;
/** Read and sent at once; the next part is read when the client has taken this one. */
const PART_BYTES = 256 * 1024;

/** Sends snapshots of the node's state to whoever wants to keep them. */
export class Backups {
  #running = 0;

  /** Takes a snapshot and streams its file. It holds all that was answered before the request. */
  async send(node: KvNode, snapshots: SnapshotStore, isStaleFine: boolean): Promise<Response | ErrorAnswer> {
    if (this.#running >= BACKUPS_MAX) return overloaded(`${BACKUPS_MAX} backups are on their way already`);
    this.#running += 1;
    try {
      // A follower may lag behind: then it waits until it has caught up with what the leader has now.
      if (!isStaleFine) await node.read(() => null);
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
