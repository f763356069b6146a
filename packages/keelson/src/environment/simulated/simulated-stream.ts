// One simulated connection: two ends, and in each direction a pipe that delays, splits and holds back what
// travels in it. simulated-network.ts decides what each link does at the time.
import type { Connection, ConnectionHandler, Listener } from "../environment.ts";

/** What the link from one host to another does to the bytes on it. */
export interface LinkFaults {
  /**
   * What is written arrives after a random time from `delayMinMs` to `delayMaxMs`, and after what was written
   * before.
   */
  readonly delayMinMs: number;
  readonly delayMaxMs: number;
  /**
   * Nothing arrives, and neither end is told. What is written waits until the link is healed, because TCP
   * would send it again and again, or until an end closes the connection.
   */
  readonly cut: boolean;
  /** Whoever connects is told at once that there is no way to the host. Open connections stay as they are. */
  readonly unreachable: boolean;
  /** The probability that a delivery is split in two at a random place; 0 never, 1 always. */
  readonly splitProbability: number;
}

/** A listener of a simulated host, with the callback that gets the connections which it accepts. */
export interface SimulatedListener extends Listener {
  /** The name of the host that listens. */
  readonly host: string;
  readonly accept: (connection: Connection) => void;
}

/** What a stream needs of its network. */
export interface StreamNetwork {
  now(): number;
  linkOf(from: string, to: string): LinkFaults;
  random(): number;
  after(delayMs: number, callback: () => void): void;
  listenerAt(address: string): SimulatedListener | undefined;
  /** Both ends of the stream are closed. */
  forget(stream: Stream): void;
}

/**
 * What travels in one direction: bytes, or an event, such as the request to connect or a close, which is
 * called when it arrives at the other end. Both travel in one order, so a close never overtakes the bytes
 * before it.
 */
type Item = ({ readonly bytes: Uint8Array } | { readonly event: () => void }) & {
  /** When it may arrive, in milliseconds of the simulated clock. */
  readonly at: number;
};

/** One direction of a stream: each item arrives after the link's delay and after all before it. */
class Pipe {
  readonly #network: StreamNetwork;
  readonly #from: string;
  readonly #to: string;
  readonly #deliver: (bytes: Uint8Array) => void;
  /** What has not arrived, in order. Their times never fall. */
  #items: Item[] = [];
  /** When the latest item may arrive. */
  #lastAt = 0;
  /** Whether a timer for the next delivery is set. */
  #scheduled = false;
  /** Whether the receiving end takes no bytes for now. Events still arrive. */
  #paused = false;
  /** Whether the pipe takes and delivers nothing any more. */
  #discarded = false;
  /** The bytes that have not arrived. */
  queuedBytes = 0;
  /** Called after each delivery. */
  onDelivered: (() => void) | null = null;

  constructor(network: StreamNetwork, from: string, to: string, deliver: (bytes: Uint8Array) => void) {
    this.#network = network;
    this.#from = from;
    this.#to = to;
    this.#deliver = deliver;
  }

  pushBytes(bytes: Uint8Array): void {
    if (this.#discarded) return;
    this.queuedBytes += bytes.length;
    this.#items.push({ bytes, at: this.#arrival() });
    this.scheduleDelivery();
  }

  pushEvent(event: () => void): void {
    if (this.#discarded) return;
    this.#items.push({ event, at: this.#arrival() });
    this.scheduleDelivery();
  }

  /** Whether the receiving end takes no bytes for now. */
  setPaused(paused: boolean): void {
    this.#paused = paused;
    this.scheduleDelivery();
  }

  /** Loses what has not arrived, and takes nothing more. */
  discard(): void {
    this.#discarded = true;
    this.#items = [];
    this.queuedBytes = 0;
  }

  /** Sets a timer for the next delivery, unless one is set or nothing can be delivered for now. */
  scheduleDelivery(): void {
    const head = this.#items[0];
    if (head === undefined || this.#scheduled || !this.#ready(head)) return;
    this.#scheduled = true;
    this.#network.after(head.at - this.#network.now(), () => {
      this.#scheduled = false;
      const first = this.#items[0];
      if (first !== undefined && first.at <= this.#network.now() && this.#ready(first))
        this.#deliverFrom(first);
      this.scheduleDelivery();
    });
  }

  #arrival(): number {
    const { delayMinMs, delayMaxMs } = this.#link();
    const delayMs = delayMinMs + this.#network.random() * (delayMaxMs - delayMinMs);
    this.#lastAt = Math.max(this.#lastAt, this.#network.now() + delayMs);
    return this.#lastAt;
  }

  #ready(head: Item): boolean {
    return !this.#discarded && !this.#link().cut && !(this.#paused && "bytes" in head);
  }

