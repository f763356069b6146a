/** Reads LevelDB's encodings of numbers and byte strings (`util/coding.cc`). */

/** The bytes aren't in the format that LevelDB writes: the file is damaged. */
export class MalformedError extends Error {
  override readonly name = "MalformedError";
}

/** Reads values from `bytes` one after another. `at` is where the next one begins. */
export class ByteCursor {
  readonly bytes: Uint8Array;
  at: number;
  readonly #end: number;

  constructor(bytes: Uint8Array, from = 0, end: number = bytes.length) {
    this.bytes = bytes;
    this.at = from;
    this.#end = end;
  }

  get isAtEnd(): boolean {
    return this.at >= this.#end;
  }

  byte(): number {
    const byte = this.at < this.#end ? this.bytes[this.at] : undefined;
    if (byte === undefined) throw new MalformedError("it ends too early");
    this.at += 1;
    return byte;
  }

  /**
   * Reads a number that is stored with 7 bits in each byte, the lowest first; the top bit says that another
   * byte follows. LevelDB writes numbers of up to 64 bits. One of more than 53 is refused: a JavaScript
   * number can't hold it exactly.
   */
  varint(): number {
    let number = 0;
    for (let scale = 1; scale <= 2 ** 49; scale *= 128) {
      const byte = this.byte();
      number += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (Number.isSafeInteger(number)) return number;
        break;
      }
    }
    throw new MalformedError("a number is too large");
  }

  slice(length: number): Uint8Array {
    if (length > this.#end - this.at) throw new MalformedError("it ends too early");
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  /** Reads a byte string, before which its length is stored. */
  string(): Uint8Array {
    return this.slice(this.varint());
  }
}

/** The four bytes at `at` as a number, the lowest first. */
export function uint32At(bytes: Uint8Array, at: number): number {
  const [a, b, c, d] = bytes.subarray(at, at + 4);
  if (a === undefined || b === undefined || c === undefined || d === undefined)
    throw new MalformedError("it ends too early");
  return (a | (b << 8) | (c << 16) | (d << 24)) >>> 0;
}

/** The eight bytes at `at` as a number, the lowest first. */
export function uint64At(bytes: Uint8Array, at: number): number {
  return uint32At(bytes, at) + uint32At(bytes, at + 4) * 2 ** 32;
}
