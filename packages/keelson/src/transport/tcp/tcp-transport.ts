import { ADDRESS_BYTES_MAX, DATA_BYTES_MAX, STORE_ID_BYTES_MAX } from "../../codec/frame-control-message.ts";
import type { NodeId } from "../../core/position.ts";
import { isWildcardHost, parseAddress } from "../../environment/address.ts";
import type { Connection, Listener } from "../../environment/environment.ts";
import { ClosedError, InvalidOptionError } from "../../errors.ts";
import { ClusterAdoption } from "../handshake.ts";
import type { TransportMessage, Transport, TransportHost } from "../transport.ts";
import { IncomingConnection, type IncomingConnectionOwner } from "./incoming-connection.ts";
import { FramedConnection } from "./framed-connection.ts";
import { OutgoingConnection } from "./outgoing-connection.ts";
import type { TcpContext } from "./tcp-context.ts";
import { tcpLimitsOf, type TcpLimits } from "./tcp-limits.ts";

/** Refusals remembered, so that a stranger who knocks every second is reported once. */
const LOGGED_REFUSALS_MAX = 256;

/** Where a node listens, where it is reached, and how much it takes on. */
export interface TcpOptions extends Partial<TcpLimits> {
  /** Where to accept connections: "host:port". Port 0: any that is free. */
  readonly listen: string;
  /**
   * Where the others reach this node, if that is not where it listens (behind NAT, in a container).
   * Must be given when listening at every interface (0.0.0.0, ::).
   */
  readonly advertise?: string;
}

/**
 * Messages over TCP: one connection for each direction between two nodes, opened by the one that
 * sends. Plain text: for a network that you trust.
 *
 * @example
 * const transport = tcp({ listen: "127.0.0.1:7001" });
 */
export function tcp(options: TcpOptions): Transport {
  return new TcpTransport(options);
}

class TcpTransport implements Transport, IncomingConnectionOwner {
  readonly #listenAt: string;
  readonly #advertise: string | null;
  readonly #limits: TcpLimits;
  #state: "new" | "started" | "closed" = "new";
  #starting: Promise<void> | null = null;
  #closing: Promise<void> | null = null;
  #context: TcpContext | null = null;
  #adoption: ClusterAdoption | null = null;
  #listener: Listener | null = null;
  #peers: ReadonlyMap<NodeId, readonly string[]> = new Map();
  readonly #outgoing = new Map<NodeId, OutgoingConnection>();
  /** All who dialled us, and those of them whose handshake is done, by id. */
  readonly #incoming = new Set<IncomingConnection>();
  readonly #incomingByPeer = new Map<NodeId, IncomingConnection>();
  #pendingHandshakes = 0;
  readonly #loggedRefusals = new Set<string>();
  #openConnections = 0;
  #onAllClosed: (() => void) | null = null;

  constructor(options: TcpOptions) {
    const { host } = parseAddress(options.listen, "tcp: listen");
    if (options.advertise === undefined && isWildcardHost(host)) {
      throw new InvalidOptionError(
        `tcp: listen is ${JSON.stringify(options.listen)}, which the other nodes cannot dial; say with "advertise" where they reach this one`,
      );
    }
    if (options.advertise !== undefined) checkAdvertise(options.advertise);
    this.#listenAt = options.listen;
    this.#advertise = options.advertise ?? null;
    this.#limits = tcpLimitsOf(options);
  }

  get address(): string {
    return this.#advertise ?? this.#listener?.address ?? this.#listenAt;
  }

