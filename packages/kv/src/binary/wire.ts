/**
 * The numbers of the binary client protocol: opening bytes, frame types, operations, answer types and limits.
 * docs/design/client-protocol.md shows every byte; the two must agree (`wire.test.ts`).
 */

/**
 * What each end sends first, before the version (u8). No request of a web browser can begin with these bytes:
 * 0xFE begins no HTTP method, no TLS record, no STUN message, and no character of UTF-8.
 */
export const MAGIC: Uint8Array<ArrayBuffer> = Uint8Array.of(0xfe, 0x4b, 0x45, 0x45, 0x4c, 0x4b, 0x56);
/** The version of the protocol that this program speaks. */
export const PROTOCOL_VERSION = 1;
/** Bytes of an opening: the magic and the version. */
export const OPENING_BYTES: number = MAGIC.length + 1;

/** Bytes before each frame's payload: its length (u32) and its checksum (u32). */
export const FRAME_HEADER_BYTES = 8;
/** Bytes at the start of every payload: the frame's type (u8) and three that are zero. */
export const PAYLOAD_HEADER_BYTES = 4;
/**
 * The most bytes of a frame's payload: room for the largest call, and for a turn's worth of small ones. A
 * receiver holds a whole frame before it knows the checksum, so it bounds memory per connection.
 */
export const FRAME_BYTES_MAX: number = 2 * 1024 * 1024;
/** The most bytes of a hello's payload. The server takes no longer frame before it knows the client. */
export const HELLO_BYTES_MAX = 2048;
/**
 * The most calls in one frame. The server begins all calls of a frame in one turn, so this bounds the turn.
 */
export const FRAME_CALLS_MAX = 4096;

/** Types of frames. Those of the server have the highest bit set; a goodbye goes both ways. */
export const FRAMES = {
  hello: 0x01,
  calls: 0x02,
  ping: 0x03,
  goodbye: 0x04,
  welcome: 0x81,
  answers: 0x82,
  pong: 0x83,
} as const;

/** What a call asks for. */
export const OPERATIONS = {
  put: 1,
  delete: 2,
  get: 3,
  list: 4,
  "open-session": 5,
  "end-session": 6,
} as const;

/** Bytes of a call before what its operation adds: length, id, deadline, operation, and three bytes more. */
export const CALL_HEADER_BYTES = 16;
/** Bytes of the place in a session that a write may have: three u64. */
export const SESSION_BYTES = 24;
/** Bit in the call's mode: the place in a session follows. */
export const MODE_IN_SESSION = 1;

/** Kinds of conditions, of writes and of gets. */
export const CONDITIONS = { none: 0, exists: 1, absent: 2, version: 3 } as const;

/** How new a value a read must see, by its number: the mode of a read. */
export const CONSISTENCIES = ["linearizable", "lease", "stale"] as const;
/** The consistency of a read. */
export type Consistency = (typeof CONSISTENCIES)[number];

/** Types of answers. */
export const ANSWERS = {
  put: 1,
  deleted: 2,
  value: 3,
  unchanged: 4,
  keys: 5,
  session: 6,
  ended: 7,
  error: 8,
} as const;

/** Bytes of an answer before what its type adds: length, id, type, flags, and two that are zero. */
export const ANSWER_HEADER_BYTES = 12;
/** Flag of an answer: how old the state is that was read follows the header. */
export const FLAG_STALENESS = 1;
/** Bytes of that: applied (u64), committed (u64), milliseconds since a leader was heard (u32). */
export const STALENESS_BYTES = 20;
/** Stands for "no leader was heard" in place of the milliseconds. */
export const NEVER_HEARD = 0xffff_ffff;

/** Outcomes of errors, by their number. Number 0 is none. */
export const OUTCOMES = [null, "not-done", "unknown", "done"] as const;

/** Whether an index in `EXISTED` says that the key had a value before. */
export const EXISTED = [null, false, true] as const;

/**
 * The other end sent what the protocol doesn't allow. The connection can't go on, because from here on nobody
 * knows where the next frame begins.
 */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
  /** For the goodbye, stable. */
  readonly code: ProtocolErrorCode;

  constructor(code: ProtocolErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** Why a connection ended because of what the other end sent. */
export type ProtocolErrorCode =
  "UNSUPPORTED_VERSION" | "BAD_FRAME" | "BAD_CHECKSUM" | "FRAME_TOO_LARGE" | "TOO_MANY_CALLS";

const TWO_TO_32 = 2 ** 32;

/** Writes eight bytes, little-endian. `value`: a safe integer from 0 on. */
export function setU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % TWO_TO_32, true);
  view.setUint32(at + 4, Math.floor(value / TWO_TO_32), true);
}

/** Reads eight bytes. @throws ProtocolError the number is 2^53 or more, which nothing in this protocol is */
export function getU64(view: DataView, at: number): number {
  const value = view.getUint32(at, true) + view.getUint32(at + 4, true) * TWO_TO_32;
  if (Number.isSafeInteger(value)) return value;
  throw new ProtocolError("BAD_FRAME", "a number of 2^53 or more");
}
