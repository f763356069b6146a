// Reads the fields of frames and snapshot headers. byte-writer.ts has the table of their encodings.
import { INDEX_MAX, ROUND_MAX, TERM_MAX, type LogIndex, type NodeId, type Term } from "../core/position.ts";
import { DecodeError } from "../errors.ts";
import { ID_BYTES_MAX, isIdCode } from "./byte-writer.ts";

const TWO_TO_32 = 2 ** 32;

// "fatal": without it, bytes that are not UTF-8 would be replaced by other characters, and so read as another
// text.
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Reads fields one after another from a range of bytes. Each method throws `DecodeError` when the range ends
 * too early or the field has a value that `ByteWriter` does not write.
 */
export class ByteReader {
  readonly bytes: Uint8Array;
  /** A view of all of `bytes`. */
  readonly view: DataView;
  /** The position of the next field in `bytes`. */
  #at: number;
  /** Where the range ends in `bytes`. */
  readonly #end: number;

  /** Reads [from, end) of `bytes`; `view` is a view of all of them. */
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

  term(): Term {
    return this.#upTo(TERM_MAX, "term");
  }

  index(): LogIndex {
    return this.#upTo(INDEX_MAX, "index");
  }

  /** The number of a heartbeat round, of a round of pre-votes, or of a read. */
  round(): number {
    return this.#upTo(ROUND_MAX, "round");
  }

  /** Whether everything was read. */
  get isAtEnd(): boolean {
    return this.#at === this.#end;
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

  /** Reads what is left of the range. Returns a copy. */
  rest(): Uint8Array {
    const at = this.#skip(this.#end - this.#at);
    return new Uint8Array(this.bytes.subarray(at, this.#end));
  }

  /**
   * Checks that nothing is left. If the sender wrote more fields, they mean something that this code does not
   * know.
   */
  end(): void {
    if (this.#at !== this.#end)
      throw new DecodeError(`${String(this.#end - this.#at)} bytes too many in the body`);
  }

  /**
   * Reads an integer that is at most `max`, a limit that no cluster reaches in its life. A larger number was
   * damaged, or is hostile: one near 2^53 would leave no room for the numbers after it.
   */
  #upTo(max: number, what: string): number {
    const value = this.integer();
    if (value > max)
      throw new DecodeError(`the ${what} ${String(value)} is above the limit of ${String(max)}`);
    return value;
  }

  #skip(count: number): number {
    const at = this.#at;
    this.#at += count;
    if (this.#at > this.#end) throw new DecodeError("the body ends too early");
    return at;
  }
}

/** Reads an integer. Numbers from 2^53 on are refused, because JavaScript would round them. */
export function integerAt(view: DataView, at: number): number {
  const high = view.getUint32(at + 4, true);
  // 2^53 is 2^21 times 2^32.
  if (high >= 0x20_0000) throw new DecodeError("a number is not below 2^53");
  return high * TWO_TO_32 + view.getUint32(at, true);
}