  start(host: TransportHost): Promise<void> {
    if (this.#state !== "new") return Promise.reject(new ClosedError());
    this.#state = "started";
    this.#starting = this.#start(host);
    return this.#starting;
  }

  async #start(host: TransportHost): Promise<void> {
    checkSelf(host);
    this.#adoption = new ClusterAdoption(host);
    const listener = await host.environment.network.listen(this.#listenAt, (connection) => {
      this.#accept(connection);
    });
    this.#listener = listener;
    // Closed meanwhile: close() waits for us, and then for the listener.
    if (this.#isClosed()) throw new ClosedError();
    this.#context = {
      host,
      limits: this.#limits,
      address: this.address,
      frameConnection: (connection, owner) => {
        this.#openConnections++;
        return new FramedConnection(connection, host.environment, {
          onOpen: () => owner.onOpen?.(),
          onFrame: (frame) => {
            owner.onFrame(frame);
          },
          onClosed: (reason) => {
            owner.onClosed(reason);
            this.#openConnections--;
            if (this.#openConnections === 0) this.#onAllClosed?.();
          },
        });
      },
    };
    this.setPeers(this.#peers);
  }

  setPeers(peers: ReadonlyMap<NodeId, readonly string[]>): void {
    if (this.#isClosed()) return;
    this.#peers = new Map(peers);
    const context = this.#context;
    if (context === null) return;
    for (const [id, dialer] of this.#outgoing) {
      const addresses = peers.get(id) ?? [];
      if (dialer.isAtOneOf(addresses)) {
        dialer.setAddresses(addresses);
        continue;
      }
      dialer.close(addresses.length > 0 ? "its address changed" : "it is no longer a member");
      this.#outgoing.delete(id);
    }
    for (const [id, addresses] of peers) {
      if (id === context.host.self.id || addresses.length === 0) continue;
      const dialer = this.#outgoing.get(id) ?? new OutgoingConnection(context, id, addresses);
      this.#outgoing.set(id, dialer);
      // Dialled before it is needed, so that the first message finds a connection.
      dialer.connect();
    }
  }

  send(to: NodeId, transportMessage: TransportMessage): boolean {
    return this.#outgoing.get(to)?.send(transportMessage) ?? false;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#state = "closed";
    for (const dialer of this.#outgoing.values()) dialer.close("this node is closing");
    this.#outgoing.clear();
    for (const caller of this.#incoming) caller.destroy("this node is closing");
    try {
      await this.#starting;
    } catch {
      // Whoever called start() has been told.
    }
    await this.#listener?.close();
    if (this.#openConnections === 0) return;
    await new Promise<void>((resolve) => {
      this.#onAllClosed = resolve;
    });
  }

  async adoptCluster(clusterId: string): Promise<void> {
    if (this.#adoption === null) throw new ClosedError();
    await this.#adoption.adopt(clusterId);
    // Now there is something to say to the others.
    for (const dialer of this.#outgoing.values()) dialer.connect();
  }

  onEstablished(caller: IncomingConnection, id: NodeId): void {
    this.#pendingHandshakes--;
    // The peer would not dial twice if its first connection still worked.
    const older = this.#incomingByPeer.get(id);
    this.#incomingByPeer.set(id, caller);
    older?.closeWithGoodbye(`a newer connection from ${id} took its place`);
    // It lives, so what we wait for before we dial it again is over.
    this.#outgoing.get(id)?.retryNow();
  }

  onRefused(caller: IncomingConnection, text: string): void {
    // The port of a caller changes from call to call.
    const key = text.replace(caller.peer, caller.peer.replace(/:\d+$/, ""));
    if (this.#loggedRefusals.has(key)) return;
    if (this.#loggedRefusals.size >= LOGGED_REFUSALS_MAX) this.#loggedRefusals.clear();
    this.#loggedRefusals.add(key);
    this.#context?.host.log("warn", text, { from: caller.peer });
  }

  onClosed(caller: IncomingConnection): void {
    this.#incoming.delete(caller);
    if (caller.id === null) this.#pendingHandshakes--;
    else if (this.#incomingByPeer.get(caller.id) === caller) this.#incomingByPeer.delete(caller.id);
  }

  #accept(connection: Connection): void {
    const context = this.#context;
    const full =
      this.#pendingHandshakes >= this.#limits.pendingHandshakesMax ||
      this.#incoming.size >= this.#limits.connectionsMax;
    if (context === null || this.#isClosed() || full) {
      connection.destroy("no more connections are accepted");
      return;
    }
    this.#pendingHandshakes++;
    this.#incoming.add(new IncomingConnection(context, this, connection));
  }

  /** In a method, because it changes while others are awaited. */
  #isClosed(): boolean {
    return this.#state === "closed";
  }
}

function checkAdvertise(address: string): void {
  const { host, port } = parseAddress(address, "tcp: advertise");
  if (port === 0 || isWildcardHost(host)) {
    throw new InvalidOptionError(`tcp: advertise is ${JSON.stringify(address)}, which nobody can dial`);
  }
  if (address.length > ADDRESS_BYTES_MAX) {
    throw new InvalidOptionError(`tcp: advertise has more than ${String(ADDRESS_BYTES_MAX)} characters`);
  }
}

/** What would make every handshake fail is refused before the first one. */
function checkSelf(host: TransportHost): void {
  const { data, storeId } = host.self;
  const bytes = (text: string): number => new TextEncoder().encode(text).length;
  if (bytes(data) > DATA_BYTES_MAX) {
    throw new InvalidOptionError(
      `data has ${String(bytes(data))} bytes; the limit is ${String(DATA_BYTES_MAX)}`,
    );
  }
  if (bytes(storeId) > STORE_ID_BYTES_MAX) {
    throw new InvalidOptionError(`storeId has more than ${String(STORE_ID_BYTES_MAX)} bytes`);
  }
}
