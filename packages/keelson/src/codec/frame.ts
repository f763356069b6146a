/*
 * The frames that nodes exchange: the header, and the three kinds of body. frame-reader.ts finds frames in a
 * stream.
 *
 * | offset | bytes | field | meaning |
 * |---|---|---|---|
 * | 0 | 3 | magic | "KLS" |
 * | 3 | 1 | version | the version of this format: 1 |
 * | 4 | 4 | checksum | CRC-32 of the bytes from offset 8 to the end of the body |
 * | 8 | 4 | length | bytes of the whole frame: header, body and tail; at most 32 MiB |
 * | 12 | 4 | group | the Raft group that the message is for; 0 while a node has only one |
 * | 16 | 4 | body length | bytes of the body |
 * | 20 | 1 | type | which message the body is; see below |
 * | 21 | 3 | reserved | zero |
 * | 24 | body length | body | the message's fields, but for the tail |
 * | 24 + body length | the rest | tail | records, or a runtime message's payload; empty for most messages |
 *
 * Numbers are unsigned and little-endian. The tail is sent as it lies in memory: records are the bytes that
 * are on disk, each under a checksum of its own, and a payload's checksum is in the body. So the frame's
 * checksum need not cover them, and nothing computes a checksum over them again for each follower.
 *
 * | type | kind | bodies |
 * |---|---|---|
 * | 1 to 10 | messages between cores | frame-core-message.ts |
 * | 32 to 39 | messages between runtimes | frame-runtime-message.ts |
 * | 64 to 70 | control messages about the connection | frame-control-message.ts |
 *
 * **Version.** The version changes with the header. Bodies are covered by the version that both nodes agree
 * on in the handshake (transport/handshake.ts). Type numbers never change their meaning; new messages get new
 * numbers.
 *
 * **Checks.** The magic, the version, the lengths, the type and the reserved bytes are checked on the header
 * alone, before anything is stored for the frame; then the checksum; then each field of the body, that the
 * body has no bytes left over, and that a tail only follows messages that have one. Anything wrong is a
 * `DecodeError`. It closes the connection: in a stream that contains one wrong frame, the beginning of the
 * next can't be trusted. The messages in it are lost, as Raft allows.
 */
import { crc32 } from "#platform";
import { assert } from "../core/assert.ts";
import type { Message } from "../core/message.ts";
import { DecodeError } from "../errors.ts";
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import {
  type ControlMessage,
  ControlMessageType,
  readControlMessage,
  writeControlMessage,
} from "./frame-control-message.ts";
import { CoreMessageType, readCoreMessage, recordBytesOf, writeCoreMessage } from "./frame-core-message.ts";
import {
  isRuntimeMessage,
  NO_PAYLOAD,
  payloadOf,
  readRuntimeMessage,
  type RuntimeMessage,
  RuntimeMessageType,
  writeRuntimeMessage,
} from "./frame-runtime-message.ts";

/** Bytes of a frame's header. */
export const FRAME_HEADER_BYTES = 24;

/**
 * The most bytes of a frame. The largest record (16 MiB) fits with its message, and so do many smaller
 * records.
 */
export const FRAME_BYTES_MAX: number = 32 * 1024 * 1024;

/** A frame with a message between two cores, or between two runtimes. */
export interface MessageFrame {
  readonly type: "message";
  /** The Raft group that the message is for. */
  readonly group: number;
  readonly message: Message | RuntimeMessage;
  /** The records of an AppendEntries' entries: views of the frame's bytes. Empty for other messages. */
  readonly records: readonly Uint8Array[];
}

/** A decoded frame. */
export type Frame = MessageFrame | ControlMessage;

/** An encoded frame, in pieces, so that records and payloads are not copied. */
export interface EncodedFrame {
  /** The pieces of the frame, in order. The first holds header and body, the others are the tail. */
  readonly chunks: readonly Uint8Array[];
  /** Bytes of all pieces. */
  readonly bytes: number;
}

/**
 * One writer for all frames is enough: each frame is encoded within one call, so no two use it at the same
 * time.
 */
const writer = new ByteWriter();

/**
 * Encodes a message. The records, or its payload, become the tail without a copy, so they must not change any
 * more.
 */
export function encodeMessage(
  message: Message | RuntimeMessage,
  records: readonly Uint8Array[],
  group = 0,
): EncodedFrame {
  writer.begin(FRAME_HEADER_BYTES);
  if (isRuntimeMessage(message)) return encodeRuntimeMessage(message, records, group);
  const type = writeCoreMessage(writer, message, records);
  const bytes = writer.length + recordBytesOf(records);
  const head = finish(type, group, bytes);
  return records.length === 0 ? { chunks: [head], bytes } : { chunks: [head, ...records], bytes };
}

