// The formats of the session table: as named records for a state machine on disk, and
// as one piece of bytes for a snapshot. The names and layouts of the records are
// documented at `SessionChanges` in state-machine.ts.

import { readUint32, readUint64, writeUint32, writeUint64 } from "../../codec/little-endian.ts";
import type { LogIndex } from "../../core/position.ts";
import { DecodeError } from "../../errors.ts";
import type { SessionRecords } from "../shared/index.ts";

/** The kept outcome of a command in a session, from which its retries are answered. */
export interface Answer {
  /** The entry that took effect. Retries have entries of their own, which didn't. */
  readonly index: LogIndex;
  /**
   * `done`: applied; `rejected`: applied, and the state machine threw; `forgotten`: either of them, but the
   * result exceeded a limit and wasn't kept.
   */
  readonly type: "done" | "rejected" | "forgotten";
  /**
   * `done`: the result, encoded by the state machine's codec; `rejected`: the
   * message in UTF-8; `forgotten`: empty.
   */
  readonly bytes: Uint8Array;
}

/** A session's record: the session without its answers. See `Session` in session-table.ts for the fields. */
export interface SessionState {
  readonly ttlMs: number;
  readonly lastUsedMs: number;
  readonly lastUsedIndex: LogIndex;
  readonly lowestUnanswered: number;
}

/** A record's name, parsed. */
export type RecordName =
  | { readonly type: "time" }
  | { readonly type: "session"; readonly id: LogIndex }
  | { readonly type: "answer"; readonly id: LogIndex; readonly sequence: number };

const NUMBER_BYTES = 8;
const ANSWER_HEADER_BYTES = NUMBER_BYTES + 1;
const ANSWER_TYPES = ["done", "rejected", "forgotten"] as const;

/** The name of the record that holds log time. */
export const TIME_NAME = "time";

/** The name of a session's record. */
export function sessionName(id: LogIndex): string {
  return `session/${String(id)}`;
}

/** The name of an answer's record. */
export function answerName(id: LogIndex, sequence: number): string {
  return `answer/${String(id)}/${String(sequence)}`;
}

/**
 * Parses a record's name.
 *
 * @throws DecodeError
 */
export function parseName(name: string): RecordName {
  if (name === TIME_NAME) return { type: "time" };
  const [type, id, sequence, ...rest] = name.split("/");
  if (type === "session" && sequence === undefined) return { type, id: numberIn(name, id) };
  if (type === "answer" && rest.length === 0) {
    return { type, id: numberIn(name, id), sequence: numberIn(name, sequence) };
  }
  throw new DecodeError(`${JSON.stringify(name)} is not the name of a record of the sessions`);
}

function numberIn(name: string, digits: string | undefined): number {
  const value = Number(digits);
  if (/^[1-9][0-9]*$/.test(digits ?? "") && Number.isSafeInteger(value)) return value;
  throw new DecodeError(`${JSON.stringify(name)} is not the name of a record of the sessions`);
}

/**
 * Whether these records are a session table, or tell only that nobody knows which sessions there are. This is
 * the one place that decides it, for records that a state machine returns when it is opened and for those of a
 * snapshot. If one reader took "no records" for "no sessions" and another for "sessions unknown", the same retry
 * would be refused on one node and applied on another (Z7).
 *
 * A known table has the record of log time, even if no session is open: the first `flush` of a new state
 * machine contains it, every snapshot of a node that knows its sessions does, and it is never deleted.
 */
export function isKnownTable(records: SessionRecords): boolean {
  return records.has(TIME_NAME);
}

/** Log time as a record. */
export function encodeTime(logTimeMs: number): Uint8Array {
  return encodeNumbers([logTimeMs]);
}

/**
 * Log time from its record.
 *
 * @throws DecodeError
 */
export function decodeTime(bytes: Uint8Array): number {
  return decodeNumbers("the time of the log", bytes, 1)[0] ?? 0;
}

/** A session as a record. */
export function encodeSession({
  ttlMs,
  lastUsedMs: usedMs,
  lastUsedIndex: usedIndex,
  lowestUnanswered,
}: SessionState): Uint8Array {
  return encodeNumbers([ttlMs, usedMs, usedIndex, lowestUnanswered]);
}

/**
 * A session from its record.
 *
 * @throws DecodeError
 */
