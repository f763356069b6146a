// Tells from the first bytes of a connection that the other end is set up for another kind of security than
// this one: the most likely mistake while TLS or a secret is being turned on.

/** The first bytes of a proof of the shared secret; the last one is its version. See secret-connection.ts. */
export const PROOF_MAGIC: Uint8Array = Uint8Array.of(0x4b, 0x4c, 0x41, 1);
/** The same without the version. */
const PROOF_PREFIX = PROOF_MAGIC.subarray(0, 3);

/** The first bytes of a frame, without the version. */
const FRAME_MAGIC = [0x4b, 0x4c, 0x53];

/**
 * What the other end sends where a proof of this version belongs, and what to do. Null: not known. `first`
 * may be fewer bytes than the magic, and isn't the beginning of it.
 */
export function unprovenProtocolOf(first: Uint8Array): string | null {
  if (startsWith(first, FRAME_MAGIC)) {
    return "the other end doesn't prove the shared secret that this node has: give both the same secret";
  }
  if (startsWith(first, PROOF_PREFIX)) {
    return "the other end proves the shared secret in another version of the protocol: run one version of Keelson on both";
  }
  return foreignProtocolOf(first);
}

/** What the other end sends where a frame belongs, and what to do. Null: a frame, or nothing known. */
export function foreignProtocolOf(first: Uint8Array): string | null {
  if (startsWith(first, PROOF_PREFIX)) {
    return "the other end wants to prove a shared secret, and this node has none: give both the same secret";
  }
  // A TLS record: a handshake (22), or an alert (21) where a node with TLS got something else.
  if ((first[0] === 22 || first[0] === 21) && first[1] === 3) {
    return "the other end speaks TLS, and this node doesn't: give both a key, a certificate and the ca";
  }
  return null;
}

function startsWith(bytes: Uint8Array, magic: Iterable<number>): boolean {
  return [...magic].every((byte, at) => bytes[at] === byte);
}
