// What the cases of the log store suite share: a store on a place of its own, entries, and expectations.
import { strict as assert } from "node:assert";
import { encodeMembership } from "../../../codec/config.ts";
import { encodeRecord, EntryKind } from "../../../codec/record.ts";
import { configOf } from "../../../core/config.ts";
import type { LogIndex, NodeId, Term } from "../../../core/position.ts";
import type { Environment } from "../../../environment/environment.ts";
import type { LogBase, LogIdentity, LogStore, LogWrite, StoredLog } from "../../../storage/log-store.ts";

/** A place for one log. Each case gets a new one. */
export interface LogStorePlace {
  readonly environment: Environment;
  /**
   * A new store on this place. If it is called again after the store before was closed, the new store must
   * open the same log.
   */
  store(): LogStore;
  /** Called at the end of the case. */
  dispose?(): Promise<void>;
}

/** One promise of the `LogStore` interface, as a test that any framework can run. */
export interface LogStoreCase {
  readonly name: string;
  /** Resolves if the store keeps the promise, and rejects with what is wrong. */
  readonly run: (makePlace: () => Promise<LogStorePlace>) => Promise<void>;
}

const IDENTITY: LogIdentity = { nodeId: "a", clusterId: null };
/** No limit on the bytes of a read. */
export const ALL: number = Number.MAX_SAFE_INTEGER;

/** An open store on its place, with shorthands for the cases. */
export class Bench {
  readonly place: LogStorePlace;
  store: LogStore;
  found: StoredLog;

  private constructor(place: LogStorePlace, store: LogStore, found: StoredLog) {
    this.place = place;
    this.store = store;
    this.found = found;
  }

  static async open(place: LogStorePlace, identity: LogIdentity = IDENTITY): Promise<Bench> {
    const store = place.store();
    return new Bench(place, store, await store.open(identity, place.environment));
  }

  async reopen(identity: LogIdentity = IDENTITY): Promise<StoredLog> {
    await this.store.close();
    this.store = this.place.store();
    this.found = await this.store.open(identity, this.place.environment);
    return this.found;
  }

  append(...records: Uint8Array[]): Promise<void> {
    return this.store.append({ hardState: null, truncateFrom: null, records });
  }

  replace(truncateFrom: LogIndex, ...records: Uint8Array[]): Promise<void> {
    return this.store.append({ hardState: null, truncateFrom, records });
  }

  async expectEntries(from: LogIndex, records: readonly Uint8Array[]): Promise<void> {
    expectSame(await this.store.read(from, from + records.length, ALL), records);
  }
}

/** A case that gets an open store, and closes it at the end. */
export function define(name: string, test: (bench: Bench) => Promise<void>): LogStoreCase {
  return {
    name,
    async run(makePlace) {
      const place = await makePlace();
      const bench = await Bench.open(place);
      try {
        await test(bench);
      } finally {
        await bench.store.close();
        await place.dispose?.();
      }
    },
  };
}

/** A command entry as bytes. */
export function record(
  index: LogIndex,
  term: Term,
  payload: string | Uint8Array = `entry ${String(index)}@${String(term)}`,
): Uint8Array {
  return encodeRecord(
    index,
    term,
    EntryKind.command,
    typeof payload === "string" ? Buffer.from(payload) : payload,
  );
}

/** The entries `[from, to)` of one term. */
export function records(from: LogIndex, to: LogIndex, term: Term): Uint8Array[] {
  return Array.from({ length: to - from }, (_, at) => record(from + at, term));
}

/** A membership of these voters as bytes. */
export function membership(...ids: NodeId[]): Uint8Array {
  const members = new Map(ids.map((id) => [id, { address: `${id}:7000` }]));
  return encodeMembership({ config: configOf(ids), members });
}

/** The base of a log that was compacted up to this entry, with a configuration of these voters. */
export function base(index: LogIndex, term: Term, ...ids: NodeId[]): LogBase {
  return { position: { index, term }, config: membership(...ids) };
}

/** Fails unless both hold the same bytes. */
export function expectSame(actual: readonly Uint8Array[], expected: readonly Uint8Array[]): void {
  assert.deepEqual(actual.map(toHex), expected.map(toHex));
}

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex");
}

/** Fails unless the promise rejects with an error, of this code if one is given. */
export async function expectRejection(promise: Promise<unknown>, code?: string): Promise<void> {
  const outcome = await promise.then(
    () => null,
    (error: unknown) => error,
  );
  assert.ok(outcome instanceof Error, "it was expected to reject with an error");
  if (code !== undefined) assert.equal((outcome as { code?: unknown }).code, code, outcome.message);
}

/** A write that changes nothing. */
export const NOTHING: LogWrite = { hardState: null, truncateFrom: null, records: [] };
