import { formatAddress, parseAddress } from "../address.ts";
import type { Connection, ConnectionHandler, Listener, Network } from "../environment.ts";
import type { SimulatedClock } from "./simulated-clock.ts";

/** What one direction between two hosts does to the bytes on it. */
export interface LinkFaults {
  /** Each delivery takes from `delayMinMs` to `delayMaxMs`. */
  readonly delayMinMs: number;
  readonly delayMaxMs: number;
  /**
   * Nothing gets through, and nobody is told: what is written waits, as TCP would send it again
   * and again, until the cut heals or someone gives the connection up.
   */
  readonly cut: boolean;
  /** How often a delivery is cut in two at an arbitrary place; 0 never, 1 always. */
  readonly splitProbability: number;
}

const HEALTHY: LinkFaults = { delayMinMs: 0, delayMaxMs: 0, cut: false, splitProbability: 0 };

/**
 * The bytes under way that a link takes before the writer sees `bufferedBytes` grow, like a socket's buffers.
 */
const WINDOW_BYTES = 256 * 1024;

/** Ports given to those who listen at port 0. */
const FIRST_FREE_PORT = 20_000;

/**
 * A network in memory: streams of bytes between named hosts under a fake clock. Each direction
 * between two hosts can be slow, cut, or torn into pieces; connections can be reset, and a host
 * can vanish with all that it had open. It does the same things for the same random numbers.
 *
 * A host's name is the host part of its addresses: `network.host("a")` listens at "a:7001".
 */
export class SimulatedNetwork {
  readonly clock: SimulatedClock;
  readonly #random: () => number;
  readonly #listeners = new Map<string, FaultListener>();
  readonly #streams = new Set<Stream>();
  readonly #links = new Map<string, LinkFaults>();
  #everyLink = HEALTHY;
  #nextPort = FIRST_FREE_PORT;

  constructor(clock: SimulatedClock, random: () => number) {
    this.clock = clock;
    this.#random = random;
  }

  /** The network as the named host has it. */
  host(name: string): Network {
    return {
      listen: (address, accept) => this.#listen(name, address, accept),
      connect: (address) => this.#connect(name, address),
    };
  }

  /** Changes what the direction `from` → `to` does. */
  setLink(from: string, to: string, faults: Partial<LinkFaults>): void {
    this.#links.set(linkKey(from, to), { ...this.#linkOf(from, to), ...faults });
    this.#kick();
  }

