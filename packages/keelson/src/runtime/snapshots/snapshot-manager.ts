// Wires the parts in this folder together: the rest of the node deals with snapshots through this class.
import type { LogFields } from "../../log-event.ts";
import type { RuntimeMessage, SnapshotMessage } from "../../codec/frame-runtime-message.ts";
import type { InstallSnapshot } from "../../core/message.ts";
import type { RaftNode } from "../../core/node.ts";
import type { LogIndex, LogPosition, NodeId } from "../../core/position.ts";
import type { Environment } from "../../environment/environment.ts";
import { AbortedError, type CorruptSnapshotError } from "../../errors.ts";
import type { SnapshotStore, StoredSnapshot } from "../../storage/snapshot-store.ts";
import type { Applier, Driver, LogRecords } from "../loop/index.ts";
import { causeOf, describeCancellation, type CallOptions, type CallRegistry } from "../calls/index.ts";
import type {
  Failure,
  SnapshotMetrics,
  SnapshotsMetrics,
  SnapshotPolicy,
  StateMachine,
} from "../shared/index.ts";
import type { MembershipHistory } from "../members/index.ts";
import type { SessionTable } from "../sessions/index.ts";
import { LogCompactor } from "./log-compactor.ts";
import { SnapshotFetcher } from "./snapshot-fetcher.ts";
import { metadataOf, SnapshotInstaller } from "./snapshot-installer.ts";
import { SnapshotSender } from "./snapshot-sender.ts";
import type { SnapshotService } from "./snapshot-service.ts";
import { SnapshotTaker } from "./snapshot-taker.ts";

export interface SnapshotManagerParts<Command, Result> {
  readonly id: NodeId;
  readonly store: SnapshotStore;
  readonly policy: SnapshotPolicy;
  readonly stateMachine: StateMachine<Command, Result>;
  readonly sessions: SessionTable;
  readonly applier: Applier<Command, Result>;
  readonly core: RaftNode;
  readonly logRecords: LogRecords;
  readonly memberships: MembershipHistory;
  readonly driver: Driver;
  readonly environment: Environment;
  readonly calls: CallRegistry;
  readonly clusterId: () => string | null;
  readonly send: (to: NodeId, message: RuntimeMessage) => boolean;
  /** The state is now that after this entry, though the entries up to it were not applied here. */
  readonly installed: (position: LogPosition) => void;
  readonly failed: (failure: Failure) => void;
  readonly log: (level: "info" | "warn", text: string, fields?: LogFields) => void;
}

/**
 * All that a node does about snapshots (§7), each job in a class of its own:
 *
 * - `SnapshotTaker` writes the state to a snapshot while commands are still applied.
 * - `LogCompactor` forgets the entries that the snapshot covers, as far as followers don't need them.
 * - `SnapshotSender` answers other nodes that fetch this node's newest snapshot.
 * - `SnapshotFetcher` fetches one from the leader when this node lacks entries that the leader's log no
 *   longer holds.
 * - `SnapshotInstaller` replaces this node's state and log by a fetched one.
 */
export class SnapshotManager<Command, Result> implements SnapshotService {
  readonly #parts: SnapshotManagerParts<Command, Result>;
  readonly #taker: SnapshotTaker<Command, Result>;
  readonly #compactor: LogCompactor;
  readonly #sender: SnapshotSender;
  readonly #fetcher: SnapshotFetcher;
  readonly #installer: SnapshotInstaller<Command, Result>;

