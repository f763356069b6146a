import type { Welcome } from "../../codec/frame-control-message.ts";
import { encodeMessage, type Frame } from "../../codec/frame.ts";
import { assert } from "../../core/assert.ts";
import type { NodeId } from "../../core/position.ts";
import type { Timer } from "../../environment/environment.ts";
import { helloOf, peerInfoOf, PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN } from "../handshake.ts";
import type { TransportMessage, TransportHost } from "../transport.ts";
import { Backoff } from "./backoff.ts";
import type { Channel, ChannelOwner } from "./channel.ts";
import type { TcpLimits } from "./limits.ts";
import { SendQueue } from "./send-queue.ts";

/** Different reasons told to people in one outage; the same one is told once. */
const REASONS_TOLD_MAX = 8;

/** What dialers and acceptors know of the transport that they are parts of. */
export interface TcpContext {
  readonly host: TransportHost;
  readonly limits: TcpLimits;
  /** Where others reach this node. */
  readonly address: string;
  /** Makes a channel that `close` waits for. */
  channel(
    connection: ReturnType<TransportHost["environment"]["network"]["connect"]>,
    owner: ChannelOwner,
  ): Channel;
}

/** The way to one peer: a connection that this node opened, and opens again when it ends. */
export class Dialer implements ChannelOwner {
  readonly #context: TcpContext;
  readonly #id: NodeId;
  /** Where the peer may be, the likeliest place first. */
  #addresses: readonly string[] = [];
  /** Those that have their turn before the next wait. */
  #untried: string[] = [];
  /** Where it was dialled last. */
  #address = "";
  readonly #backoff: Backoff;
  readonly #queue = new SendQueue();
  #state: "idle" | "waiting" | "dialing" | "ready" | "closed" = "idle";
  #channel: Channel | null = null;
  #timer: Timer | null = null;
  #flushPlanned = false;
  readonly #reasonsTold = new Set<string>();

  constructor(context: TcpContext, id: NodeId, addresses: readonly string[]) {
    const { limits, host } = context;
    this.#context = context;
    this.#id = id;
    this.mayBeAt(addresses);
    this.#backoff = new Backoff(limits.backoffMinMs, limits.backoffMaxMs, () => host.environment.random());
  }

  /** Other addresses; a connection to one that is still among them stays. */
  mayBeAt(addresses: readonly string[]): void {
    assert(addresses.length > 0, "a peer is somewhere");
    this.#addresses = addresses;
    this.#untried = [];
  }

  isFor(addresses: readonly string[]): boolean {
    return this.#state === "idle" || addresses.includes(this.#address);
  }

