// A log store for tests, whose writes and reads a test can hold back, fail or lose.

import { decodeMembership } from "../../codec/config.ts";
import { decodeRecord, EntryKind, recordIndex, recordTerm } from "../../codec/record.ts";
import type { HardState } from "../../core/action.ts";
import { EMPTY_CONFIG } from "../../core/config.ts";
import type { ConfigAt, TermRun } from "../../core/message.ts";
import { ORIGIN, type LogIndex } from "../../core/position.ts";
import type { Environment } from "../../environment/environment.ts";
import { WrongIdentityError } from "../../errors.ts";
import type { LogIdentity, LogStore, LogWrite, StoredLog } from "../../storage/log-store.ts";

/** The part of a fake log that survives a crash: what is durable. */
export class FakeDisk {
  clusterId: string | null = null;
  readonly storeId: string;
  hardState: HardState = { term: 0, votedFor: null };
  records: Uint8Array[] = [];

  constructor(storeId: string) {
    this.storeId = storeId;
  }

  apply(write: LogWrite): void {
    this.hardState = write.hardState ?? this.hardState;
    if (write.truncateFrom !== null)
      this.records.length = Math.min(this.records.length, write.truncateFrom - 1);
    for (const record of write.records) {
      if (recordIndex(record) !== this.records.length + 1) throw new Error("a gap was written to the log");
      this.records.push(record);
    }
  }
}

interface PendingWrite {
  readonly apply: () => void;
  readonly settle: PromiseWithResolvers<unknown>;
}

/**
 * A log store in memory. Writes become durable in order, `latencyMs` after the call; reads see them at once.
 */
export class FakeLog implements LogStore {
  readonly disk: FakeDisk;
  latencyMs = 1;
  /** While true, writes wait for `releaseWrites`. */
  holdsWrites = false;
  /** If set, every write fails with it. */
  writeFailure: Error | null = null;
  /** If set, every read fails with it. */
  readFailure: Error | null = null;
  /** While true, reads wait for `releaseReads`. */
  holdsReads = false;
  isClosed = false;
  /** If set, changes each record that is read, as a damaged disk would. */
  damageRead: ((record: Uint8Array) => Uint8Array) | null = null;
  readonly writes: LogWrite[] = [];
  reads = 0;
  #visible: FakeDisk;
  #inFlight: PendingWrite[] = [];
  #heldReads: { readonly resolve: () => void; readonly reject: (error: Error) => void }[] = [];
  #environment: Environment | null = null;
  #isDead = false;

  constructor(disk: FakeDisk) {
    this.disk = disk;
    this.#visible = disk;
  }

  open(identity: LogIdentity, environment: Environment): Promise<StoredLog> {
    this.#environment = environment;
    const { disk } = this;
    if (identity.clusterId !== null && disk.clusterId !== null && identity.clusterId !== disk.clusterId) {
      return Promise.reject(new WrongIdentityError("another cluster's log"));
    }
    this.#visible = new FakeDisk(disk.storeId);
    this.#visible.apply({ hardState: disk.hardState, truncateFrom: null, records: disk.records });
    return Promise.resolve({ ...outlineOf(disk.records), ...identityOf(disk) });
  }

  append(write: LogWrite): Promise<void> {
    this.writes.push(write);
    this.#visible.apply(write);
    return this.#write(() => {
      this.disk.apply(write);
    });
  }

  setClusterId(clusterId: string): Promise<void> {
    if (this.disk.clusterId !== null && this.disk.clusterId !== clusterId) {
      return Promise.reject(new WrongIdentityError("bound to another cluster"));
    }
    return this.#write(() => {
      this.disk.clusterId = clusterId;
    });
  }

  async read(from: LogIndex, to: LogIndex, bytesMax: number): Promise<Uint8Array[]> {
    this.reads += 1;
    if (this.holdsReads)
      await new Promise<void>((resolve, reject) => this.#heldReads.push({ resolve, reject }));
    if (this.readFailure !== null) throw this.readFailure;
    if (from < 1 || from >= to || to > this.#visible.records.length + 1)
      throw new Error("read outside of the log");
    const records: Uint8Array[] = [];
    let bytes = 0;
    for (const record of this.#visible.records.slice(from - 1, to - 1)) {
      bytes += record.length;
      if (records.length > 0 && bytes > bytesMax) break;
      records.push(this.damageRead === null ? record : this.damageRead(record));
    }
    return records;
  }

  bytesBetween(from: LogIndex, to: LogIndex): number {
    return this.#visible.records.slice(from - 1, to - 1).reduce((sum, record) => sum + record.length, 0);
  }

  compact(): Promise<void> {
    return Promise.reject(new Error("not in this test"));
  }

  reset(): Promise<void> {
    return Promise.reject(new Error("not in this test"));
  }

  async close(): Promise<void> {
    this.isClosed = true;
    // A store waits for its writes, so closing one whose writes are held doesn't end.
    await this.#inFlight.at(-1)?.settle.promise.catch(() => undefined);
  }

  /** Ends `holdsWrites`: the writes that waited become durable too. */
  releaseWrites(): void {
    this.holdsWrites = false;
    for (const write of this.#inFlight) this.#schedule(write);
  }

  releaseReads(): void {
    this.holdsReads = false;
    for (const { resolve } of this.#heldReads.splice(0)) resolve();
  }

  /** Fails the read that has been held longest. */
  failHeldRead(error: Error): void {
    this.#heldReads.shift()?.reject(error);
  }

  /**
   * Ends the store like a crash: of the writes in flight, the first `kept` become
   * durable, the others are lost.
   */
  crash(kept: number): void {
    this.#isDead = true;
    for (const write of this.#inFlight.slice(0, kept)) write.apply();
  }

  /** How many writes aren't durable yet. */
  get writesInFlight(): number {
    return this.#inFlight.length;
  }

  #write(apply: () => void): Promise<void> {
    const settle = Promise.withResolvers<unknown>();
    const write: PendingWrite = { apply, settle };
    this.#inFlight.push(write);
    if (!this.holdsWrites) this.#schedule(write);
    return settle.promise.then(() => undefined);
  }

  #schedule(write: PendingWrite): void {
    this.#environment?.setTimer(this.latencyMs, () => {
      if (this.#isDead || this.holdsWrites || this.#inFlight[0] !== write) return;
      this.#inFlight.shift();
      if (this.writeFailure !== null) {
        write.settle.reject(this.writeFailure);
        return;
      }
      write.apply();
      write.settle.resolve(undefined);
    });
  }
}

function identityOf(disk: FakeDisk): Pick<StoredLog, "clusterId" | "storeId" | "hardState"> {
  return { clusterId: disk.clusterId, storeId: disk.storeId, hardState: disk.hardState };
}

function outlineOf(records: readonly Uint8Array[]): Omit<StoredLog, "clusterId" | "storeId" | "hardState"> {
  const terms: TermRun[] = [];
  const configs: ConfigAt[] = [];
  for (const record of records) {
    const { index, kind, payload } = decodeRecord(record);
    const term = recordTerm(record);
    if (terms.at(-1)?.term !== term) terms.push({ index, term });
    if (kind === EntryKind.config) configs.push({ index, config: decodeMembership(payload).config });
  }
  return {
    base: ORIGIN,
    baseConfig: EMPTY_CONFIG,
    basePayload: new Uint8Array(0),
    terms,
    configs,
    lastIndex: records.length,
  };
}
