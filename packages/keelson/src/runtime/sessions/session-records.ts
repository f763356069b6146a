// The formats of the session table: as named records for a state machine on disk, and
// as one piece of bytes for a snapshot. The names and layouts of the records are
// documented at `SessionChanges` in state-machine.ts.

import { allocateBytes } from "#platform";
import { concatBytes } from "../../codec/copy-bytes.ts";
import { readUint32, readUint64, writeUint32, writeUint64 } from "../../codec/little-endian.ts";
import type { LogIndex } from "../../core/position.ts";
import type { Environment } from "../../environment/environment.ts";
import { DecodeError } from "../../errors.ts";
import { endOfTurn, type SessionRecords } from "../shared/index.ts";

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
 * Whether these records are a session table, or tell only that the node which stored them didn't know its
 * sessions. This is the one place that decides it, for records that a state machine returns when it is opened
 * and for those of a snapshot. If one reader took "no records" for "no sessions" and another for "sessions
 * unknown", the same retry would be refused on one node and applied on another (Z7).
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
/** Bytes of the length of a value. */
const LENGTH_BYTES = 4;

/**
 * Bytes of a piece of an encoded table; more only if a single record is larger. About a millisecond of work.
 */
export const PIECE_BYTES: number = 32 * 1024;

/**
 * All records as bytes, for a snapshot, in pieces of about `PIECE_BYTES`. Equal records in equal order give
 * equal bytes on every node. A piece is valid until the next one is asked for.
 */
export function* encodePieces(
  records: Iterable<readonly [name: string, value: Uint8Array]>,
): Generator<Uint8Array, void, undefined> {
  const buffer = allocateBytes(PIECE_BYTES);
  let target = buffer;
  target[0] = FORMAT;
  let at = 1;
  for (const [name, value] of records) {
    const length = 1 + name.length + LENGTH_BYTES + value.length;
    if (at + length > target.length) {
      yield target.subarray(0, at);
      target = length > PIECE_BYTES ? allocateBytes(length) : buffer;
      at = 0;
    }
    target[at] = name.length;
    writeName(target, at + 1, name);
    at += 1 + name.length;
    writeUint32(target, at, value.length);
    target.set(value, at + LENGTH_BYTES);
    at += LENGTH_BYTES + value.length;
  }
  yield target.subarray(0, at);
}

/** All records as one piece of bytes: for tests. */
export function encodeRecords(records: Iterable<readonly [name: string, value: Uint8Array]>): Uint8Array {
  const pieces: Uint8Array[] = [];
  for (const piece of encodePieces(records)) pieces.push(new Uint8Array(piece));
  return concatBytes(pieces);
}

/**
 * Reads an encoded table piece by piece; the pieces may be cut anywhere. A cut between two records isn't
 * noticed: snapshots have a checksum of their own.
 */
export class RecordsDecoder {
  readonly #records = new Map<string, Uint8Array>();
  /** Bytes from `#at` to `#end` were pushed and not read: less than a record, after `push`. */
  #buffer = allocateBytes(2 * PIECE_BYTES);
  #at = 0;
  #end = 0;
  #isBegun = false;

  /** Takes the records that end within these bytes. Copies what it keeps. @throws DecodeError */
  push(bytes: Uint8Array): void {
    this.#append(bytes);
    if (!this.#isBegun && this.#at < this.#end) {
      checkFormat(this.#buffer[this.#at]);
      this.#isBegun = true;
      this.#at += 1;
    }
    while (this.#readRecord());
  }

  /** All records. @throws DecodeError the last one is not complete */
  finish(): SessionRecords {
    if (!this.#isBegun) checkFormat(undefined);
    if (this.#at < this.#end) throw new DecodeError("the sessions are cut short");
    return this.#records;
  }

  /** Reads the next record; false: it is not complete yet. */
  #readRecord(): boolean {
    const buffer = this.#buffer;
    if (this.#at === this.#end) return false;
    const nameAt = this.#at + 1;
    const lengthAt = nameAt + (buffer[this.#at] ?? 0);
    const valueAt = lengthAt + LENGTH_BYTES;
    if (valueAt > this.#end) return false;
    const end = valueAt + readUint32(buffer, lengthAt);
    if (end > this.#end) return false;
    const name = readName(buffer, nameAt, lengthAt);
    if (this.#records.has(name)) throw new DecodeError(`the sessions hold ${JSON.stringify(name)} twice`);
    this.#records.set(name, new Uint8Array(buffer.subarray(valueAt, end)));
    this.#at = end;
    return true;
  }

  /** Adds bytes to the buffer, which grows by doubling: a record may be larger than a piece. */
  #append(bytes: Uint8Array): void {
    const held = this.#end - this.#at;
    if (this.#end + bytes.length > this.#buffer.length) {
      const isLarger = held + bytes.length > this.#buffer.length;
      const target = isLarger ? allocateBytes(2 * (held + bytes.length)) : this.#buffer;
      target.set(this.#buffer.subarray(this.#at, this.#end));
      this.#buffer = target;
      this.#at = 0;
      this.#end = held;
    }
    this.#buffer.set(bytes, this.#end);
    this.#end += bytes.length;
  }
}

function writeName(target: Uint8Array, at: number, name: string): void {
  for (let n = 0; n < name.length; n++) target[at + n] = name.charCodeAt(n);
}

/** A name has at most 255 characters: as many as its length, one byte, can say. */
function readName(bytes: Uint8Array, from: number, to: number): string {
  // Not with a spread, which is several times slower, because it makes an array first.
  return Reflect.apply(String.fromCharCode, null, bytes.subarray(from, to)) as string;
}

function checkFormat(format: number | undefined): void {
  if (format === FORMAT) return;
  throw new DecodeError(
    `sessions of format ${String(format ?? "none")}; this program reads format ${String(FORMAT)}`,
  );
}

/**
 * All records from an encoded table, at most about `PIECE_BYTES` in each turn of the event loop.
 *
 * @throws DecodeError
 */
export async function readRecords(
  chunks: AsyncIterable<Uint8Array>,
  environment: Pick<Environment, "defer">,
): Promise<SessionRecords> {
  const decoder = new RecordsDecoder();
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; at += PIECE_BYTES) {
      decoder.push(chunk.subarray(at, at + PIECE_BYTES));
      await endOfTurn(environment);
    }
  }
  return decoder.finish();
}

/**
 * An encoded table, one piece in each turn of the event loop. A piece is valid until the next one is asked
 * for.
 */
export async function* writeRecords(
  records: Iterable<readonly [name: string, value: Uint8Array]>,
  environment: Pick<Environment, "defer">,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (const piece of encodePieces(records)) {
    yield piece;
    await endOfTurn(environment);
  }
}

/**
 * All records from one piece of bytes: for tests, and for programs that have nothing else to do.
 *
 * @throws DecodeError
 */
export function decodeRecords(bytes: Uint8Array): SessionRecords {
  const decoder = new RecordsDecoder();
  decoder.push(bytes);
  return decoder.finish();
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
 * How many sessions are open in a snapshot's session table; null: the node that took the snapshot didn't
 * know.
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
