import type { NodeId } from "../core/position.ts";
import { DecodeError } from "../errors.ts";
import { ID_BYTES_MAX, isIdCode } from "./byte-writer.ts";

const TWO_TO_32 = 2 ** 32;

// Fatal: a text that is not UTF-8 is refused, never quietly replaced by another text.
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Reads what `ByteWriter` wrote, and throws `DecodeError` at whatever cannot have come from it. */
export class ByteReader {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  #at: number;
  readonly #end: number;

  constructor(bytes: Uint8Array, view: DataView, from: number, end: number) {
    this.bytes = bytes;
    this.view = view;
    this.#at = from;
    this.#end = end;
  }

  u8(): number {
    return this.view.getUint8(this.#skip(1));
  }

  u16(): number {
    return this.view.getUint16(this.#skip(2), true);
  }

  u32(): number {
    return this.view.getUint32(this.#skip(4), true);
  }

  integer(): number {
    return integerAt(this.view, this.#skip(8));
  }

  boolean(): boolean {
    const value = this.u8();
    if (value > 1) throw new DecodeError(`a yes or no is ${String(value)}, neither 0 nor 1`);
    return value === 1;
  }

  id(): NodeId {
    const length = this.u8();
    if (length === 0 || length > ID_BYTES_MAX)
      throw new DecodeError(`an id has ${String(length)} bytes, not 1 to 64`);
    const at = this.#skip(length);
    let id = "";
    for (let n = at; n < at + length; n++) {
      const code = this.view.getUint8(n);
      if (!isIdCode(code)) throw new DecodeError(`an id holds the byte ${String(code)}`);
      id += String.fromCharCode(code);
    }
    return id;
  }

  text(bytesMax: number): string {
    const length = this.u16();
    if (length > bytesMax) {
      throw new DecodeError(`a text has ${String(length)} bytes; the limit is ${String(bytesMax)}`);
    }
    const at = this.#skip(length);
    try {
      return decoder.decode(this.bytes.subarray(at, at + length));
    } catch (error) {
      throw new DecodeError("a text is not UTF-8", { cause: error });
    }
  }

  /** A copy of all that is left. */
  rest(): Uint8Array {
    const at = this.#skip(this.#end - this.#at);
    return this.bytes.slice(at, this.#end);
  }

  /** Nothing may be left: what we do not understand we do not accept. */
  end(): void {
    if (this.#at !== this.#end)
      throw new DecodeError(`${String(this.#end - this.#at)} bytes too many in the body`);
  }

  #skip(count: number): number {
    const at = this.#at;
    this.#at += count;
    if (this.#at > this.#end) throw new DecodeError("the body ends too early");
    return at;
  }
}

/** Reads a safe integer of 64 bits; a larger one is refused. */
export function integerAt(view: DataView, at: number): number {
  const high = view.getUint32(at + 4, true);
  // 2^53 is 2^21 times 2^32.
  if (high >= 0x20_0000) throw new DecodeError("a number is not below 2^53");
  return high * TWO_TO_32 + view.getUint32(at, true);
}
