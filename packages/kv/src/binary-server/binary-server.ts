/**
 * The server's side of the binary client protocol (docs/design/client-protocol.md): all its connections, and
 * what they share. `HttpServer` accepts connections on its port and hands those over whose first byte is of
 * this protocol.
 */
import type { Socket } from "node:net";
import type { Serving } from "../node/kv-node.ts";
import { BinaryConnection } from "./binary-connection.ts";
import type { BinaryHost, BinaryLimits, BinaryServerParts } from "./binary-host.ts";
import { CallSlots } from "./call-slots.ts";
import { TurnQueue } from "./turn-queue.ts";

export type { BinaryLimits } from "./binary-host.ts";

const DEFAULTS: BinaryLimits = {
  callsMax: 4096,
  allCallsMax: 8192,
  unsentBytesMax: 1024 * 1024,
  helloMsMax: 10_000,
  frameMsMax: 30_000,
  answerPartMsMax: 30_000,
  idleMsMax: 300_000,
};

/** How often deadlines are checked at least, and so how late the server notices that one has passed. */
const CHECK_EVERY_MS = 1000;

export class BinaryServer {
  readonly #host: BinaryHost & { serving: Serving | null };
  readonly #connections = new Set<BinaryConnection>();
  /** Checks deadlines while there are connections. null: there is none. */
  #timer: NodeJS.Timeout | null = null;

  constructor(parts: BinaryServerParts) {
    const limits = { ...DEFAULTS, ...parts.limits };
    const turns = new TurnQueue();
    const slots = new CallSlots(limits.allCallsMax, turns);
    this.#host = { ...parts, limits, turns, slots, serving: null };
  }

  serve(serving: Serving): void {
    this.#host.serving = serving;
  }

  /** Takes over a connection that was accepted. Its first bytes are still to be read. */
  add(socket: Socket): BinaryConnection {
    const connection = new BinaryConnection(socket, this.#host);
    this.#connections.add(connection);
    socket.once("close", () => {
      this.#connections.delete(connection);
      if (this.#connections.size === 0) this.#stopTimer();
    });
    this.#startTimer();
    return connection;
  }

  /** Says goodbye on all connections. Each ends when its calls are answered. */
  close(): void {
    this.#host.serving = null;
    for (const connection of this.#connections) connection.leave("", "the server stops");
  }

  #startTimer(): void {
    const { helloMsMax, frameMsMax, answerPartMsMax, idleMsMax } = this.#host.limits;
    const shortest = Math.min(helloMsMax, frameMsMax, answerPartMsMax, idleMsMax);
    this.#timer ??= setInterval(
      () => {
        const now = performance.now();
        for (const connection of this.#connections) connection.checkDeadlines(now);
      },
      Math.min(CHECK_EVERY_MS, shortest / 4),
    ).unref();
  }

  #stopTimer(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }
}
