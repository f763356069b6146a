// Takes snapshots of this node's own state while commands are still applied (§7).
import type { LogFields } from "../../log-event.ts";
import { checkBytes } from "../../codec/copy-bytes.ts";
import { encodeMembership } from "../../codec/config.ts";
import { assert } from "../../core/assert.ts";
import type { RaftNode } from "../../core/node.ts";
import type { LogIndex } from "../../core/position.ts";
import type { Environment, Timer } from "../../environment/environment.ts";
import { ClosedError, SnapshotFailedError } from "../../errors.ts";
import type { SnapshotDraft, SnapshotStore, StoredSnapshot } from "../../storage/snapshot-store.ts";
import {
  reasonOf,
  stateMachineFailure,
  StateMachineFailure,
  type Failure,
  type SnapshotPolicy,
  type StateMachine,
} from "../shared/index.ts";
import type { Applier, LogRecords } from "../loop/index.ts";
import type { MembershipHistory } from "../members/index.ts";
import { writeRecords, type SessionTable, type SessionTableView } from "../sessions/index.ts";

/**
 * After a failed snapshot, the policy starts no other for this many milliseconds. Without the pause a full
 * disk would be filled and cleared again after every batch. A caller's own request doesn't wait.
 */
const FAILURE_PAUSE_MS = 10_000;

/**
 * The policy starts a snapshot only when the log written since the last one is at least this share of that
 * one's size. Otherwise a large state would be written out again and again for a few entries. The price is a
 * longer log to replay.
 */
const LOG_SHARE_MIN = 0.25;

export interface SnapshotTakerParts<Command, Result> {
  readonly store: SnapshotStore;
  readonly policy: SnapshotPolicy;
  readonly stateMachine: StateMachine<Command, Result>;
  readonly sessions: SessionTable;
  readonly applier: Applier<Command, Result>;
  readonly core: RaftNode;
  readonly logRecords: LogRecords;
  readonly memberships: MembershipHistory;
  readonly environment: Environment;
  readonly clusterId: () => string | null;
  /** The snapshot is durable, and the newest in the store. */
  readonly taken: (snapshot: StoredSnapshot) => void;
  /** Called when the state machine has found that its state can't be used. It stops the node. */
  readonly failed: (failure: Failure) => void;
  readonly log: (level: "info" | "warn", text: string, fields?: LogFields) => void;
}

/** A snapshot that is being written to the store. */
interface SnapshotInProgress {
  /** The last entry whose effects it holds. */
  readonly index: LogIndex;
  /** Bytes of the state written so far. */
  bytesDone: number;
  /** Resolves when it is durable; rejects with `SnapshotFailedError`. */
  readonly result: Promise<StoredSnapshot>;
}

/**
 * Takes snapshots: by the policy, and when a caller asks for one. At most one is in progress.
 *
 * If the state in a snapshot were newer or older than its index says, a node restored from it would apply
 * some entries twice, or skip some (S5). So `StateMachine.snapshot()` is called between two batches, when the
 * state is exactly that after the last applied entry; the session table, the position and the membership are
 * read at the same moment. The applier then continues while the bytes are read and written. So a large state
 * delays no command; the price is that the state machine keeps a copy or a view of that moment (see
 * `StateMachine.snapshot`).
 */
export class SnapshotTaker<Command, Result> {
  readonly #parts: SnapshotTakerParts<Command, Result>;
  /** null: none. Set by `#begin`, and cleared when that snapshot is durable or has failed. */
  #inProgress: SnapshotInProgress | null = null;
  /** Set while the installer replaces the state: no snapshot is started, and one in progress gives up. */
  #suspended = false;
  /** In milliseconds of the environment's clock; set by each failure. The policy starts none before it. */
  #notBefore = -Infinity;
  /** Asks the policy again when the pause after the last failure ends; null: no snapshot has failed yet. */
  #pauseTimer: Timer | null = null;
  #stopped = false;
  #count = 0;

  constructor(parts: SnapshotTakerParts<Command, Result>) {
    this.#parts = parts;
  }

  /** How many snapshots this process has taken. */
  get count(): number {
    return this.#count;
  }

