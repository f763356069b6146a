import { decodeMembership, encodeMembership } from "../../codec/config.ts";
import type { RuntimeMessage, SnapshotMessage } from "../../codec/frame-runtime-message.ts";
import { assert, ProtocolViolation } from "../../core/assert.ts";
import { sameConfig } from "../../core/config.ts";
import type { InstallSnapshot } from "../../core/message.ts";
import type { RaftNode } from "../../core/node.ts";
import type { LogIndex, LogPosition, NodeId } from "../../core/position.ts";
import type { Environment } from "../../environment/environment.ts";
import { AbortedError, ClosedError, SnapshotFailedError, type RaftError } from "../../errors.ts";
import { sameOrigin } from "../../codec/cluster-id.ts";
import type { SnapshotDraft, SnapshotStore, StoredSnapshot } from "../../storage/snapshot-store.ts";
import type { Applier } from "../loop/applier.ts";
import { causeOf, describeCancellation, type CallOptions } from "../calls/call.ts";
import type { Calls } from "../calls/calls.ts";
import type { Driver, SnapshotMetadata } from "../loop/driver.ts";
import type { LogRecords } from "../loop/log-records.ts";
import { reasonOf, type Failure } from "../failure.ts";
import type { MembershipHistory } from "../members/membership.ts";
import type { SnapshotMetrics, SnapshotsMetrics } from "../metrics.ts";
import type { SnapshotPolicy } from "../options.ts";
import { decodeRecords } from "../sessions/session-records.ts";
import type { SessionTable } from "../sessions/session-table.ts";
import { SnapshotFetcher } from "./snapshot-fetcher.ts";
import { SnapshotSender } from "./snapshot-sender.ts";
import type { StateMachine } from "../state-machine.ts";

/** After a snapshot failed, the next one is not begun before this many milliseconds. */
const FAILURE_REST_MS = 10_000;

/** A snapshot is worth its writing when at least this share of the last one's size was logged since. */
const LOG_SHARE_MIN = 0.25;

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
  readonly calls: Calls;
  readonly clusterId: () => string | null;
  readonly send: (to: NodeId, message: RuntimeMessage) => boolean;
  /** The state is another node's now, as of this entry. */
  readonly installed: (position: LogPosition) => void;
  readonly failed: (failure: Failure) => void;
  readonly log: (level: "info" | "warn", text: string, fields?: Readonly<Record<string, unknown>>) => void;
}

/** A snapshot that is being taken. */
interface Taking {
  readonly index: LogIndex;
  bytesDone: number;
  readonly result: Promise<StoredSnapshot>;
}

/**
 * Takes snapshots of the state beside the applier, forgets the log that they cover, sends them to whom the log no
 * longer helps, and installs those of others (§7).
 */
export class SnapshotManager<Command, Result> {
  readonly #parts: SnapshotManagerParts<Command, Result>;
  readonly #sends: SnapshotSender;
  readonly #fetch: SnapshotFetcher;
  #taking: Taking | null = null;
  /** The state is being replaced: none is taken of it. */
  #installing = false;
  #restUntil = -Infinity;
  #stopped = false;
  /** Rejects when the node stops: those who wait for a snapshot hear of it at once. */
  readonly #end = Promise.withResolvers<never>();
  #taken = 0;
  #installed = 0;

