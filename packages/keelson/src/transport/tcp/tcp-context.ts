import type { Connection } from "../../environment/environment.ts";
import type { TransportHost } from "../transport.ts";
import type { FramedConnection, FrameHandler } from "./framed-connection.ts";
import type { PeerSecurity } from "./peer-security.ts";
import type { TcpLimits } from "./tcp-limits.ts";

/** What a transport's connections share. It is made when the transport starts, and does not change. */
export interface TcpContext {
  readonly host: TransportHost;
  readonly limits: TcpLimits;
  /** Where other nodes reach this one. */
  readonly address: string;
  readonly security: PeerSecurity;
  /** Begins to connect. The transport's `close` waits until the connection is closed. */
  dial(address: string, handler: FrameHandler): FramedConnection;
  /** Wraps a connection that was accepted. The transport's `close` waits until it is closed. */
  frameAccepted(connection: Connection, handler: FrameHandler): FramedConnection;
}
