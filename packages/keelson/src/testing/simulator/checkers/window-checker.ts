/**
 * BOUND: a leader sends a follower no more ahead of its answers than the limits on messages and bytes allow.
 * What is beyond them waits in the queues of the transport and of a slow follower, where nothing else limits
 * it, and is dropped there.
 */
import type { AppendEntries } from "../../../core/message.ts";
import type { FollowerProgress } from "../../../core/node.ts";
import type { LogIndex, NodeId } from "../../../core/position.ts";
import { assertInvariant } from "./violation.ts";

/** The limits: see `RaftNodeOptions`. */
export interface WindowLimits {
  readonly inflightMessagesMax: number;
  readonly inflightBytesMax: number;
}

/** The core's defaults. */
const DEFAULT_LIMITS: WindowLimits = { inflightMessagesMax: 64, inflightBytesMax: 8 * 1024 * 1024 };

/** Watches what one process sends. Made anew for each start of the process. */
export class WindowChecker {
  readonly #id: NodeId;
  readonly #limits: WindowLimits;
  /**
   * For each follower, the bytes of the messages with entries that were sent to it and aren't acknowledged,
   * by the index of the last entry. Only what was sent while the leader knew where the logs agree: a follower
   * that it is still comparing its log with gets one message at a time.
   */
  readonly #inFlight = new Map<NodeId, Map<LogIndex, number>>();

  /** `limits` null: the core's defaults. */
  constructor(id: NodeId, limits: WindowLimits | null) {
    this.#id = id;
    this.#limits = limits ?? DEFAULT_LIMITS;
  }

  /** The leader sends this message; `progress`: what it knows of its receiver, undefined if nothing. */
  sending(
    to: NodeId,
    { entries }: AppendEntries,
    records: readonly Uint8Array[],
    progress: FollowerProgress | undefined,
  ): void {
    if (progress?.state !== "replicate") {
      this.#inFlight.delete(to);
      return;
    }
    if (records.length === 0) return;
    const inFlight = this.#inFlight.get(to) ?? new Map<LogIndex, number>();
    this.#inFlight.set(to, inFlight);
    for (const last of inFlight.keys()) if (last <= progress.match) inFlight.delete(last);
    // It begins anew after what is acknowledged. What was sent before was a probe, whose records took long to
    // be read, so that the leader has had an answer to a heartbeat meanwhile; or it counts as lost.
    if (entries.prev.index <= progress.match) inFlight.clear();
    let bytes = 0;
    for (const size of inFlight.values()) bytes += size;
    const { inflightMessagesMax, inflightBytesMax } = this.#limits;
    assertInvariant(
      inFlight.has(entries.lastIndex) || (inFlight.size < inflightMessagesMax && bytes < inflightBytesMax),
      "BOUND",
      () =>
        `${this.#id} sends ${to} more, and ${String(inFlight.size)} messages of ${String(bytes)} bytes wait`,
    );
    let own = 0;
    for (const { length } of records) own += length;
    inFlight.set(entries.lastIndex, own);
  }
}
