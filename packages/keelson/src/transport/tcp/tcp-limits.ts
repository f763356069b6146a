// The limits of the TCP transport: their meaning, defaults and validation.
import { FRAME_BYTES_MAX } from "../../codec/frame.ts";
import { InvalidOptionError } from "../../errors.ts";

/**
 * Bounds on what the TCP transport of one node may hold and how long it waits. All bytes and milliseconds;
 * every value must be above 0.
 */
export interface TcpLimits {
  /**
   * The most bytes that may wait to be sent to one peer, in the queue and in its socket; each unsent write
   * counts 512 bytes more than it has, for its memory. A message that does not fit is dropped, and `send`
   * returns false; Raft sends its contents again. A message is always taken when nothing waits, or one that
   * is larger than the limit could never be sent. Default 32 MiB: several times what the core sends to one
   * peer without an acknowledgement.
   */
  readonly queueBytesMax: number;
  /**
   * The most accepted connections whose handshake is not complete. A further connection takes the place of
   * the oldest of them, so strangers that connect and stay silent can't keep a member out: a member's hello
   * arrives within a round trip. Default 64.
   */
  readonly pendingHandshakesMax: number;
  /**
   * The most accepted connections from one host whose handshake is not complete. A further one takes the
   * place of that host's oldest, so one host can't evict the connections of others. Default 16: enough for
   * members that share a machine, and for their reconnects.
   */
  readonly pendingHandshakesPerHostMax: number;
  /**
   * The most accepted connections whose handshake is complete. Pending handshakes are not counted. A further
   * one is accepted, and takes the place of the oldest connection from a node that isn't among the peers, or,
   * if there is none, of the oldest of all. So strangers can't keep a member out. Default 512.
   */
  readonly connectionsMax: number;
  /**
   * How long it may take to establish a connection, with TLS and the proof of a secret where they are on.
   * Default 2,000.
   */
  readonly connectTimeoutMs: number;
  /**
   * How long a handshake may take. It includes joining a cluster, which writes to the disk; for the node that
   * accepts, also TLS and the proof of a secret. Default 5,000.
   */
  readonly handshakeTimeoutMs: number;
  /**
   * A connection on which nothing was received for this long is closed. The node that opened it sends a ping
   * every quarter of the time, so a healthy connection is never silent. Default 5,000.
   */
  readonly idleMs: number;
  /**
   * The longest delay before the first attempt to reconnect; it doubles with each further attempt. Default
   * 20.
   */
  readonly backoffMinMs: number;
  /** The longest delay before any attempt to reconnect. Default 1,000. */
  readonly backoffMaxMs: number;
  /** How often the files of `tls` and `secret` are read again. Default 10,000. */
  readonly reloadMs: number;
}

/** The limits where none are given; each is explained at `TcpLimits`. */
export const DEFAULT_TCP_LIMITS: TcpLimits = {
  queueBytesMax: FRAME_BYTES_MAX,
  pendingHandshakesMax: 64,
  pendingHandshakesPerHostMax: 16,
  connectionsMax: 512,
  connectTimeoutMs: 2_000,
  handshakeTimeoutMs: 5_000,
  idleMs: 5_000,
  backoffMinMs: 20,
  backoffMaxMs: 1_000,
  reloadMs: 10_000,
};

/** Any of the limits. One that is left out or undefined has its default. */
export type GivenTcpLimits = { readonly [Name in keyof TcpLimits]?: number | undefined };

/**
 * The given limits, and the defaults for the others.
 *
 * @throws InvalidOptionError names the limit that is not above 0, or that contradicts another
 */
export function tcpLimitsOf(given: GivenTcpLimits): TcpLimits {
  const limits: { -readonly [Name in keyof TcpLimits]: number } = { ...DEFAULT_TCP_LIMITS };
  for (const name of Object.keys(DEFAULT_TCP_LIMITS) as (keyof TcpLimits)[]) {
    const value = given[name];
    if (value === undefined) continue;
    if (!Number.isFinite(value) || value <= 0) {
      throw new InvalidOptionError(`tcp: ${name} is ${String(value)}; it should be a number above 0`);
    }
    limits[name] = value;
  }
  if (limits.backoffMinMs > limits.backoffMaxMs) {
    throw new InvalidOptionError(
      `tcp: backoffMinMs is ${String(limits.backoffMinMs)}; it should not be above backoffMaxMs, ${String(limits.backoffMaxMs)}`,
    );
  }
  return limits;
}
