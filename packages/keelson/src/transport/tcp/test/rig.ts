// What the tests of the TCP transport share: networks, and connections that are played by the test.
import { expect } from "vitest";
import type { Hello, Inquiry } from "../../../codec/frame-control-message.ts";
import { FrameReader } from "../../../codec/frame-reader.ts";
import { encodeControlMessage, encodeMessage, type Frame } from "../../../codec/frame.ts";
import type { Connection } from "../../../environment/environment.ts";
import { type SimulatedWorld, simulatedWorld } from "../../../environment/simulated/simulated-environment.ts";
import { nodeEnvironment } from "../../../environment/node/node-environment.ts";
import { TestNode, vote } from "../../../testing/suites/transport/test-node.ts";
import type { TransportRig } from "../../../testing/suites/transport/transport-rig.ts";
import { tcp, type TcpOptions } from "../tcp-transport.ts";

export async function sleep(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * Transports on real sockets. The system chooses a node's port; the node's next transport gets the same one.
 * `options` gives each node's further options.
 */
export function loopbackRig(options: (node: string) => Partial<TcpOptions> = () => ({})): TransportRig {
  const addresses = new Map<string, string>();
  return {
    environment: () => nodeEnvironment(),
    transport(node) {
      const transport = tcp({ listen: addresses.get(node) ?? "127.0.0.1:0", ...options(node) });
      return new Proxy(transport, {
        get(target, key) {
          if (key === "address") addresses.set(node, target.address);
          const value: unknown = Reflect.get(target, key, target);
          return typeof value === "function" ? (value as () => unknown).bind(target) : value;
        },
      });
    },
    async until(condition, what) {
      const limit = performance.now() + 8_000;
      while (!condition()) {
        if (performance.now() > limit) throw new Error(`${what} did not come about within 8 s`);
        await sleep(1);
      }
    },
    quiet: () => sleep(25),
    assertNothingLeft: () => undefined,
  };
}

/** Transports on the simulated network, whose links delay and split. */
export interface SimulatedRig extends TransportRig {
  readonly world: SimulatedWorld;
}

/** `options` apply to all of its transports. */
export function simulatedRig(seed = 1, options: Partial<TcpOptions> = {}): SimulatedRig {
  const world = simulatedWorld({ seed });
  world.network.setEveryLink({ delayMinMs: 0.1, delayMaxMs: 2, splitProbability: 0.1 });
  return {
    world,
    environment: (node) => world.environment(node),
    transport: (node) => tcp({ listen: `${node}:7000`, ...options }),
    async until(condition, what) {
      for (let ms = 0; !condition(); ms++) {
        if (ms === 60_000) throw new Error(`${what} did not come about`);
        await world.clock.advance(1);
      }
    },
    quiet: () => world.clock.advance(50),
    assertNothingLeft: () => {
      expect({ timers: world.clock.pendingTimers, streams: world.network.openStreams }).toEqual({
        timers: 0,
        streams: 0,
      });
    },
  };
}

/** Notes every question that the transport asks its host from now on. */
export function watchQuestions({ host }: TestNode): string[] {
  const questions: string[] = [];
  for (const name of ["clusterId", "refusalOf", "refusalOfCreation", "adoptClusterId"] as const) {
    const original = host[name].bind(host) as (...args: unknown[]) => unknown;
    Object.assign(host, {
      [name]: (...args: unknown[]) => {
        questions.push(name);
        return original(...args);
      },
    });
  }
  return questions;
}

/** Checks that the node still receives messages from a member, then closes both: nothing is left open. */
export async function expectUsable(rig: SimulatedRig, node: TestNode): Promise<void> {
  const friend = await TestNode.start(rig, "friend");
  node.host.received.length = 0;
  friend.knows(node);
  await friend.reaches(rig, node);
  const closing = Promise.all([friend.transport.close(), node.transport.close()]);
  await rig.world.clock.advance(10_000);
  await closing;
  expect(rig.world.clock.pendingTimers).toBe(0);
}

/** A connection whose near end is played by the test, which may send anything. */
export class RawPeer {
  readonly frames: Frame[] = [];
  closed: string | null = null;
  readonly #connection: Connection;
  readonly #reader = new FrameReader();

  constructor(rig: SimulatedRig, address: string, from = "evil") {
    this.#connection = rig.world.network.host(from).connect(address);
    this.#connection.handler = {
      onData: (bytes) => {
        this.#reader.feed(bytes);
        for (let frame = this.#reader.next(); frame !== null; frame = this.#reader.next())
          this.frames.push(frame);
      },
      onClose: (reason) => (this.closed = reason),
    };
  }

  write(...pieces: Uint8Array[]): this {
    for (const piece of pieces) this.#connection.write(piece);
    return this;
  }

  stopReading(): void {
    this.#connection.pause();
  }

  /** The reason in the other end's goodbye. */
  get goodbye(): string | undefined {
    const frame = this.frames.find(({ type }) => type === "goodbye");
    return frame?.type === "goodbye" ? frame.reason : undefined;
  }
}

export const identity = { id: "a", storeId: "s", info: "", address: "a:7000", priority: 0 };
export const validHello: Hello = {
  type: "hello",
  versionMin: 1,
  versionMax: 1,
  clusterId: "c1",
  from: identity,
  to: "b",
};

export function hello(change: Partial<Hello> = {}): Uint8Array {
  return encodeControlMessage({ ...validHello, ...change });
}

/** An inquiry with the fields of `validHello`. */
export function inquiry(change: Partial<Omit<Inquiry, "type">> = {}): Uint8Array {
  return encodeControlMessage({ ...validHello, ...change, type: "inquiry" });
}

export function messageBytes(from: string, group = 0): Uint8Array {
  return Uint8Array.from(encodeMessage(vote(from), [], group).chunks.flatMap((chunk) => [...chunk]));
}

/** The header of a frame that announces `length` bytes. */
export function hugeHeader(length = 2 ** 32 - 1): Uint8Array {
  const header = messageBytes("a").slice(0, 24);
  new DataView(header.buffer).setUint32(8, length, true);
  return header;
}
