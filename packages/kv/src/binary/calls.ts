/** Calls, which clients send, as bytes. docs/design/client-protocol.md has the table of bytes. */
import type { SessionCommandId } from "keelson";
import { CONDITION_VERSIONS_MAX, type Condition } from "../store/commands.ts";
import { ControlWriter } from "./control.ts";
import {
  CALL_HEADER_BYTES,
  CONDITIONS,
  CONSISTENCIES,
  FRAME_CALLS_MAX,
  FRAMES,
  getU64,
  MODE_IN_SESSION,
  OPERATIONS,
  PAYLOAD_HEADER_BYTES,
  ProtocolError,
  SESSION_BYTES,
  setU64,
  type Consistency,
} from "./wire.ts";

interface CallBase {
  /** Chosen by the client; the answer has the same. A client doesn't use one for two calls at once. */
  readonly id: number;
  /** Milliseconds that the call may take, from when the server has received it. 0: the server's limit. */
  readonly deadlineMs: number;
}

/** Gives a key a value. */
export interface PutCall extends CallBase {
  readonly type: "put";
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  /** null: the write always takes effect. */
  readonly condition: Condition | null;
  /** null: the write belongs to no session. */
  readonly session: SessionCommandId | null;
}

/** Removes a key's value. */
export interface DeleteCall extends CallBase {
  readonly type: "delete";
  readonly key: Uint8Array;
  readonly condition: Condition | null;
  readonly session: SessionCommandId | null;
}

/** Reads a key's value. */
export interface GetCall extends CallBase {
  readonly type: "get";
  readonly key: Uint8Array;
  readonly consistency: Consistency;
  /** If this holds, the answer is `unchanged` and has no value. null: the answer always has the value. */
  readonly unless: Condition | null;
}

/** Reads a page of keys. */
export interface ListCall extends CallBase {
  readonly type: "list";
  /** Only keys that begin with these bytes. */
  readonly prefix: Uint8Array;
  /** Only keys after this one. Empty: from the first on. */
  readonly after: Uint8Array;
  /** The most keys. 0: the server's default. */
  readonly limit: number;
  readonly consistency: Consistency;
}

export interface OpenSessionCall extends CallBase {
  readonly type: "open-session";
  /** Milliseconds after which an unused session may end. 0: the server's default. */
  readonly ttlMs: number;
}

export interface EndSessionCall extends CallBase {
  readonly type: "end-session";
  readonly session: number;
}

/** A call of an operation that a later version of this program may know. */
export interface UnknownCall extends CallBase {
  readonly type: "unknown";
  readonly operation: number;
}

export type Call = PutCall | DeleteCall | GetCall | ListCall | OpenSessionCall | EndSessionCall | UnknownCall;

/**
 * Writes calls one after another, all of a turn into one frame. `take` returns what to give to the socket.
 *
 * @throws RangeError (its methods) an argument has no place in a call, such as a key of more than 64 KiB
 */
export class CallWriter extends ControlWriter {
  put(
    id: number,
    key: Uint8Array,
    value: Uint8Array,
    condition: Condition | null,
    session: SessionCommandId | null,
    deadlineMs = 0,
  ): void {
    const at = this.#keyed(OPERATIONS.put, id, deadlineMs, key, value.length, condition, session, 0);
    this.copy(value, at);
  }

  delete(
    id: number,
    key: Uint8Array,
    condition: Condition | null,
    session: SessionCommandId | null,
    deadlineMs = 0,
  ): void {
    this.#keyed(OPERATIONS.delete, id, deadlineMs, key, 0, condition, session, 0);
  }

  get(id: number, key: Uint8Array, consistency: Consistency, unless: Condition | null, deadlineMs = 0): void {
    const mode = CONSISTENCIES.indexOf(consistency);
    this.#keyed(OPERATIONS.get, id, deadlineMs, key, 0, unless, null, mode);
  }

  list(
    id: number,
    prefix: Uint8Array,
    after: Uint8Array,
    limit: number,
    consistency: Consistency,
    deadlineMs = 0,
  ): void {
    checkLength("the prefix", prefix.length);
    checkLength("after", after.length);
    const bytes = CALL_HEADER_BYTES + 8 + prefix.length + after.length;
    const mode = CONSISTENCIES.indexOf(consistency);
    const at = this.#call(OPERATIONS.list, id, deadlineMs, bytes, CONDITIONS.none, 0, mode);
    this.view.setUint32(at, limit, true);
    this.view.setUint16(at + 4, prefix.length, true);
    this.view.setUint16(at + 6, after.length, true);
    this.copy(prefix, at + 8);
    this.copy(after, at + 8 + prefix.length);
  }