export function decodeSession(bytes: Uint8Array): SessionState {
  const [ttlMs = 0, usedMs = 0, usedIndex = 0, lowestUnanswered = 0] = decodeNumbers("a session", bytes, 4);
  return { ttlMs, lastUsedMs: usedMs, lastUsedIndex: usedIndex, lowestUnanswered };
}

/** An answer as a record. */
export function encodeAnswer({ index, type, bytes }: Answer): Uint8Array {
  const encoded = new Uint8Array(ANSWER_HEADER_BYTES + bytes.length);
  writeUint64(encoded, 0, index);
  encoded[NUMBER_BYTES] = ANSWER_TYPES.indexOf(type);
  encoded.set(bytes, ANSWER_HEADER_BYTES);
  return encoded;
}

/**
 * An answer from its record.
 *
 * @throws DecodeError
 */
export function decodeAnswer(bytes: Uint8Array): Answer {
  const type = ANSWER_TYPES[bytes[NUMBER_BYTES] ?? ANSWER_TYPES.length];
  const index = readUint64(bytes, 0);
  if (type === undefined || !Number.isSafeInteger(index) || index < 1) {
    throw new DecodeError(`an answer in a session of ${String(bytes.length)} bytes is not one`);
  }
  return { index, type, bytes: new Uint8Array(bytes.subarray(ANSWER_HEADER_BYTES)) };
}

// All records as one piece of bytes: a byte for the format's version, then for each record one byte for the
// length of its name, the name in ASCII, four bytes for the length of its value, and the value.
// It is never empty, and holds the record of log time exactly if the node that encoded it knew its sessions.
const FORMAT = 2;
const NAME_BYTES_MAX = 255;

/**
 * All records as one piece of bytes, for a snapshot. Equal records in equal order give
 * equal bytes on every node.
 */
export function encodeRecords(records: SessionRecords): Uint8Array {
  const chunks: Uint8Array[] = [Uint8Array.of(FORMAT)];
  for (const [name, value] of records) {
    const length = new Uint8Array(4);
    writeUint32(length, 0, value.length);
    chunks.push(Uint8Array.of(name.length), Buffer.from(name, "latin1"), length, value);
  }
  return Uint8Array.from(Buffer.concat(chunks));
}

/**
 * All records from one piece of bytes. A cut between two records isn't noticed: snapshots have
 * a checksum of their own.
 *
 * @throws DecodeError
 */
export function decodeRecords(bytes: Uint8Array): SessionRecords {
  if (bytes[0] !== FORMAT) {
    throw new DecodeError(
      `sessions of format ${String(bytes[0] ?? "none")}; this program reads format ${String(FORMAT)}`,
    );
  }
  const records = new Map<string, Uint8Array>();
  let at = 1;
  const take = (length: number): Uint8Array => {
    if (length > bytes.length - at) throw new DecodeError("the sessions are cut short");
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const nameLength = take(1)[0] ?? 0;
    const name = Buffer.from(take(Math.min(nameLength, NAME_BYTES_MAX))).toString("latin1");
    if (records.has(name)) throw new DecodeError(`the sessions hold ${JSON.stringify(name)} twice`);
    records.set(name, new Uint8Array(take(readUint32(take(4), 0))));
  }
  return records;
}

function encodeNumbers(values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * NUMBER_BYTES);
  values.forEach((value, at) => {
    writeUint64(bytes, at * NUMBER_BYTES, value);
  });
  return bytes;
}

function decodeNumbers(what: string, bytes: Uint8Array, count: number): number[] {
  const values = Array.from({ length: count }, (_, at) => readUint64(bytes, at * NUMBER_BYTES));
  if (bytes.length === count * NUMBER_BYTES && values.every((value) => Number.isSafeInteger(value)))
    return values;
  throw new DecodeError(`${what} is not ${String(count)} numbers, but ${String(bytes.length)} bytes`);
}

/**
 * How many sessions are open in a snapshot's session table; null: the node that took the snapshot didn't know.
 *
 * @throws DecodeError these bytes aren't a session table
 */
export function countSessions(table: Uint8Array): number | null {
  const records = decodeRecords(table);
  if (!isKnownTable(records)) return null;
  let count = 0;
  for (const name of records.keys()) if (parseName(name).type === "session") count += 1;
  return count;
}
