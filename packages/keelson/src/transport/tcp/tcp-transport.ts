// The TCP transport of one node: it accepts connections, opens one to each peer, and enforces the limits on
// both kinds.
import { ADDRESS_BYTES_MAX, INFO_BYTES_MAX, STORE_ID_BYTES_MAX } from "../../codec/frame-control-message.ts";
import type { NodeId } from "../../core/position.ts";
import { isDialable, isWildcardHost, parseAddress } from "../../environment/address.ts";
import type { Connection, Listener } from "../../environment/environment.ts";
import { ClosedError, InvalidOptionError, ListenFailedError, textOfThrown } from "../../errors.ts";
import { ClusterAdoption, explainRefusal, helloOf, inquiryOf } from "../handshake.ts";
import { HandshakeProbe, type ProbeAnswer, type ProbeQuestion } from "./handshake-probe.ts";
import type { InquiryAnswer, TransportMessage, Transport, TransportHost } from "../transport.ts";
import { FramedConnection, type FrameHandler } from "./framed-connection.ts";
import { IncomingConnection, type IncomingConnectionOwner } from "./incoming-connection.ts";
import { OutgoingConnection } from "./outgoing-connection.ts";
import type { TcpContext } from "./tcp-context.ts";
import { PeerSecurity, type PeerSecurityOptions } from "./peer-security.ts";
import { type GivenTcpLimits, tcpLimitsOf, type TcpLimits } from "./tcp-limits.ts";

/** Where a node listens, where other nodes reach it, and its limits. */
export interface TcpOptions extends GivenTcpLimits, PeerSecurityOptions {
  /** Where to accept connections: "host:port". With port 0, the system chooses a free port. */
  readonly listen: string;
  /**
   * Where other nodes reach this one, if not at `listen` (behind NAT, in a container). Required when
   * listening on all interfaces (0.0.0.0, ::). Default: the address that is listened at.
   */
  readonly advertise?: string | undefined;
}

/**
 * Carries messages over TCP. Each node opens one connection to each peer, sends its messages on it, and
 * receives the peer's messages on the one that the peer opened. Without `tls` and `secret`, nothing is
 * encrypted or authenticated: whoever reaches the port can read and change everything.
 *
 * @throws InvalidOptionError an address or a limit is not valid
 *
 * @example
 * const transport = tcp({
 *   listen: "127.0.0.1:7001",
 *   tls: { key: { file: "n1.key" }, cert: { file: "n1.pem" }, ca: { file: "ca.pem" } },
 * });
 */
export function tcp(options: TcpOptions): Transport {
  return new TcpTransport(options);
}

