// Unsigned little-endian integers in byte arrays, for the headers of records, batches and segments. They are
// read and written byte by byte: for a few fields that is faster than creating a `DataView`.
//
// Reading beyond the end returns zeros instead of throwing, so callers must check lengths first.
const TWO_TO_32 = 2 ** 32;

/** Reads four bytes. */
export function readUint32(bytes: Uint8Array, offset: number): number {
  return (
    ((bytes[offset] ?? 0) |
      ((bytes[offset + 1] ?? 0) << 8) |
      ((bytes[offset + 2] ?? 0) << 16) |
      ((bytes[offset + 3] ?? 0) << 24)) >>>
    0
  );
}

/** Writes four bytes. */
export function writeUint32(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value;
  bytes[offset + 1] = value >>> 8;
  bytes[offset + 2] = value >>> 16;
  bytes[offset + 3] = value >>> 24;
}

/**
 * Reads eight bytes. The result is exact only below 2^53, so callers must check it with
 * `Number.isSafeInteger`.
 */
export function readUint64(bytes: Uint8Array, offset: number): number {
  return readUint32(bytes, offset) + readUint32(bytes, offset + 4) * TWO_TO_32;
}

/** Writes eight bytes. `value` must be a safe integer and not negative. */
export function writeUint64(bytes: Uint8Array, offset: number, value: number): void {
  writeUint32(bytes, offset, value % TWO_TO_32);
  writeUint32(bytes, offset + 4, Math.floor(value / TWO_TO_32));
}