  constructor(parts: SnapshotManagerParts<Command, Result>) {
    const { id, store, environment, send, policy, stateMachine, sessions } = parts;
    const { applier, core, logRecords, memberships, driver, clusterId, log } = parts;
    this.#parts = parts;
    const warn = (text: string, fields?: LogFields): void => {
      log("warn", text, fields);
    };
    const sender = new SnapshotSender({
      ...{ id, store, environment, send, warn },
      matchOf: (node) => core.progress(node)?.match ?? null,
    });
    const compactor = new LogCompactor({
      ...{ store, policy, applier, core, logRecords, memberships, driver },
      neededAfter: () => sender.logNeededAfter,
    });
    const taker = new SnapshotTaker({
      ...{ store, policy, stateMachine, sessions, applier, core, logRecords, memberships, environment },
      ...{ clusterId, log, failed: parts.failed },
      taken: (snapshot) => {
        sender.markVerified(snapshot);
        compactor.compactIfReached();
      },
    });
    const damaged = (error: CorruptSnapshotError): void => {
      warn(`${error.message}. It is thrown away, and another one is taken`);
      taker.takeInBackground();
    };
    sender.attach({
      ended: () => {
        compactor.compact();
      },
      damaged,
    });
    const installer = new SnapshotInstaller({
      ...{ store, stateMachine, sessions, applier, core, driver, environment, clusterId, log, taker },
      compactor,
      ...{ installed: parts.installed, failed: parts.failed },
    });
    this.#fetcher = new SnapshotFetcher({
      ...{ id, store, environment, send, warn, damaged, failed: parts.failed },
      bytesPerSecondMax: policy.fetchBytesPerSecond,
      install: async (snapshot) => {
        await installer.install(snapshot);
        compactor.compactIfReached();
      },
    });
    this.#sender = sender;
    this.#compactor = compactor;
    this.#taker = taker;
    this.#installer = installer;
  }

  get metrics(): SnapshotsMetrics {
    const { newest } = this.#parts.store;
    return {
      newest: newest === null ? null : metricsOf(newest),
      taking: this.#taker.progress,
      sending: this.#sender.metrics,
      receiving: this.#fetcher.metrics,
      taken: this.#taker.count,
      installed: this.#installer.count,
    };
  }

  get newestIndex(): LogIndex | null {
    return this.#parts.store.newest?.position.index ?? null;
  }

  get isInstalling(): boolean {
    return this.#fetcher.isInstalling;
  }

  /** The node begins its work. */
  start(): void {
    const { store, core, applier } = this.#parts;
    // An earlier run may have ended between a snapshot and the compaction for it.
    this.#compactor.compact();
    // If the snapshot of the entries before the log was lost, another is taken now: a follower that lacks
    // such entries can be helped by a snapshot alone.
    const { index } = core.log.base;
    if ((store.newest?.position.index ?? 0) < index && applier.applied.index >= index) {
      this.#taker.takeInBackground();
    }
    this.#taker.takeIfDue();
  }

  /** A batch was applied. */
  applied(): void {
    this.#compactor.compactIfReached();
    this.#fetcher.onApplied(this.#parts.applier.applied.index);
    this.#taker.takeIfDue();
  }

  /**
   * Takes a snapshot for a caller. Resolves when it is durable. A caller may stop waiting; the snapshot is
   * still taken.
   */
  async take(options: CallOptions): Promise<SnapshotMetrics> {
    const { calls } = this.#parts;
    calls.check(options);
    const call = calls.begin<SnapshotMetrics>(
      "snapshot",
      { timeoutMs: Infinity, ...options },
      {
        onCancel: (cancellation) => {
          const what = `${describeCancellation(cancellation)}; the snapshot may still be taken`;
          return new AbortedError("unknown", what, causeOf(cancellation));
        },
      },
    );
    this.#taker.takeCurrent().then(
      (snapshot) => {
        call.resolve(metricsOf(snapshot));
      },
      (error: unknown) => {
        call.reject(error);
      },
    );
    return call.promise;
  }

  /** Offers a snapshot to these followers: they lack entries that this leader's log no longer holds. */
  snapshotsNeeded(followers: readonly NodeId[]): void {
    const { core, driver } = this.#parts;
    for (const to of followers) {
      const snapshot = this.#sender.snapshotFor(to, core.log.base.index);
      if (snapshot === null) this.#taker.takeInBackground();
      else driver.offerSnapshot(to, metadataOf(snapshot));
    }
  }

  /** The leader offers a snapshot to this node. */
  snapshotOffered({ from, last }: InstallSnapshot): void {
    if (last.index > this.#parts.applier.applied.index) this.#fetcher.onOffer(from, last.index);
  }

  /** A message about a transfer, from the node that fetches a snapshot or the one that sends it. */
  onMessage(message: SnapshotMessage): void {
    switch (message.type) {
      case "snapshot-request":
        this.#sender.onRequest(message);
        break;
      case "snapshot-end":
        this.#sender.onEnd(message);
        break;
      case "snapshot-chunk":
        this.#fetcher.onChunk(message);
        break;
      case "snapshot-gone":
        this.#fetcher.onGone(message);
        break;
    }
  }

  /** The node stops: nothing new begins. The registry of calls has ended the calls. */
  stop(): void {
    this.#compactor.stop();
    this.#installer.stop();
    this.#taker.stop();
  }

  /** After `stop`: ends all transfers. Resolves when no snapshot file is in use, nor the state machine. */
  async finish(): Promise<void> {
    await Promise.all([this.#sender.stop(), this.#fetcher.stop(), this.#taker.idle()]);
  }

  /** Closes the store, whether its files are in use or not. */
  close(): Promise<void> {
    return this.#parts.store.close();
  }
}

function metricsOf({ position, bytes }: StoredSnapshot): SnapshotMetrics {
  return { ...position, bytes };
}
