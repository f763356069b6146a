import { crc32 } from "node:zlib";
import { assert } from "../core/assert.ts";
import type { LogIndex, NodeId, Term } from "../core/position.ts";
import type { Message } from "../core/message.ts";
import { DecodeError, type Outcome } from "../errors.ts";
import type { ByteReader } from "./byte-reader.ts";
import type { ByteWriter } from "./byte-writer.ts";
import { isCommandId, type SessionCommandId } from "./session-entry.ts";

/*
 * What nodes tell each other outside of Raft's terms: their runtimes talk here, not their cores.
 * These messages travel in the same frames over the same connections, and may be lost, doubled,
 * late and out of order like all others. They carry no term, so that nobody can adopt one from them.
 */

/** Bytes that one runtime message carries after its body: far below a frame's limit, so that none of them holds up a heartbeat for long. */
export const RUNTIME_PAYLOAD_BYTES_MAX = 1024 * 1024;

/** Bytes (UTF-8) of a snapshot's id. */
export const SNAPSHOT_ID_BYTES_MAX = 64;

/** "Send me that part of a snapshot." The follower pulls, so it decides over speed and repetition. */
export interface SnapshotRequest {
  readonly type: "snapshot-request";
  readonly from: NodeId;
  /** null: the newest one, whichever that is; the answer names it. */
  readonly id: string | null;
  /** It must cover at least the entries up to this one. */
  readonly index: LogIndex;
  readonly offset: number;
  /** At most so many; 0 only says that the asker still needs the snapshot. */
  readonly bytes: number;
}

/** A part of a snapshot, as it lies in the file. */
export interface SnapshotChunk {
  readonly type: "snapshot-chunk";
  readonly from: NodeId;
  readonly id: string;
  /** Bytes of the whole snapshot. */
  readonly size: number;
  readonly offset: number;
  readonly payload: Uint8Array;
}

/** "I have no such snapshot (any more)." */
export interface SnapshotGone {
  readonly type: "snapshot-gone";
  readonly from: NodeId;
  /** As it was asked for. */
  readonly id: string | null;
}

/** "I need no more of that snapshot." */
export interface SnapshotEnd {
  readonly type: "snapshot-end";
  readonly from: NodeId;
  readonly id: string;
  /** Whether it arrived as it was written: if not, it may be damaged where it came from. */
  readonly intact: boolean;
}

/** Bytes (UTF-8) of the code of an error. */
export const ERROR_CODE_BYTES_MAX = 64;

/** What a node asks of the leader for a caller of its own. A command's bytes are the payload. */
export type ForwardedCall =
  | { readonly type: "write" }
  | { readonly type: "session-write"; readonly session: SessionCommandId }
  | { readonly type: "open-session"; readonly ttlMs: number }
  | { readonly type: "close-session"; readonly id: LogIndex };

/** "Do that as leader, and tell me what came of it." */
export interface ForwardRequest {
  readonly type: "forward-request";
  readonly from: NodeId;
  /** One life of the asking process, and the number of the request in it. */
  readonly incarnation: number;
  readonly id: number;
  /** The term in which the asked node leads, as far as the asker knows: it does it as leader of that term or not at all. Nobody adopts it. */
  readonly term: Term;
  /** How long the asker waits, in milliseconds. */
  readonly waitMs: number;
  readonly call: ForwardedCall;
  readonly payload: Uint8Array;
}

/** What came of a forwarded call: the result is the payload, or the words of the error. */
export interface ForwardReply {
  readonly type: "forward-reply";
  readonly from: NodeId;
  readonly incarnation: number;
  readonly id: number;
  readonly answer:
    | { readonly type: "done"; readonly index: LogIndex }
    | { readonly type: "error"; readonly code: string; readonly outcome: Outcome };
  readonly payload: Uint8Array;
}

/** What is said of snapshots. */
export type SnapshotMessage = SnapshotRequest | SnapshotChunk | SnapshotGone | SnapshotEnd;

/** Anything that the runtimes of two nodes tell each other. */
export type RuntimeMessage = SnapshotMessage | ForwardRequest | ForwardReply;

/** Numbers on the wire, between those of the core's messages and those about connections. They never change their meaning. */
export const RuntimeMessageType = {
  "snapshot-request": 32,
  "snapshot-chunk": 33,
  "snapshot-gone": 34,
  "snapshot-end": 35,
  "forward-request": 36,
  "forward-reply": 37,
} as const satisfies Record<RuntimeMessage["type"], number>;

/** What follows a message that nothing follows. */
export const NO_PAYLOAD = new Uint8Array(0);

/** Whether a message is for the runtime; else it is for the core. */
export function isRuntimeMessage(message: Message | RuntimeMessage): message is RuntimeMessage {
  return message.type in RuntimeMessageType;
}

/** What follows a runtime message's body; empty for most. */
export function payloadOf(message: RuntimeMessage): Uint8Array {
  return "payload" in message ? message.payload : NO_PAYLOAD;
}

/** Writes the body and returns the type. The payload follows it as it is, under a checksum in the body. */
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
  }
  return RuntimeMessageType[message.type];
}

/** Reads a runtime message's body; `payload` is what follows it in the frame. */
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
      const index = body.integer();
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

// On the wire; they never change their meaning.
const CALLS = ["write", "session-write", "open-session", "close-session"] as const;
const ANSWERS = ["done", "not-done", "unknown", "error-done"] as const;

function writeForwardRequest(writer: ByteWriter, message: ForwardRequest): void {
  const { call } = message;
  writer.integer(message.incarnation);
  writer.integer(message.id);
  writer.integer(message.term);
  writer.u32(message.waitMs);
  writer.u8(CALLS.indexOf(call.type));
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
  }
}

function readForwardRequest(body: ByteReader, from: NodeId, payload: Uint8Array): ForwardRequest {
  const incarnation = body.integer();
  const id = body.integer();
  const term = body.integer();
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
      return { type, id: body.integer() };
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
      ? { type: "done", index: body.integer() }
      : {
          type: "error",
          outcome: kind === "error-done" ? "done" : kind,
          code: body.text(ERROR_CODE_BYTES_MAX),
        };
  return { type: "forward-reply", from, incarnation, id, answer, payload };
}
