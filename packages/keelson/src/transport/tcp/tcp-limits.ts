import { FRAME_BYTES_MAX } from "../../codec/frame.ts";
import { InvalidOptionError } from "../../errors.ts";

/** How much of each thing one node's TCP may have, and how long it waits. Milliseconds and bytes. */
export interface TcpLimits {
  /**
   * Bytes waiting to be sent to one peer. More are dropped, which Raft makes good, and `send` says so;
   * one message is always let in. Default 32 MiB, several times what the core has under way to one peer.
   */
  readonly queueBytesMax: number;
  /** Connections accepted whose handshake is not done; more are closed at once. Default 64. */
  readonly pendingHandshakesMax: number;
  /** Connections accepted in all; more are closed at once. Default 512. */
  readonly connectionsMax: number;
  /** How long a connection may take to come up. Default 2,000. */
  readonly connectTimeoutMs: number;
  /** How long a handshake may take, joining a cluster included, which writes to the disk. Default 5,000. */
  readonly handshakeTimeoutMs: number;
  /** A connection on which nothing was heard for so long is closed. Default 5,000; it is asked every quarter of it. */
  readonly idleMs: number;
  /** The wait before the first attempt to reconnect. Each further one doubles it, up to the maximum. Default 20 and 1,000. */
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
}

export const DEFAULT_TCP_LIMITS: TcpLimits = {
  queueBytesMax: FRAME_BYTES_MAX,
  pendingHandshakesMax: 64,
  connectionsMax: 512,
  connectTimeoutMs: 2_000,
  handshakeTimeoutMs: 5_000,
  idleMs: 5_000,
  backoffMinMs: 20,
  backoffMaxMs: 1_000,
};

/** The defaults with what was given in their place; `InvalidOptionError` names what cannot be. */
export function tcpLimitsOf(given: Partial<TcpLimits>): TcpLimits {
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
