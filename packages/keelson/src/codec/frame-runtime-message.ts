/*
 * Messages between the runtimes of two nodes, as bodies of frames: the transfer of snapshots, forwarded
 * calls, and the notice that a node lost entries. The cores know nothing of these messages.
 *
 * They use the same connections as the cores' messages, and may be lost, delayed, duplicated and reordered
 * like those. They don't change anyone's term: a node only compares the term in a forward-request with its
 * own. If it adopted that term, a message that no core sent could depose a leader (W8).
 *
 * Each body begins with: from id, then the CRC-32 of the tail as u32. Then:
 *
 * | type | message | rest of the body | tail |
 * |---|---|---|---|
 * | 32 | snapshot-request | id optional, index integer, offset integer, bytes u32 | |
 * | 33 | snapshot-chunk | id text, size integer, offset integer | the chunk |
 * | 34 | snapshot-gone | id optional | |
 * | 35 | snapshot-end | id text, intact boolean | |
 * | 36 | forward-request | incarnation integer, id integer, term integer, waitMs u32, call | the command |
 * | 37 | forward-reply | incarnation integer, id integer, answer | result or error message |
 * | 38 | entries-lost | term integer, acknowledged position (term integer, index integer) | |
 * | 39 | forward-progress | incarnation integer, count u16, that many ids as integers | |
 *
 * "id optional" is a boolean, followed by the id as text if it is true. A call is its number in `CALLS` as
 * u8, followed by its arguments: for 1 the session's id, sequence and lowestUnanswered as integers; for 2
 * ttlMs as integer; for 3 the session's id as integer; for 4 the learner's id and its address as text; for 5
 * the five parts of the change in the order of `MembershipChangeRequest`; for 6 a boolean, followed by the
 * target's id if it is true. A part of a change is a count as u16 and that many ids, in `add` and `addresses`
 * each followed by an address as text. An answer is its number in `ANSWERS` as u8, followed for 0 by the
 * entry's index as integer, and else by the error's code as text. byte-writer.ts has the encodings of the
 * fields.
 *
 * **Checks.** In addition to the fields: the tail's checksum; that a tail only follows messages that have
 * one; that a chunk is within its snapshot's size, and a request within the limit; that numbers of calls and
 * answers are known; that counts are within their limits, and no id is twice in a part of a change.
 */
import { crc32 } from "#platform";
import { assert } from "../core/assert.ts";
import type { LogIndex, LogPosition, NodeId, Term } from "../core/position.ts";
import type { Message } from "../core/message.ts";
import { DecodeError, type Outcome } from "../errors.ts";
import type { ByteReader } from "./byte-reader.ts";
import type { ByteWriter } from "./byte-writer.ts";
import { ADDRESS_CHARS_MAX, MEMBERS_MAX } from "./config.ts";
import { isCommandId, type SessionCommandId } from "./session-entry.ts";

/**
 * The most bytes of a runtime message's payload: far fewer than a frame may have, because a heartbeat that
 * waits behind such a message in the same connection must not be late.
 */
export const RUNTIME_PAYLOAD_BYTES_MAX: number = 1024 * 1024;

/** The most bytes (UTF-8) of a snapshot's id. */
export const SNAPSHOT_ID_BYTES_MAX = 64;

/**
 * Asks for a part of a snapshot. The follower asks for each part, so it decides how fast it receives, and
 * asks again for what was lost; the sender keeps no state about what has arrived.
 */
export interface SnapshotRequest {
  readonly type: "snapshot-request";
  readonly from: NodeId;
  /** Which snapshot; null: the newest one, which the answer names. */
  readonly id: string | null;
  /** The snapshot must cover the entries up to this index at least. */
  readonly index: LogIndex;
  /** Where the part begins in the snapshot, in bytes. */
  readonly offset: number;
  /**
   * The part's largest length in bytes. 0 asks for no bytes, and only tells the sender that the follower
   * still needs the snapshot.
   */
  readonly bytes: number;
}

/** A part of a snapshot: the bytes of the sender's file. */
export interface SnapshotChunk {
  readonly type: "snapshot-chunk";
  readonly from: NodeId;
  readonly id: string;
  /** Bytes of the whole snapshot. */
  readonly size: number;
  /** Where the part begins in the snapshot, in bytes. */
  readonly offset: number;
  readonly payload: Uint8Array;
}

