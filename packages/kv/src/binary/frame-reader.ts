/**
 * Finds the frames in what a connection receives, however it is cut.
 *
 * Hazard: a header announces up to two megabytes. So memory grows with the bytes that have arrived, never
 * with the bytes that were announced, and the memory account is charged before it grows. A frame's type and
 * content are looked at only when its checksum is right.
 */
import { MemoryBudget, type MemoryAccount } from "../shared/memory-budget.ts";
import { PieceBuffer } from "../shared/piece-buffer.ts";
import { checksumOf } from "./frame-writer.ts";
import {
  FRAME_HEADER_BYTES,
  MAGIC,
  OPENING_BYTES,
  PAYLOAD_HEADER_BYTES,
  ProtocolError,
  PROTOCOL_VERSION,
} from "./wire.ts";

/** A frame whose checksum is right. */
export interface Frame {
  readonly type: number;
  /**
   * The whole payload. If `heldBytes` is 0, it is a part of the chunk that was pushed, which stays in memory
   * as long as any part of it is used: copy what you keep. Otherwise it is the frame's own memory.
   */
  readonly payload: Uint8Array;
  /** Bytes of memory of its own that the frame takes, which the reader's account doesn't count any more. */
  readonly heldBytes: number;
}

/** Why there is no next frame. */
export type NoFrame =
  /** More bytes must come first. */
  | "incomplete"
  /** The memory budget has no room for what came of a frame. The reader must not be used any more. */
  | "no-room";

export class FrameReader {
  readonly #account: MemoryAccount;
  /** What was pushed and not read yet. */
  #chunk: Uint8Array = EMPTY;
  /** Where in `#chunk` the unread bytes begin. */
  #at = 0;
  /** The start of what doesn't fit into one chunk: an opening's or a header's bytes. */
  readonly #start = new Uint8Array(Math.max(OPENING_BYTES, FRAME_HEADER_BYTES));
  /** Bytes in `#start`. */
  #startLength = 0;
  /** What came of a frame that doesn't fit into one chunk. null: its header isn't complete. */
  #pieces: PieceBuffer | null = null;
  /** The length and the checksum in its header. */
  #payloadLength = 0;
  #checksum = 0;

  /** `account`: is charged for the bytes of a frame that isn't complete. Default: without a limit. */
  constructor(account: MemoryAccount = new MemoryBudget(Number.MAX_SAFE_INTEGER).open()) {
    this.#account = account;
  }

  /** Some bytes of an opening or a frame have come, and not all. */
  get isInside(): boolean {
    return this.#startLength > 0 || this.#pieces !== null;
  }

