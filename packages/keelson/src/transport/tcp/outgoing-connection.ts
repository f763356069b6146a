// The connection that this node opens to one peer to send messages on: which address to try, when to try
// again, the opening side of the handshake, and the queue of outgoing frames.
import type { Welcome } from "../../codec/frame-control-message.ts";
import { encodeMessage, type Frame } from "../../codec/frame.ts";
import { assert } from "../../core/assert.ts";
import type { NodeId } from "../../core/position.ts";
import type { Timer } from "../../environment/environment.ts";
import {
  explainRefusal,
  helloOf,
  peerInfoOf,
  PROTOCOL_VERSION_MAX,
  PROTOCOL_VERSION_MIN,
} from "../handshake.ts";
import type { TransportMessage } from "../transport.ts";
import { Backoff } from "./backoff.ts";
import type { FramedConnection, FrameHandler } from "./framed-connection.ts";
import { SendQueue } from "./send-queue.ts";
import type { TcpContext } from "./tcp-context.ts";

/**
 * Keeps a connection to one peer: opens it, and opens it again whenever it ends, until `close`. While there
 * is no connection, messages are dropped rather than queued. By the time there is a connection again they are
 * out of date, and Raft sends what still matters again.
 */
export class OutgoingConnection implements FrameHandler {
  readonly #context: TcpContext;
  readonly #peerId: NodeId;
  /** Where the peer may be, likeliest first. Never empty. */
  #addresses: readonly string[] = [];
  /**
   * The addresses that are still to be tried in this round. When none is left, the next round waits for the
   * backoff.
   */
  #untriedAddresses: string[] = [];
  /** The address of the current or latest attempt; empty before the first. */
  #address = "";
  readonly #backoff: Backoff;
  /** The frames to be written at the end of this turn. Empty unless the state is "ready". */
  readonly #queue = new SendQueue();
  /**
   * "idle": nothing was tried yet, or this node has no cluster. "waiting": for the timer of the next attempt.
   * "dialing": connecting, or in the handshake. "ready": the handshake is complete. "closed": the end.
   */
  #state: "idle" | "waiting" | "dialing" | "ready" | "closed" = "idle";
  /** Not null in "dialing" and "ready". */
  #connection: FramedConnection | null = null;
  /** Whether this end has sent its hello on the connection. */
  #isOpened = false;
  /** The timer of the next attempt. Not null in "waiting". */
  #timer: Timer | null = null;
  /** Whether a microtask that writes the queue is planned. */
  #flushScheduled = false;
  /**
   * Failures already logged since the last successful connection, so that a long outage doesn't fill the log.
   */
  readonly #loggedFailures = new Set<string>();

  constructor(context: TcpContext, peerId: NodeId, addresses: readonly string[]) {
    const { limits, host } = context;
    this.#context = context;
    this.#peerId = peerId;
    this.setAddresses(addresses);
    this.#backoff = new Backoff(limits.backoffMinMs, limits.backoffMaxMs, () => host.environment.random());
  }

  /**
   * Replaces the peer's addresses. A connection or an attempt under way is kept: see `isAtOneOf`.
   *
   * The current round of attempts goes on too. Hazard: the runtime may set the same addresses again at any
   * time, at shorter intervals than one attempt takes. If each call began a new round, no attempt would ever
   * be made at the second address.
   */
  setAddresses(addresses: readonly string[]): void {
    assert(addresses.length > 0, "a peer is somewhere");
    if (this.#untriedAddresses.length > 0) {
      const known = this.#addresses;
      const isUntried = (address: string): boolean =>
        this.#untriedAddresses.includes(address) || !known.includes(address);
      this.#untriedAddresses = addresses.filter(isUntried);
    }
    this.#addresses = addresses;
  }

  /**
   * Whether the connection, or the attempt, is to one of these addresses; also true before the first attempt,
   * if there is an address to try.
   */
  isAtOneOf(addresses: readonly string[]): boolean {
    if (addresses.length === 0) return false;
    return this.#state === "idle" || addresses.includes(this.#address);
  }

