// Asks a node once whether it refuses this one: a handshake on a connection of its own, closed after the
// answer.
import type { Frame } from "../../codec/frame.ts";
import type { NodeId } from "../../core/position.ts";
import type { Timer } from "../../environment/environment.ts";
import { helloOf } from "../handshake.ts";
import type { FramedConnection, FrameHandler } from "./framed-connection.ts";
import type { TcpContext } from "./tcp-context.ts";

/**
 * How long to wait for the answer, in milliseconds. A node that hasn't answered by then counts as not running
 * yet.
 */
const ANSWER_MS_MAX = 1_000;

/** See the file's header. */
export class HandshakeProbe implements FrameHandler {
  /** Resolves with the node's reason if it refuses; null: it doesn't, or it didn't answer. */
  readonly refusal: Promise<string | null>;
  readonly #context: TcpContext;
  readonly #id: NodeId;
  readonly #connection: FramedConnection;
  readonly #timer: Timer;
  #resolve: (refusal: string | null) => void = () => undefined;

  constructor(context: TcpContext, id: NodeId, address: string) {
    const { network } = context.host.environment;
    this.#context = context;
    this.#id = id;
    this.refusal = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    this.#connection = context.frameConnection(network.connect(address), this);
    this.#timer = context.host.environment.setTimer(ANSWER_MS_MAX, () => {
      this.close("no answer in time");
    });
  }

  close(reason: string): void {
    this.#timer.cancel();
    this.#resolve(null);
    this.#connection.destroy(reason);
  }

  onOpen(): void {
    const { host, address } = this.#context;
    const clusterId = host.clusterId();
    if (clusterId === null) this.close("this node has no cluster");
    else this.#connection.sendControl(helloOf(host, clusterId, address, this.#id));
  }

  onFrame(frame: Frame): void {
    this.#resolve(frame.type === "welcome" ? null : `it sent a ${frame.type} frame where a welcome belongs`);
    this.#timer.cancel();
    this.#connection.closeWithGoodbye("this was only to see whether it would be refused");
  }

  onGoodbye(reason: string): void {
    this.#resolve(reason);
  }

  onClosed(): void {
    this.#timer.cancel();
    this.#resolve(null);
  }
}
