import type { Hello } from "../../codec/frame-control-message.ts";
import type { Frame, MessageFrame } from "../../codec/frame.ts";
import type { NodeId } from "../../core/position.ts";
import type { Connection } from "../../environment/environment.ts";
import { identityOf, peerInfoOf, PROTOCOL_VERSION_MAX, refusalOf } from "../handshake.ts";
import type { FramedConnection, FrameHandler } from "./framed-connection.ts";
import type { TcpContext } from "./tcp-context.ts";

/** What becomes of a caller is told to the transport. */
export interface IncomingConnectionOwner {
  /** Joins the cluster that a caller names. */
  adoptCluster(clusterId: string): Promise<void>;
  /** The caller has shown who it is. Called before anything is received from it. */
  onEstablished(caller: IncomingConnection, id: NodeId): void;
  onRefused(caller: IncomingConnection, reason: string): void;
  onClosed(caller: IncomingConnection): void;
}

/** Who dialled us: nobody until its handshake is done, then the peer that messages come from. */
export class IncomingConnection implements FrameHandler {
  readonly #context: TcpContext;
  readonly #owner: IncomingConnectionOwner;
  readonly #connection: FramedConnection;
  #state: "unknown" | "adopting" | "identified" | "refused" | "gone" = "unknown";
  #id: NodeId | null = null;

  constructor(context: TcpContext, owner: IncomingConnectionOwner, connection: Connection) {
    this.#context = context;
    this.#owner = owner;
    this.#connection = context.frameConnection(connection, this);
    this.#connection.setDeadline(context.limits.handshakeTimeoutMs, "handshake");
  }

  /** Its id; null before the handshake is done. */
  get id(): NodeId | null {
    return this.#id;
  }

  /** Where it calls from, for people. */
  get peer(): string {
    return this.#connection.peer;
  }

  closeWithGoodbye(reason: string): void {
    this.#connection.closeWithGoodbye(reason);
  }

  destroy(reason: string): void {
    this.#connection.destroy(reason);
  }

  onFrame(frame: Frame): void {
    if (this.#state === "identified" && frame.type === "message") this.#receive(frame);
    else if (this.#state === "unknown" && frame.type === "hello") this.#onHello(frame);
    else this.#refuse(`a ${frame.type} frame came where none belongs`);
  }

  onClosed(reason: string): void {
    const { host } = this.#context;
    if (this.#state === "identified") {
      host.log("info", `${String(this.#id)} hung up: ${reason}`, { peer: this.#id, reason });
    }
    this.#state = "gone";
    this.#owner.onClosed(this);
  }

  #receive(frame: MessageFrame): void {
    const { message, records, group } = frame;
    if (message.from !== this.#id)
      this.#refuse(`a message from ${message.from} came from ${String(this.#id)}`);
    else if (group !== 0) this.#refuse(`there is no group ${String(group)} here`);
    else this.#context.host.receive({ message, records });
  }

  #onHello(hello: Hello): void {
    const { host } = this.#context;
    const refusal = refusalOf(hello, host);
    if (refusal !== null) this.#refuse(refusal, hello);
    else if (host.clusterId() === null) this.#adoptCluster(hello);
    else this.#welcome(hello);
  }

  /** Nothing is read until the node has joined: what the caller has to say waits in its own queue. */
  #adoptCluster(hello: Hello): void {
    this.#state = "adopting";
    this.#connection.pause();
    this.#owner.adoptCluster(hello.clusterId).then(
      () => {
        if (this.#state !== "adopting") return;
        this.#state = "unknown";
        this.#connection.resume();
        this.#onHello(hello);
      },
      (error: unknown) => {
        if (this.#state === "adopting")
          this.#refuse(error instanceof Error ? error.message : String(error), hello);
      },
    );
  }

  #welcome(hello: Hello): void {
    const { host, limits, address } = this.#context;
    this.#state = "identified";
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

  #refuse(reason: string, hello?: Hello): void {
    this.#state = "refused";
    const who = hello === undefined ? this.peer : `${this.peer} (${hello.from.id} at ${hello.from.address})`;
    this.#owner.onRefused(this, `refused ${who}: ${reason}`);
    this.#connection.closeWithGoodbye(reason);
  }
}