  openSession(id: number, ttlMs: number, deadlineMs = 0): void {
    const bytes = CALL_HEADER_BYTES + 8;
    const at = this.#call(OPERATIONS["open-session"], id, deadlineMs, bytes, CONDITIONS.none, 0, 0);
    setU64(this.view, at, ttlMs);
  }

  endSession(id: number, session: number, deadlineMs = 0): void {
    const bytes = CALL_HEADER_BYTES + 8;
    const at = this.#call(OPERATIONS["end-session"], id, deadlineMs, bytes, CONDITIONS.none, 0, 0);
    setU64(this.view, at, session);
  }

  /** A call on a key, without its value. Returns where the value goes. */
  #keyed(
    operation: number,
    id: number,
    deadlineMs: number,
    key: Uint8Array,
    valueLength: number,
    condition: Condition | null,
    session: SessionCommandId | null,
    mode: number,
  ): number {
    checkLength("the key", key.length);
    const versions = condition?.type === "version" ? condition.versions : NO_VERSIONS;
    if (versions.length > CONDITION_VERSIONS_MAX)
      throw new RangeError(
        `the condition names ${versions.length} versions; at most ${CONDITION_VERSIONS_MAX}`,
      );
    const sessionBytes = session === null ? 0 : SESSION_BYTES;
    const bytes = CALL_HEADER_BYTES + 2 + sessionBytes + 8 * versions.length + key.length + valueLength;
    const kind = CONDITIONS[condition?.type ?? "none"];
    const modeBits = session === null ? mode : MODE_IN_SESSION;
    let at = this.#call(operation, id, deadlineMs, bytes, kind, versions.length, modeBits);
    const { view } = this;
    view.setUint16(at, key.length, true);
    at += 2;
    if (session !== null) {
      setU64(view, at, session.id);
      setU64(view, at + 8, session.sequence);
      setU64(view, at + 16, session.lowestUnanswered);
      at += SESSION_BYTES;
    }
    for (const version of versions) {
      setU64(view, at, version);
      at += 8;
    }
    this.copy(key, at);
    return at + key.length;
  }

  /** The header of a call of `bytes` in all. Returns where the rest of it begins. */
  #call(
    operation: number,
    id: number,
    deadlineMs: number,
    bytes: number,
    condition: number,
    versions: number,
    mode: number,
  ): number {
    const at = this.item(FRAMES.calls, bytes);
    const { view } = this;
    view.setUint32(at, bytes - 4, true);
    view.setUint32(at + 4, id, true);
    view.setUint32(at + 8, deadlineMs, true);
    view.setUint32(at + 12, operation | (condition << 8) | (versions << 16) | (mode << 24), true);
    return at + CALL_HEADER_BYTES;
  }
}

/**
 * Reads the calls of a frame in turn, as a server begins them. Keys and values are parts of the payload.
 *
 * What can't be told apart from damage is refused as a whole, with a `ProtocolError`. What is only no valid
 * request, such as an empty key, is left to the operation, which answers that call with an error.
 */
export class CallReader {
  readonly #payload: Uint8Array;
  readonly #view: DataView;
  #at = PAYLOAD_HEADER_BYTES;
  /** How many calls were read. */
  #count = 0;

