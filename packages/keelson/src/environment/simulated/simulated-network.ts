// A network in memory for tests and simulations, whose links can be slow, cut and reset.
import { formatAddress, parseAddress } from "../address.ts";
import type { Connection, Listener, Network } from "../environment.ts";
import type { SimulatedClock } from "./simulated-clock.ts";
import { type LinkFaults, type SimulatedListener, Stream, type StreamNetwork } from "./simulated-stream.ts";

const HEALTHY: LinkFaults = {
  delayMinMs: 0,
  delayMaxMs: 0,
  cut: false,
  unreachable: false,
  splitProbability: 0,
};

/** The first port that is given to a listener at port 0; each further one gets the next. */
const FIRST_FREE_PORT = 20_000;

/**
 * A network in memory: byte streams between named hosts, under a simulated clock. Each direction between two
 * hosts can delay, split or hold back bytes; connections can be reset; a host's process can end with all its
 * connections. What happens depends only on the calls and on the random numbers.
 *
 * A host's name is the host part of its addresses: `network.host("a")` can listen at "a:7001".
 */
export class SimulatedNetwork {
  readonly clock: SimulatedClock;
  readonly #random: () => number;
  /** The open listeners, by address. */
  readonly #listeners = new Map<string, SimulatedListener>();
  /** The streams that are open at one end at least. */
  readonly #streams = new Set<Stream>();
  /** The links that were set one by one, by `linkKey`. */
  readonly #links = new Map<string, LinkFaults>();
  /** What all other links do. */
  #defaultLink = HEALTHY;
  /** The port for the next listener that asks for port 0. */
  #nextPort = FIRST_FREE_PORT;

  constructor(clock: SimulatedClock, random: () => number) {
    this.clock = clock;
    this.#random = random;
  }

  /** The network of the named host. */
  host(name: string): Network {
    return {
      listen: (address, accept) => this.#listen(name, address, accept),
      connect: (address) => this.#connect(name, address),
    };
  }

  /** Changes what the link from `from` to `to` does. */
  setLink(from: string, to: string, faults: Partial<LinkFaults>): void {
    this.#links.set(linkKey(from, to), { ...this.#linkOf(from, to), ...faults });
    this.#scheduleDeliveries();
  }

  /** Changes what all links do, including those that were set one by one. */
  setEveryLink(faults: Partial<LinkFaults>): void {
    this.#defaultLink = { ...this.#defaultLink, ...faults };
    for (const [key, link] of this.#links) this.#links.set(key, { ...link, ...faults });
    this.#scheduleDeliveries();
  }

  /**
   * Cuts both directions between two hosts. Nothing arrives, and neither host is told: see `LinkFaults.cut`.
   */
  cut(a: string, b: string): void {
    this.setLink(a, b, { cut: true });
    this.setLink(b, a, { cut: true });
  }

  /** Undoes `cut`: what waited is delivered. */
  heal(a: string, b: string): void {
    this.setLink(a, b, { cut: false });
    this.setLink(b, a, { cut: false });
  }

  /** Closes all connections between two hosts, at both ends at once. */
  reset(a: string, b: string): void {
    for (const stream of [...this.#streams]) {
      if (stream.connects(a, b)) stream.reset("connection reset");
    }
  }

  /**
   * The host's process ends: its handlers are not called any more, and the other ends of its connections are
   * closed, as an operating system does for a killed process.
   */
  crash(name: string): void {
    for (const [address, listener] of [...this.#listeners]) {
      if (listener.host === name) this.#listeners.delete(address);
    }
    for (const stream of [...this.#streams]) stream.crash(name);
  }

  /** How many streams are open at one end at least. A test that closed everything expects 0. */
  get openStreams(): number {
    return this.#streams.size;
  }

  /** How many of the open streams have an end at the named host. */
  streamsOf(name: string): number {
    let count = 0;
    for (const stream of this.#streams) if (stream.involves(name)) count++;
    return count;
  }

  /** The hosts to which the named host has opened a stream that it has not closed. */
  targetsOf(name: string): string[] {
    return [...this.#streams].map((stream) => stream.targetOf(name)).filter((target) => target !== null);
  }

  #listen(host: string, address: string, accept: (connection: Connection) => void): Promise<Listener> {
    const asked = parseAddress(address, "listen");
    const port = asked.port === 0 ? this.#nextPort++ : asked.port;
    const bound = formatAddress({ host: asked.host, port });
    if (asked.host !== host) {
      return Promise.reject(new Error(`listen EADDRNOTAVAIL: host ${host} does not have ${address}`));
    }
    if (this.#listeners.has(bound)) {
      return Promise.reject(new Error(`listen EADDRINUSE: address already in use ${bound}`));
    }
    const listener: SimulatedListener = {
      host,
      address: bound,
      isExposed: false,
      accept,
      close: () => {
        if (this.#listeners.get(bound) === listener) this.#listeners.delete(bound);
        return Promise.resolve();
      },
    };
    this.#listeners.set(bound, listener);
    return Promise.resolve(listener);
  }

  #connect(from: string, address: string): Connection {
    const to = address.slice(0, Math.max(0, address.lastIndexOf(":")));
    const stream = new Stream(this.#streamNetwork, from, to, address);
    this.#streams.add(stream);
    return stream.opener;
  }

  #linkOf(from: string, to: string): LinkFaults {
    return this.#links.get(linkKey(from, to)) ?? this.#defaultLink;
  }

  #scheduleDeliveries(): void {
    for (const stream of this.#streams) stream.scheduleDeliveries();
  }

  readonly #streamNetwork: StreamNetwork = {
    now: () => this.clock.now(),
    linkOf: (from, to) => this.#linkOf(from, to),
    random: () => this.#random(),
    after: (delayMs, callback) => {
      this.clock.setTimer(delayMs, callback);
    },
    listenerAt: (address) => this.#listeners.get(address),
    forget: (stream) => {
      this.#streams.delete(stream);
    },
  };
}

function linkKey(from: string, to: string): string {
  return `${from}\n${to}`;
}
