import type { Welcome } from "../../codec/frame-control-message.ts";
import { encodeMessage, type Frame } from "../../codec/frame.ts";
import { assert } from "../../core/assert.ts";
import type { NodeId } from "../../core/position.ts";
import type { Timer } from "../../environment/environment.ts";
import { helloOf, peerInfoOf, PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN } from "../handshake.ts";
import type { TransportMessage } from "../transport.ts";
import { Backoff } from "./backoff.ts";
import type { FramedConnection, FrameHandler } from "./framed-connection.ts";
import type { TcpContext } from "./tcp-context.ts";
import { SendQueue } from "./send-queue.ts";

/** Different reasons told to people in one outage; the same one is told once. */
const LOGGED_FAILURES_MAX = 8;

/** The way to one peer: a connection that this node opened, and opens again when it ends. */
export class OutgoingConnection implements FrameHandler {
  readonly #context: TcpContext;
  readonly #peerId: NodeId;
  /** Where the peer may be, the likeliest place first. */
  #addresses: readonly string[] = [];
  /** Those that have their turn before the next wait. */
  #untriedAddresses: string[] = [];
  /** Where it was dialled last. */
  #address = "";
  readonly #backoff: Backoff;
  readonly #queue = new SendQueue();
  #state: "idle" | "waiting" | "dialing" | "ready" | "closed" = "idle";
  #connection: FramedConnection | null = null;
  #timer: Timer | null = null;
  #flushScheduled = false;
  readonly #loggedFailures = new Set<string>();

  constructor(context: TcpContext, id: NodeId, addresses: readonly string[]) {
    const { limits, host } = context;
    this.#context = context;
    this.#peerId = id;
    this.setAddresses(addresses);
    this.#backoff = new Backoff(limits.backoffMinMs, limits.backoffMaxMs, () => host.environment.random());
  }

  /** Other addresses; a connection to one that is still among them stays. */
  setAddresses(addresses: readonly string[]): void {
    assert(addresses.length > 0, "a peer is somewhere");
    this.#addresses = addresses;
    this.#untriedAddresses = [];
  }

  isAtOneOf(addresses: readonly string[]): boolean {
    return this.#state === "idle" || addresses.includes(this.#address);
  }

  /** Dials unless that was begun before. */
  connect(): void {
    if (this.#state === "idle") this.#dialNext();
  }

  /** Dials now rather than wait any longer: somebody has reason to think that it will work. */
  retryNow(): void {
    if (this.#state === "idle" || this.#state === "waiting") this.#dialNext();
  }

  /** Queues the message for the end of this turn; false: it was dropped. */
  send(transportMessage: TransportMessage): boolean {
    const channel = this.#connection;
    if (this.#state !== "ready" || channel?.isOpen !== true) {
      this.connect();
      return false;
    }
    const waiting = this.#queue.bytes + channel.bufferedBytes;
    if (waiting >= this.#context.limits.queueBytesMax) return false;
    const frame = encodeMessage(transportMessage.message, transportMessage.records);
    // One message is always let in, or one that is larger than the limit could never be sent.
    if (waiting > 0 && waiting + frame.bytes > this.#context.limits.queueBytesMax) return false;
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
    this.#connection.setDeadline(limits.handshakeTimeoutMs, "answer to the handshake");
    this.#connection.sendControl(helloOf(host, clusterId, address, this.#peerId));
  }

  onFrame(frame: Frame): void {
    if (this.#state === "dialing" && frame.type === "welcome") this.#onWelcome(frame);
    else this.#connection?.closeWithGoodbye(`a ${frame.type} frame came where none belongs`);
  }

  onClosed(reason: string): void {
    this.#connection = null;
    this.#queue.clear();
    if (this.#state === "closed") return;
    // After a connection that held it is looked for at the likeliest place again.
    if (this.#state === "ready") this.#untriedAddresses = [];
    this.#state = "waiting";
    const { environment } = this.#context.host;
    this.#logFailure(reason);
    const waitMs = this.#untriedAddresses.length > 0 ? 0 : this.#backoff.failed(environment.now());
    this.#timer = environment.setTimer(waitMs, () => {
      this.#dialNext();
    });
  }

  #dialNext(): void {
    this.#timer?.cancel();
    this.#timer = null;
    const { host, limits } = this.#context;
    // A node without a cluster has nothing to say; it waits to be dialled.
    if (host.clusterId() === null) {
      this.#state = "idle";
      return;
    }
    this.#state = "dialing";
    if (this.#untriedAddresses.length === 0) this.#untriedAddresses = [...this.#addresses];
    this.#address = this.#untriedAddresses.shift() ?? this.#address;
    this.#connection = this.#context.frameConnection(host.environment.network.connect(this.#address), this);
    this.#connection.setDeadline(limits.connectTimeoutMs, "connection");
  }

  #onWelcome(welcome: Welcome): void {
    const { host, limits } = this.#context;
    const fault = this.#refusalOf(welcome);
    if (fault !== null) {
      this.#connection?.closeWithGoodbye(fault);
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

  /** What is wrong with who answered; null: nothing. An address may lead to another node by now. */
  #refusalOf(welcome: Welcome): string | null {
    const clusterId = this.#context.host.clusterId();
    if (welcome.from.id !== this.#peerId) return `node ${welcome.from.id} answered for ${this.#peerId}`;
    if (welcome.clusterId !== clusterId) {
      return `${this.#peerId} belongs to cluster ${welcome.clusterId}, this node to ${String(clusterId)}`;
    }
    const refusal = this.#context.host.refusalOf?.(peerInfoOf(welcome.from)) ?? null;
    if (refusal !== null) return refusal;
    if (welcome.version < PROTOCOL_VERSION_MIN || welcome.version > PROTOCOL_VERSION_MAX) {
      return `${this.#peerId} chose protocol version ${String(welcome.version)}, which this node does not speak`;
    }
    return null;
  }

  /**
   * All that is sent in one callback of the event loop leaves in one write. The callback is the
   * runtime's drain, which comes once a turn; a microtask ends it, where `defer` would cost a turn more.
   */
  #scheduleFlush(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    queueMicrotask(() => {
      this.#flushScheduled = false;
      const channel = this.#connection;
      if (channel === null || this.#state !== "ready") return;
      this.#queue.flush((bytes) => {
        channel.write(bytes);
      });
    });
  }

  #logFailure(reason: string): void {
    const address = this.#address;
    const text = `no connection to ${this.#peerId} at ${address}: ${reason}; trying again`;
    if (this.#loggedFailures.has(text) || this.#loggedFailures.size >= LOGGED_FAILURES_MAX) return;
    this.#loggedFailures.add(text);
    this.#context.host.log("warn", text, { peer: this.#peerId, address, reason });
  }
}
