import type { Connection } from "../../environment/environment.ts";
import type { TransportHost } from "../transport.ts";
import type { FramedConnection, FrameHandler } from "./framed-connection.ts";
import type { TcpLimits } from "./tcp-limits.ts";

/** What a transport's connections share. It is made when the transport starts, and does not change. */
export interface TcpContext {
  readonly host: TransportHost;
  readonly limits: TcpLimits;
  /** Where other nodes reach this one. */
  readonly address: string;
  /** Wraps a connection, and registers it with the transport, whose `close` waits until it is closed. */
  frameConnection(connection: Connection, handler: FrameHandler): FramedConnection;
}