  /** Begins to connect, unless that was begun before. */
  connect(): void {
    if (this.#state === "idle") this.#dialNext();
  }

  /** Connects now instead of waiting for the backoff: the peer has just shown that it is up. */
  retryNow(): void {
    if (this.#state === "idle" || this.#state === "waiting") this.#dialNext();
  }

  /** Queues the message until the end of this turn; false: it was dropped. */
  send(transportMessage: TransportMessage): boolean {
    const connection = this.#connection;
    if (this.#state !== "ready" || connection?.isOpen !== true) {
      this.connect();
      return false;
    }
    const { queueBytesMax } = this.#context.limits;
    const waitingBytes = this.#queue.bytes + connection.heldBytes;
    // Checked before encoding as well: when the queue is full, dropping a message should cost nothing.
    if (waitingBytes >= queueBytesMax) return false;
    const frame = encodeMessage(transportMessage.message, transportMessage.records);
    // When nothing waits, take any message, or one that is larger than the limit could never be sent.
    if (waitingBytes > 0 && waitingBytes + frame.bytes > queueBytesMax) return false;
    this.#queue.add(frame);
    this.#scheduleFlush();
    return true;
  }

  close(reason: string): void {
    this.#state = "closed";
    this.#timer?.cancel();
    this.#timer = null;
    this.#queue.clear();
    this.#connection?.destroy(reason);
  }

  onOpen(): void {
    const { host, limits, address } = this.#context;
    const clusterId = host.clusterId();
    if (clusterId === null || this.#connection === null) return;
    // Before anything is sent: a hello tells the cluster's id.
    const { certificate } = this.#connection;
    const refusal = this.#context.security.refusalOf(certificate, this.#peerId, clusterId);
    if (refusal !== null) {
      this.#connection.destroy(refusal);
      return;
    }
    this.#isOpened = true;
    this.#connection.setDeadline(limits.handshakeTimeoutMs, "answer to the handshake");
    this.#connection.sendControl(helloOf(host, clusterId, address, this.#peerId));
  }

  /**
   * The peer only ever answers here: a welcome, which comes to this method, then pongs, which
   * `FramedConnection` handles. Its messages come on a connection that it opens, so any other frame is an
   * error.
   */
  onFrame(frame: Frame): void {
    if (this.#state === "dialing" && frame.type === "welcome") this.#onWelcome(frame);
    else this.#connection?.closeWithGoodbye(`a ${frame.type} frame came where none belongs`);
  }

  onGoodbye(reason: string): void {
    if (this.#state === "dialing") this.#context.host.onRefused?.(this.#peerId, reason);
  }

  onClosed(reason: string): void {
    this.#connection = null;
    this.#queue.clear();
    if (this.#state === "closed") return;
    const wasUnanswered = this.#state === "dialing" && this.#isOpened;
    // After a connection that worked, begin a new round with the likeliest address.
    if (this.#state === "ready") this.#untriedAddresses = [];
    this.#state = "waiting";
    const { environment } = this.#context.host;
    this.#logFailure(wasUnanswered && HUNG_UP.test(reason) ? `${reason} ${UNANSWERED}` : reason);
    const waitMs = this.#untriedAddresses.length > 0 ? 0 : this.#backoff.failed(environment.now());
    this.#timer = environment.setTimer(waitMs, () => {
      this.#dialNext();
    });
  }

  #dialNext(): void {
    this.#timer?.cancel();
    this.#timer = null;
    const { host, limits } = this.#context;
    // Without a cluster this node has no messages to send. A member will reach it, and then it joins.
    if (host.clusterId() === null) {
      this.#state = "idle";
      return;
    }
    this.#state = "dialing";
    if (this.#untriedAddresses.length === 0) this.#untriedAddresses = [...this.#addresses];
    this.#address = this.#untriedAddresses.shift() ?? this.#address;
    this.#isOpened = false;
    this.#connection = this.#context.dial(this.#address, this);
    this.#connection.setDeadline(limits.connectTimeoutMs, "connection");
  }

  #onWelcome(welcome: Welcome): void {
    const { host, limits } = this.#context;
    const refusal = this.#refusalOf(welcome);
    if (refusal !== null) {
      this.#connection?.closeWithGoodbye(refusal);
      return;
    }
    this.#state = "ready";
    this.#backoff.succeeded(host.environment.now());
    this.#loggedFailures.clear();
    this.#connection?.establish(limits.idleMs, true);
    host.log("info", `connected to ${this.#peerId} at ${this.#address}`, {
      peer: this.#peerId,
      address: this.#address,
    });
    host.onPeer(peerInfoOf(welcome.from));
  }

  /**
   * Why this side refuses the connection that the welcome answers; null: it accepts. The peer has checked the
   * hello, but only this node knows whom it meant to reach: at an old address, another node may answer by now
   * (W1).
   */
  #refusalOf(welcome: Welcome): string | null {
    const clusterId = this.#context.host.clusterId();
    if (welcome.from.id !== this.#peerId) return `node ${welcome.from.id} answered for ${this.#peerId}`;
    if (welcome.clusterId !== clusterId) {
      return `${this.#peerId} belongs to cluster ${welcome.clusterId}, this node to ${String(clusterId)}`;
    }
    const refusal = this.#context.host.refusalOf?.(peerInfoOf(welcome.from), true) ?? null;
    if (refusal !== null) return refusal;
    if (welcome.version < PROTOCOL_VERSION_MIN || welcome.version > PROTOCOL_VERSION_MAX) {
      return `${this.#peerId} chose protocol version ${String(welcome.version)}, which this node does not speak`;
    }
    return null;
  }

  /**
   * Plans one write for everything that is sent in the current callback of the event loop. The runtime sends
   * a turn's messages in one callback, so a microtask that runs after that callback finds them all;
   * `Environment.defer` would cost another turn.
   */
  #scheduleFlush(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    queueMicrotask(() => {
      this.#flushScheduled = false;
      const connection = this.#connection;
      if (connection === null || this.#state !== "ready") return;
      this.#queue.flush((bytes) => {
        connection.write(bytes);
      });
    });
  }

  #logFailure(given: string): void {
    const reason = explainRefusal(given, this.#peerId);
    const address = this.#address;
    const text = `no connection to ${this.#peerId} at ${address}: ${reason}; trying again`;
    if (this.#loggedFailures.has(text) || this.#loggedFailures.size >= LOGGED_FAILURES_MAX) return;
    this.#loggedFailures.add(text);
    this.#context.host.log("warn", text, { peer: this.#peerId, address, reason });
  }
}

/** The reasons of a connection that the peer closed without giving one. */
const HUNG_UP = /closed by the peer|ECONNRESET/;
/** A node refuses a peer with a wrong certificate or secret without a word. */
const UNANSWERED = "before it answered the handshake; its own log may say why";

/**
 * The most different failures that are logged in one outage, each once. It bounds what a peer that gives ever
 * new reasons can write into the log.
 */
const LOGGED_FAILURES_MAX = 8;
