/**
 * Little-endian numbers in byte arrays, read and written byte by byte: for the few fields of a
 * record or frame this is quicker than making a `DataView` for each.
 *
 * Reading past the end gives zeros, so callers check lengths first.
 */
const TWO_TO_32 = 2 ** 32;

export function readUint32(bytes: Uint8Array, offset: number): number {
  return (
    ((bytes[offset] ?? 0) |
      ((bytes[offset + 1] ?? 0) << 8) |
      ((bytes[offset + 2] ?? 0) << 16) |
      ((bytes[offset + 3] ?? 0) << 24)) >>>
    0
  );
}

export function writeUint32(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value;
  bytes[offset + 1] = value >>> 8;
  bytes[offset + 2] = value >>> 16;
  bytes[offset + 3] = value >>> 24;
}

/** Eight bytes as a number; exact up to 2^53, so callers check with `Number.isSafeInteger`. */
export function readUint64(bytes: Uint8Array, offset: number): number {
  return readUint32(bytes, offset) + readUint32(bytes, offset + 4) * TWO_TO_32;
}

/** Writes a safe integer that is not negative as eight bytes. */
export function writeUint64(bytes: Uint8Array, offset: number, value: number): void {
  writeUint32(bytes, offset, value % TWO_TO_32);
  writeUint32(bytes, offset + 4, Math.floor(value / TWO_TO_32));
}
