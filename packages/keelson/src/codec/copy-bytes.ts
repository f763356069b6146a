// Copies bytes whose owner may change or reuse them.

/**
 * A copy in a buffer of its own, exactly as large as the bytes. Use it wherever bytes of a caller, a codec, a
 * store or a transport are kept after the call: their owner may use the buffer again.
 *
 * Not `bytes.slice()`: the `slice` of a Node `Buffer` is a view, so the copy would change with the original.
 * Not `Buffer.from(bytes)`: small buffers come from a pool, and one of them keeps the whole pool alive.
 *
 * @throws TypeError this is no Uint8Array. `Uint8Array.set` would accept a string or an array of strings, and
 *   store zeros without an error.
 */
export function copyBytes(bytes: Uint8Array, what: string): Uint8Array {
  checkBytes(bytes, what);
  return new Uint8Array(bytes);
}

/** The bytes of all pieces, one after another, in an array of their own. */
export function concatBytes(pieces: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

/**
 * Checks a value that should be bytes by its type, and comes from code that may be JavaScript.
 *
 * @throws TypeError names what should have been bytes
 */
export function checkBytes(bytes: unknown, what: string): asserts bytes is Uint8Array {
  if (bytes instanceof Uint8Array) return;
  const given = bytes === null ? "null" : typeof bytes === "object" ? "another object" : typeof bytes;
  throw new TypeError(`${what} should be a Uint8Array, and is ${given}`);
}
