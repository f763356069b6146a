// The platform on Node: checksums and hashes that Node computes in C++, and pooled memory. Imported as
// "#platform"; package.json names web-platform.ts under that name for browsers.
//
// This is one of the first files that an import of the library evaluates. So it also refuses a Node that is
// too old, before a part of the library fails there in a way that nobody can interpret.
//
// Modules of Node are imported as a whole: the import of a name that an old Node lacks, such as `crc32`, is a
// SyntaxError before any code runs, also that of the refusal.
import crypto from "node:crypto";
import zlib from "node:zlib";
import { refusalOfNode } from "./node-version.ts";

const refusal = refusalOfNode("keelson", process.versions.node);
if (refusal !== null) throw new Error(refusal);

/**
 * The CRC-32 of the bytes, as zlib and Ethernet have it. `value`: the checksum of the bytes before them, or
 * another number to begin with.
 */
export const crc32: (bytes: Uint8Array, value?: number) => number = zlib.crc32;

/** The SHA-256 of the bytes, as 64 hexadecimal digits. */
export function sha256(bytes: Uint8Array): string {
  return crypto.createHash("sha256").update(bytes).digest("hex");
}

/** The HMAC-SHA256 of the parts, one after the other, under the key: 32 bytes. */
export function hmacSha256(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
  const hmac = crypto.createHmac("sha256", key);
  for (const part of parts) hmac.update(part);
  // Not as a `Buffer`, as below.
  const code = hmac.digest();
  return new Uint8Array(code.buffer, code.byteOffset, code.length);
}

/** Whether two arrays of one length are equal. The time that it takes doesn't tell where they differ. */
export function isEqualInConstantTime(one: Uint8Array, other: Uint8Array): boolean {
  return crypto.timingSafeEqual(one, other);
}

/**
 * Memory with arbitrary contents. Small pieces come from Node's pool, which is several times cheaper than an
 * ArrayBuffer for each; a piece keeps the pool's 8 KiB alive.
 *
 * Not returned as a `Buffer`, because its `slice` shares memory, where that of other arrays copies.
 */
export function allocateBytes(length: number): Uint8Array {
  const pooled = Buffer.allocUnsafe(length);
  return new Uint8Array(pooled.buffer, pooled.byteOffset, length);
}
