/**
 * Follows the connections of a TLS server from the moment when they are accepted.
 *
 * Hazard: a client may connect and never finish the handshake. Node reports a connection only after it, so
 * such clients would count for no limit. So each connection is announced when it is accepted, as its TCP
 * socket (its carrier), and again when it is secure.
 */
import type { Socket } from "node:net";
import type { Server, TLSSocket } from "node:tls";

/** What a server does with connections. */
export interface ConnectionHandlers {
  /** A connection was accepted. False: it was closed, or there is no room for it. */
  readonly onAccept: (carrier: Socket) => boolean;
  /** Its handshake is complete. */
  readonly onSecure: (socket: TLSSocket, carrier: Socket) => void;
}

/** Calls the handlers for the connections of `server`. */
export function followConnections(server: Server, { onAccept, onSecure }: ConnectionHandlers): void {
  // Node doesn't say which socket carries which. Both have the same addresses, which only one open connection
  // can have.
  const carriers = new Map<string, Socket>();
  server.on("connection", (carrier: Socket) => {
    // The TLS socket reports the error too. Without a listener, it would end the process.
    carrier.on("error", () => undefined);
    const key = keyOf(carrier);
    if (!onAccept(carrier)) {
      carrier.destroy();
      return;
    }
    carriers.set(key, carrier);
    carrier.once("close", () => {
      if (carriers.get(key) === carrier) carriers.delete(key);
    });
  });
  server.on("secureConnection", (socket) => {
    socket.on("error", () => undefined);
    const carrier = carriers.get(keyOf(socket));
    // The client is gone already, so the system doesn't know its address any more.
    if (carrier === undefined) socket.destroy();
    else onSecure(socket, carrier);
  });
  // The handshake failed, or took too long.
  server.on("tlsClientError", (_, socket) => {
    socket.destroy();
  });
}

function keyOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}

/**
 * Makes the socket stop reading when it holds this many bytes that nobody has taken.
 *
 * Hazard: each TLS record becomes a piece of its own, with some hundred bytes of objects even if it carries
 * one byte. With Node's limit of 64 KiB, a client that sends single bytes would hold tens of megabytes that
 * no budget counts. A TCP server has an option for this limit, and Node doesn't pass it on to TLS sockets.
 */
export function limitReadAhead(socket: TLSSocket, bytes: number): void {
  const { _readableState: state } = socket as unknown as { _readableState?: { highWaterMark?: number } };
  if (state?.highWaterMark !== undefined) state.highWaterMark = bytes;
}