  /** The snapshot in progress: its index, and the bytes of the state written so far; null: there is none. */
  get progress(): { readonly index: LogIndex; readonly bytesDone: number } | null {
    if (this.#inProgress === null) return null;
    const { index, bytesDone } = this.#inProgress;
    return { index, bytesDone };
  }

  /**
   * Takes a snapshot if the policy says that one is due. Called whenever that may have changed: at the start,
   * after each applied batch, and when whatever kept one from being taken has ended (another snapshot, an
   * installation, the pause after a failure). Without the last of these, a node that applies nothing more
   * would keep a log for which a snapshot is due.
   */
  takeIfDue(): void {
    if (this.#inProgress === null && !this.#suspended && this.#isDue()) this.takeInBackground();
  }

  /**
   * Takes a snapshot unless one is in progress, or has failed within `FAILURE_PAUSE_MS`. A failure is only
   * logged.
   */
  takeInBackground(): void {
    if (this.#inProgress !== null || this.#stopped || this.#parts.environment.now() < this.#notBefore) return;
    this.#take().catch((error: unknown) => {
      if (!this.#stopped) this.#parts.log("warn", reasonOf(error));
    });
  }

  /**
   * Resolves with a durable snapshot that holds every entry applied before the call. If the one in progress
   * is of an earlier state, another is taken after it. Unlike the policy, it doesn't wait after a failure.
   */
  async takeCurrent(): Promise<StoredSnapshot> {
    const index = this.#parts.applier.applied.index;
    for (;;) {
      const snapshot = await (this.#inProgress?.result ?? this.#take());
      if (snapshot.position.index >= index) return snapshot;
    }
  }

  /**
   * The state is about to be replaced: the snapshot in progress gives up. Resolves when it no longer reads
   * the state.
   */
  suspend(): Promise<void> {
    this.#suspended = true;
    return this.idle();
  }

  /** The state was replaced, or stayed as it was. */
  resume(): void {
    this.#suspended = false;
    this.takeIfDue();
  }

  /**
   * The node stops: the snapshot in progress gives up. The registry of calls has ended the calls that wait
   * for it.
   */
  stop(): void {
    this.#stopped = true;
    this.#pauseTimer?.cancel();
  }

  /** Resolves when no snapshot is in progress. */
  idle(): Promise<void> {
    return this.#inProgress?.result.then(ignore, ignore) ?? Promise.resolve();
  }

  #isDue(): boolean {
    const { policy, store, applier, core, logRecords, environment } = this.#parts;
    const { newest } = store;
    const { index } = applier.applied;
    const from = Math.max(newest?.position.index ?? 0, core.log.base.index);
    if (index <= from || environment.now() < this.#notBefore) return false;
    const count = index - from;
    const bytes = logRecords.bytesBetween(from + 1, index + 1);
    if (bytes < LOG_SHARE_MIN * (newest?.bytes ?? 0)) return false;
    return count >= policy.everyEntries || bytes >= policy.everyBytes;
  }

  /** Waits for the end of the batch being applied, if there is one, and takes a snapshot then. */
  #take(): Promise<StoredSnapshot> {
    const deferred = Promise.withResolvers<StoredSnapshot>();
    this.#parts.applier.runBetweenBatches(() => {
      // A throw would end the applier's loop, and with it the node, for a snapshot that merely fails.
      try {
        deferred.resolve(this.#inProgress?.result ?? this.#begin());
      } catch (error) {
        deferred.reject(this.#failed(error));
      }
    });
    return deferred.promise;
  }

  /**
   * Called between two batches: all that goes into the snapshot is read before this returns (S5, M5). Throws
   * what the state machine throws.
   */
  #begin(): Promise<StoredSnapshot> {
    const { applier, sessions, memberships, stateMachine, store } = this.#parts;
    if (this.#stopped) return Promise.reject(new ClosedError());
    if (this.#suspended)
      return Promise.reject(new SnapshotFailedError("another node's snapshot is being installed"));
    const position = applier.applied;
    if (position.index === 0) {
      return Promise.reject(new SnapshotFailedError("nothing is applied yet, so there is nothing to take"));
    }
    // A later one is another node's whose installation has failed and is tried again. It holds all that is
    // applied here, and the store would remove an earlier one at once.
    const { newest } = store;
    if (newest !== null && newest.position.index >= position.index) return Promise.resolve(newest);
    // Not the latest membership: a later one may be uncommitted, and a node restored from it would vote by it
    // (M5).
    const membership = memberships.at(position.index);
    assert(membership !== null, "what is applied was written by a cluster with members");
    assert(stateMachine.snapshot !== undefined, "the options were checked");
    const chunks = stateMachine.snapshot()[Symbol.asyncIterator]();
    // An async generator runs nothing before its first `next`: asked for later, it would copy a later state.
    const first = chunks.next();
    first.catch(ignore);
    const header = {
      clusterId: this.#parts.clusterId() ?? "",
      position,
      membership: encodeMembership(membership.membership),
    };
    const inProgress: SnapshotInProgress = {
      index: position.index,
      bytesDone: 0,
      result: this.#write(header, sessions.openView(), chunks, first, (bytes) => {
        inProgress.bytesDone += bytes;
      }).finally(() => {
        this.#inProgress = null;
        this.takeIfDue();
      }),
    };
    this.#inProgress = inProgress;
    return inProgress.result;
  }

  async #write(
    header: Parameters<SnapshotStore["create"]>[0],
    sessions: SessionTableView,
    chunks: AsyncIterator<Uint8Array>,
    first: Promise<IteratorResult<Uint8Array>>,
    wrote: (bytes: number) => void,
  ): Promise<StoredSnapshot> {
    const { store, log, taken, environment } = this.#parts;
    let draft: SnapshotDraft | null = null;
    let isPublishing = false;
    try {
      draft = await store.create(header, this.#untilGivenUp(writeRecords(sessions.records(), environment)));
      sessions.close();
      for (let chunk = await first; chunk.done !== true; chunk = await chunks.next()) {
        if (this.#mustGiveUp()) throw new ClosedError();
        checkBytes(chunk.value, "a chunk of the state machine's snapshot");
        await draft.write(chunk.value);
        wrote(chunk.value.length);
      }
      isPublishing = true;
      const snapshot = await draft.finish();
      draft = null;
      this.#count += 1;
      log("info", `took a snapshot of the state after entry ${String(snapshot.position.index)}`, {
        index: snapshot.position.index,
        bytes: snapshot.bytes,
      });
      taken(snapshot);
      return snapshot;
    } catch (error) {
      await settled(chunks.return?.());
      await settled(draft?.abort());
      throw this.#failed(error, isPublishing ? "unknown" : "not-done");
    } finally {
      sessions.close();
    }
  }

  /** Ends with an error when the snapshot gives up, so that closing a node doesn't wait for a large table. */
  async *#untilGivenUp(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const piece of pieces) {
      if (this.#mustGiveUp()) throw new ClosedError();
      yield piece;
    }
  }

  /** For `FAILURE_PAUSE_MS`, the policy starts no other snapshot. */
  #pause(): void {
    const { environment } = this.#parts;
    this.#notBefore = environment.now() + FAILURE_PAUSE_MS;
    this.#pauseTimer?.cancel();
    if (this.#stopped) return;
    this.#pauseTimer = environment.setTimer(FAILURE_PAUSE_MS, () => {
      // Reset, because a timer may fire a little before the time that it was set for, and `#isDue` would
      // still see the pause.
      this.#notBefore = -Infinity;
      this.takeIfDue();
    });
  }

  /** A method, because TypeScript would otherwise assume that the fields are unchanged after an `await`. */
  #mustGiveUp(): boolean {
    return this.#stopped || this.#suspended;
  }

  #failed(error: unknown, outcome: "not-done" | "unknown" = "not-done"): SnapshotFailedError {
    // The state machine's disk has failed, or its data are damaged. Reads and later commands would meet that
    // too, so the node stops.
    if (error instanceof StateMachineFailure && !this.#stopped)
      this.#parts.failed(stateMachineFailure("its state could not be read for a snapshot", error));
    this.#pause();
    const reason = this.#suspended ? "another node's is being installed" : reasonOf(error);
    return new SnapshotFailedError(`no snapshot could be taken: ${reason}`, outcome, { cause: error });
  }
}

/** Resolves when the promise is settled. A rejection is dropped: it came after the error that is reported. */
async function settled(promise: Promise<unknown> | undefined): Promise<void> {
  try {
    await promise;
  } catch {
    // The error that made the snapshot fail is the one to report.
  }
}

/** Marks a rejection as handled here; the code that awaits the same promise reports it. */
function ignore(): void {
  // Nothing to do.
}
