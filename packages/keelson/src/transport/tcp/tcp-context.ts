import type { Connection } from "../../environment/environment.ts";
import type { TransportHost } from "../transport.ts";
import type { FramedConnection, FrameHandler } from "./framed-connection.ts";
import type { TcpLimits } from "./tcp-limits.ts";

/** What dialers and acceptors know of the transport that they are parts of. */
export interface TcpContext {
  readonly host: TransportHost;
  readonly limits: TcpLimits;
  /** Where others reach this node. */
  readonly address: string;
  /** Makes a channel that `close` waits for. */
  frameConnection(connection: Connection, handler: FrameHandler): FramedConnection;
}
