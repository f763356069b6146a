/*
 * The fields of which frames and snapshot headers are made, and the writer for them. byte-reader.ts reads
 * them.
 *
 * | field | bytes | encoding |
 * |---|---|---|
 * | u8, u16, u32 | 1, 2, 4 | unsigned, little-endian |
 * | integer | 8 | unsigned, little-endian, below 2^53 |
 * | boolean | 1 | 0 or 1 |
 * | id | 1 + n | n from 1 to 64 as u8, then n characters of `A-Z a-z 0-9 . _ -` in ASCII |
 * | text | 2 + n | n as u16, then n bytes of UTF-8; each text has a limit of its own for n |
 */
import { assert } from "../core/assert.ts";
import type { NodeId } from "../core/position.ts";

/** The most bytes of a node's id; also the most characters, because an id is ASCII. */
export const ID_BYTES_MAX = 64;

const TWO_TO_32 = 2 ** 32;

/** The buffer's first size: enough for the header and body of nearly every frame. It grows when it must. */
const SCRATCH_BYTES = 16 * 1024;

const encoder = new TextEncoder();

/**
 * Writes fields one after another into a buffer that is used again and again: `begin`, then the fields, then
 * `take`. It uses `DataView`, which is 2.7 times as fast as the methods of `Buffer`. Arguments that no reader
 * would accept are programming errors, and fail an assertion.
 */
export class ByteWriter {
  /** The buffer. What is beyond `#length` is left over from earlier uses. */
  #bytes = new Uint8Array(SCRATCH_BYTES);
  /** A view of all of `#bytes`. */
  #view = new DataView(this.#bytes.buffer);
  /** Bytes written since `begin`, including those that `begin` left out. */
  #length = 0;

  /** Starts over, and leaves out the first `length` bytes, to be set later by `setU32`. */
  begin(length: number): void {
    this.#length = length;
  }

  get length(): number {
    return this.#length;
  }

  /** A copy of what was written since `begin`. */
  take(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  /** A view of what was written, from `start` on. Valid only until the next call on the writer. */
  peek(start: number): Uint8Array {
    return this.#bytes.subarray(start, this.#length);
  }

  u8(value: number): void {
    this.#view.setUint8(this.#reserve(1), value);
  }

  u16(value: number): void {
    this.#view.setUint16(this.#reserve(2), value, true);
  }

  u32(value: number): void {
    this.#view.setUint32(this.#reserve(4), value, true);
  }

  /** Sets four bytes that were left out or written before. */
  setU32(at: number, value: number): void {
    this.#view.setUint32(at, value, true);
  }

  integer(value: number): void {
    assert(Number.isSafeInteger(value) && value >= 0, "only safe integers go into a frame");
    const at = this.#reserve(8);
    this.#view.setUint32(at, value % TWO_TO_32, true);
    this.#view.setUint32(at + 4, Math.floor(value / TWO_TO_32), true);
  }

  boolean(value: boolean): void {
    this.u8(value ? 1 : 0);
  }

  id(id: NodeId): void {
    assert(id.length > 0 && id.length <= ID_BYTES_MAX, "an id has 1 to 64 characters");
    const at = this.#reserve(1 + id.length);
    this.#bytes[at] = id.length;
    for (let n = 0; n < id.length; n++) {
      const code = id.charCodeAt(n);
      assert(isIdCode(code), "an id consists of A-Z a-z 0-9 . _ -");
      this.#bytes[at + 1 + n] = code;
    }
  }

  text(text: string, bytesMax: number): void {
    const bytes = encoder.encode(text);
    assert(bytes.length <= bytesMax, "a text in a frame keeps to its limit");
    this.u16(bytes.length);
    const at = this.#reserve(bytes.length);
    this.#bytes.set(bytes, at);
  }

  #reserve(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#bytes.length) this.#grow();
    return at;
  }

  #grow(): void {
    const larger = new Uint8Array(2 * this.#length);
    larger.set(this.#bytes);
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer);
  }
}

/** Whether this is the code of one of `A-Z a-z 0-9 . _ -`. */
export function isIdCode(code: number): boolean {
  return (
    (code >= 0x61 && code <= 0x7a) ||
    (code >= 0x41 && code <= 0x5a) ||
    (code >= 0x30 && code <= 0x39) ||
    code === 0x2e ||
    code === 0x5f ||
    code === 0x2d
  );
}
