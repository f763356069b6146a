// Installs a fetched snapshot: replaces the state, then the log's beginning (§7, Figure 13).
import type { LogFields } from "../../log-event.ts";
import { decodeMembership } from "../../codec/config.ts";
import { assert, ProtocolViolation } from "../../core/assert.ts";
import { sameConfig } from "../../core/config.ts";
import type { RaftNode } from "../../core/node.ts";
import type { LogPosition } from "../../core/position.ts";
import type { Environment } from "../../environment/environment.ts";
import { ClosedError, StorageFailedError } from "../../errors.ts";
import { sameOrigin } from "../../codec/cluster-id.ts";
import type { SnapshotReader, SnapshotStore, StoredSnapshot } from "../../storage/snapshot-store.ts";
import { inTurns, reasonOf, type Failure, type SessionRecords, type StateMachine } from "../shared/index.ts";
import type { Applier, Driver, SnapshotMetadata } from "../loop/index.ts";
import { readRecords, SessionTable } from "../sessions/index.ts";
import type { LogCompactor } from "./log-compactor.ts";
import type { SnapshotTaker } from "./snapshot-taker.ts";

export interface SnapshotInstallerParts<Command, Result> {
  readonly store: SnapshotStore;
  readonly stateMachine: StateMachine<Command, Result>;
  readonly sessions: SessionTable;
  readonly applier: Applier<Command, Result>;
  readonly core: RaftNode;
  readonly driver: Driver;
  readonly taker: SnapshotTaker<Command, Result>;
  readonly compactor: LogCompactor;
  readonly environment: Environment;
  readonly clusterId: () => string | null;
  /** The state is now that after this entry, though the entries up to it were not applied here. */
  readonly installed: (position: LogPosition) => void;
  readonly failed: (failure: Failure) => void;
  readonly log: (level: "info" | "warn", text: string, fields?: LogFields) => void;
}

/** A snapshot that is about to be restored. */
interface OpenedForRestore {
  readonly reader: SnapshotReader;
  /**
   * The sessions in it, as the state machine is given them, and as the table that replaces the present one.
   */
  readonly records: SessionRecords;
  readonly table: SessionTable;
}

/**
 * Installs fetched snapshots, one at a time.
 *
 * A crash may interrupt any step, so the order is what makes it safe (S4):
 *
 * 1. Before `install` is called, the snapshot's file is complete, checked and durable. A node that crashes
 *    from here on finds a received snapshot ahead of its log when it starts, and finishes the installation
 *    (`lifecycle/reconcile.ts`).
 * 2. The state machine replaces its state and makes it durable. Nothing is applied, read or taken meanwhile.
 * 3. The log store makes its log begin after the snapshot. It does so after the state: a log that begins
 *    after entries that the state lacks could not be replayed.
 * 4. The core learns that everything up to the snapshot's index is committed, and the applier continues after
 *    it.
 */
export class SnapshotInstaller<Command, Result> {
  readonly #parts: SnapshotInstallerParts<Command, Result>;
  #stopped = false;
  #count = 0;

  constructor(parts: SnapshotInstallerParts<Command, Result>) {
    this.#parts = parts;
  }

  /** How many snapshots this process has installed. */
  get count(): number {
    return this.#count;
  }

