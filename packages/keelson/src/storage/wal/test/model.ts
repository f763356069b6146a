import { encodeMembership } from "../../../codec/config.ts";
import { encodeRecord, EntryKind } from "../../../codec/record.ts";
import { configOf } from "../../../core/config.ts";
import type { HardState } from "../../../core/action.ts";
import type { LogIndex, LogPosition, Term } from "../../../core/position.ts";
import type { LogBase, LogStore, LogWrite, StoredLog } from "../../log-store.ts";

/** A model of a log, kept in the simplest way: what the log should hold. */
export interface Model {
  readonly clusterId: string | null;
  readonly hardState: HardState;
  readonly base: LogPosition;
  readonly entries: readonly string[];
}

export const EMPTY_MODEL: Model = {
  clusterId: null,
  hardState: { term: 0, votedFor: null },
  base: { term: 0, index: 0 },
  entries: [],
};

/** What the log really holds. */
export async function observe(found: StoredLog, store: LogStore): Promise<Model> {
  const { clusterId, hardState, base, lastIndex } = found;
  const records = await store.read(base.index + 1, lastIndex + 1, Number.MAX_SAFE_INTEGER);
  return { clusterId, hardState, base, entries: records.map(toText) };
}

/** A call, for a store and for the model. */
export interface Call {
  readonly onStore: (store: LogStore) => Promise<void>;
  readonly onModel: (model: Model) => Model;
}

export function write(write: Partial<LogWrite>): Call {
  const { hardState = null, truncateFrom = null, records = [] } = write;
  return {
    onStore: (store) => store.append({ hardState, truncateFrom, records }),
    onModel: (model) => {
      const kept =
        truncateFrom === null ? model.entries : model.entries.slice(0, truncateFrom - 1 - model.base.index);
      return {
        ...model,
        hardState: hardState ?? model.hardState,
        entries: [...kept, ...records.map(toText)],
      };
    },
  };
}

export function compact(index: LogIndex, term: Term): Call {
  const base = baseAt(index, term);
  return {
    onStore: (store) => store.compact(base),
    onModel: (model) => ({
      ...model,
      base: base.position,
      entries: model.entries.slice(index - model.base.index),
    }),
  };
}

export function reset(index: LogIndex, term: Term): Call {
  const base = baseAt(index, term);
  return {
    onStore: (store) => store.reset(base),
    onModel: (model) => ({ ...model, base: base.position, entries: [] }),
  };
}

export function setClusterId(clusterId: string): Call {
  return { onStore: (store) => store.setClusterId(clusterId), onModel: (model) => ({ ...model, clusterId }) };
}

export function baseAt(index: LogIndex, term: Term): LogBase {
  const config = encodeMembership({ config: configOf(["a"]), members: new Map([["a", { address: "a:1" }]]) });
  return { position: { index, term }, config };
}

/** Records of the entries `[from, to)`, of different sizes, some of them mostly zeros. */
export function entries(from: LogIndex, to: LogIndex, term: Term, bytes = 40): Uint8Array[] {
  return Array.from({ length: to - from }, (_, at) => {
    const index = from + at;
    const payload = new Uint8Array(bytes + (index % 7) * 3);
    if (index % 5 !== 0) payload.fill(index * 16 + term);
    return encodeRecord(index, term, EntryKind.command, payload);
  });
}

export function toText(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64");
}

/**
 * Calls of every kind, in an order that leads to every kind of recovery. The calls of an inner list are made
 * without waiting for each other.
 */
export const WORKLOAD: readonly (readonly Call[])[] = [
  [setClusterId("c")],
  [write({ hardState: { term: 1, votedFor: "a" } })],
  [write({ records: entries(1, 4, 1) })],
  [
    write({ records: entries(4, 5, 1, 1200) }),
    write({ records: entries(5, 6, 1) }),
    write({ hardState: { term: 2, votedFor: null } }),
  ],
  [write({ records: entries(6, 20, 2) })],
  [write({ truncateFrom: 15, records: entries(15, 18, 3, 500), hardState: { term: 3, votedFor: "b" } })],
  [
    write({}),
    write({ truncateFrom: 16, records: entries(16, 17, 4) }),
    write({ truncateFrom: 16 }),
    write({ records: entries(16, 22, 5, 300) }),
  ],
  [compact(8, 2)],
  [
    write({ records: entries(22, 26, 5, 900) }),
    compact(17, 5),
    write({ truncateFrom: 20, records: entries(20, 30, 6, 200) }),
  ],
  [write({ records: entries(30, 31, 6, 7000) })],
  [write({ records: entries(31, 40, 6, 100) }), write({ hardState: { term: 7, votedFor: "c" } })],
  [compact(39, 6)],
  [write({ records: entries(40, 50, 7, 300) })],
  [reset(45, 8), write({ records: entries(46, 50, 8, 300) })],
  [write({ records: entries(50, 60, 8, 300) })],
  [reset(1000, 9)],
  [
    write({ records: entries(1001, 1020, 9, 600) }),
    write({ truncateFrom: 1001, records: entries(1001, 1003, 10) }),
  ],
  [write({ hardState: { term: 11, votedFor: null } })],
];
