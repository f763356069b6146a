import { assert } from "../core/assert.ts";
import {
  checkFrameHeader,
  decodeFrame,
  type Frame,
  FRAME_BYTES_MAX,
  FRAME_HEADER_BYTES,
  hasTail,
} from "./frame.ts";

/** The first room for a frame that comes in pieces; it doubles as they do come. */
const FIRST_ROOM_BYTES = 64 * 1024;

/**
 * Finds the frames in a stream that is cut at arbitrary places. Feed it a chunk, then call `next`
 * until it gives null; only then may the chunk's bytes change.
 *
 * Frames that lie whole in a chunk are read where they lie; only what follows a body (records) is copied,
 * once, because it outlives the chunk. Of a frame in pieces, what has come is kept: at most twice that in bytes,
 * so that a header which announces much costs nothing until much has come.
 */
export class FrameReader {
  /** Frames longer than this are refused by their header; lower for strangers. */
  frameBytesMax: number;

  #chunk: Uint8Array = new Uint8Array(0);
  #chunkView: DataView | null = null;
  #at = 0;

  /** The beginning of a frame whose end is still to come. */
  #held: Uint8Array = new Uint8Array(0);
  #heldBytes = 0;
  /** The length of the frame that is held; null while its header is incomplete. */
  #heldFrameBytes: number | null = null;

  constructor(frameBytesMax = FRAME_BYTES_MAX) {
    this.frameBytesMax = frameBytesMax;
  }

  /** Bytes set aside for a frame that is not complete. */
  get reservedBytes(): number {
    return this.#held.length;
  }

  feed(chunk: Uint8Array): void {
    assert(this.#at === this.#chunk.length, "all frames of a chunk are taken before the next chunk");
    this.#chunk = chunk;
    this.#chunkView = null;
    this.#at = 0;
  }

  /** The next frame that is complete, or null. Throws `DecodeError`; after that the stream is of no more use. */
  next(): Frame | null {
    if (this.#heldBytes > 0) return this.#nextHeld();
    const left = this.#chunk.length - this.#at;
    if (left >= FRAME_HEADER_BYTES) {
      this.#chunkView ??= viewOf(this.#chunk);
      const length = checkFrameHeader(this.#chunkView, this.#at, this.frameBytesMax);
      if (left >= length) return this.#nextInPlace(this.#chunkView, length);
      this.#heldFrameBytes = length;
    }
    // The beginning of a frame: kept until the rest comes.
    this.#fill(left);
    return null;
  }

  #nextInPlace(view: DataView, length: number): Frame {
    const at = this.#at;
    this.#at += length;
    // What follows a body, records above all, lives on: it gets bytes of its own.
    if (!hasTail(view, at, length)) return decodeFrame(this.#chunk, view, at, length);
    const copy = new Uint8Array(length);
    copy.set(this.#chunk.subarray(at, at + length));
    return decodeFrame(copy, viewOf(copy), 0, length);
  }

  /** Goes on with a frame that began in an earlier chunk. */
  #nextHeld(): Frame | null {
    if (this.#heldFrameBytes === null) {
      this.#fill(FRAME_HEADER_BYTES);
      if (this.#heldBytes < FRAME_HEADER_BYTES) return null;
      this.#heldFrameBytes = checkFrameHeader(viewOf(this.#held), 0, this.frameBytesMax);
    }
    const length = this.#heldFrameBytes;
    this.#fill(length);
    if (this.#heldBytes < length) return null;
    const bytes = this.#held;
    this.#held = new Uint8Array(0);
    this.#heldBytes = 0;
    this.#heldFrameBytes = null;
    return decodeFrame(bytes, viewOf(bytes), 0, length);
  }

  /** Moves bytes from the chunk until `target` are held, or the chunk is used up. */
  #fill(target: number): void {
    const count = Math.min(target - this.#heldBytes, this.#chunk.length - this.#at);
    if (count <= 0) return;
    this.#makeRoom(this.#heldBytes + count);
    this.#held.set(this.#chunk.subarray(this.#at, this.#at + count), this.#heldBytes);
    this.#heldBytes += count;
    this.#at += count;
  }

  #makeRoom(needed: number): void {
    if (needed <= this.#held.length) return;
    // Doubling keeps the copying linear, however small the chunks; never more than the frame takes.
    const wished = Math.max(needed, 2 * this.#held.length, FIRST_ROOM_BYTES);
    const larger = new Uint8Array(Math.min(wished, this.#heldFrameBytes ?? FRAME_HEADER_BYTES));
    larger.set(this.#held.subarray(0, this.#heldBytes));
    this.#held = larger;
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