/** The sender does not have the snapshot that was asked for, or has it no longer. */
export interface SnapshotGone {
  readonly type: "snapshot-gone";
  readonly from: NodeId;
  /** The id in the request. */
  readonly id: string | null;
}

/** The follower needs no more of this snapshot. */
export interface SnapshotEnd {
  readonly type: "snapshot-end";
  readonly from: NodeId;
  readonly id: string;
  /**
   * False: the snapshot arrived whole and failed a check, so the sender's file may be damaged. True: it was
   * installed, or the follower has caught up without it.
   */
  readonly intact: boolean;
}

/** The most bytes (UTF-8) of an error's code. */
export const ERROR_CODE_BYTES_MAX = 64;

/** Bytes (UTF-8) of an address: callers' addresses are ASCII. */
const ADDRESS_BYTES_MAX = ADDRESS_CHARS_MAX;

/** The ids that one forward-progress names at most: 64 KiB, which a link sends between two heartbeats. */
export const PROGRESS_IDS_MAX = 8192;

/**
 * A change of the membership, as it is sent to the leader: `MembershipChange` with all its parts. Each part
 * names at most `MEMBERS_MAX` nodes.
 */
export interface MembershipChangeRequest {
  readonly add: Readonly<Record<NodeId, string>>;
  readonly remove: readonly NodeId[];
  readonly promote: readonly NodeId[];
  readonly demote: readonly NodeId[];
  readonly addresses: Readonly<Record<NodeId, string>>;
}

/**
 * What a node asks the leader to do for one of its own callers. The command of a write is the message's
 * payload.
 */
export type ForwardedCall =
  | { readonly type: "write" }
  | { readonly type: "session-write"; readonly session: SessionCommandId }
  | { readonly type: "open-session"; readonly ttlMs: number }
  | { readonly type: "close-session"; readonly id: LogIndex }
  | { readonly type: "add-learner"; readonly id: NodeId; readonly address: string }
  | { readonly type: "change-membership"; readonly change: MembershipChangeRequest }
  /** To that voter; null: to the one whose log is the most complete. */
  | { readonly type: "transfer-leadership"; readonly to: NodeId | null };

/** Asks the leader to do a call and to reply with the outcome. */
export interface ForwardRequest {
  readonly type: "forward-request";
  readonly from: NodeId;
  /**
   * A random number that the asking process drew with its first request, so that a reply to a request from
   * before a restart isn't taken for a reply to a later one.
   */
  readonly incarnation: number;
  /** The number of the request in that incarnation. */
  readonly id: number;
  /**
   * The term in which the asking node believes the leader to lead. The receiver does the call as leader of
   * this term, or not at all.
   */
  readonly term: Term;
  /** How long the asking node waits for the reply, in milliseconds. */
  readonly waitMs: number;
  readonly call: ForwardedCall;
  readonly payload: Uint8Array;
}

/** The outcome of a forwarded call. The payload is the encoded result, or the error's message. */
export interface ForwardReply {
  readonly type: "forward-reply";
  readonly from: NodeId;
  /** As in the request. */
  readonly incarnation: number;
  /** As in the request. */
  readonly id: number;
  readonly answer:
    | { readonly type: "done"; readonly index: LogIndex }
    | { readonly type: "error"; readonly code: string; readonly outcome: Outcome };
  readonly payload: Uint8Array;
}

/**
 * Tells a node which of its forwarded calls the leader is still working on. Without it the asking node could
 * not tell a call that takes long from one whose request or reply was lost.
 */
export interface ForwardProgress {
  readonly type: "forward-progress";
  readonly from: NodeId;
  /** As in the requests. */
  readonly incarnation: number;
  /** The numbers of the requests. At most `PROGRESS_IDS_MAX`. */
  readonly ids: readonly number[];
}

/** A message about the transfer of a snapshot. */
export type SnapshotMessage = SnapshotRequest | SnapshotChunk | SnapshotGone | SnapshotEnd;