  /** Dials unless that was begun before. */
  begin(): void {
    if (this.#state === "idle") this.#dial();
  }

  /** Dials now rather than wait any longer: somebody has reason to think that it will work. */
  kick(): void {
    if (this.#state === "idle" || this.#state === "waiting") this.#dial();
  }

  /** Queues the message for the end of this turn; false: it was dropped. */
  send(transportMessage: TransportMessage): boolean {
    const channel = this.#channel;
    if (this.#state !== "ready" || channel?.isOpen !== true) {
      this.begin();
      return false;
    }
    const waiting = this.#queue.bytes + channel.bufferedBytes;
    if (waiting >= this.#context.limits.queueBytesMax) return false;
    const frame = encodeMessage(transportMessage.message, transportMessage.records);
    // One message is always let in, or one that is larger than the limit could never be sent.
    if (waiting > 0 && waiting + frame.bytes > this.#context.limits.queueBytesMax) return false;
    this.#queue.add(frame);
    this.#planFlush();
    return true;
  }

  close(reason: string): void {
    this.#state = "closed";
    this.#timer?.cancel();
    this.#timer = null;
    this.#queue.clear();
    this.#channel?.destroy(reason);
  }

  onOpen(): void {
    const { host, limits, address } = this.#context;
    const clusterId = host.clusterId();
    if (clusterId === null || this.#channel === null) return;
    this.#channel.expect(limits.handshakeTimeoutMs, "answer to the handshake");
    this.#channel.say(helloOf(host, clusterId, address, this.#id));
  }

  onFrame(frame: Frame): void {
    if (this.#state === "dialing" && frame.type === "welcome") this.#welcomed(frame);
    else this.#channel?.dismiss(`a ${frame.type} frame came where none belongs`);
  }

  onClosed(reason: string): void {
    this.#channel = null;
    this.#queue.clear();
    if (this.#state === "closed") return;
    // After a connection that held it is looked for at the likeliest place again.
    if (this.#state === "ready") this.#untried = [];
    this.#state = "waiting";
    const { environment } = this.#context.host;
    this.#tell(reason);
    const waitMs = this.#untried.length > 0 ? 0 : this.#backoff.failed(environment.now());
    this.#timer = environment.setTimer(waitMs, () => {
      this.#dial();
    });
  }

  #dial(): void {
    this.#timer?.cancel();
    this.#timer = null;
    const { host, limits } = this.#context;
    // A node without a cluster has nothing to say; it waits to be dialled.
    if (host.clusterId() === null) {
      this.#state = "idle";
      return;
    }
    this.#state = "dialing";
    if (this.#untried.length === 0) this.#untried = [...this.#addresses];
    this.#address = this.#untried.shift() ?? this.#address;
    this.#channel = this.#context.channel(host.environment.network.connect(this.#address), this);
    this.#channel.expect(limits.connectTimeoutMs, "connection");
  }

  #welcomed(welcome: Welcome): void {
    const { host, limits } = this.#context;
    const fault = this.#faultOf(welcome);
    if (fault !== null) {
      this.#channel?.dismiss(fault);
      return;
    }
    this.#state = "ready";
    this.#backoff.succeeded(host.environment.now());
    this.#reasonsTold.clear();
    this.#channel?.establish(limits.idleMs, true);
    host.log("info", `connected to ${this.#id} at ${this.#address}`, {
      peer: this.#id,
      address: this.#address,
    });
    host.onPeer(peerInfoOf(welcome.from));
  }

  /** What is wrong with who answered; null: nothing. An address may lead to another node by now. */
  #faultOf(welcome: Welcome): string | null {
    const clusterId = this.#context.host.clusterId();
    if (welcome.from.id !== this.#id) return `node ${welcome.from.id} answered for ${this.#id}`;
    if (welcome.clusterId !== clusterId) {
      return `${this.#id} belongs to cluster ${welcome.clusterId}, this node to ${String(clusterId)}`;
    }
    const refusal = this.#context.host.refusalOf?.(peerInfoOf(welcome.from)) ?? null;
    if (refusal !== null) return refusal;
    if (welcome.version < PROTOCOL_VERSION_MIN || welcome.version > PROTOCOL_VERSION_MAX) {
      return `${this.#id} chose protocol version ${String(welcome.version)}, which this node does not speak`;
    }
    return null;
  }

  /**
   * All that is sent in one callback of the event loop leaves in one write. The callback is the
   * runtime's drain, which comes once a turn; a microtask ends it, where `defer` would cost a turn more.
   */
  #planFlush(): void {
    if (this.#flushPlanned) return;
    this.#flushPlanned = true;
    queueMicrotask(() => {
      this.#flushPlanned = false;
      const channel = this.#channel;
      if (channel === null || this.#state !== "ready") return;
      this.#queue.flush((bytes) => {
        channel.write(bytes);
      });
    });
  }

  #tell(reason: string): void {
    const address = this.#address;
    const text = `no connection to ${this.#id} at ${address}: ${reason}; trying again`;
    if (this.#reasonsTold.has(text) || this.#reasonsTold.size >= REASONS_TOLD_MAX) return;
    this.#reasonsTold.add(text);
    this.#context.host.log("warn", text, { peer: this.#id, address, reason });
  }
}