  /**
   * Delivers an event, or all bytes that are due at once; only a part of them if the link splits the
   * delivery.
   */
  #deliverFrom(head: Item): void {
    if ("event" in head) {
      this.#items.shift();
      head.event();
      return;
    }
    let bytes = this.#takeBytes();
    if (bytes.length > 1 && this.#network.random() < this.#link().splitProbability) {
      const at = 1 + Math.floor(this.#network.random() * (bytes.length - 1));
      this.#items.unshift({ bytes: bytes.subarray(at), at: this.#network.now() });
      bytes = bytes.slice(0, at);
    }
    this.queuedBytes -= bytes.length;
    this.#deliver(bytes);
    // The bytes were valid during the call only. Overwrite them, so that a receiver that kept them fails a
    // test.
    bytes.fill(0xdd);
    this.onDelivered?.();
  }

  /** Removes the bytes that are due, and returns a copy of them. */
  #takeBytes(): Uint8Array {
    const chunks: Uint8Array[] = [];
    let length = 0;
    for (let head = this.#items[0]; head !== undefined && "bytes" in head; head = this.#items[0]) {
      if (head.at > this.#network.now()) break;
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
    return this.#network.linkOf(this.#from, this.#to);
  }
}

/** One connection, with both its ends and both its directions. */
export class Stream {
  /** The end at the host that connects. */
  readonly opener: StreamEnd;
  /**
   * The end at the host that listens. It exists from the start, but is given to a listener only on arrival.
   */
  readonly #accepter: StreamEnd;
  readonly #network: StreamNetwork;
  readonly #from: string;
  readonly #to: string;
  /** Whether the request to connect has arrived at the other host, even if nothing listened there. */
  #hasArrived = false;

  constructor(network: StreamNetwork, from: string, to: string, address: string) {
    this.#network = network;
    this.#from = from;
    this.#to = to;
    const forth = new Pipe(network, from, to, (bytes) => {
      this.#accepter.receive(bytes);
    });
    const back = new Pipe(network, to, from, (bytes) => {
      this.opener.receive(bytes);
    });
    this.opener = new StreamEnd(this, address, forth, back);
    this.#accepter = new StreamEnd(this, `${from}:0`, back, forth);
    if (network.linkOf(from, to).unreachable) {
      network.after(0, () => {
        this.opener.close(`connect EHOSTUNREACH ${address}`);
      });
      return;
    }
    // The request to connect travels first; its answer, accepted or refused, travels back.
    forth.pushEvent(() => {
      this.#onArrival(address, back);
    });
  }

  #onArrival(address: string, back: Pipe): void {
    this.#hasArrived = true;
    const listener = this.#network.listenerAt(address);
    if (listener === undefined) {
      back.pushEvent(() => {
        this.opener.close(`connect ECONNREFUSED ${address}`);
      });
      return;
    }
    back.pushEvent(() => {
      this.opener.open();
    });
    listener.accept(this.#accepter);
  }

  scheduleDeliveries(): void {
    this.opener.scheduleDelivery();
    this.#accepter.scheduleDelivery();
  }

