/** Decompresses Snappy's raw format, in which LevelDB compresses blocks. */
import { ByteCursor, MalformedError } from "./byte-cursor.ts";

/**
 * The most bytes that a block may decompress to: far more than a block with our largest value has. Without a
 * limit, a damaged length could make us allocate gigabytes.
 */
const BYTES_MAX = 64 * 1024 * 1024;

/** @throws MalformedError the bytes are not Snappy's */
export function decompress(compressed: Uint8Array): Uint8Array {
  const input = new ByteCursor(compressed);
  const length = input.varint();
  if (length > BYTES_MAX) throw new MalformedError("a block is too large");
  const output = Buffer.allocUnsafeSlow(length);
  let at = 0;
  while (!input.isAtEnd) {
    const tag = input.byte();
    if ((tag & 3) === 0) {
      const bytes = input.slice(literalBytes(input, tag >> 2));
      if (at + bytes.length > length) throw new MalformedError("a block is longer than it says");
      output.set(bytes, at);
      at += bytes.length;
      continue;
    }
    const { bytes, distance } = copyOf(input, tag);
    if (distance === 0 || distance > at || at + bytes > length)
      throw new MalformedError("a block copies what it does not have");
    // Byte by byte, because a copy may overlap its source: it then repeats bytes that it has just written.
    for (const end = at + bytes; at < end; at++) output[at] = output[at - distance] ?? 0;
  }
  if (at !== length) throw new MalformedError("a block is shorter than it says");
  return output;
}

/**
 * The length of a literal. Below 60, `inTag` is the length less one. From 60 to 63, it says that the length
 * less one follows in 1 to 4 bytes.
 */
function literalBytes(input: ByteCursor, inTag: number): number {
  return (inTag < 60 ? inTag : littleEndian(input, inTag - 59)) + 1;
}

function copyOf(input: ByteCursor, tag: number): { readonly bytes: number; readonly distance: number } {
  if ((tag & 3) === 1) return { bytes: ((tag >> 2) & 7) + 4, distance: ((tag >> 5) << 8) | input.byte() };
  return { bytes: (tag >> 2) + 1, distance: littleEndian(input, (tag & 3) === 2 ? 2 : 4) };
}

function littleEndian(input: ByteCursor, bytes: number): number {
  let number = 0;
  for (let at = 0; at < bytes; at++) number += input.byte() * 2 ** (8 * at);
  return number;
}
