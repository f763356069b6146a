import { assert } from "../core/assert.ts";
import type { LogIndex } from "../core/position.ts";
import { DecodeError } from "../errors.ts";
import { readUint64, writeUint64 } from "./little-endian.ts";

/**
 * The payloads of the entries that belong to sessions (§8; dissertation 6.3). All begin with the
 * wall clock of the leader that proposed them, in milliseconds since 1970: from these, and from
 * nothing else, the time of the log is made, by which sessions expire.
 *
 * | kind | fields, each 8 bytes, unsigned and little-endian |
 * |---|---|
 * | openSession | clock, how long the session lives unused, in milliseconds |
 * | sessionCommand | clock, session, sequence, lowest unanswered; then the command's bytes |
 * | closeSession | clock, session |
 */
const FIELD_BYTES = 8;

const OPEN_BYTES = 2 * FIELD_BYTES;
const CLOSE_BYTES = 2 * FIELD_BYTES;

/** What a command in a session needs beside its own bytes. */
export const SESSION_COMMAND_HEADER_BYTES = 4 * FIELD_BYTES;

/** Opens a session; its id is the index of this entry. */
export interface OpenSessionEntry {
  readonly clock: number;
  readonly ttlMs: number;
}

/** Which command of which session: a retry names the same session and sequence. */
export interface SessionCommandId {
  /** What `openSession` gave. */
  readonly id: LogIndex;
  /** The command's number in its session, from 1 on. A number is for one command, for ever. */
  readonly sequence: number;
  /**
   * The lowest sequence whose answer the client still lacks, at most `sequence`: the answers below
   * it are forgotten, and commands below it are refused from then on.
   */
  readonly lowestUnanswered: number;
}

/** A command of a session. */
export interface SessionCommandEntry extends SessionCommandId {
  readonly clock: number;
  /** A view of the payload's bytes, not a copy. */
  readonly command: Uint8Array;
}

/** Ends a session before its time. */
export interface CloseSessionEntry {
  readonly clock: number;
  readonly id: LogIndex;
}

/** The payload of an entry that opens a session. */
export function encodeOpenSession({ clock, ttlMs }: OpenSessionEntry): Uint8Array {
  return fields(OPEN_BYTES, [clock, ttlMs]);
}

/** The payload of a command in a session. */
export function encodeSessionCommand(entry: SessionCommandEntry): Uint8Array {
  const { clock, id, sequence, lowestUnanswered, command } = entry;
  assert(
    isCommandId(entry),
    "a command in a session names it, and has a number not below the lowest unanswered",
  );
  const bytes = fields(SESSION_COMMAND_HEADER_BYTES + command.length, [
    clock,
    id,
    sequence,
    lowestUnanswered,
  ]);
  bytes.set(command, SESSION_COMMAND_HEADER_BYTES);
  return bytes;
}

/** The payload of an entry that ends a session. */
export function encodeCloseSession({ clock, id }: CloseSessionEntry): Uint8Array {
  return fields(CLOSE_BYTES, [clock, id]);
}

/**
 * Reads the payload of an entry that opens a session.
 *
 * @throws DecodeError
 */
export function decodeOpenSession(payload: Uint8Array): OpenSessionEntry {
  checkLength("the opening of a session", payload, OPEN_BYTES);
  return { clock: fieldOf(payload, 0), ttlMs: fieldOf(payload, 1) };
}

/**
 * Reads the payload of a command in a session.
 *
 * @throws DecodeError
 */
export function decodeSessionCommand(payload: Uint8Array): SessionCommandEntry {
  if (payload.length < SESSION_COMMAND_HEADER_BYTES) {
    throw new DecodeError(`a command in a session of ${String(payload.length)} bytes is cut short`);
  }
  const entry = {
    clock: fieldOf(payload, 0),
    id: fieldOf(payload, 1),
    sequence: fieldOf(payload, 2),
    lowestUnanswered: fieldOf(payload, 3),
    command: payload.subarray(SESSION_COMMAND_HEADER_BYTES),
  };
  if (!isCommandId(entry)) {
    throw new DecodeError(
      `command ${String(entry.sequence)} of session ${String(entry.id)} cannot be, with ${String(entry.lowestUnanswered)} the lowest unanswered`,
    );
  }
  return entry;
}

/**
 * Reads the payload of an entry that ends a session.
 *
 * @throws DecodeError
 */
export function decodeCloseSession(payload: Uint8Array): CloseSessionEntry {
  checkLength("the end of a session", payload, CLOSE_BYTES);
  return { clock: fieldOf(payload, 0), id: fieldOf(payload, 1) };
}

/** Whether these numbers can name a command in a session. */
export function isCommandId({ id, sequence, lowestUnanswered }: SessionCommandId): boolean {
  return [id, sequence, lowestUnanswered].every(isCount) && lowestUnanswered <= sequence;
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 1;
}

function fields(length: number, values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(length);
  values.forEach((value, at) => {
    assert(Number.isSafeInteger(value) && value >= 0, "a session entry's fields are safe integers from 0");
    writeUint64(bytes, at * FIELD_BYTES, value);
  });
  return bytes;
}

function fieldOf(payload: Uint8Array, at: number): number {
  const value = readUint64(payload, at * FIELD_BYTES);
  if (Number.isSafeInteger(value)) return value;
  throw new DecodeError("a field of a session entry is larger than any number that is written there");
}

function checkLength(what: string, payload: Uint8Array, bytes: number): void {
  if (payload.length === bytes) return;
  throw new DecodeError(`${what} has ${String(bytes)} bytes, not ${String(payload.length)}`);
}
