// What a node holds for others, counted outside of it: for strangers that connect, for a peer that doesn't
// read, and for one that asks for chunks without end. The simulator's intruders follow the protocol too
// closely to cost memory. The zoo uses the cases: each rejects if the node holds more than its limits allow
// (Z18).
import { encodeMessage } from "../../packages/keelson/src/codec/frame.ts";
import { HANDSHAKE_BYTES_MAX } from "../../packages/keelson/src/codec/frame-control-message.ts";
import type { Connection, Environment } from "../../packages/keelson/src/environment/environment.ts";
import {
  simulatedEnvironment,
  simulatedWorld,
} from "../../packages/keelson/src/environment/simulated/simulated-environment.ts";
import { SnapshotSender } from "../../packages/keelson/src/runtime/snapshots/snapshot-sender.ts";
import type { SnapshotReader, SnapshotStore } from "../../packages/keelson/src/storage/snapshot-store.ts";
import { TestHost, TestNode, vote } from "../../packages/keelson/src/testing/suites/transport/test-node.ts";
import { tcp } from "../../packages/keelson/src/transport/tcp/index.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

/** What Node and V8 hold at least for a write that the system has not taken, besides its bytes. */
const WRITE_OVERHEAD_BYTES = 256;
/** The same for a connection. */
const CONNECTION_OVERHEAD_BYTES = 4 * KIB;

function promise(isKept: boolean, text: string): void {
  if (!isKept) throw new Error(text);
}

/** Counts what the connections of one process hold: unsent writes, and what came over those that are open. */
class HeldBytes {
  readonly #connections = new Set<{
    readonly connection: Connection;
    readonly writes: number[];
    received: number;
  }>();

  get unsent(): number {
    let bytes = 0;
    for (const { connection, writes } of this.#connections) {
      let rest = connection.bufferedBytes;
      bytes += rest;
      for (let at = writes.length - 1; at >= 0 && rest > 0; at--) {
        rest -= writes[at] ?? 0;
        bytes += WRITE_OVERHEAD_BYTES;
      }
    }
    return bytes;
  }

  /**
   * For strangers that never complete a frame: all that they have sent is kept, until the node says
   * goodbye. From then on it discards what comes.
   */
  get received(): number {
    let bytes = 0;
    for (const { writes, received } of this.#connections) {
      bytes += (writes.length === 0 ? received : 0) + CONNECTION_OVERHEAD_BYTES;
    }
    return bytes;
  }

  count(environment: Environment): Environment {
    const { network } = environment;
    return {
      ...environment,
      network: {
        connect: (address) => this.#count(network.connect(address)),
        listen: (address, accept) =>
          network.listen(address, (connection) => {
            accept(this.#count(connection));
          }),
      },
    };
  }

  #count(connection: Connection): Connection {
    const held = { connection, writes: [] as number[], received: 0 };
    this.#connections.add(held);
    const forget = (): void => {
      this.#connections.delete(held);
    };
    return {
      peer: connection.peer,
      get handler() {
        return connection.handler;
      },
      set handler(handler) {
        connection.handler = handler && {
          onOpen: () => handler.onOpen?.(),
          onData: (bytes) => {
            held.received += bytes.length;
            handler.onData(bytes);
          },
          onDrain: () => handler.onDrain?.(),
          onClose: (reason) => {
            forget();
            handler.onClose(reason);
          },
        };
      },
      get bufferedBytes() {
        return connection.bufferedBytes;
      },
      write: (bytes) => {
        held.writes.push(bytes.length);
        connection.write(bytes);
      },
      pause: () => {
        connection.pause();
      },
      resume: () => {
        connection.resume();
      },
      destroy: (reason) => {
        forget();
        connection.destroy(reason);
      },
    };
  }
}