  constructor(parts: SnapshotManagerParts<Command, Result>) {
    const { id, store, environment, send, policy } = parts;
    this.#parts = parts;
    this.#end.promise.catch(noted);
    const warn = (text: string, fields?: Readonly<Record<string, unknown>>): void => {
      parts.log("warn", text, fields);
    };
    this.#sends = new SnapshotSender({
      ...{ id, store, environment, send, warn },
      matchOf: (node) => parts.core.progress(node)?.match ?? null,
      ended: () => {
        this.#compact();
      },
      damaged: (error) => {
        warn(`${error.message}. It is thrown away, and another one is taken`);
        this.#takeQuietly();
      },
    });
    this.#fetch = new SnapshotFetcher({
      ...{ id, store, environment, send, warn },
      bytesPerSecondMax: policy.fetchBytesPerSecond,
      fetched: (snapshot) => this.#install(snapshot),
    });
  }

  get metrics(): SnapshotsMetrics {
    const { newest } = this.#parts.store;
    return {
      newest: newest === null ? null : metricsOf(newest),
      taking: this.#taking === null ? null : { index: this.#taking.index, bytesDone: this.#taking.bytesDone },
      sending: this.#sends.metrics,
      receiving: this.#fetch.metrics,
      taken: this.#taken,
      installed: this.#installed,
    };
  }

  /** The node begins its work. An earlier run may have ended between a snapshot and the compaction for it. */
  begin(): void {
    const { store, core, applier } = this.#parts;
    this.#compact();
    // The log begins after entries that no snapshot covers any more: nobody could be helped who lacks them.
    const { index } = core.log.base;
    if ((store.newest?.position.index ?? 0) < index && applier.applied.index >= index) this.#takeQuietly();
  }

  /** More is applied. */
  applied(): void {
    if (this.#taking === null && !this.#installing && this.#isDue()) this.#takeQuietly();
  }

  /** Takes a snapshot now; resolves when it is durable, and the log before it forgotten as far as the policy says. */
  async #takeNow(): Promise<SnapshotMetrics> {
    const wanted = this.#parts.applier.applied.index;
    for (;;) {
      const snapshot = await Promise.race([this.#taking?.result ?? this.#take(), this.#end.promise]);
      // One that was under way may be of an earlier state.
      if (snapshot.position.index >= wanted) return metricsOf(snapshot);
    }
  }

  /** Takes a snapshot for a caller, who may give up the wait. */
  async request(options: CallOptions): Promise<SnapshotMetrics> {
    const { calls } = this.#parts;
    calls.check(options);
    const call = calls.begin<SnapshotMetrics>({ timeoutMs: Infinity, ...options }, (cancellation) => {
      const what = `${describeCancellation(cancellation)}; the snapshot may still be taken`;
      return new AbortedError("unknown", what, causeOf(cancellation));
    });
    this.#takeNow().then(
      (snapshot) => {
        call.resolve(snapshot);
      },
      (error: unknown) => {
        call.reject(error);
      },
    );
    return call.promise;
  }

  /** The core says that these followers need one. */
  wanted(followers: readonly NodeId[]): void {
    const { core, driver } = this.#parts;
    for (const to of followers) {
      const snapshot = this.#sends.offerFor(to, core.log.base.index);
      if (snapshot === null) this.#takeQuietly();
      else driver.offerSnapshot(to, placeOf(snapshot));
    }
  }

  /** A leader offers one to this node. */
  offered({ from, last }: InstallSnapshot): void {
    if (last.index > this.#parts.applier.applied.index) this.#fetch.offered(from, last.index);
  }

  /** Another node's part of a transfer. */
  receive(message: SnapshotMessage): void {
    switch (message.type) {
      case "snapshot-request":
        this.#sends.request(message);
        break;
      case "snapshot-end":
        this.#sends.ended(message);
        break;
      case "snapshot-chunk":
        this.#fetch.chunk(message);
        break;
      case "snapshot-gone":
        this.#fetch.gone(message);
        break;
    }
  }

  /** The node stops: nothing new begins, and nobody waits any more. */
  end(error: RaftError): void {
    this.#stopped = true;
    this.#end.reject(error);
  }

  /** After `end`; resolves when nothing touches the state machine or a file any more. */
  async stop(): Promise<void> {
    await Promise.all([
      this.#sends.stop(),
      this.#fetch.stop(),
      this.#taking?.result.then(noted, noted) ?? Promise.resolve(),
    ]);
  }

  /** Lets go of the files, whether somebody still uses them or not. */
  close(): Promise<void> {
    return this.#parts.store.close();
  }

  // --- Taking ------------------------------------------------------------------------------------

  #isDue(): boolean {
    const { policy, store, applier, core, logRecords, environment } = this.#parts;
    const { newest } = store;
    const { index } = applier.applied;
    const from = Math.max(newest?.position.index ?? 0, core.log.base.index);
    if (index <= from || environment.now() < this.#restUntil) return false;
    const count = index - from;
    const bytes = logRecords.bytesBetween(from + 1, index + 1);
    if (bytes < LOG_SHARE_MIN * (newest?.bytes ?? 0)) return false;
    return count >= policy.everyEntries || bytes >= policy.everyBytes;
  }

  #takeQuietly(): void {
    if (this.#taking !== null || this.#stopped || this.#parts.environment.now() < this.#restUntil) return;
    this.#take().catch((error: unknown) => {
      if (!this.#stopped) this.#parts.log("warn", reasonOf(error));
    });
  }

  #take(): Promise<StoredSnapshot> {
    const begun = Promise.withResolvers<StoredSnapshot>();
    this.#parts.applier.runBetweenBatches(() => {
      begun.resolve(this.#taking?.result ?? this.#begin());
    });
    return begun.promise;
  }

  /** Between two batches, so the state is exactly that after `applied`, and so is all that goes with it (S5, M5). */
  #begin(): Promise<StoredSnapshot> {
    const { applier, stateMachine, sessions, memberships, store } = this.#parts;
    if (this.#stopped) return Promise.reject(new ClosedError());
    if (this.#installing)
      return Promise.reject(new SnapshotFailedError("another node's snapshot is being installed"));
    const position = applier.applied;
    if (position.index === 0) {
      return Promise.reject(new SnapshotFailedError("nothing is applied yet, so there is nothing to take"));
    }
    if (store.newest?.position.index === position.index) return Promise.resolve(store.newest);
    const membership = memberships.at(position.index);
    assert(membership !== null, "what is applied was written by a cluster with members");
    let chunks: AsyncIterator<Uint8Array>;
    let first: Promise<IteratorResult<Uint8Array>>;
    try {
      assert(stateMachine.snapshot !== undefined, "the options were checked");
      chunks = stateMachine.snapshot()[Symbol.asyncIterator]();
      // At once: an async generator takes hold of the state only when it is first asked.
      first = chunks.next();
      first.catch(noted);
    } catch (error) {
      return Promise.reject(this.#failed(error));
    }
    const header = {
      clusterId: this.#parts.clusterId() ?? "",
      position,
      membership: encodeMembership(membership.membership),
    };
    const taking: Taking = {
      index: position.index,
      bytesDone: 0,
      result: this.#write(header, sessions.encode(), chunks, first, (bytes) => {
        taking.bytesDone += bytes;
      }).finally(() => {
        this.#taking = null;
      }),
    };
    this.#taking = taking;
    return taking.result;
  }

  async #write(
    header: Parameters<SnapshotStore["create"]>[0],
    sessions: Uint8Array,
    chunks: AsyncIterator<Uint8Array>,
    first: Promise<IteratorResult<Uint8Array>>,
    progress: (bytes: number) => void,
  ): Promise<StoredSnapshot> {
    const { store, log } = this.#parts;
    let draft: SnapshotDraft | null = null;
    try {
      draft = await store.create(header, sessions);
      for (let chunk = await first; chunk.done !== true; chunk = await chunks.next()) {
        if (this.#isInTheWay()) throw new ClosedError();
        await draft.write(chunk.value);
        progress(chunk.value.length);
      }
      const snapshot = await draft.finish();
      draft = null;
      this.#sends.trust(snapshot);
      this.#taken += 1;
      log("info", `took a snapshot of the state after entry ${String(snapshot.position.index)}`, {
        index: snapshot.position.index,
        bytes: snapshot.bytes,
      });
      this.#compact();
      return snapshot;
    } catch (error) {
      await settled(chunks.return?.());
      await settled(draft?.abort());
      throw this.#failed(error);
    }
  }

  /** Whether a snapshot that is being taken has to give way. */
  #isInTheWay(): boolean {
    return this.#stopped || this.#installing;
  }

  #failed(error: unknown): SnapshotFailedError {
    this.#restUntil = this.#parts.environment.now() + FAILURE_REST_MS;
    const reason = this.#installing ? "another node's is being installed" : reasonOf(error);
    return new SnapshotFailedError(`no snapshot could be taken: ${reason}`, { cause: error });
  }

  // --- Compaction --------------------------------------------------------------------------------

  /** Forgets the log that the newest snapshot covers, but for what followers may want of it. */
  #compact(): void {
    const { store, core, memberships, driver, applier } = this.#parts;
    const { newest } = store;
    if (newest === null || this.#stopped || this.#installing) return;
    const { log } = core;
    // What is applied is committed, and durable here: nothing else may be forgotten.
    const covered = Math.min(newest.position.index, applier.applied.index);
    const index = Math.min(this.#keptAfter(covered), this.#transferFloor(covered));
    const term = log.termAt(index);
    const membership = memberships.at(index);
    if (index <= log.base.index || term === undefined || membership === null) return;
    driver.compact({ position: { index, term }, membership });
  }

  /** The entries after this one are kept before a snapshot of those up to `covered`. */
  #keptAfter(covered: LogIndex): LogIndex {
    const { logRecords, core, policy } = this.#parts;
    let tooMany = Math.max(core.log.base.index, covered - policy.keepEntries) - 1;
    let fits = Math.max(covered, tooMany);
    while (tooMany + 1 < fits) {
      const middle = Math.floor((tooMany + fits) / 2);
      if (logRecords.bytesBetween(middle + 1, covered + 1) <= policy.keepBytes) fits = middle;
      else tooMany = middle;
    }
    return fits;
  }

  /** The log after a snapshot that is being fetched is kept, or it would be useless when it arrives; but not for ever (S12). */
  #transferFloor(covered: LogIndex): LogIndex {
    const { logRecords, core, policy } = this.#parts;
    const { floor } = this.#sends;
    if (floor === null || floor >= covered || floor < core.log.base.index) return Infinity;
    return logRecords.bytesBetween(floor + 1, covered + 1) <= policy.transferKeepBytes ? floor : Infinity;
  }

  // --- Installing --------------------------------------------------------------------------------

  /** A snapshot of another node is complete here. Its file was the point of no return: what is begun now, a restart ends. */
  async #install(snapshot: StoredSnapshot): Promise<void> {
    const { applier, driver, core, log, installed } = this.#parts;
    const { position } = snapshot;
    if (this.#stopped || position.index <= applier.applied.index) return;
    if (!(await this.#isAcceptable(snapshot))) return;
    this.#installing = true;
    try {
      await this.#taking?.result.then(noted, noted);
      await applier.pauseForRestore();
      // What was applied until now may be as new as the snapshot.
      const isNews = position.index > applier.applied.index;
      if (isNews && !(await this.#restore(snapshot))) return;
      if (!(await driver.installSnapshot(placeOf(snapshot)))) return;
      this.#installing = false;
      applier.resumeAfterRestore(isNews ? position : applier.applied);
      if (!isNews) return;
      this.#installed += 1;
      log("info", `installed a snapshot of the state after entry ${String(position.index)}`, {
        index: position.index,
        bytes: snapshot.bytes,
      });
      assert(core.commitIndex >= position.index, "what a snapshot holds is committed");
      installed(position);
      this.#compact();
    } finally {
      this.#installing = false;
    }
  }

  /** What cannot be stops the node before its state is touched, and is not found again after a restart. */
  async #isAcceptable(snapshot: StoredSnapshot): Promise<boolean> {
    const wrong = this.#wrongWith(snapshot);
    if (wrong === null) return true;
    const { store, failed } = this.#parts;
    await store.discard(snapshot.id);
    const message = `a snapshot came that cannot be, so the node stops: ${wrong}`;
    failed({ kind: "node", message, cause: new ProtocolViolation(wrong) });
    return false;
  }

  #wrongWith({ position, clusterId, membership }: StoredSnapshot): string | null {
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

  /** False: the node stopped. */
  async #restore(snapshot: StoredSnapshot): Promise<boolean> {
    const { store, stateMachine, sessions, failed } = this.#parts;
    const reader = await store.read(snapshot.id);
    assert(reader !== null && stateMachine.restore !== undefined, "the newest snapshot is there");
    try {
      const bytes = await reader.sessions();
      // Without a byte: whoever took it did not know which sessions there were.
      const records = bytes.length === 0 ? null : decodeRecords(bytes);
      await stateMachine.restore(
        this.#untilStopped(reader.state()),
        snapshot.position,
        records ?? new Map<string, Uint8Array>(),
      );
      sessions.restore(records);
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
      await reader.close();
    }
  }

  async *#untilStopped(state: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of state) {
      if (this.#stopped) throw new ClosedError();
      yield chunk;
    }
  }
}

/** The place that a snapshot stands for. Nobody can tell where its membership was written: before that, at any rate. */
export function placeOf({ position, membership }: StoredSnapshot): SnapshotMetadata {
  return { position, membership: { index: position.index, membership: decodeMembership(membership) } };
}

function metricsOf({ position, bytes }: StoredSnapshot): SnapshotMetrics {
  return { ...position, bytes };
}

/** There is an error to report already, and it is not this one. */
async function settled(promise: Promise<unknown> | undefined): Promise<void> {
  try {
    await promise;
  } catch {
    // The first error says more.
  }
}

function noted(): void {
  // Whoever began it hears of it.
}
