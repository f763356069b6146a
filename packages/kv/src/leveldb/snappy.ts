/** Decompresses Snappy's raw format, in which LevelDB compresses blocks. */
import { ByteCursor, MalformedError } from "./byte-cursor.ts";

/** The most that a block decompresses to: one entry with the largest value, and some more. */
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
    // Byte by byte: a copy may reach into what it writes itself.
    for (const end = at + bytes; at < end; at++) output[at] = output[at - distance] ?? 0;
  }
  if (at !== length) throw new MalformedError("a block is shorter than it says");
  return output;
}

/** Lengths up to 60 are in the tag; 60 to 63 say how many bytes follow with the length. */
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
