// The network of production: TCP by `node:net`, and TLS over it (node-tls.ts).
import net from "node:net";
import { parseAddress } from "../address.ts";
import type { Connection, Listener, Network } from "../environment.ts";
import { nameLookups } from "./name-lookups.ts";
import { NodeConnection, NodeListener, remoteAddress } from "./node-connection.ts";
import { NodeTlsNetwork } from "./node-tls.ts";

/** Creates the network of production. */
export function nodeNetwork(): Network {
  return { listen, connect, withTls: (credentials) => new NodeTlsNetwork(credentials) };
}

function connect(address: string): Connection {
  return new NodeConnection(connectSocket(address), address);
}

function connectSocket(address: string): net.Socket {
  try {
    const { host, port } = parseAddress(address);
    const isWanted = (): boolean => !socket.destroyed;
    const socket = net.connect({ host, port, noDelay: true, lookup: nameLookups.forAttempt(isWanted) });
    return socket;
  } catch (error) {
    // A malformed address comes from the configuration of a peer. It is reported as a peer that can't be
    // reached, because the code that connects has no better way to handle it.
    return new net.Socket().destroy(error instanceof Error ? error : new Error(String(error)));
  }
}

async function listen(address: string, accept: (connection: Connection) => void): Promise<Listener> {
  const server = net.createServer({ noDelay: true }, (socket) => {
    accept(new NodeConnection(socket, remoteAddress(socket)));
  });
  return await NodeListener.listen(server, address);
}
