/*
 * The payloads of session entries (§8; dissertation 6.3).
 *
 * | kind | offset | bytes | field | meaning |
 * |---|---|---|---|---|
 * | openSession | 0 | 8 | clock | log time as the proposing leader counts it, in milliseconds |
 * | | 8 | 8 | ttlMs | how long the session may stay unused, in milliseconds |
 * | sessionCommand | 0 | 8 | clock | as above |
 * | | 8 | 8 | id | the session's id: the index of the entry that opened it |
 * | | 16 | 8 | sequence | the command's number in its session, from 1 |
 * | | 24 | 8 | lowestUnanswered | from 1 to sequence |
 * | | 32 | ... | command | the encoded command |
 * | closeSession | 0 | 8 | clock | as above |
 * | | 8 | 8 | id | as above |
 * | sessionTime | 0 | 8 | clock | as above |
 *
 * Numbers are unsigned, little-endian and below 2^53. The format has no version: an incompatible change needs
 * new entry kinds.
 *
 * **Clock.** Sessions expire by log time. An entry moves it forward to its clock, but by at most
 * `LOG_TIME_STEP_MS_MAX`, and never back. All nodes compute it from the log alone, so a session expires at
 * the same entry on each of them. A leader counts by its monotonic clock (runtime/sessions/log-clock.ts).
 *
 * **Checks.** A wrong length, a number that is too large, and numbers that can't identify a command are a
 * `DecodeError`, which stops the node: the entry is committed, so skipping it would give this node another
 * state.
 */
import { assert } from "../core/assert.ts";
import type { LogIndex } from "../core/position.ts";
import { DecodeError } from "../errors.ts";
import { readUint64, writeUint64 } from "./little-endian.ts";

/** Opens a session, whose id is the index of this entry. */
export interface OpenSessionEntry {
  /** Log time as the proposing leader counts it, in milliseconds. */
  readonly clock: number;
  /** How long the session may stay unused before it expires, in milliseconds of log time. */
  readonly ttlMs: number;
}

/** Identifies a command of a session. A retry of the command has the same `id` and `sequence`. */
export interface SessionCommandId {
  /** The session's id. */
  readonly id: LogIndex;
  /** The command's number in its session, from 1. It is never used for another command. */
  readonly sequence: number;
  /**
   * The lowest sequence number whose answer the client has not received; at most `sequence`. The nodes drop
   * the kept answers below it, and refuse commands below it from then on.
   */
  readonly lowestUnanswered: number;
}

/** A command of a session. */
export interface SessionCommandEntry extends SessionCommandId {
  /** Log time as the proposing leader counts it, in milliseconds. */
  readonly clock: number;
  /** The encoded command: a view of the payload's bytes, not a copy. */
  readonly command: Uint8Array;
}

/** Closes a session before it expires. */
export interface CloseSessionEntry {
  /** Log time as the proposing leader counts it, in milliseconds. */
  readonly clock: number;
  /** The session's id. */
  readonly id: LogIndex;
}

/** Moves log time forward while sessions are open and no other entry of a session comes. */
export interface SessionTimeEntry {
  /** Log time as the proposing leader counts it, in milliseconds. */
  readonly clock: number;
}

/**
 * How far one entry moves log time, at most, in milliseconds. Hazard: a leader whose clock jumps could expire
 * sessions that are in use. The limit is a sixth of the default time to live, so one such entry doesn't end a
 * session with that time to live that is in use. While sessions are open, the leader proposes a `sessionTime`
 * entry before this much time has passed, so with a right clock no time is left uncounted.
 */
export const LOG_TIME_STEP_MS_MAX = 10_000;

const FIELD_BYTES = 8;
const OPEN_BYTES = 2 * FIELD_BYTES;
const CLOSE_BYTES = 2 * FIELD_BYTES;

/** Bytes before the command in the payload of a session's command. */
export const SESSION_COMMAND_HEADER_BYTES: number = 4 * FIELD_BYTES;

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

/** The payload of an entry that closes a session. */
export function encodeCloseSession({ clock, id }: CloseSessionEntry): Uint8Array {
  return fields(CLOSE_BYTES, [clock, id]);
}

/** The payload of an entry that moves log time forward. */
export function encodeSessionTime({ clock }: SessionTimeEntry): Uint8Array {
  return fields(FIELD_BYTES, [clock]);
}

/**
 * Decodes the payload of an entry that moves log time forward.
 *
 * @throws DecodeError says what is wrong
 */
export function decodeSessionTime(payload: Uint8Array): SessionTimeEntry {
  checkLength("an entry of the sessions' time", payload, FIELD_BYTES);
  return { clock: fieldOf(payload, 0) };
}

/**
 * Decodes the payload of an entry that opens a session.
 *
 * @throws DecodeError says what is wrong
 */
export function decodeOpenSession(payload: Uint8Array): OpenSessionEntry {
  checkLength("the opening of a session", payload, OPEN_BYTES);
  return { clock: fieldOf(payload, 0), ttlMs: fieldOf(payload, 1) };
}

/**
 * Decodes the payload of a command in a session.
 *
 * @throws DecodeError says what is wrong
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
 * Decodes the payload of an entry that closes a session.
 *
 * @throws DecodeError says what is wrong
 */
export function decodeCloseSession(payload: Uint8Array): CloseSessionEntry {
  checkLength("the end of a session", payload, CLOSE_BYTES);
  return { clock: fieldOf(payload, 0), id: fieldOf(payload, 1) };
}

/**
 * Whether these numbers can identify a command: all are from 1, and `lowestUnanswered` is at most `sequence`.
 */
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