export const MEMORY_CASES: readonly { readonly name: string; readonly run: () => Promise<void> }[] = [
  {
    name: "a node holds no more than its limit for a peer that doesn't read",
    run: async () => {
      const queueBytesMax = 200 * KIB;
      const world = simulatedWorld({ seed: 1 });
      const held = new HeldBytes();
      const start = async (id: string, environment: Environment): Promise<TestNode> => {
        const node = new TestNode(
          new TestHost(id, environment),
          tcp({ listen: `${id}:7000`, queueBytesMax }),
        );
        await node.transport.start(node.host);
        return node;
      };
      const a = await start("a", held.count(world.environment("a")));
      const b = await start("b", world.environment("b"));
      a.knows(b);
      for (let ms = 0; !a.send(b); ms++) {
        promise(ms < 1000, "no connection came about");
        await world.clock.advance(1);
      }
      world.network.cut("a", "b");
      for (let turn = 0; turn < 20_000; turn++) {
        a.send(b, vote("a", turn));
        // Messages of one turn share a write.
        await Promise.resolve();
        await Promise.resolve();
      }
      promise(held.unsent > queueBytesMax / 2, "little was written: the case tests nothing");
      promise(held.unsent <= queueBytesMax, `${held.unsent} bytes are held of what was sent to one peer`);
      const closed = Promise.all([a.transport.close(), b.transport.close()]);
      await world.clock.advance(10_000);
      await closed;
    },
  },
  {
    name: "a node holds few bytes of strangers before their handshake",
    run: async () => {
      const strangersMax = 64;
      const world = simulatedWorld({ seed: 2 });
      const held = new HeldBytes();
      const a = new TestNode(
        new TestHost("a", held.count(world.environment("a"))),
        tcp({ listen: "a:7000", pendingHandshakesMax: strangersMax }),
      );
      await a.transport.start(a.host);
      const [head = new Uint8Array(0)] = encodeMessage(vote("x"), []).chunks;
      for (const length of [HANDSHAKE_BYTES_MAX, MIB]) {
        const beginning = new Uint8Array(length / 2);
        beginning.set(head.subarray(0, 24));
        new DataView(beginning.buffer).setUint32(8, length, true);
        for (let at = 0; at < 5 * strangersMax; at++) {
          const stranger = world.environment(`x${at}`).network.connect("a:7000");
          stranger.handler = {
            onOpen: () => {
              stranger.write(beginning);
            },
            onData: () => undefined,
            onClose: () => undefined,
          };
        }
        await world.clock.advance(500);
        // As many connections again may wait for the end of their goodbyes.
        const bytesMax = strangersMax * (HANDSHAKE_BYTES_MAX + 2 * CONNECTION_OVERHEAD_BYTES);
        promise(held.received <= bytesMax, `${held.received} bytes are held for strangers`);
      }
      const closed = a.transport.close();
      await world.clock.advance(10_000);
      await closed;
    },
  },
  {
    name: "a node holds no more than its limit for one that asks for chunks of a snapshot again and again",
    run: async () => {
      const bytesMax = 4 * MIB;
      let reading = 0;
      const reader = {
        read: (_offset: number, bytes: number) => {
          reading += bytes;
          return new Promise<Uint8Array>(() => undefined);
        },
        verify: () => Promise.resolve(),
        close: () => Promise.resolve(),
      } as unknown as SnapshotReader;
      const newest = { id: "s", clusterId: "c", position: { index: 9, term: 1 }, bytes: 100 * MIB };
      const sender = new SnapshotSender({
        ...{ id: "a", environment: simulatedEnvironment(), matchOf: () => null, warn: () => undefined },
        store: { newest, read: () => Promise.resolve(reader) } as unknown as SnapshotStore,
        send: () => true,
      });
      for (let request = 0; request < 1000; request++) {
        sender.onRequest({ type: "snapshot-request", from: "b", id: "s", index: 9, offset: 0, bytes: MIB });
      }
      await new Promise((resolve) => setImmediate(resolve));
      promise(
        reading > 0 && reading <= bytesMax,
        `${reading} bytes of a snapshot are being read for one node`,
      );
      await sender.stop();
    },
  },
];