  /**
   * Resolves when the snapshot is installed, the state has passed it already, or the node has stopped.
   * Rejects if it could not be read, before anything was replaced: the node goes on as it was.
   */
  async install(snapshot: StoredSnapshot): Promise<void> {
    const { applier, driver, core, taker, compactor, log, installed } = this.#parts;
    const { position } = snapshot;
    if (this.#stopped || !(await this.#isAcceptable(snapshot))) return;
    // The entries came meanwhile, from another leader's log.
    if (position.index <= applier.applied.index) return;
    compactor.suspend();
    await taker.suspend();
    await applier.pauseForRestore();
    // Entries went on being applied until the pause: the state may have overtaken the snapshot.
    const isAhead = position.index > applier.applied.index;
    let ready: OpenedForRestore | null = null;
    try {
      if (isAhead) ready = await this.#openForRestore(snapshot);
    } catch (error) {
      // Nothing was replaced yet: the node goes on as it was. The snapshot stays in the store, and the next
      // offer installs it (Z9).
      this.#resumeSnapshots();
      applier.resumeAfterRestore(applier.applied);
      throw error;
    }
    try {
      // From here on either all of it succeeds, or the node stops: state and log may belong to different
      // moments, so nothing may be applied, and the node must not lead (Z9).
      if (ready !== null && !(await this.#restore(snapshot, ready))) return;
      if (!(await driver.installSnapshot(metadataOf(snapshot)))) return;
      this.#resumeSnapshots();
      applier.resumeAfterRestore(isAhead ? position : applier.applied);
      if (!isAhead) return;
      this.#count += 1;
      log("info", `installed a snapshot of the state after entry ${String(position.index)}`, {
        index: position.index,
        bytes: snapshot.bytes,
      });
      assert(core.commitIndex >= position.index, "what a snapshot holds is committed");
      installed(position);
    } catch (error) {
      const message = `a snapshot could not be installed, so the node stops: ${reasonOf(error)}`;
      this.#parts.failed({ kind: "node", message, cause: error });
    }
  }

  /** The node stops: no step of an installation begins any more. A restart finishes the one under way. */
  stop(): void {
    this.#stopped = true;
  }

  #resumeSnapshots(): void {
    this.#parts.taker.resume();
    this.#parts.compactor.resume();
  }

  /**
   * Whether the snapshot can belong to this node's log. If not, the node stops before its state is touched;
   * the file is thrown away first, so that a restart doesn't install it.
   */
  async #isAcceptable(snapshot: StoredSnapshot): Promise<boolean> {
    const wrong = this.#contradictionIn(snapshot);
    if (wrong === null) return true;
    const { store, failed } = this.#parts;
    let message = `a snapshot came that cannot be, so the node stops: ${wrong}`;
    try {
      await store.discard(snapshot.id);
    } catch (error) {
      message += `. It could not be thrown away: ${reasonOf(error)}`;
    }
    failed({ kind: "node", message, cause: new ProtocolViolation(wrong) });
    return false;
  }

  /** Why the snapshot can't belong to this node's log; null: nothing speaks against it. */
  #contradictionIn({ position, clusterId, membership }: StoredSnapshot): string | null {
    const { core } = this.#parts;
    const own = this.#parts.clusterId() ?? "none";
    if (!sameOrigin(own, clusterId)) return `it is of cluster ${clusterId}, and this is ${own}`;
    const term = core.log.termAt(position.index);
    if (position.index <= core.commitIndex && term !== undefined && term !== position.term) {
      return `it contradicts the entry at ${String(position.index)}, which is committed here`;
    }
    if (!core.log.contains(position)) return null;
    const { config } = decodeMembership(membership);
    if (sameConfig(core.log.configAt(position.index).config, config)) return null;
    return `its membership is not that of the entry at ${String(position.index)}`;
  }

  /**
   * Opens the snapshot's file and reads its sessions, without touching the state. Rejects if they can't be
   * decoded, or if the store fails, for example because the process has no file handle left. Nothing is
   * replaced yet then, so a later offer can try again.
   */
  async #openForRestore(snapshot: StoredSnapshot): Promise<OpenedForRestore> {
    const { store, environment, sessions } = this.#parts;
    const reader = await store.read(snapshot.id);
    // Another node may have requested this snapshot meanwhile. This node then checks the file before it sends
    // it, and removes it if it is damaged.
    if (reader === null) throw new StorageFailedError("it is not in the store any more", "not-done");
    try {
      const records = await readRecords(reader.sessions(), environment);
      return {
        reader,
        records,
        table: await inTurns(SessionTable.load(records, sessions.limits), environment),
      };
    } catch (error) {
      await this.#close(reader);
      throw error;
    }
  }

  /** Replaces the state and the session table; false: it failed, or the node stopped meanwhile. */
  async #restore(snapshot: StoredSnapshot, { reader, records, table }: OpenedForRestore): Promise<boolean> {
    const { stateMachine, sessions, failed } = this.#parts;
    try {
      assert(stateMachine.restore !== undefined, "the options were checked");
      await stateMachine.restore(this.#untilStopped(reader.state()), snapshot.position, records);
      sessions.become(table);
      return !this.#stopped;
    } catch (error) {
      if (this.#stopped) return false;
      const index = String(snapshot.position.index);
      failed({
        kind: "state-machine",
        message: `the state machine could not restore the snapshot of entry ${index}, so the node stops: ${reasonOf(error)}`,
        cause: error,
      });
      return false;
    } finally {
      await this.#close(reader);
    }
  }

  /**
   * Closes a file from which all that is needed was read. A failure is only logged: it must not undo the
   * installation.
   */
  async #close(reader: SnapshotReader): Promise<void> {
    try {
      await reader.close();
    } catch (error) {
      this.#parts.log("warn", `a snapshot's file could not be closed: ${reasonOf(error)}`);
    }
  }

  /**
   * Ends with an error when the node stops, so that closing a node doesn't wait for a large state to be
   * restored.
   */
  async *#untilStopped(state: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of state) {
      if (this.#stopped) throw new ClosedError();
      yield chunk;
    }
  }
}

/**
 * The position of a snapshot and its membership. The snapshot doesn't say which entry the membership stands
 * in, so it counts as of the snapshot's own index, which is at or after that entry.
 */
export function metadataOf({ position, membership }: StoredSnapshot): SnapshotMetadata {
  return { position, membership: { index: position.index, membership: decodeMembership(membership) } };
}
