import { ADDRESS_BYTES_MAX, DATA_BYTES_MAX, STORE_ID_BYTES_MAX } from "../../codec/frame-control-message.ts";
import type { NodeId } from "../../core/position.ts";
import { isWildcardHost, parseAddress } from "../../environment/address.ts";
import type { Connection, Listener } from "../../environment/environment.ts";
import { ClosedError, InvalidOptionError } from "../../errors.ts";
import { Adoption } from "../handshake.ts";
import type { TransportMessage, Transport, TransportHost } from "../transport.ts";
import { Caller, type CallerOwner } from "./caller.ts";
import { Channel } from "./channel.ts";
import { Dialer, type TcpContext } from "./dialer.ts";
import { limitsOf, type TcpLimits } from "./limits.ts";

/** Refusals remembered, so that a stranger who knocks every second is reported once. */
const REFUSALS_TOLD_MAX = 256;

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

class TcpTransport implements Transport, CallerOwner {
  readonly #listenAt: string;
  readonly #advertise: string | null;
  readonly #limits: TcpLimits;
  #state: "new" | "started" | "closed" = "new";
  #starting: Promise<void> | null = null;
  #closing: Promise<void> | null = null;
  #context: TcpContext | null = null;
  #adoption: Adoption | null = null;
  #listener: Listener | null = null;
  #peers: ReadonlyMap<NodeId, readonly string[]> = new Map();
  readonly #dialers = new Map<NodeId, Dialer>();
  /** All who dialled us, and those of them whose handshake is done, by id. */
  readonly #callers = new Set<Caller>();
  readonly #identified = new Map<NodeId, Caller>();
  #strangers = 0;
  readonly #refusalsTold = new Set<string>();
  #openChannels = 0;
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
    this.#limits = limitsOf(options);
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
    this.#adoption = new Adoption(host);
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
      channel: (connection, owner) => {
        this.#openChannels++;
        return new Channel(connection, host.environment, {
          onOpen: () => owner.onOpen?.(),
          onFrame: (frame) => {
            owner.onFrame(frame);
          },
          onClosed: (reason) => {
            owner.onClosed(reason);
            this.#openChannels--;
            if (this.#openChannels === 0) this.#onAllClosed?.();
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
    for (const [id, dialer] of this.#dialers) {
      const addresses = peers.get(id) ?? [];
      if (dialer.isFor(addresses)) {
        dialer.mayBeAt(addresses);
        continue;
      }
      dialer.close(addresses.length > 0 ? "its address changed" : "it is no longer a member");
      this.#dialers.delete(id);
    }
    for (const [id, addresses] of peers) {
      if (id === context.host.self.id || addresses.length === 0) continue;
      const dialer = this.#dialers.get(id) ?? new Dialer(context, id, addresses);
      this.#dialers.set(id, dialer);
      // Dialled before it is needed, so that the first message finds a connection.
      dialer.begin();
    }
  }

  send(to: NodeId, transportMessage: TransportMessage): boolean {
    return this.#dialers.get(to)?.send(transportMessage) ?? false;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#state = "closed";
    for (const dialer of this.#dialers.values()) dialer.close("this node is closing");
    this.#dialers.clear();
    for (const caller of this.#callers) caller.destroy("this node is closing");
    try {
      await this.#starting;
    } catch {
      // Whoever called start() has been told.
    }
    await this.#listener?.close();
    if (this.#openChannels === 0) return;
    await new Promise<void>((resolve) => {
      this.#onAllClosed = resolve;
    });
  }

  async adopt(clusterId: string): Promise<void> {
    if (this.#adoption === null) throw new ClosedError();
    await this.#adoption.join(clusterId);
    // Now there is something to say to the others.
    for (const dialer of this.#dialers.values()) dialer.begin();
  }

  onIdentified(caller: Caller, id: NodeId): void {
    this.#strangers--;
    // The peer would not dial twice if its first connection still worked.
    const older = this.#identified.get(id);
    this.#identified.set(id, caller);
    older?.dismiss(`a newer connection from ${id} took its place`);
    // It lives, so what we wait for before we dial it again is over.
    this.#dialers.get(id)?.kick();
  }

  onRefused(caller: Caller, text: string): void {
    // The port of a caller changes from call to call.
    const key = text.replace(caller.peer, caller.peer.replace(/:\d+$/, ""));
    if (this.#refusalsTold.has(key)) return;
    if (this.#refusalsTold.size >= REFUSALS_TOLD_MAX) this.#refusalsTold.clear();
    this.#refusalsTold.add(key);
    this.#context?.host.log("warn", text, { from: caller.peer });
  }

  onGone(caller: Caller): void {
    this.#callers.delete(caller);
    if (caller.id === null) this.#strangers--;
    else if (this.#identified.get(caller.id) === caller) this.#identified.delete(caller.id);
  }

  #accept(connection: Connection): void {
    const context = this.#context;
    const full =
      this.#strangers >= this.#limits.strangersMax || this.#callers.size >= this.#limits.connectionsMax;
    if (context === null || this.#isClosed() || full) {
      connection.destroy("no more connections are accepted");
      return;
    }
    this.#strangers++;
    this.#callers.add(new Caller(context, this, connection));
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
