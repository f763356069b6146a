// Finds frames in a byte stream. frame.ts has their format.
import { assert } from "../core/assert.ts";
import {
  checkFrameHeader,
  decodeFrame,
  type Frame,
  FRAME_BYTES_MAX,
  FRAME_HEADER_BYTES,
  hasTail,
} from "./frame.ts";

/**
 * Finds the frames in a stream that is split at arbitrary places (W3). `feed` it a chunk, then call `next`
 * until it returns null. The chunk's bytes must not change before that, and may be used again after it.
 *
 * **Copies.** A frame that is whole in a chunk is decoded in place. It is copied first only if it has a tail,
 * because records and payloads outlive the chunk. A frame in several chunks is collected in a buffer of its
 * own.
 *
 * **Memory.** The buffer grows as bytes arrive, to at most 64 KiB or twice the bytes that arrived. A header
 * that announces a large frame costs nothing by itself.
 */
export class FrameReader {
  /**
   * Longer frames are refused when their header is read. The reader's owner may change the limit at any time:
   * it is lower until the handshake is complete.
   */
  frameBytesMax: number;

  /** The chunk that was fed last. */
  #chunk: Uint8Array = new Uint8Array(0);
  /** A view of the chunk; null: not created yet. */
  #chunkView: DataView | null = null;
  /** The position in the chunk up to which it is used. */
  #at = 0;

  /** The buffer for a frame that began in the chunk or an earlier one, and is not complete. */
  #held: Uint8Array = new Uint8Array(0);
  /** How many bytes of that frame are in the buffer; 0: there is no such frame. */
  #heldBytes = 0;
  /** The length of that frame; null: its header is incomplete, or there is no such frame. */
  #heldFrameBytes: number | null = null;

  constructor(frameBytesMax: number = FRAME_BYTES_MAX) {
    this.frameBytesMax = frameBytesMax;
  }

  /** The size in bytes of the buffer for an incomplete frame; 0: there is no buffer. */
  get reservedBytes(): number {
    return this.#held.length;
  }

  /** Takes the next bytes of the stream. All frames of the chunk before must have been taken. */
  feed(chunk: Uint8Array): void {
    assert(this.#at === this.#chunk.length, "all frames of a chunk are taken before the next chunk");
    this.#chunk = chunk;
    this.#chunkView = null;
    this.#at = 0;
  }

  /**
   * The next complete frame; null: there is none in what was fed so far.
   *
   * @throws DecodeError says what is wrong. The reader can't be used any more.
   */
  next(): Frame | null {
    if (this.#heldBytes > 0) return this.#nextHeld();
    const left = this.#chunk.length - this.#at;
    if (left >= FRAME_HEADER_BYTES) {
      this.#chunkView ??= viewOf(this.#chunk);
      const length = checkFrameHeader(this.#chunkView, this.#at, this.frameBytesMax);
      if (left >= length) return this.#nextInPlace(this.#chunkView, length);
      this.#heldFrameBytes = length;
    }
    // The chunk ends within this frame, or right before it. Keep what there is until the rest arrives.
    this.#fill(left);
    return null;
  }

  #nextInPlace(view: DataView, length: number): Frame {
    const at = this.#at;
    this.#at += length;
    // The receiver of the frame keeps its records and payload, so they get bytes of their own.
    if (!hasTail(view, at, length)) return decodeFrame(this.#chunk, view, at, length);
    const copy = new Uint8Array(length);
    copy.set(this.#chunk.subarray(at, at + length));
    return decodeFrame(copy, viewOf(copy), 0, length);
  }

  /** Continues a frame that began in an earlier chunk; null: it is still not complete. */
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

  /** Copies bytes from the chunk into the buffer, until that has `target` bytes or the chunk is used up. */
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
    // Doubling keeps the total cost of copying linear in the frame's length, however small the chunks are.
    const wished = Math.max(needed, 2 * this.#held.length, FIRST_ROOM_BYTES);
    const larger = new Uint8Array(Math.min(wished, this.#heldFrameBytes ?? FRAME_HEADER_BYTES));
    larger.set(this.#held.subarray(0, this.#heldBytes));
    this.#held = larger;
  }
}

/** The buffer's first size in bytes once the frame's length is known; the frame's length if that is less. */
const FIRST_ROOM_BYTES = 64 * 1024;

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