/**
 * A leader tells a follower that the follower lost entries which it had acknowledged to this leader as
 * durable. The follower believes the message only if its own log shows the loss.
 */
export interface EntriesLost {
  readonly type: "entries-lost";
  readonly from: NodeId;
  /** The term in which the leader received the acknowledgement. */
  readonly term: Term;
  /** The last entry that the follower had acknowledged. Term 0: the leader's log doesn't hold it any more. */
  readonly acknowledged: LogPosition;
}

/** A message between the runtimes of two nodes. */
export type RuntimeMessage = SnapshotMessage | ForwardRequest | ForwardReply | ForwardProgress | EntriesLost;

/**
 * The types of runtime messages on the wire, between those of core and control messages. They never change
 * their meaning.
 */
export const RuntimeMessageType: Readonly<Record<RuntimeMessage["type"], number>> = {
  "snapshot-request": 32,
  "snapshot-chunk": 33,
  "snapshot-gone": 34,
  "snapshot-end": 35,
  "forward-request": 36,
  "forward-reply": 37,
  "entries-lost": 38,
  "forward-progress": 39,
};

/** The payload of a message that has none. */
export const NO_PAYLOAD: Uint8Array<ArrayBuffer> = new Uint8Array(0);

/** Whether a message is between runtimes; else it is between cores. */
export function isRuntimeMessage(message: Message | RuntimeMessage): message is RuntimeMessage {
  return message.type in RuntimeMessageType;
}

/** The message's payload: the tail of its frame. Empty for most. */
export function payloadOf(message: RuntimeMessage): Uint8Array {
  return "payload" in message ? message.payload : NO_PAYLOAD;
}

/**
 * Writes the body, and returns the frame's type. The payload is not written, but follows the body as the
 * frame's tail.
 */
export function writeRuntimeMessage(writer: ByteWriter, message: RuntimeMessage): number {
  const payload = payloadOf(message);
  assert(payload.length <= RUNTIME_PAYLOAD_BYTES_MAX, "a runtime message keeps to its limit");
  writer.id(message.from);
  writer.u32(crc32(payload));
  switch (message.type) {
    case "snapshot-request":
      writeOptionalId(writer, message.id);
      writer.integer(message.index);
      writer.integer(message.offset);
      writer.u32(message.bytes);
      break;
    case "snapshot-chunk":
      writer.text(message.id, SNAPSHOT_ID_BYTES_MAX);
      writer.integer(message.size);
      writer.integer(message.offset);
      break;
    case "snapshot-gone":
      writeOptionalId(writer, message.id);
      break;
    case "snapshot-end":
      writer.text(message.id, SNAPSHOT_ID_BYTES_MAX);
      writer.boolean(message.intact);
      break;
    case "forward-request":
      writeForwardRequest(writer, message);
      break;
    case "forward-reply":
      writeForwardReply(writer, message);
      break;
    case "entries-lost":
      writer.integer(message.term);
      writer.integer(message.acknowledged.term);
      writer.integer(message.acknowledged.index);
      break;
    case "forward-progress":
      assert(message.ids.length <= PROGRESS_IDS_MAX, "a forward-progress keeps to its limit");
      writer.integer(message.incarnation);
      writer.u16(message.ids.length);
      for (const id of message.ids) writer.integer(id);
      break;
  }
  return RuntimeMessageType[message.type];
}

/** Reads the body of a frame of this type. `payload` is the frame's tail. */
export function readRuntimeMessage(type: number, body: ByteReader, payload: Uint8Array): RuntimeMessage {
  const from = body.id();
  if (body.u32() !== crc32(payload)) {
    throw new DecodeError("what follows a message has the wrong checksum: it was damaged on its way");
  }
  const message = readBody(type, body, from, payload);
  body.end();
  if (payload.length > 0 && !("payload" in message)) {
    throw new DecodeError(`${String(payload.length)} bytes follow a message that has none`);
  }
  return message;
}