  /** Takes what has arrived. Read all frames before the next `push`: it refuses to lose any. */
  push(chunk: Uint8Array): void {
    if (this.#at < this.#chunk.length) throw new RangeError("the chunk before this one wasn't read");
    this.#chunk = chunk;
    this.#at = 0;
  }

  /**
   * Reads the opening. "incomplete": more bytes must come first. Otherwise the version of the other end.
   *
   * @throws ProtocolError these aren't the opening bytes
   */
  opening(): number | "incomplete" {
    if (!this.#fillStart(OPENING_BYTES)) {
      checkMagic(this.#start.subarray(0, this.#startLength));
      return "incomplete";
    }
    this.#startLength = 0;
    checkMagic(this.#start);
    return this.#start[MAGIC.length] ?? 0;
  }

  /**
   * The next frame. `payloadBytesMax`: refuse larger ones.
   *
   * @throws ProtocolError the bytes aren't a frame; the connection can't be read any further
   */
  next(payloadBytesMax: number): Frame | NoFrame {
    if (this.#pieces === null) {
      if (this.#startLength === 0 && this.#chunk.length - this.#at >= FRAME_HEADER_BYTES) {
        this.#readHeader(this.#chunk, this.#at, payloadBytesMax);
        const from = this.#at + FRAME_HEADER_BYTES;
        const to = from + this.#payloadLength;
        if (to <= this.#chunk.length) {
          const payload = this.#chunk.subarray(from, to);
          this.#at = to;
          if (to === this.#chunk.length) this.#dropChunk();
          return this.#frame(payload, 0);
        }
        this.#at = from;
      } else {
        if (!this.#fillStart(FRAME_HEADER_BYTES)) return "incomplete";
        this.#startLength = 0;
        this.#readHeader(this.#start, 0, payloadBytesMax);
      }
      this.#pieces = new PieceBuffer(this.#account, this.#payloadLength);
    }
    return this.#rest(this.#pieces);
  }

  /** Drops what was received of a frame. */
  close(): void {
    this.#chunk = EMPTY;
    this.#at = 0;
    this.#startLength = 0;
    this.#pieces = null;
    this.#account.close();
  }

  /** Adds what has arrived to a frame that doesn't fit into one chunk. */
  #rest(pieces: PieceBuffer): Frame | NoFrame {
    const to = Math.min(this.#chunk.length, this.#at + this.#payloadLength - pieces.length);
    const piece = this.#chunk.subarray(this.#at, to);
    this.#at = to;
    if (to === this.#chunk.length) this.#dropChunk();
    if (!pieces.push(piece)) return "no-room";
    if (pieces.length < this.#payloadLength) return "incomplete";
    const payload = pieces.take();
    const heldBytes = this.#account.bytes;
    this.#pieces = null;
    this.#account.close();
    return this.#frame(payload, heldBytes);
  }

  #frame(payload: Uint8Array, heldBytes: number): Frame {
    if (checksumOf(payload) !== this.#checksum)
      throw new ProtocolError(
        "BAD_CHECKSUM",
        "a frame's checksum is wrong: its bytes were changed on the way",
      );
    if (payload[1] !== 0 || payload[2] !== 0 || payload[3] !== 0)
      throw new ProtocolError("BAD_FRAME", "the bytes after a frame's type aren't zero");
    return { type: payload[0] ?? 0, payload, heldBytes };
  }

  #readHeader(bytes: Uint8Array, at: number, payloadBytesMax: number): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset + at, FRAME_HEADER_BYTES);
    const length = view.getUint32(0, true);
    if (length > payloadBytesMax)
      throw new ProtocolError("FRAME_TOO_LARGE", `a frame of ${length} bytes; at most ${payloadBytesMax}`);
    if (length < PAYLOAD_HEADER_BYTES)
      throw new ProtocolError(
        "BAD_FRAME",
        `a frame of ${length} bytes; it has at least ${PAYLOAD_HEADER_BYTES}`,
      );
    this.#payloadLength = length;
    this.#checksum = view.getUint32(4, true);
  }

  /** Collects bytes in `#start`. False: there are fewer than `count`. */
  #fillStart(count: number): boolean {
    const to = Math.min(this.#chunk.length, this.#at + count - this.#startLength);
    this.#start.set(this.#chunk.subarray(this.#at, to), this.#startLength);
    this.#startLength += to - this.#at;
    this.#at = to;
    if (to === this.#chunk.length) this.#dropChunk();
    return this.#startLength === count;
  }

  /** A chunk that was read must not stay in memory until the next one comes. */
  #dropChunk(): void {
    this.#chunk = EMPTY;
    this.#at = 0;
  }
}

/** Whether these bytes begin like this protocol: those of HTTP, for one, never do. */
export function isOpening(bytes: Uint8Array): boolean {
  return bytes[0] === MAGIC[0];
}

/** @throws ProtocolError */
export function checkVersion(version: number): void {
  if (version === PROTOCOL_VERSION) return;
  throw new ProtocolError(
    "UNSUPPORTED_VERSION",
    `version ${version} of the protocol; this program speaks version ${PROTOCOL_VERSION}`,
  );
}

function checkMagic(start: Uint8Array): void {
  const differs = MAGIC.some((byte, at) => at < start.length && start[at] !== byte);
  if (differs) throw new ProtocolError("BAD_FRAME", "the connection doesn't begin with the opening bytes");
}

const EMPTY = new Uint8Array(0);