  /** The host that it leads to, if the named host opened it and has not closed it; else null. */
  targetOf(name: string): string | null {
    return this.#from === name && !this.opener.isClosed ? this.#to : null;
  }

  /** Whether the named host has one of the ends. */
  involves(name: string): boolean {
    return this.#from === name || this.#to === name;
  }

  /** Whether it is a connection between these two hosts, in either direction. */
  connects(a: string, b: string): boolean {
    return (this.#from === a && this.#to === b) || (this.#from === b && this.#to === a);
  }

  /** Closes both ends at once. */
  reset(reason: string): void {
    this.opener.close(reason);
    this.#accepter.close(reason);
  }

  /** The named host's process has ended: closes its end without calling it. */
  crash(name: string): void {
    if (this.#from === name) this.opener.closeSilently();
    // Before the request to connect has arrived, the listening host has no end to close. When the request
    // arrives, nothing will listen there.
    if (this.#to === name && this.#hasArrived) this.#accepter.closeSilently();
  }

  /**
   * One end was closed: closes the other end when the close arrives there, after the bytes that are on their
   * way.
   */
  onEndClosed(end: StreamEnd, outgoing: Pipe): void {
    const other = end === this.opener ? this.#accepter : this.opener;
    // The connecting end gave up before its request arrived, so the other host never hears of it.
    if (!this.#hasArrived && end === this.opener) other.cancel();
    if (other.isClosed) {
      outgoing.discard();
      this.#network.forget(this);
      return;
    }
    outgoing.pushEvent(() => {
      other.close("closed by the peer");
    });
  }

  /** Calls back at the current time, but not within the current call. */
  afterThisCall(callback: () => void): void {
    this.#network.after(0, callback);
  }
}

/** One end of a stream: what its owner has as a connection. */
class StreamEnd implements Connection {
  handler: ConnectionHandler | null = null;
  readonly peer: string;
  readonly #stream: Stream;
  readonly #outgoing: Pipe;
  readonly #incoming: Pipe;
  #isClosed = false;
  /** Whether `bufferedBytes` was above 0 and has not fallen to 0 since. */
  #hasBacklog = false;

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
    this.#hasBacklog ||= this.bufferedBytes > 0;
  }

  pause(): void {
    this.#incoming.setPaused(true);
  }

  resume(): void {
    this.#incoming.setPaused(false);
  }

  destroy(reason = "closed here"): void {
    this.close(reason);
  }

  open(): void {
    if (!this.#isClosed) this.handler?.onOpen?.();
  }

  receive(bytes: Uint8Array): void {
    if (!this.#isClosed) this.handler?.onData(bytes);
  }

  /** Closes this end. Its owner is told after the current call, as by a real socket. */
  close(reason: string): void {
    if (this.#isClosed) return;
    this.#close();
    this.#stream.afterThisCall(() => {
      this.handler?.onClose(reason);
    });
  }

  /** Closes this end without telling its owner, whose process has ended. */
  closeSilently(): void {
    this.handler = null;
    if (!this.#isClosed) this.#close();
  }

  /** Closes this end, which no listener has been given. */
  cancel(): void {
    this.#isClosed = true;
    this.#incoming.discard();
    this.#outgoing.discard();
  }

  scheduleDelivery(): void {
    this.#outgoing.scheduleDelivery();
  }

  #close(): void {
    this.#isClosed = true;
    this.#incoming.discard();
    this.#stream.onEndClosed(this, this.#outgoing);
  }

  #drained(): void {
    if (!this.#hasBacklog || this.#isClosed || this.bufferedBytes > 0) return;
    this.#hasBacklog = false;
    this.handler?.onDrain?.();
  }
}

/**
 * The bytes on their way in one direction that do not count as `bufferedBytes`: they fill the sockets'
 * buffers.
 */
const WINDOW_BYTES = 256 * 1024;