function readBody(type: number, body: ByteReader, from: NodeId, payload: Uint8Array): RuntimeMessage {
  switch (type) {
    case RuntimeMessageType["snapshot-request"]: {
      const id = readOptionalId(body);
      const index = body.index();
      const offset = body.integer();
      const bytes = body.u32();
      if (bytes > RUNTIME_PAYLOAD_BYTES_MAX) {
        throw new DecodeError(`a request asks for ${String(bytes)} bytes at once`);
      }
      return { type: "snapshot-request", from, id, index, offset, bytes };
    }
    case RuntimeMessageType["snapshot-chunk"]: {
      const id = body.text(SNAPSHOT_ID_BYTES_MAX);
      const size = body.integer();
      const offset = body.integer();
      if (offset + payload.length > size) {
        throw new DecodeError(
          `${String(payload.length)} bytes at ${String(offset)} are not part of a snapshot of ${String(size)}`,
        );
      }
      return { type: "snapshot-chunk", from, id, size, offset, payload };
    }
    case RuntimeMessageType["snapshot-gone"]:
      return { type: "snapshot-gone", from, id: readOptionalId(body) };
    case RuntimeMessageType["snapshot-end"]:
      return { type: "snapshot-end", from, id: body.text(SNAPSHOT_ID_BYTES_MAX), intact: body.boolean() };
    case RuntimeMessageType["forward-request"]:
      return readForwardRequest(body, from, payload);
    case RuntimeMessageType["forward-reply"]:
      return readForwardReply(body, from, payload);
    case RuntimeMessageType["entries-lost"]: {
      const term = body.term();
      return {
        type: "entries-lost",
        from,
        term,
        acknowledged: { term: body.term(), index: body.index() },
      };
    }
    case RuntimeMessageType["forward-progress"]: {
      const incarnation = body.integer();
      const count = countIn(body, PROGRESS_IDS_MAX);
      return { type: "forward-progress", from, incarnation, ids: listIn(count, () => body.integer()) };
    }
    default:
      throw new DecodeError(`a frame has the unknown type ${String(type)}`);
  }
}

function writeOptionalId(writer: ByteWriter, id: string | null): void {
  writer.boolean(id !== null);
  if (id !== null) writer.text(id, SNAPSHOT_ID_BYTES_MAX);
}

function readOptionalId(body: ByteReader): string | null {
  return body.boolean() ? body.text(SNAPSHOT_ID_BYTES_MAX) : null;
}

/** The calls by their numbers on the wire, which never change their meaning. */
const CALLS = [
  ...(["write", "session-write", "open-session", "close-session"] as const),
  ...(["add-learner", "change-membership", "transfer-leadership"] as const),
] as const;
/**
 * The answers by their numbers on the wire: a result, or an error with its outcome. They never change their
 * meaning.
 */
const ANSWERS = ["done", "not-done", "unknown", "error-done"] as const;

function writeForwardRequest(writer: ByteWriter, message: ForwardRequest): void {
  const { call } = message;
  writer.integer(message.incarnation);
  writer.integer(message.id);
  writer.integer(message.term);
  writer.u32(message.waitMs);
  writer.u8(CALLS.indexOf(call.type));
  writeForwardedCall(writer, call);
}

function writeForwardedCall(writer: ByteWriter, call: ForwardedCall): void {
  switch (call.type) {
    case "write":
      break;
    case "session-write":
      writer.integer(call.session.id);
      writer.integer(call.session.sequence);
      writer.integer(call.session.lowestUnanswered);
      break;
    case "open-session":
      writer.integer(call.ttlMs);
      break;
    case "close-session":
      writer.integer(call.id);
      break;
    case "add-learner":
      writer.id(call.id);
      writer.text(call.address, ADDRESS_BYTES_MAX);
      break;
    case "change-membership":
      writeAddresses(writer, call.change.add);
      for (const part of ["remove", "promote", "demote"] as const) writeIds(writer, call.change[part]);
      writeAddresses(writer, call.change.addresses);
      break;
    case "transfer-leadership":
      writer.boolean(call.to !== null);
      if (call.to !== null) writer.id(call.to);
      break;
  }
}

function writeIds(writer: ByteWriter, ids: readonly NodeId[]): void {
  assert(ids.length <= MEMBERS_MAX, "a part of a change keeps to its limit");
  writer.u16(ids.length);
  for (const id of ids) writer.id(id);
}