  /** Changes what every direction does, those set one by one included. */
  setEveryLink(faults: Partial<LinkFaults>): void {
    this.#everyLink = { ...this.#everyLink, ...faults };
    for (const [key, link] of this.#links) this.#links.set(key, { ...link, ...faults });
    this.#kick();
  }

  /** Cuts both directions between two hosts, silently. */
  cut(a: string, b: string): void {
    this.setLink(a, b, { cut: true });
    this.setLink(b, a, { cut: true });
  }

  heal(a: string, b: string): void {
    this.setLink(a, b, { cut: false });
    this.setLink(b, a, { cut: false });
  }

  /** Ends every connection between two hosts, for both ends at once. */
  reset(a: string, b: string): void {
    for (const stream of [...this.#streams]) {
      if (stream.joins(a, b)) stream.reset("connection reset");
    }
  }

  /**
   * The host's process is gone: its own callbacks are never called again, and the other ends
   * are told, as an operating system does for a process that was killed.
   */
  crash(name: string): void {
    for (const [address, listener] of [...this.#listeners]) {
      if (listener.host === name) this.#listeners.delete(address);
    }
    for (const stream of [...this.#streams]) stream.crash(name);
  }

  /** Streams that are open at one end at least: a test that closed everything expects none. */
  get openStreams(): number {
    return this.#streams.size;
  }

  /** Connections that `name` has a part in. */
  streamsOf(name: string): number {
    let count = 0;
    for (const stream of this.#streams) if (stream.touches(name)) count++;
    return count;
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
    const listener: FaultListener = {
      host,
      address: bound,
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
    const stream = new Stream(this.#world, from, to, address);
    this.#streams.add(stream);
    return stream.dialer;
  }

  #linkOf(from: string, to: string): LinkFaults {
    return this.#links.get(linkKey(from, to)) ?? this.#everyLink;
  }

  #kick(): void {
    for (const stream of this.#streams) stream.kick();
  }

  readonly #world: World = {
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

interface FaultListener extends Listener {
  readonly host: string;
  readonly accept: (connection: Connection) => void;
}

/** What a stream needs of the network it is in. */
interface World {
  now(): number;
  linkOf(from: string, to: string): LinkFaults;
  random(): number;
  after(delayMs: number, callback: () => void): void;
  listenerAt(address: string): FaultListener | undefined;
  forget(stream: Stream): void;
}

function linkKey(from: string, to: string): string {
  return `${from}\n${to}`;
}

/** What travels in one direction: all in order, so a close never overtakes the bytes before it. */
type Item = ({ readonly bytes: Uint8Array } | { readonly act: () => void }) & { readonly at: number };

/**
 * One direction: each item arrives after the link's delay and after all before it, unless the link is cut.
 */
class Pipe {
  readonly #world: World;
  readonly #from: string;
  readonly #to: string;
  readonly #deliver: (bytes: Uint8Array) => void;
  #items: Item[] = [];
  #lastAt = 0;
  #scheduled = false;
  #paused = false;
  #dead = false;
  queuedBytes = 0;
  /** Called after each delivery. */
  onDelivered: (() => void) | null = null;

  constructor(world: World, from: string, to: string, deliver: (bytes: Uint8Array) => void) {
    this.#world = world;
    this.#from = from;
    this.#to = to;
    this.#deliver = deliver;
  }

  pushBytes(bytes: Uint8Array): void {
    if (this.#dead) return;
    this.queuedBytes += bytes.length;
    this.#items.push({ bytes, at: this.#arrival() });
    this.kick();
  }

  pushAct(act: () => void): void {
    if (this.#dead) return;
    this.#items.push({ act, at: this.#arrival() });
    this.kick();
  }

  /** The far end takes no bytes for now. */
  setPaused(paused: boolean): void {
    this.#paused = paused;
    this.kick();
  }

  stop(): void {
    this.#dead = true;
    this.#items = [];
    this.queuedBytes = 0;
  }

  /** Sees to it that a delivery is under way if there can be one. */
  kick(): void {
    const head = this.#items[0];
    if (head === undefined || this.#scheduled || !this.#ready(head)) return;
    this.#scheduled = true;
    this.#world.after(head.at - this.#world.now(), () => {
      this.#scheduled = false;
      const first = this.#items[0];
      if (first !== undefined && first.at <= this.#world.now() && this.#ready(first))
        this.#deliverFrom(first);
      this.kick();
    });
  }

  #arrival(): number {
    const { delayMinMs, delayMaxMs } = this.#link();
    const delayMs = delayMinMs + this.#world.random() * (delayMaxMs - delayMinMs);
    this.#lastAt = Math.max(this.#lastAt, this.#world.now() + delayMs);
    return this.#lastAt;
  }

  #ready(head: Item): boolean {
    return !this.#dead && !this.#link().cut && !(this.#paused && "bytes" in head);
  }

  /** All bytes that are due as one delivery, or a part of them if the link tears them. */
  #deliverFrom(head: Item): void {
    if ("act" in head) {
      this.#items.shift();
      head.act();
      return;
    }
    let bytes = this.#takeBytes();
    if (bytes.length > 1 && this.#world.random() < this.#link().splitProbability) {
      const at = 1 + Math.floor(this.#world.random() * (bytes.length - 1));
      this.#items.unshift({ bytes: bytes.subarray(at), at: this.#world.now() });
      bytes = bytes.slice(0, at);
    }
    this.queuedBytes -= bytes.length;
    this.#deliver(bytes);
    // The bytes were lent for the call only: whoever kept them is to find out.
    bytes.fill(0xdd);
    this.onDelivered?.();
  }

  /** A copy of the bytes that have arrived. */
  #takeBytes(): Uint8Array {
    const chunks: Uint8Array[] = [];
    let length = 0;
    for (let head = this.#items[0]; head !== undefined && "bytes" in head; head = this.#items[0]) {
      if (head.at > this.#world.now()) break;
      chunks.push(head.bytes);
      length += head.bytes.length;
      this.#items.shift();
    }
    const whole = new Uint8Array(length);
    let at = 0;
    for (const chunk of chunks) {
      whole.set(chunk, at);
      at += chunk.length;
    }
    return whole;
  }

  #link(): LinkFaults {
    return this.#world.linkOf(this.#from, this.#to);
  }
}

/** A connection with its two ends and two directions. */
class Stream {
  readonly dialer: End;
  readonly #acceptor: End;
  readonly #world: World;
  readonly #from: string;
  readonly #to: string;
  #arrived = false;

  constructor(world: World, from: string, to: string, address: string) {
    this.#world = world;
    this.#from = from;
    this.#to = to;
    const forth = new Pipe(world, from, to, (bytes) => {
      this.#acceptor.take(bytes);
    });
    const back = new Pipe(world, to, from, (bytes) => {
      this.dialer.take(bytes);
    });
    this.dialer = new End(this, address, forth, back);
    this.#acceptor = new End(this, `${from}:0`, back, forth);
    // The first thing that travels forth is the wish to connect, and the answer comes back.
    forth.pushAct(() => {
      this.#arrive(address, back);
    });
  }

  #arrive(address: string, back: Pipe): void {
    this.#arrived = true;
    const listener = this.#world.listenerAt(address);
    if (listener === undefined) {
      back.pushAct(() => {
        this.dialer.end(`connect ECONNREFUSED ${address}`);
      });
      return;
    }
    back.pushAct(() => {
      this.dialer.open();
    });
    listener.accept(this.#acceptor);
  }

  kick(): void {
    this.dialer.kick();
    this.#acceptor.kick();
  }

  touches(name: string): boolean {
    return this.#from === name || this.#to === name;
  }

  joins(a: string, b: string): boolean {
    return (this.#from === a && this.#to === b) || (this.#from === b && this.#to === a);
  }

  reset(reason: string): void {
    this.dialer.end(reason);
    this.#acceptor.end(reason);
  }

  crash(name: string): void {
    if (this.#from === name) this.dialer.vanish();
    // Before it arrived there was nothing at that end; on arrival it will find nobody listening.
    if (this.#to === name && this.#arrived) this.#acceptor.vanish();
  }

  /** One end is closed: the other is told, after the bytes that are under way. */
  closed(end: End, outgoing: Pipe): void {
    const other = end === this.dialer ? this.#acceptor : this.dialer;
    // Who gives up before it was heard was never there.
    if (!this.#arrived && end === this.dialer) other.vanishUnheard();
    if (other.isClosed) {
      outgoing.stop();
      this.#world.forget(this);
      return;
    }
    outgoing.pushAct(() => {
      other.end("closed by the peer");
    });
  }

  later(callback: () => void): void {
    this.#world.after(0, callback);
  }
}

class End implements Connection {
  handler: ConnectionHandler | null = null;
  readonly peer: string;
  readonly #stream: Stream;
  readonly #outgoing: Pipe;
  readonly #incoming: Pipe;
  #isClosed = false;
  #full = false;

  constructor(stream: Stream, peer: string, outgoing: Pipe, incoming: Pipe) {
    this.#stream = stream;
    this.peer = peer;
    this.#outgoing = outgoing;
    this.#incoming = incoming;
    outgoing.onDelivered = () => {
      this.#drained();
    };
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get bufferedBytes(): number {
    return this.#isClosed ? 0 : Math.max(0, this.#outgoing.queuedBytes - WINDOW_BYTES);
  }

  write(bytes: Uint8Array): void {
    if (this.#isClosed) return;
    this.#outgoing.pushBytes(bytes);
    this.#full ||= this.bufferedBytes > 0;
  }

  pause(): void {
    this.#incoming.setPaused(true);
  }

  resume(): void {
    this.#incoming.setPaused(false);
  }

  destroy(reason = "closed here"): void {
    this.end(reason);
  }

  open(): void {
    if (!this.#isClosed) this.handler?.onOpen?.();
  }

  take(bytes: Uint8Array): void {
    if (!this.#isClosed) this.handler?.onData(bytes);
  }

  /** Closes this end; its owner hears of it a little later, never from within its own call. */
  end(reason: string): void {
    if (this.#isClosed) return;
    this.#close();
    this.#stream.later(() => {
      this.handler?.onClose(reason);
    });
  }

  /** Closes this end without a word to its owner, who no longer is. */
  vanish(): void {
    this.handler = null;
    if (!this.#isClosed) this.#close();
  }

  /** Closes the end that nobody has accepted. */
  vanishUnheard(): void {
    this.#isClosed = true;
    this.#incoming.stop();
    this.#outgoing.stop();
  }

  kick(): void {
    this.#outgoing.kick();
  }

  #close(): void {
    this.#isClosed = true;
    this.#incoming.stop();
    this.#stream.closed(this, this.#outgoing);
  }

  #drained(): void {
    if (!this.#full || this.#isClosed || this.bufferedBytes > 0) return;
    this.#full = false;
    this.handler?.onDrain?.();
  }
}
