import { crc32 } from "node:zlib";
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

/*
 * What travels between nodes: frames, one after another.
 *
 * | offset | bytes | what |
 * |---|---|---|
 * | 0 | 4 | "KLS" and the format's version, 1 |
 * | 4 | 4 | CRC-32 of the rest of the header and of the body |
 * | 8 | 4 | length of the whole frame, header included |
 * | 12 | 4 | the group that it is for; 0 until a node hosts many |
 * | 16 | 4 | length of the body |
 * | 20 | 1 | type: what the body is |
 * | 21 | 3 | zero, for later |
 * | 24 | ... | body, then what it announces: records of log entries, each under its own checksum, or bytes whose checksum is in the body |
 *
 * All numbers are unsigned and little-endian. The records are the bytes that are on disk: nobody
 * encodes them again, and their checksums are not computed twice.
 */
export const FRAME_HEADER_BYTES = 24;

/** The first four bytes of every frame: "KLS", version 1. */
const MAGIC = 0x01_53_4c_4b;

/**
 * No frame is longer. It holds the largest record (16 MiB) with its message, and leaves room for
 * AppendEntries of many records up to twice that.
 */
export const FRAME_BYTES_MAX = 32 * 1024 * 1024;

/** A message of the core, with the records of its entries, or one of the runtime, for one of the groups of a node. */
export interface MessageFrame {
  readonly type: "message";
  readonly group: number;
  readonly message: Message | RuntimeMessage;
  readonly records: readonly Uint8Array[];
}

/** Anything that travels between two nodes: a message of the core, or a word about the connection. */
export type Frame = MessageFrame | ControlMessage;

/** A frame as bytes, in pieces, so that records need no copy. */
export interface EncodedFrame {
  readonly chunks: readonly Uint8Array[];
  readonly bytes: number;
}

/** Synchronous use only: a frame is begun and taken in one call. */
const writer = new ByteWriter();

/** Encodes a message; records, or a payload, follow as the very bytes that they are. */
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

/** Encodes what the two ends of a connection say about the connection itself. */
export function encodeControlMessage(control: ControlMessage): Uint8Array {
  writer.begin(FRAME_HEADER_BYTES);
  const type = writeControlMessage(writer, control);
  return finish(type, 0, writer.length);
}

function finish(type: number, group: number, frameBytes: number): Uint8Array {
  assert(frameBytes <= FRAME_BYTES_MAX, "a frame keeps to FRAME_BYTES_MAX");
  writer.setU32(0, MAGIC);
  writer.setU32(8, frameBytes);
  writer.setU32(12, group);
  writer.setU32(16, writer.length - FRAME_HEADER_BYTES);
  // The type, and three zeros.
  writer.setU32(20, type);
  writer.setU32(4, crc32(writer.peek(8)));
  return writer.take();
}

/**
 * Checks what can be told from a header alone, before any more is waited for or set aside, and
 * returns the frame's length. `limit` is what this frame may have at this time.
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
    (type >= RuntimeMessageType["snapshot-request"] && type <= RuntimeMessageType["forward-reply"]) ||
    (type >= ControlMessageType.hello && type <= ControlMessageType.pong)
  );
}

/** Whether something follows the body of the frame at `at`, whose header was checked. */
export function hasTail(view: DataView, at: number, length: number): boolean {
  return view.getUint32(at + 16, true) < length - FRAME_HEADER_BYTES;
}

/**
 * Decodes one whole frame, whose header was checked, from `[at, at + length)`. Records and payload
 * are parts of `bytes`, not copies: `bytes` must be the caller's to give away.
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
    // Without a tail `bytes` may be lent: nothing of them may be kept, not even nothing.
    const payload = bodyEnd === end ? NO_PAYLOAD : bytes.subarray(bodyEnd, end);
    const message = readRuntimeMessage(type, body, payload);
    return { type: "message", group, message, records: [] };
  }
  if (bodyEnd !== end) throw new DecodeError("records follow a frame that has none");
  return readControlMessage(type, body);
}
