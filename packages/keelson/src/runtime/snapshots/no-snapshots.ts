// Stands in for the snapshot manager on a node that was opened without the option `snapshots`.
import type { LogFields } from "../../log-event.ts";
import type { InstallSnapshot } from "../../core/message.ts";
import { InvalidOptionError } from "../../errors.ts";
import type { SnapshotMetrics } from "../shared/index.ts";
import type { SnapshotService } from "./snapshot-service.ts";

/** A node that was opened without `snapshots`: it takes none, offers none, and can't fetch one. */
export class NoSnapshots implements SnapshotService {
  readonly metrics = null;
  readonly newestIndex = null;
  readonly isInstalling = false;
  readonly #warn: (text: string, fields?: LogFields) => void;
  #hasWarned = false;

  constructor(warn: (text: string, fields?: LogFields) => void) {
    this.#warn = warn;
  }

  /**
   * This node can't catch up any more, because it can't fetch the snapshot. It logs that once, as the leader
   * repeats its offer with every heartbeat.
   */
  snapshotOffered(offer: InstallSnapshot): void {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    this.#warn(
      "this node lacks entries that are gone from the leader's log, and cannot fetch a snapshot: open it with the option `snapshots`",
      { leader: offer.from },
    );
  }

  take(): Promise<SnapshotMetrics> {
    return Promise.reject(
      new InvalidOptionError("the node takes no snapshots: give Raft.open the option `snapshots`"),
    );
  }

  start(): void {
    // Nothing to do, as in the methods below.
  }

  applied(): void {
    // Nothing to do.
  }

  snapshotsNeeded(): void {
    // There is no snapshot to offer.
  }

  onMessage(): void {
    // No transfer is under way.
  }

  stop(): void {
    // No caller waits for a snapshot.
  }

  finish(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
