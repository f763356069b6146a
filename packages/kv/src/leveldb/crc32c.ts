/**
 * CRC-32C (Castagnoli), the checksum in LevelDB's files. `node:zlib` has CRC-32 only, which is another
 * polynomial.
 *
 * Eight tables, so that one step takes eight bytes: verifying a state reads all of it, and speed counts.
 */

const POLYNOMIAL = 0x82f63b78;

/**
 * `TABLES[n * 256 + byte]`: what `byte` contributes to the checksum if `n` more bytes of the same step follow
 * it.
 */
const TABLES = makeTables();

/** The checksum of `bytes[from, to)`. */
export function crc32c(bytes: Uint8Array, from = 0, to: number = bytes.length): number {
  let crc = ~0;
  let at = from;
  for (const last = to - 8; at <= last; at += 8) {
    crc ^= byteAt(bytes, at) | (byteAt(bytes, at + 1) << 8);
    crc ^= (byteAt(bytes, at + 2) << 16) | (byteAt(bytes, at + 3) << 24);
    crc =
      entry(7, crc & 0xff) ^
      entry(6, (crc >>> 8) & 0xff) ^
      entry(5, (crc >>> 16) & 0xff) ^
      entry(4, crc >>> 24) ^
      entry(3, byteAt(bytes, at + 4)) ^
      entry(2, byteAt(bytes, at + 5)) ^
      entry(1, byteAt(bytes, at + 6)) ^
      entry(0, byteAt(bytes, at + 7));
  }
  for (; at < to; at++) crc = entry(0, (crc ^ byteAt(bytes, at)) & 0xff) ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** The byte at `at`, which is always below the length. `?? 0` only satisfies the compiler. */
function byteAt(bytes: Uint8Array, at: number): number {
  return bytes[at] ?? 0;
}

function entry(table: number, byte: number): number {
  return TABLES[table * 256 + byte] ?? 0;
}

/**
 * The checksum that `stored` stands for. LevelDB rotates a checksum and adds a constant to it before it is
 * stored, because a CRC over bytes that contain their own CRC is weak.
 */
export function unmasked(stored: number): number {
  const rotated = (stored - 0xa282ead8) >>> 0;
  return ((rotated >>> 17) | (rotated << 15)) >>> 0;
}

function makeTables(): Int32Array {
  const tables = new Int32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
    tables[byte] = crc;
  }
  for (let at = 256; at < tables.length; at++) {
    const before = tables[at - 256] ?? 0;
    tables[at] = (before >>> 8) ^ (tables[before & 0xff] ?? 0);
  }
  return tables;
}