function writeAddresses(writer: ByteWriter, addresses: Readonly<Record<NodeId, string>>): void {
  const entries = Object.entries(addresses);
  assert(entries.length <= MEMBERS_MAX, "a part of a change keeps to its limit");
  writer.u16(entries.length);
  for (const [id, address] of entries) {
    writer.id(id);
    writer.text(address, ADDRESS_BYTES_MAX);
  }
}

function readIds(body: ByteReader): readonly NodeId[] {
  const ids = listIn(countIn(body, MEMBERS_MAX), () => body.id());
  if (new Set(ids).size !== ids.length) throw new DecodeError("a change of the members names one twice");
  return ids;
}

function readAddresses(body: ByteReader): Readonly<Record<NodeId, string>> {
  const pairs = listIn(countIn(body, MEMBERS_MAX), () => [body.id(), body.text(ADDRESS_BYTES_MAX)] as const);
  const addresses = Object.fromEntries(pairs);
  if (Object.keys(addresses).length !== pairs.length) {
    throw new DecodeError("a change of the members names one twice");
  }
  return addresses;
}

function countIn(body: ByteReader, max: number): number {
  const count = body.u16();
  if (count > max) throw new DecodeError(`a list has ${String(count)} elements; the limit is ${String(max)}`);
  return count;
}

/** Reads so many elements. The body ends the loop if it is shorter than the count says. */
function listIn<T>(count: number, read: () => T): T[] {
  const list: T[] = [];
  while (list.length < count) list.push(read());
  return list;
}

function readForwardRequest(body: ByteReader, from: NodeId, payload: Uint8Array): ForwardRequest {
  const incarnation = body.integer();
  const id = body.integer();
  const term = body.term();
  const waitMs = body.u32();
  const call = readForwardedCall(body);
  if (payload.length > 0 && call.type !== "write" && call.type !== "session-write") {
    throw new DecodeError(`${String(payload.length)} bytes follow a request that carries no command`);
  }
  return { type: "forward-request", from, incarnation, id, term, waitMs, call, payload };
}

function readForwardedCall(body: ByteReader): ForwardedCall {
  const number = body.u8();
  const type = CALLS[number];
  switch (type) {
    case "write":
      return { type };
    case "session-write": {
      const session = { id: body.integer(), sequence: body.integer(), lowestUnanswered: body.integer() };
      if (!isCommandId(session))
        throw new DecodeError("a request names a command of a session that cannot be");
      return { type, session };
    }
    case "open-session":
      return { type, ttlMs: body.integer() };
    case "close-session":
      return { type, id: body.index() };
    case "add-learner":
      return { type, id: body.id(), address: body.text(ADDRESS_BYTES_MAX) };
    case "change-membership": {
      const add = readAddresses(body);
      const [remove, promote, demote] = [readIds(body), readIds(body), readIds(body)];
      return { type, change: { add, remove, promote, demote, addresses: readAddresses(body) } };
    }
    case "transfer-leadership":
      return { type, to: body.boolean() ? body.id() : null };
    default:
      throw new DecodeError(`a request asks for the unknown call ${String(number)}`);
  }
}

function writeForwardReply(writer: ByteWriter, { incarnation, id, answer }: ForwardReply): void {
  writer.integer(incarnation);
  writer.integer(id);
  if (answer.type === "done") {
    writer.u8(ANSWERS.indexOf("done"));
    writer.integer(answer.index);
    return;
  }
  writer.u8(ANSWERS.indexOf(answer.outcome === "done" ? "error-done" : answer.outcome));
  writer.text(answer.code, ERROR_CODE_BYTES_MAX);
}

function readForwardReply(body: ByteReader, from: NodeId, payload: Uint8Array): ForwardReply {
  const incarnation = body.integer();
  const id = body.integer();
  const number = body.u8();
  const kind = ANSWERS[number];
  if (kind === undefined) throw new DecodeError(`a reply has the unknown outcome ${String(number)}`);
  const answer: ForwardReply["answer"] =
    kind === "done"
      ? { type: "done", index: body.index() }
      : {
          type: "error",
          outcome: kind === "error-done" ? "done" : kind,
          code: body.text(ERROR_CODE_BYTES_MAX),
        };
  return { type: "forward-reply", from, incarnation, id, answer, payload };
}
