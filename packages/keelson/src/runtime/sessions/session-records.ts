import { readUint32, readUint64, writeUint32, writeUint64 } from "../../codec/little-endian.ts";
import type { LogIndex } from "../../core/position.ts";
import { DecodeError } from "../../errors.ts";
import type { SessionRecords } from "../state-machine.ts";

/** What became of a command in a session. */
export interface Answer {
  /** The entry that took effect. */
  readonly index: LogIndex;
  /** `rejected`: the state machine threw; `forgotten`: it took effect, and what it answered was too large to keep. */
  readonly type: "done" | "rejected" | "forgotten";
  /** The result as the codec encodes it, or the words of the rejection in UTF-8; empty for `forgotten`. */
  readonly bytes: Uint8Array;
}

/** A session without its answers. */
export interface SessionState {
  readonly ttlMs: number;
  /** In the time of the log. */
  readonly lastUsedMs: number;
  /** The last entry that used it: which session was used least recently is the same on every node. */
  readonly lastUsedIndex: LogIndex;
  readonly lowestUnanswered: number;
}

/** What the name of a record says. */
export type RecordName =
  | { readonly type: "time" }
  | { readonly type: "session"; readonly id: LogIndex }
  | { readonly type: "answer"; readonly id: LogIndex; readonly sequence: number };

const NUMBER_BYTES = 8;
const ANSWER_HEADER_BYTES = NUMBER_BYTES + 1;
const ANSWER_TYPES = ["done", "rejected", "forgotten"] as const;

export const TIME_NAME = "time";

export function sessionName(id: LogIndex): string {
  return `session/${String(id)}`;
}

export function answerName(id: LogIndex, sequence: number): string {
  return `answer/${String(id)}/${String(sequence)}`;
}

/** @throws DecodeError */
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

export function encodeTime(timeMs: number): Uint8Array {
  return encodeNumbers([timeMs]);
}

/** @throws DecodeError */
export function decodeTime(bytes: Uint8Array): number {
  return decodeNumbers("the time of the log", bytes, 1)[0] ?? 0;
}

export function encodeSession({
  ttlMs,
  lastUsedMs: usedMs,
  lastUsedIndex: usedIndex,
  lowestUnanswered,
}: SessionState): Uint8Array {
  return encodeNumbers([ttlMs, usedMs, usedIndex, lowestUnanswered]);
}

/** @throws DecodeError */
export function decodeSession(bytes: Uint8Array): SessionState {
  const [ttlMs = 0, usedMs = 0, usedIndex = 0, lowestUnanswered = 0] = decodeNumbers("a session", bytes, 4);
  return { ttlMs, lastUsedMs: usedMs, lastUsedIndex: usedIndex, lowestUnanswered };
}

export function encodeAnswer({ index, type, bytes }: Answer): Uint8Array {
  const encoded = new Uint8Array(ANSWER_HEADER_BYTES + bytes.length);
  writeUint64(encoded, 0, index);
  encoded[NUMBER_BYTES] = ANSWER_TYPES.indexOf(type);
  encoded.set(bytes, ANSWER_HEADER_BYTES);
  return encoded;
}

/** @throws DecodeError */
export function decodeAnswer(bytes: Uint8Array): Answer {
  const type = ANSWER_TYPES[bytes[NUMBER_BYTES] ?? ANSWER_TYPES.length];
  const index = readUint64(bytes, 0);
  if (type === undefined || !Number.isSafeInteger(index) || index < 1) {
    throw new DecodeError(`an answer in a session of ${String(bytes.length)} bytes is not one`);
  }
  return { index, type, bytes: bytes.slice(ANSWER_HEADER_BYTES) };
}

// All records in one piece: a byte for the format, then for each record a byte for the length of its
// name, the name, four bytes for the length of its value, the value.
const FORMAT = 1;
const NAME_BYTES_MAX = 255;

/** All records as one piece of bytes, for a snapshot: the same for the same records in the same order. */
export function encodeRecords(records: SessionRecords): Uint8Array {
  const chunks: Uint8Array[] = [Uint8Array.of(FORMAT)];
  for (const [name, value] of records) {
    const length = new Uint8Array(4);
    writeUint32(length, 0, value.length);
    chunks.push(Uint8Array.of(name.length), Buffer.from(name, "latin1"), length, value);
  }
  return Uint8Array.from(Buffer.concat(chunks));
}

/** @throws DecodeError */
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
    records.set(name, take(readUint32(take(4), 0)).slice());
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
 * How many sessions there are in the table of a snapshot.
 *
 * @throws DecodeError it is none
 */
export function countSessions(table: Uint8Array): number {
  // Without a byte: whoever took it did not know which sessions there were.
  if (table.length === 0) return 0;
  let count = 0;
  for (const name of decodeRecords(table).keys()) if (parseName(name).type === "session") count += 1;
  return count;
}