function encodeRuntimeMessage(
  message: RuntimeMessage,
  records: readonly Uint8Array[],
  group: number,
): EncodedFrame {
  assert(records.length === 0, "only AppendEntries carries records");
  const type = writeRuntimeMessage(writer, message);
  const payload = payloadOf(message);
  const bytes = writer.length + payload.length;
  const head = finish(type, group, bytes);
  return payload.length === 0 ? { chunks: [head], bytes } : { chunks: [head, payload], bytes };
}

/** Encodes a message about the connection itself. */
export function encodeControlMessage(control: ControlMessage): Uint8Array {
  writer.begin(FRAME_HEADER_BYTES);
  const type = writeControlMessage(writer, control);
  return finish(type, 0, writer.length);
}

/** Fills in the header, and returns header and body. `frameBytes` includes the tail. */
function finish(type: number, group: number, frameBytes: number): Uint8Array {
  assert(frameBytes <= FRAME_BYTES_MAX, "a frame keeps to FRAME_BYTES_MAX");
  writer.setU32(0, MAGIC);
  writer.setU32(8, frameBytes);
  writer.setU32(12, group);
  writer.setU32(16, writer.length - FRAME_HEADER_BYTES);
  // Writes the type, and zeros into the three reserved bytes after it.
  writer.setU32(20, type);
  writer.setU32(4, crc32(writer.peek(8)));
  return writer.take();
}

/**
 * Checks the header at `at`, and returns the frame's length in bytes, which is at most `limit`. Called before
 * any memory is set aside for the frame, so that a header that announces too much costs nothing (W3).
 *
 * @throws DecodeError says what is wrong
 */
export function checkFrameHeader(view: DataView, at: number, limit: number): number {
  const magic = view.getUint32(at, true);
  if (magic !== MAGIC) throw badMagic(magic);
  const length = view.getUint32(at + 8, true);
  const bodyBytes = view.getUint32(at + 16, true);
  if (length > limit) {
    throw new DecodeError(`a frame announces ${String(length)} bytes; the limit is ${String(limit)}`);
  }
  if (bodyBytes > length - FRAME_HEADER_BYTES) {
    throw new DecodeError(`a frame of ${String(length)} bytes announces a body of ${String(bodyBytes)}`);
  }
  const type = view.getUint32(at + 20, true);
  if (!isKnownType(type)) throw new DecodeError(`a frame has the unknown type ${String(type)}`);
  return length;
}

function badMagic(magic: number): DecodeError {
  const isOurs = (magic & 0xff_ff_ff) === (MAGIC & 0xff_ff_ff);
  return isOurs
    ? new DecodeError(`a frame has version ${String(magic >>> 24)}; this node speaks version 1`)
    : new DecodeError("what came is not a frame: another protocol speaks on this connection");
}

function isKnownType(type: number): boolean {
  return (
    (type >= CoreMessageType["pre-vote"] && type <= CoreMessageType["timeout-now"]) ||
    (type >= RuntimeMessageType["snapshot-request"] && type <= RuntimeMessageType["forward-progress"]) ||
    (type >= ControlMessageType.hello && type <= ControlMessageType.consent)
  );
}

/** Whether the frame at `at`, whose header was checked and whose length is given, has a tail. */
export function hasTail(view: DataView, at: number, length: number): boolean {
  return view.getUint32(at + 16, true) < length - FRAME_HEADER_BYTES;
}

/**
 * Decodes the frame in [at, at + length) of `bytes`. Its header must have been checked, and all its bytes
 * must be there.
 *
 * The tail is not copied: records and payload are views of `bytes`, so for a frame with a tail, `bytes` must
 * not be used again. Nothing of a frame without a tail refers to `bytes`.
 *
 * @throws DecodeError says what is wrong
 */
export function decodeFrame(bytes: Uint8Array, view: DataView, at: number, length: number): Frame {
  const bodyEnd = at + FRAME_HEADER_BYTES + view.getUint32(at + 16, true);
  if (crc32(bytes.subarray(at + 8, bodyEnd)) !== view.getUint32(at + 4, true)) {
    throw new DecodeError("a frame's checksum is wrong: it was damaged on its way");
  }
  const type = view.getUint32(at + 20, true);
  const group = view.getUint32(at + 12, true);
  const body = new ByteReader(bytes, view, at + FRAME_HEADER_BYTES, bodyEnd);
  const end = at + length;
  if (type < RuntimeMessageType["snapshot-request"]) {
    return { type: "message", group, ...readCoreMessage(type, body, bodyEnd, end) };
  }
  if (type < ControlMessageType.hello) {
    // Without a tail, `bytes` may be a buffer that is used again. Even an empty view would keep all of it
    // alive.
    const payload = bodyEnd === end ? NO_PAYLOAD : bytes.subarray(bodyEnd, end);
    const message = readRuntimeMessage(type, body, payload);
    return { type: "message", group, message, records: [] };
  }
  if (bodyEnd !== end) throw new DecodeError("records follow a frame that has none");
  return readControlMessage(type, body);
}

/** The first four bytes of every frame, as a number: "KLS", version 1. */
const MAGIC = 0x01_53_4c_4b;
