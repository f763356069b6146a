import { describe, expect, it } from "vitest";
import type { RuntimeMessage } from "../../codec/frame-runtime-message.ts";
import { simulatedEnvironment } from "../../environment/simulated/simulated-environment.ts";
import type { SnapshotReader, SnapshotStore } from "../../storage/snapshot-store.ts";
import { REQUESTED_BYTES_MAX, SnapshotSender } from "./snapshot-sender.ts";

const MIB = 1024 * 1024;
const SNAPSHOT = { id: "s", clusterId: "c", position: { index: 9, term: 1 }, bytes: 100 * MIB };

describe("a node that answers requests for chunks", () => {
  it("holds few bytes for one that repeats them without end (Z17)", async () => {
    const reads: { readonly bytes: number; readonly answer: () => void }[] = [];
    const reader = {
      read: (_offset: number, bytes: number) =>
        new Promise<Uint8Array>((resolve) => {
          reads.push({ bytes, answer: resolve.bind(null, new Uint8Array(10)) });
        }),
      verify: () => Promise.resolve(),
      close: () => Promise.resolve(),
    } as unknown as SnapshotReader;
    const store = { newest: SNAPSHOT, read: () => Promise.resolve(reader) } as unknown as SnapshotStore;
    const sent: RuntimeMessage[] = [];
    const sender = new SnapshotSender({
      ...{ id: "a", store, environment: simulatedEnvironment(), matchOf: () => null, warn: () => undefined },
      send: (_, message) => sent.push(message) > 0,
    });
    const request = (offset: number): void => {
      const parts = { type: "snapshot-request", from: "b", id: "s", index: 9 } as const;
      sender.onRequest({ ...parts, offset, bytes: MIB });
    };
    for (let n = 0; n < 1000; n++) request(0);
    await new Promise((resolve) => setImmediate(resolve));
    expect(reads.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(REQUESTED_BYTES_MAX);
    // What was answered makes room for others.
    for (const { answer } of reads.splice(0)) answer();
    await new Promise((resolve) => setImmediate(resolve));
    expect(sent).toHaveLength(4);
    request(MIB);
    await new Promise((resolve) => setImmediate(resolve));
    expect(reads).toHaveLength(1);
    await sender.stop();
  });
});
