/** Reads LevelDB's encodings of numbers and byte strings (`util/coding.cc`). */

/** What is read is not what LevelDB writes. */
export class MalformedError extends Error {
  override readonly name = "MalformedError";
}

/** A place in some bytes, which moves on with every read. */
export class ByteCursor {
  readonly bytes: Uint8Array;
  at: number;
  readonly #end: number;

  constructor(bytes: Uint8Array, from = 0, end = bytes.length) {
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

  /** A number of 7 bits in each byte, the lowest first. LevelDB has up to 64 bits; more than 53 are refused. */
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

  /** A byte string after its length. */
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