class TcpTransport implements Transport, IncomingConnectionOwner {
  /** The option `listen`. */
  readonly #listenAt: string;
  /** The option `advertise`; null: not given. */
  readonly #advertise: string | null;
  readonly #limits: TcpLimits;
  readonly #security: PeerSecurity;
  /** "new" until `start`, "closed" from `close` on. A transport can't be started again. */
  #state: "new" | "started" | "closed" = "new";
  /** The promise of `start`, for `close` to wait for. */
  #starting: Promise<void> | null = null;
  /** The promise of the first `close`; later calls return it. */
  #closing: Promise<void> | null = null;
  /** Set once the node listens; null before. Connections are neither opened nor accepted without it. */
  #context: TcpContext | null = null;
  /** Set by `start`. */
  #adoption: ClusterAdoption | null = null;
  /** Set once the node listens. */
  #listener: Listener | null = null;
  /** What `setPeers` was last given. */
  #peers: ReadonlyMap<NodeId, readonly string[]> = new Map();
  /** One per peer that `setPeers` named, this node excepted. */
  readonly #outgoing = new Map<NodeId, OutgoingConnection>();
  /** Accepted connections whose handshake is not complete, oldest first; at most `pendingHandshakesMax`. */
  readonly #pending = new Set<IncomingConnection>();
  /**
   * Each peer's latest accepted connection whose handshake is complete, oldest first; at most
   * `connectionsMax`.
   */
  readonly #established = new Map<NodeId, IncomingConnection>();
  /** Accepted connections that this side has given up, and that have not reported their close. */
  readonly #leaving = new Set<IncomingConnection>();
  /** Questions under way, of `refusalAt` and `inquireAt`. */
  readonly #probes = new Set<HandshakeProbe>();
  /** Refusals that were logged, without the peer's port. */
  readonly #loggedRefusals = new Set<string>();
  /** Connections in both directions that have not reported their close. */
  #openConnections = 0;
  /** Called when `#openConnections` falls to 0; set by `close` while it waits for that. */
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
    this.#security = new PeerSecurity(options, this.#limits.reloadMs);
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
    await this.#security.start(host);
    if (this.#isClosed()) throw new ClosedError();
    const listener = await this.#listen();
    this.#listener = listener;
    if (listener.isExposed && this.#security.isOpen) host.log("warn", exposedText(listener.address));
    // `close` was called meanwhile. It waits for this promise, and then closes the listener.
    if (this.#isClosed()) throw new ClosedError();
    this.#context = {
      host,
      limits: this.#limits,
      address: this.address,
      security: this.#security,
      dial: (address, handler) => this.#frame(host, this.#security.network.connect(address), handler, true),
      frameAccepted: (connection, handler) => this.#frame(host, connection, handler, false),
    };
    this.setPeers(this.#peers);
  }

  async #listen(): Promise<Listener> {
    try {
      return await this.#security.network.listen(this.#listenAt, (connection) => {
        this.#accept(connection);
      });
    } catch (error) {
      await this.#security.close();
      const code = error instanceof Error && "code" in error ? String(error.code) : "";
      const text = `can't listen at ${this.#listenAt}: ${LISTEN_ADVICE[code] ?? textOfThrown(error)}`;
      throw new ListenFailedError(text, { cause: error });
    }
  }

  setPeers(peers: ReadonlyMap<NodeId, readonly string[]>): void {
    if (this.#isClosed()) return;
    this.#peers = new Map(peers);
    const context = this.#context;
    if (context === null) return;
    for (const [id, outgoing] of this.#outgoing) {
      const addresses = peers.get(id) ?? [];
      if (outgoing.isAtOneOf(addresses)) {
        outgoing.setAddresses(addresses);
        continue;
      }
      outgoing.close(addresses.length > 0 ? "its address changed" : "it is no longer a member");
      this.#outgoing.delete(id);
    }
    for (const [id, addresses] of peers) {
      if (id === context.host.self.id || addresses.length === 0) continue;
      const outgoing = this.#outgoing.get(id) ?? new OutgoingConnection(context, id, addresses);
      this.#outgoing.set(id, outgoing);
      // Connect before there is anything to send, so that the first message is not dropped.
      outgoing.connect();
    }
  }

  async refusalAt(id: NodeId, address: string): Promise<string | null> {
    const context = this.#context;
    if (context === null || this.#isClosed()) return null;
    const { host } = context;
    const answer = await this.#ask(context, address, {
      question: () => {
        const clusterId = host.clusterId();
        return clusterId === null ? null : helloOf(host, clusterId, context.address, id);
      },
      agreement: "welcome",
    });
    const reason = answer?.refusal ?? null;
    return reason === null ? null : explainRefusal(reason, id);
  }

  async inquireAt(id: NodeId, address: string, clusterId: string): Promise<InquiryAnswer> {
    const context = this.#context;
    if (context === null || this.#isClosed()) return { type: "silence" };
    const answer = await this.#ask(context, address, {
      question: () => inquiryOf(context.host, clusterId, context.address, id),
      agreement: "consent",
    });
    if (answer === null) return { type: "silence" };
    if (answer.refusal === null) return { type: "consent" };
    return { type: "refusal", reason: explainRefusal(answer.refusal, id) };
  }

  async #ask(context: TcpContext, address: string, question: ProbeQuestion): Promise<ProbeAnswer> {
    const probe = new HandshakeProbe(context, address, question);
    this.#probes.add(probe);
    const answer = await probe.answer;
    this.#probes.delete(probe);
    return answer;
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
    for (const outgoing of this.#outgoing.values()) outgoing.close("this node is closing");
    this.#outgoing.clear();
    for (const probe of this.#probes) probe.close("this node is closing");
    for (const incoming of [...this.#pending, ...this.#established.values(), ...this.#leaving])
      incoming.destroy("this node is closing");
    try {
      await this.#starting;
    } catch {
      // The caller of `start` got this error.
    }
    await this.#listener?.close();
    await this.#security.close();
    if (this.#openConnections === 0) return;
    await new Promise<void>((resolve) => {
      this.#onAllClosed = resolve;
    });
  }

  async adoptCluster(clusterId: string): Promise<void> {
    if (this.#adoption === null) throw new ClosedError();
    await this.#adoption.adopt(clusterId);
    // Without a cluster, this node had nothing to send and did not connect.
    for (const outgoing of this.#outgoing.values()) outgoing.connect();
  }

  onEstablished(connection: IncomingConnection, id: NodeId): void {
    this.#pending.delete(connection);
    // A node has one connection to each peer. That it opened another one shows that it lost the older one,
    // which this side may not have noticed.
    const older = this.#established.get(id);
    if (older !== undefined) {
      this.#established.delete(id);
      this.#leave(older);
      older.closeWithGoodbye(`a newer connection from ${id} took its place`);
    }
    if (this.#established.size >= this.#limits.connectionsMax) this.#evictEstablished();
    this.#established.set(id, connection);
    // The peer is up, so there is no reason to wait for the backoff.
    this.#outgoing.get(id)?.retryNow();
  }

  /**
   * Makes room for one more peer: closes the oldest connection from a node that isn't among this node's
   * peers, or, if there is none, the oldest of all.
   */
  #evictEstablished(): void {
    const ids = [...this.#established.keys()];
    const id = ids.find((one) => !this.#peers.has(one)) ?? ids[0];
    const evicted = id === undefined ? undefined : this.#established.get(id);
    if (id === undefined || evicted === undefined) return;
    this.#established.delete(id);
    this.#leave(evicted);
    evicted.closeWithGoodbye("another peer took its place");
  }

  /**
   * Moves a connection that this side is closing to `#leaving`, until it has closed. When too many are there,
   * the oldest is closed at once, without waiting for its goodbye to arrive.
   */
  #leave(connection: IncomingConnection): void {
    this.#pending.delete(connection);
    this.#leaving.add(connection);
    if (this.#leaving.size <= this.#limits.pendingHandshakesMax) return;
    const [oldest] = this.#leaving;
    oldest?.destroy("too many connections are closing");
  }

  onRefused(connection: IncomingConnection, text: string | null): void {
    this.#leave(connection);
    if (text === null) return;
    // The peer's port differs in each connection: without it, repeated refusals are equal, and logged once.
    const key = text.replace(connection.peer, connection.peer.replace(/:\d+$/, ""));
    if (this.#loggedRefusals.has(key)) return;
    if (this.#loggedRefusals.size >= LOGGED_REFUSALS_MAX) this.#loggedRefusals.clear();
    this.#loggedRefusals.add(key);
    this.#context?.host.log("warn", text, { from: connection.peer });
  }

  onClosed(connection: IncomingConnection): void {
    this.#pending.delete(connection);
    this.#leaving.delete(connection);
    const { id } = connection;
    if (id !== null && this.#established.get(id) === connection) this.#established.delete(id);
  }

  #accept(connection: Connection): void {
    const context = this.#context;
    if (context === null || this.#isClosed()) {
      connection.destroy("no connections are accepted");
      return;
    }
    this.#makeRoomFor(hostOf(connection.peer));
    this.#pending.add(new IncomingConnection(context, this, connection));
  }

  /**
   * Evicts the oldest pending handshake where there are too many, first of all from the same host. Hazard: if
   * the new connection were refused instead, strangers that stay silent would keep members out until their
   * deadline, and take the places again at once.
   */
  #makeRoomFor(host: string): void {
    const { pendingHandshakesMax, pendingHandshakesPerHostMax } = this.#limits;
    const ofHost = [...this.#pending].filter(({ peer }) => hostOf(peer) === host);
    const candidates =
      ofHost.length >= pendingHandshakesPerHostMax
        ? ofHost
        : this.#pending.size >= pendingHandshakesMax
          ? [...this.#pending]
          : [];
    const [oldest] = candidates;
    // Where something has to be proved before the first frame, a peer that has sent one is no stranger.
    const stranger = this.#security.isOpen ? oldest : candidates.find(({ hasSpoken }) => !hasSpoken);
    const evicted = stranger ?? oldest;
    if (evicted === undefined) return;
    this.#leave(evicted);
    evicted.destroy("it did not complete its handshake before others needed its place");
  }

  /** Wraps a connection, and counts it until it is closed. */
  #frame(
    host: TransportHost,
    connection: Connection,
    handler: FrameHandler,
    isDialer: boolean,
  ): FramedConnection {
    this.#openConnections++;
    return new FramedConnection(this.#security.wrap(connection, isDialer), host.environment, {
      onOpen: () => handler.onOpen?.(),
      onFrame: (frame) => {
        handler.onFrame(frame);
      },
      onGoodbye: (reason) => handler.onGoodbye?.(reason),
      onClosed: (reason) => {
        handler.onClosed(reason);
        this.#openConnections--;
        if (this.#openConnections === 0) this.#onAllClosed?.();
      },
    });
  }

  /** A method, because TypeScript takes a field that was compared once to be unchanged after an `await`. */
  #isClosed(): boolean {
    return this.#state === "closed";
  }
}

/** The warning of a node that is in reach of strangers. */
function exposedText(address: string): string {
  return (
    `other machines can reach the port for other nodes, ${address}, and neither TLS nor a shared secret protects it: ` +
    "whoever reaches it can read and change everything. Give all nodes certificates or a secret, or see to it that " +
    "only nodes can reach it"
  );
}

/** The host of "host:port". */
function hostOf(peer: string): string {
  return peer.replace(/:\d+$/, "");
}

function checkAdvertise(address: string): void {
  parseAddress(address, "tcp: advertise");
  if (!isDialable(address)) {
    throw new InvalidOptionError(`tcp: advertise is ${JSON.stringify(address)}, which nobody can dial`);
  }
  if (address.length > ADDRESS_BYTES_MAX) {
    throw new InvalidOptionError(`tcp: advertise has more than ${String(ADDRESS_BYTES_MAX)} characters`);
  }
}

/** Throws if this node's info or store id doesn't fit into a handshake: every handshake would fail. */
function checkSelf(host: TransportHost): void {
  const { info, storeId } = host.self;
  const bytes = (text: string): number => new TextEncoder().encode(text).length;
  if (bytes(info) > INFO_BYTES_MAX) {
    throw new InvalidOptionError(
      `info has ${String(bytes(info))} bytes; the limit is ${String(INFO_BYTES_MAX)}`,
    );
  }
  if (bytes(storeId) > STORE_ID_BYTES_MAX) {
    throw new InvalidOptionError(`storeId has more than ${String(STORE_ID_BYTES_MAX)} bytes`);
  }
}

const ELSEWHERE =
  "If other nodes reach it by this address all the same (in a container, behind a proxy), say with `listen` where to " +
  'listen, such as "0.0.0.0:7001"';

/** What a system's error code means, and what to do. */
const LISTEN_ADVICE: Readonly<Record<string, string>> = {
  EADDRINUSE: "another process listens there. Stop that one, or choose another port",
  EADDRNOTAVAIL: `this machine has no such address. ${ELSEWHERE}`,
  ENOTFOUND: `the host name isn't known here. ${ELSEWHERE}`,
  EACCES: "this user may not listen there; ports below 1024 are often reserved",
};

/**
 * The most different refusals that are remembered, so that a peer that is refused every second is logged
 * once. When there are more, all are forgotten, so strangers can't use up memory with ever new reasons.
 */
const LOGGED_REFUSALS_MAX = 256;