  constructor(payload: Uint8Array) {
    this.#payload = payload;
    this.#view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  }

  /** The next call. null: there is none. @throws ProtocolError */
  next(): Call | null {
    const at = this.#at;
    if (at === this.#payload.length) return null;
    if (this.#payload.length - at < CALL_HEADER_BYTES) throw cutShort();
    const view = this.#view;
    const end = at + 4 + view.getUint32(at, true);
    if (end < at + CALL_HEADER_BYTES || end > this.#payload.length) throw cutShort();
    if ((this.#count += 1) > FRAME_CALLS_MAX)
      throw new ProtocolError("TOO_MANY_CALLS", `a frame of more than ${FRAME_CALLS_MAX} calls`);
    this.#at = end;
    const id = view.getUint32(at + 4, true);
    const deadlineMs = view.getUint32(at + 8, true);
    const operation = view.getUint8(at + 12);
    switch (operation) {
      case OPERATIONS.put:
      case OPERATIONS.delete:
      case OPERATIONS.get:
        return this.#keyed(operation, id, deadlineMs, at, end);
      case OPERATIONS.list:
        return this.#list(id, deadlineMs, at, end);
      case OPERATIONS["open-session"]:
        this.#checkPlain(at, end, 0);
        return { type: "open-session", id, deadlineMs, ttlMs: getU64(view, at + CALL_HEADER_BYTES) };
      case OPERATIONS["end-session"]:
        this.#checkPlain(at, end, 0);
        return { type: "end-session", id, deadlineMs, session: getU64(view, at + CALL_HEADER_BYTES) };
      default:
        return { type: "unknown", id, deadlineMs, operation };
    }
  }

  #keyed(operation: number, id: number, deadlineMs: number, at: number, end: number): Call {
    const view = this.#view;
    const mode = view.getUint8(at + 15);
    let field = at + CALL_HEADER_BYTES + 2;
    const isInSession = operation !== OPERATIONS.get && mode === MODE_IN_SESSION;
    const versions = view.getUint8(at + 14);
    const keyAt = field + (isInSession ? SESSION_BYTES : 0) + 8 * versions;
    if (keyAt > end) throw cutShort();
    const keyEnd = keyAt + view.getUint16(at + CALL_HEADER_BYTES, true);
    if (keyEnd > end) throw cutShort();
    const key = this.#payload.subarray(keyAt, keyEnd);
    if (operation === OPERATIONS.get) {
      if (keyEnd !== end) throw unexpected("bytes after the key of a get");
      const unless = this.#condition(at, field, versions);
      return { type: "get", id, deadlineMs, key, consistency: consistencyOf(mode), unless };
    }
    let session: SessionCommandId | null = null;
    if (isInSession) {
      session = {
        id: getU64(view, field),
        sequence: getU64(view, field + 8),
        lowestUnanswered: getU64(view, field + 16),
      };
      field += SESSION_BYTES;
    } else if (mode !== 0) throw unexpected(`mode ${mode} of a write`);
    const condition = this.#condition(at, field, versions);
    if (operation === OPERATIONS.put)
      return {
        type: "put",
        id,
        deadlineMs,
        key,
        value: this.#payload.subarray(keyEnd, end),
        condition,
        session,
      };
    if (keyEnd !== end) throw unexpected("bytes after the key of a delete");
    return { type: "delete", id, deadlineMs, key, condition, session };
  }

  #list(id: number, deadlineMs: number, at: number, end: number): ListCall {
    const view = this.#view;
    const from = at + CALL_HEADER_BYTES + 8;
    if (from > end) throw cutShort();
    const prefixEnd = from + view.getUint16(at + CALL_HEADER_BYTES + 4, true);
    const afterEnd = prefixEnd + view.getUint16(at + CALL_HEADER_BYTES + 6, true);
    if (afterEnd !== end) throw cutShort();
    if (view.getUint16(at + 13, true) !== 0) throw unexpected("a list with a condition");
    return {
      type: "list",
      id,
      deadlineMs,
      prefix: this.#payload.subarray(from, prefixEnd),
      after: this.#payload.subarray(prefixEnd, end),
      limit: view.getUint32(at + CALL_HEADER_BYTES, true),
      consistency: consistencyOf(view.getUint8(at + 15)),
    };
  }

  /** A call of one number, without a condition. */
  #checkPlain(at: number, end: number, mode: number): void {
    if (end !== at + CALL_HEADER_BYTES + 8) throw cutShort();
    if (this.#view.getUint16(at + 13, true) !== 0 || this.#view.getUint8(at + 15) !== mode)
      throw unexpected("a call about a session with a condition or a mode");
  }

  /** The condition of the call at `at`, whose versions are at `field`. */
  #condition(at: number, field: number, count: number): Condition | null {
    const kind = this.#view.getUint8(at + 13);
    if (kind === CONDITIONS.none && count === 0) return null;
    if (kind === CONDITIONS.exists && count === 0) return EXISTS;
    if (kind === CONDITIONS.absent && count === 0) return ABSENT;
    if (kind !== CONDITIONS.version || count > CONDITION_VERSIONS_MAX)
      throw unexpected(`condition ${kind} with ${count} versions`);
    const versions: number[] = [];
    for (let n = 0; n < count; n++) versions.push(getU64(this.#view, field + 8 * n));
    return { type: "version", versions };
  }
}

const NO_VERSIONS: readonly number[] = [];
const EXISTS: Condition = { type: "exists" };
const ABSENT: Condition = { type: "absent" };
const LENGTH_MAX = 0xffff;

function checkLength(what: string, length: number): void {
  if (length > LENGTH_MAX) throw new RangeError(`${what} has ${length} bytes; the limit is ${LENGTH_MAX}`);
}

function consistencyOf(mode: number): Consistency {
  const consistency = CONSISTENCIES[mode];
  if (consistency === undefined) throw unexpected(`consistency ${mode}`);
  return consistency;
}

function cutShort(): ProtocolError {
  return unexpected("a call whose length isn't that of its parts");
}

function unexpected(what: string): ProtocolError {
  return new ProtocolError("BAD_FRAME", `${what}, which the protocol doesn't have`);
}
