// Compares what the transport counts of its unsent bytes with the memory that the process really holds for
// them after a garbage collection.
import net from "node:net";
import { describe, expect, it } from "vitest";
import { encodeRecord, EntryKind } from "../../codec/record.ts";
import { encodeMessage } from "../../codec/frame.ts";
import { nodeEnvironment } from "../../environment/node/node-environment.ts";
import { memoryHeld } from "../../test/memory-held.ts";
import { FramedConnection } from "./framed-connection.ts";
import { SendQueue } from "./send-queue.ts";

const MIB = 1024 * 1024;

/** What may come from other parts of the process. */
const NOISE_BYTES = 3 * MIB;

function endOfTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/**
 * Connects to a peer that reads nothing, has `fill` write to it, and returns what is counted and what is
 * held.
 */
async function unread(
  fill: (connection: FramedConnection) => Promise<void>,
): Promise<{ counted: number; held: number }> {
  const sockets: net.Socket[] = [];
  const server = net.createServer({ pauseOnConnect: true }, (socket) => sockets.push(socket));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as net.AddressInfo;
  const environment = nodeEnvironment();
  try {
    const before = memoryHeld();
    const connection = await new Promise<FramedConnection>((resolve) => {
      const owner = {
        onOpen: () => {
          resolve(framed);
        },
        onFrame: () => undefined,
        onClosed: () => undefined,
      };
      const framed = new FramedConnection(
        environment.network.connect(`127.0.0.1:${String(port)}`),
        environment,
        owner,
      );
    });
    await fill(connection);
    const held = memoryHeld() - before;
    const counted = connection.heldBytes;
    connection.destroy("done");
    return { counted, held };
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
}

describe("what waits to be sent to a peer that doesn't read", () => {
  it("is counted with what each small write takes besides its bytes (Z11)", { timeout: 60_000 }, async () => {
    const { counted, held } = await unread(async (connection) => {
      // The system's own buffers, which take up to some MiB, are no memory of this process.
      while (connection.bufferedBytes < MIB) {
        connection.write(new Uint8Array(64 * 1024));
        await endOfTurn();
      }
      for (let at = 0; at < 20_000; at++) {
        connection.sendControl({ type: "ping" });
        if (at % 50 === 0) await endOfTurn();
      }
    });
    expect(held).toBeGreaterThan(5 * MIB);
    expect(held).toBeLessThan(counted + NOISE_BYTES);
  });

  it("keeps nothing alive but its bytes: a small record between large ones is copied (Z11)", async () => {
    const { counted, held } = await unread(async (connection) => {
      const queue = new SendQueue();
      const send = (records: readonly Uint8Array[]): Promise<void> => {
        const entries = {
          prev: { index: 1, term: 1 },
          lastIndex: 1 + records.length,
          terms: [{ index: 2, term: 1 }],
          configs: [],
        };
        const message = { type: "append-entries", from: "a", term: 1, entries, commit: 1, round: 1 } as const;
        queue.add(encodeMessage(message, records));
        queue.flush((bytes) => {
          connection.write(bytes);
        });
        return endOfTurn();
      };
      const large = (index: number): Uint8Array =>
        encodeRecord(index, 1, EntryKind.command, new Uint8Array(40_000));
      while (connection.bufferedBytes < MIB) await send([large(2)]);
      for (let at = 0; at < 100; at++) {
        const small = encodeRecord(3, 1, EntryKind.command, new Uint8Array(100));
        const chunk = new Uint8Array(MIB);
        chunk.set(small);
        await send([large(2), chunk.subarray(0, small.length), large(4)]);
      }
    });
    expect(held).toBeLessThan(counted + NOISE_BYTES);
  });
});
