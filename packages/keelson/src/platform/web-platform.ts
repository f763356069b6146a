// The platform of browsers, and of any other runtime without Node's modules: the same functions as
// node-platform.ts, in plain JavaScript. Imported as "#platform" where the export condition "browser" holds.

/**
 * The CRC-32 of the bytes, as zlib and Ethernet have it. `value`: the checksum of the bytes before them, or
 * another number to begin with.
 */
export function crc32(bytes: Uint8Array, value = 0): number {
  let crc = ~value;
  for (let at = 0; at < bytes.length; at++) {
    crc = (CRC_TABLE[(crc ^ (bytes[at] ?? 0)) & 0xff] ?? 0) ^ (crc >>> 8);
  }
  return ~crc >>> 0;
}

/**
 * The SHA-256 of the bytes, as 64 hexadecimal digits. The web's own hash is asynchronous, so it is of no use
 * here.
 */
export function sha256(bytes: Uint8Array): string {
  return Array.from(digestOf([bytes]), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The HMAC-SHA256 of the parts, one after the other, under the key: 32 bytes (RFC 2104). */
export function hmacSha256(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
  const block = new Uint8Array(SHA_BLOCK_BYTES);
  block.set(key.length > SHA_BLOCK_BYTES ? digestOf([key]) : key);
  const inner = digestOf([block.map((byte) => byte ^ 0x36), ...parts]);
  return digestOf([block.map((byte) => byte ^ 0x5c), inner]);
}

/** Whether two arrays of one length are equal. The time that it takes doesn't tell where they differ. */
export function isEqualInConstantTime(one: Uint8Array, other: Uint8Array): boolean {
  if (one.length !== other.length) throw new RangeError("only arrays of one length are compared");
  let difference = 0;
  for (let at = 0; at < one.length; at++) difference |= (one[at] ?? 0) ^ (other[at] ?? 0);
  return difference === 0;
}

/** Memory; here it is filled with zeros, which callers must not rely on. */
export function allocateBytes(length: number): Uint8Array {
  return new Uint8Array(length);
}

/** The CRC of each byte: the polynomial of CRC-32, with its bits reversed. */
const CRC_TABLE: Uint32Array = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xed_b8_83_20 ^ (crc >>> 1) : crc >>> 1;
  return crc;
});

// SHA-256, FIPS 180-4. Its constants are the first 32 bits of the fractional parts of the square roots of the
// first 8 primes (the initial state), and of the cube roots of the first 64 (a constant for each round).
const SHA_BLOCK_BYTES = 64;
const PRIMES: readonly number[] = firstPrimes(64);
const SHA_INITIAL: Uint32Array = Uint32Array.from(PRIMES.slice(0, 8), (prime) =>
  fraction32(Math.sqrt(prime)),
);
const SHA_ROUNDS: Uint32Array = Uint32Array.from(PRIMES, (prime) => fraction32(Math.cbrt(prime)));

function firstPrimes(count: number): number[] {
  const primes: number[] = [];
  for (let n = 2; primes.length < count; n++) if (primes.every((prime) => n % prime !== 0)) primes.push(n);
  return primes;
}

function fraction32(root: number): number {
  return Math.floor((root % 1) * 2 ** 32);
}

/** The SHA-256 of the parts, one after the other: 32 bytes. */
function digestOf(parts: readonly Uint8Array[]): Uint8Array {
  const state = Uint32Array.from(SHA_INITIAL);
  const padded = paddedForSha(parts);
  const words = new Uint32Array(64);
  for (let at = 0; at < padded.byteLength; at += SHA_BLOCK_BYTES) {
    for (let n = 0; n < 16; n++) words[n] = padded.getUint32(at + 4 * n);
    hashBlock(state, words);
  }
  const digest = new DataView(new ArrayBuffer(32));
  for (const [n, word] of state.entries()) digest.setUint32(4 * n, word);
  return new Uint8Array(digest.buffer);
}

/** The bytes of all parts, a bit that is set, zeros, and the number of bits: whole blocks. */
function paddedForSha(parts: readonly Uint8Array[]): DataView {
  const bytes = parts.reduce((sum, { length }) => sum + length, 0);
  const length = Math.ceil((bytes + 9) / SHA_BLOCK_BYTES) * SHA_BLOCK_BYTES;
  const padded = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    padded.set(part, at);
    at += part.length;
  }
  padded[bytes] = 0x80;
  const view = new DataView(padded.buffer);
  view.setBigUint64(length - 8, BigInt(bytes) * 8n);
  return view;
}

/** Mixes one block, whose 16 words are the first of `words`, into the state. */
function hashBlock(state: Uint32Array, words: Uint32Array): void {
  const word = (at: number): number => words[at] ?? 0;
  for (let n = 16; n < 64; n++) {
    const s0 = rotated(word(n - 15), 7) ^ rotated(word(n - 15), 18) ^ (word(n - 15) >>> 3);
    const s1 = rotated(word(n - 2), 17) ^ rotated(word(n - 2), 19) ^ (word(n - 2) >>> 10);
    words[n] = word(n - 16) + s0 + word(n - 7) + s1;
  }
  let [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = state;
  for (let n = 0; n < 64; n++) {
    const sum1 = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25);
    const choice = (e & f) ^ (~e & g);
    const first = (h + sum1 + choice + (SHA_ROUNDS[n] ?? 0) + word(n)) | 0;
    const sum0 = rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22);
    const majority = (a & b) ^ (a & c) ^ (b & c);
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + first) | 0, c, b, a, (first + sum0 + majority) | 0];
  }
  for (const [n, value] of [a, b, c, d, e, f, g, h].entries()) state[n] = (state[n] ?? 0) + value;
}

function rotated(word: number, bits: number): number {
  return (word >>> bits) | (word << (32 - bits));
}
