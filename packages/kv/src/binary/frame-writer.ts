/**
 * Writes frames into one growing buffer, so that everything of a turn goes out in one write.
 *
 * Items (calls or answers) of one type share a frame: one header, one checksum. A frame that would exceed the
 * limits is ended, and another begun behind it in the same buffer. `CallWriter` and `AnswerWriter` say what
 * an item is.
 */
import { crc32 } from "node:zlib";
import {
  FRAME_BYTES_MAX,
  FRAME_CALLS_MAX,
  FRAME_HEADER_BYTES,
  MAGIC,
  OPENING_BYTES,
  PAYLOAD_HEADER_BYTES,
  PROTOCOL_VERSION,
} from "./wire.ts";

/** The first size of a buffer, and the least of later ones. */
const CAPACITY_MIN = 1024;
/** The most that a new buffer is made larger than needed, because the one before it was. */
const CAPACITY_GUESS_MAX = 256 * 1024;

export class FrameWriter {
  /** The most bytes of a payload. */
  readonly #payloadBytesMax: number;
  #bytes: Buffer = EMPTY;
  /**
   * A view of all of `#bytes`, for the subclasses to write fields with. `item` and `lone` replace it when the
   * buffer grows: read it after them.
   */
  protected view: DataView<ArrayBuffer> = new DataView(EMPTY.buffer, 0, 0);
  #length = 0;
  /** Where the header of the open frame begins. -1: no frame is open. */
  #frameAt = -1;
  /** The type of the open frame. */
  #frameType = 0;
  /** Items in the open frame. */
  #frameItems = 0;
  /** Frames of items that were begun since this writer exists. */
  #itemFrames = 0;
  /** The size of the next buffer: a little more than the last one took. */
  #capacityGuess = CAPACITY_MIN;

  /** `payloadBytesMax`: what the other end takes at most; `FRAME_BYTES_MAX` if that is less. */
  constructor(payloadBytesMax: number = FRAME_BYTES_MAX) {
    this.#payloadBytesMax = Math.min(payloadBytesMax, FRAME_BYTES_MAX);
  }

  /** Bytes written since the last `take`. */
  get length(): number {
    return this.#length;
  }

  /** Bytes of memory that the buffer takes. */
  get capacity(): number {
    return this.#bytes.length;
  }

  /**
   * How many frames of items were begun since this writer exists. A client's call is in the frame of that
   * number, right after it was written: `Goodbye.framesTaken` counts the same frames.
   */
  get itemFrames(): number {
    return this.#itemFrames;
  }

  /** Writes what must come before the first frame: the magic and the version. */
  opening(): void {
    const at = this.#reserve(OPENING_BYTES);
    this.#bytes.set(MAGIC, at);
    this.#bytes[at + MAGIC.length] = PROTOCOL_VERSION;
  }

  /**
   * Everything written since the last `take`, as one array to give to the socket. The writer doesn't touch it
   * any more.
   */
  take(): Buffer {
    this.#endFrame();
    const taken = this.#bytes.subarray(0, this.#length);
    const wanted = Math.max(CAPACITY_MIN, this.#length + (this.#length >> 2));
    this.#capacityGuess = Math.min(CAPACITY_GUESS_MAX, wanted);
    this.drop();
    return taken;
  }

  /** Drops what was written since the last `take`. */
  drop(): void {
    this.#bytes = EMPTY;
    this.view = new DataView(EMPTY.buffer, 0, 0);
    this.#length = 0;
    this.#frameAt = -1;
  }

  /**
   * Makes room for an item of `bytes` in the open frame if that is of this type, or in a new one. Returns
   * where it begins; the caller must fill all of it.
   *
   * @throws RangeError no frame that the other end takes has room for it
   */
  protected item(type: number, bytes: number): number {
    if (PAYLOAD_HEADER_BYTES + bytes > this.#payloadBytesMax)
      throw new RangeError(`${bytes} bytes don't fit into a frame of at most ${this.#payloadBytesMax}`);
    const hasRoom =
      this.#frameAt >= 0 &&
      this.#frameType === type &&
      this.#frameItems < FRAME_CALLS_MAX &&
      this.#length + bytes - this.#frameAt - FRAME_HEADER_BYTES <= this.#payloadBytesMax;
    if (!hasRoom) {
      this.#beginFrame(type);
      this.#itemFrames += 1;
    }
    this.#frameItems += 1;
    return this.#reserve(bytes);
  }

  /** A frame of its own: what comes next is in another one. Returns where its body begins. */
  protected lone(type: number, bytes: number): number {
    this.#beginFrame(type);
    this.#frameType = 0;
    return this.#reserve(bytes);
  }

  /** Copies bytes into the buffer. */
  protected copy(bytes: Uint8Array, at: number): void {
    this.#bytes.set(bytes, at);
  }

  /** Writes text of which the caller has reserved as many bytes as it has in UTF-8. */
  protected text(text: string, at: number): void {
    this.#bytes.write(text, at, "utf8");
  }

  #beginFrame(type: number): void {
    this.#endFrame();
    const at = this.#reserve(FRAME_HEADER_BYTES + PAYLOAD_HEADER_BYTES);
    this.view.setUint32(at + FRAME_HEADER_BYTES, type, true);
    this.#frameAt = at;
    this.#frameType = type;
    this.#frameItems = 0;
  }

  /** Fills in the open frame's length and checksum. */
  #endFrame(): void {
    const at = this.#frameAt;
    if (at < 0) return;
    const payload = this.#bytes.subarray(at + FRAME_HEADER_BYTES, this.#length);
    this.view.setUint32(at, payload.length, true);
    this.view.setUint32(at + 4, checksumOf(payload), true);
    this.#frameAt = -1;
  }

  #reserve(count: number): number {
    const at = this.#length;
    this.#length = at + count;
    if (this.#length > this.#bytes.length) this.#grow();
    return at;
  }

  #grow(): void {
    const capacity = Math.max(this.#capacityGuess, 2 * this.#bytes.length, this.#length);
    // Not from Node's shared pool: the socket may keep this for as long as its peer doesn't read.
    const larger = Buffer.allocUnsafeSlow(capacity);
    this.#bytes.copy(larger);
    this.#bytes = larger;
    this.view = new DataView(larger.buffer, larger.byteOffset, larger.length);
  }
}

/**
 * The checksum of a payload: CRC-32, continued from the payload's length, so that it covers the length too.
 */
export function checksumOf(payload: Uint8Array): number {
  return crc32(payload, payload.length);
}

const EMPTY = Buffer.alloc(0);
