import { createConnection, createServer, type Server, type Socket } from "node:net";

import { FrameReader } from "keelson/codec";

import { placeOf, RAFT_PORT, type Link, type LinkCondition, type TestNetwork } from "./network.ts";

/** The port of a node's proxy, on the node's host. */
const PROXY_PORT = 7000;

/**
 * The most bytes that one direction holds back before it stops reading: like a real network's buffers, they
 * are limited.
 */
const HELD_BYTES_MAX = 256 * 1024;

/** The most bytes of a greeting, which names the dialling node. Real ones are far smaller. */
const GREETING_BYTES_MAX = 64 * 1024;

const HEALTHY: LinkCondition = { type: "slow", delayMs: 0 };

/**
 * TCP proxies between the nodes, without special privileges. Each node has a loopback address of its own, so
 * that no node's outgoing connection takes another node's port.
 */
export class ProxyNetwork implements TestNetwork {
  readonly conditions = ["cut", "stall", "slow"] as const;
  readonly description =
    "TCP proxies between the nodes: they cut (by a reset), stall and delay connections; they lose no packets";
  readonly #hosts: ReadonlyMap<string, string>;
  readonly #links = new Map<string, LinkCondition>();
  readonly #joints = new Set<Joint>();
  readonly #servers: Server[] = [];

  private constructor(ids: readonly string[]) {
    // On Linux, all of 127/8 are loopback addresses. Concurrent runs use different ones.
    const net = `127.${64 + (process.pid % 128)}.${(process.pid >> 7) % 250}`;
    this.#hosts = new Map(ids.map((id, at) => [id, `${net}.${at + 1}`]));
  }

  static async create(ids: readonly string[]): Promise<ProxyNetwork> {
    const network = new ProxyNetwork(ids);
    for (const [id, host] of network.#hosts) {
      const server = createServer((socket) => {
        network.#accept(socket, id);
      });
      network.#servers.push(server);
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject).listen(PROXY_PORT, host, resolve);
      });
    }
    return network;
  }

  hostOf(id: string): string {
    return this.#hosts.get(id) ?? "";
  }

  peerAddressOf(id: string): string {
    return `${this.hostOf(id)}:${PROXY_PORT}`;
  }

  prefixOf(): readonly string[] {
    return [];
  }

  async set(links: readonly Link[], condition: LinkCondition): Promise<void> {
    for (const link of links) this.#links.set(nameOf(link), condition);
    for (const joint of this.#joints) {
      if (this.#isCut(joint.link)) joint.end();
      else joint.wake();
    }
  }

  async heal(): Promise<void> {
    this.#links.clear();
    for (const joint of this.#joints) joint.wake();
  }

  async close(): Promise<void> {
    for (const joint of this.#joints) joint.end();
    for (const server of this.#servers) server.close();
  }

  #conditionOf(link: Link): LinkCondition {
    return this.#links.get(nameOf(link)) ?? HEALTHY;
  }

  /** A connection needs both directions. */
  #isCut({ from, to }: Link): boolean {
    return [{ from, to }, reverse({ from, to })].some((link) => this.#conditionOf(link).type === "cut");
  }

  /** The greeting, which is the first frame, names the dialling node. */
  #accept(socket: Socket, to: string): void {
    const reader = new FrameReader(GREETING_BYTES_MAX);
    const chunks: Buffer[] = [];
    socket.on("error", () => undefined);
    const onData = (chunk: Buffer): void => {
      chunks.push(chunk);
      reader.feed(Buffer.from(chunk));
      const hello = reader.next();
      if (hello === null) return;
      socket.off("data", onData).pause();
      if (hello.type !== "hello" && hello.type !== "inquiry")
        throw new Error("the first frame of a connection is not a greeting");
      this.#join(socket, Buffer.concat(chunks), { from: placeOf(hello.from.id), to });
    };
    socket.on("data", onData);
  }

  #join(socket: Socket, greeting: Buffer, link: Link): void {
    if (this.#isCut(link)) {
      socket.resetAndDestroy();
      return;
    }
    const other = createConnection({ host: this.hostOf(link.to), port: RAFT_PORT, noDelay: true });
    socket.setNoDelay(true);
    const there = new Direction(socket, other, () => this.#conditionOf(link));
    const back = new Direction(other, socket, () => this.#conditionOf(reverse(link)));
    const joint: Joint = {
      link,
      wake: () => {
        there.wake();
        back.wake();
      },
      end: () => {
        this.#joints.delete(joint);
        there.end();
        back.end();
        socket.resetAndDestroy();
        other.resetAndDestroy();
      },
    };
    this.#joints.add(joint);
    for (const one of [socket, other]) one.on("error", joint.end).on("close", joint.end);
    there.take(greeting);
  }
}

/** Two sockets that form one connection. `link` is the direction from the dialling node. */
interface Joint {
  readonly link: Link;
  readonly wake: () => void;
  readonly end: () => void;
}

/** Carries bytes from one socket to another, in order, under the link's condition. */
class Direction {
  readonly #source: Socket;
  readonly #sink: Socket;
  readonly #condition: () => LinkCondition;
  #held: { readonly chunk: Buffer; readonly dueAt: number }[] = [];
  #heldBytes = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(source: Socket, sink: Socket, condition: () => LinkCondition) {
    this.#source = source;
    this.#sink = sink;
    this.#condition = condition;
    source.on("data", (chunk: Buffer) => {
      this.take(chunk);
    });
    sink.on("drain", () => {
      this.wake();
    });
    source.resume();
  }

  take(chunk: Buffer): void {
    const condition = this.#condition();
    const delayMs = condition.type === "slow" ? condition.delayMs * (0.5 + Math.random()) : 0;
    const dueAt = Math.max(performance.now() + delayMs, this.#held.at(-1)?.dueAt ?? 0);
    this.#held.push({ chunk, dueAt });
    this.#heldBytes += chunk.length;
    if (this.#heldBytes > HELD_BYTES_MAX) this.#source.pause();
    this.wake();
  }

  /** Passes on the bytes that are due, and schedules the rest. */
  wake(): void {
    clearTimeout(this.#timer);
    if (this.#condition().type !== "slow") return;
    const now = performance.now();
    while (this.#held[0] !== undefined && this.#held[0].dueAt <= now && !this.#sink.writableNeedDrain) {
      const { chunk } = this.#held[0];
      this.#held.shift();
      this.#heldBytes -= chunk.length;
      this.#sink.write(chunk);
    }
    if (this.#heldBytes <= HELD_BYTES_MAX) this.#source.resume();
    const [next] = this.#held;
    if (next === undefined || this.#sink.writableNeedDrain) return;
    this.#timer = setTimeout(() => {
      this.wake();
    }, next.dueAt - now);
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#held = [];
    this.#heldBytes = 0;
  }
}

function nameOf({ from, to }: Link): string {
  return `${from}>${to}`;
}

function reverse({ from, to }: Link): Link {
  return { from: to, to: from };
}
