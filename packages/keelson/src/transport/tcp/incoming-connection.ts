// A connection that another node opened to this one: the accepting side of the handshake, then the messages
// from that peer. This node never sends messages on it. To send, it opens a connection of its own
// (outgoing-connection.ts).
import type { Hello, Inquiry } from "../../codec/frame-control-message.ts";
import type { Frame, MessageFrame } from "../../codec/frame.ts";
import type { NodeId } from "../../core/position.ts";
import type { Connection } from "../../environment/environment.ts";
import {
  identityOf,
  openRefusal,
  peerInfoOf,
  PROTOCOL_VERSION_MAX,
  refusalOf,
  refusalOfInquiry,
  refusalOfStranger,
  type Refusal,
} from "../handshake.ts";
import type { FramedConnection, FrameHandler } from "./framed-connection.ts";
import type { TcpContext } from "./tcp-context.ts";
import { textOfThrown } from "../../errors.ts";

/** What an incoming connection asks of its transport, and reports to it. */
export interface IncomingConnectionOwner {
  /**
   * Joins this node, which has no cluster, to the one that a hello names; rejects if that is not possible.
   */
  adoptCluster(clusterId: string): Promise<void>;
  /**
   * The handshake with node `id` is complete. Called before the host hears of the peer or of its messages.
   */
  onEstablished(connection: IncomingConnection, id: NodeId): void;
  /**
   * This side closes the connection because of what the peer sent. `text` is for the log; null: there is
   * nothing that only this node's log could tell.
   */
  onRefused(connection: IncomingConnection, text: string | null): void;
  /** The connection is closed, for whatever reason. The last call. */
  onClosed(connection: IncomingConnection): void;
}

/** One accepted connection, from its first byte to its close. */
export class IncomingConnection implements FrameHandler {
  readonly #context: TcpContext;
  readonly #owner: IncomingConnectionOwner;
  readonly #connection: FramedConnection;
  /**
   * "hello": waiting for a hello. "adopting": the hello was good, and this node is joining the peer's
   * cluster; reading is paused. "established": messages are accepted. "answered": the peer only had a
   * question; it closes, or the deadline does. "refused": closing, nothing is accepted. "closed": the end.
   */
  #state: "hello" | "adopting" | "established" | "answered" | "refused" | "closed" = "hello";
  /** The peer's id, from its hello; null until the handshake is complete, then never changes. */
  #id: NodeId | null = null;

  constructor(context: TcpContext, owner: IncomingConnectionOwner, connection: Connection) {
    this.#context = context;
    this.#owner = owner;
    this.#connection = context.frameAccepted(connection, this);
    this.#connection.setDeadline(context.limits.handshakeTimeoutMs, "handshake");
  }

  /** The peer's id; null until the handshake is complete. */
  get id(): NodeId | null {
    return this.#id;
  }

  /** The address that the connection comes from, for logs. */
  get peer(): string {
    return this.#connection.peer;
  }

  /** Whether the peer has come past TLS and the proof of the secret, where there is any. */
  get hasSpoken(): boolean {
    return this.#connection.hasSpoken;
  }

  closeWithGoodbye(reason: string): void {
    this.#connection.closeWithGoodbye(reason);
  }

  destroy(reason: string): void {
    this.#connection.destroy(reason);
  }

  onFrame(frame: Frame): void {
    if (this.#state === "established" && frame.type === "message") this.#onMessage(frame);
    else if (this.#state === "hello" && frame.type === "hello") this.#onHello(frame);
    else if (this.#state === "hello" && frame.type === "inquiry") this.#onInquiry(frame);
    else this.#refuse(openRefusal(`a ${frame.type} frame came where none belongs`));
  }

  onClosed(reason: string): void {
    const { host } = this.#context;
    if (this.#state === "established") {
      host.log("info", `${String(this.#id)} hung up: ${reason}`, { peer: this.#id, reason });
    }
    const { refusal } = this.#connection;
    if (refusal !== undefined) this.#owner.onRefused(this, `refused ${this.peer}: ${refusal}`);
    this.#state = "closed";
    this.#owner.onClosed(this);
  }

  /**
   * A peer speaks for itself only: a message under another name could vote or acknowledge for another node
   * (W1).
   */
  #onMessage(frame: MessageFrame): void {
    const { message, records, group } = frame;
    if (message.from !== this.#id)
      this.#refuse(openRefusal(`a message from ${message.from} came from ${String(this.#id)}`));
    else if (group !== 0) this.#refuse(openRefusal(`there is no group ${String(group)} here`));
    else this.#context.host.receive({ message, records });
  }

  #onHello(hello: Hello): void {
    const { host } = this.#context;
    const refusal = this.#refusalOfImpostor(hello) ?? refusalOf(hello, host);
    if (refusal !== null) this.#refuse(refusal, hello);
    else if (host.clusterId() === null) this.#adoptCluster(hello);
    else this.#sendWelcome(hello);
  }

  /** The first check of all: a node may only say that it is the one in its certificate. */
  #refusalOfImpostor({ from, clusterId }: Hello | Inquiry): Refusal | null {
    const reason = this.#context.security.refusalOf(this.#connection.certificate, from.id, clusterId);
    return reason === null ? null : refusalOfStranger(reason);
  }

  #onInquiry(inquiry: Inquiry): void {
    const refusal = this.#refusalOfImpostor(inquiry) ?? refusalOfInquiry(inquiry, this.#context.host);
    if (refusal !== null) {
      // If the node that asks is told the reason, it logs it itself while it goes on asking, so this node's
      // log needs no line for each question.
      this.#refuse(refusal, inquiry, refusal.told !== refusal.logged);
      return;
    }
    this.#state = "answered";
    this.#connection.sendControl({ type: "consent" });
  }

  /**
   * Joins the peer's cluster, then checks the hello again, because the node may have joined another cluster
   * meanwhile. Reading is paused, so messages that the peer sends meanwhile wait at the peer: this node must
   * neither hold them nor look at them before both belong to the same cluster. A frame that came in one chunk
   * with the hello is refused by `onFrame`.
   */
  #adoptCluster(hello: Hello): void {
    this.#state = "adopting";
    this.#connection.pause();
    this.#owner.adoptCluster(hello.clusterId).then(
      () => {
        if (this.#state !== "adopting") return;
        this.#state = "hello";
        this.#connection.resume();
        this.#onHello(hello);
      },
      (error: unknown) => {
        if (this.#state === "adopting") this.#refuse(refusalOfStranger(textOfThrown(error)), hello);
      },
    );
  }

  #sendWelcome(hello: Hello): void {
    const { host, limits, address } = this.#context;
    this.#state = "established";
    this.#id = hello.from.id;
    this.#connection.establish(limits.idleMs, false);
    this.#connection.sendControl({
      type: "welcome",
      version: Math.min(hello.versionMax, PROTOCOL_VERSION_MAX),
      clusterId: hello.clusterId,
      from: identityOf(host, address),
    });
    this.#owner.onEstablished(this, hello.from.id);
    host.onPeer(peerInfoOf(hello.from));
  }

  #refuse({ told, logged }: Refusal, hello?: Hello | Inquiry, isLogged = true): void {
    this.#state = "refused";
    const who = hello === undefined ? this.peer : `${this.peer} (${hello.from.id} at ${hello.from.address})`;
    this.#owner.onRefused(this, isLogged ? `refused ${who}: ${logged}` : null);
    this.#connection.closeWithGoodbye(told);
  }
}
