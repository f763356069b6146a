// Compares what pending writes hold with what they need, after a garbage collection.
import { describe, expect, it } from "vitest";
import { usageAfterCollection } from "../../test/memory-held.ts";
import { TestCluster } from "../test/test-cluster.ts";

/** Bytes of objects in the heap. The bytes of records and messages are outside of it. */
function heapUsed(): number {
  return usageAfterCollection().heapUsed;
}

/** A leader whose writes stay pending, because it can reach no other node. */
async function leaderWithPending(count: number, command: (at: number) => string): Promise<number> {
  const cluster = await TestCluster.of(["a", "b", "c"]);
  const { raft, id } = await cluster.leader();
  cluster.isolate(id);
  // Compiles what the writes below run.
  raft.write(command(-1)).catch(() => undefined);
  const before = heapUsed();
  for (let at = 0; at < count; at++) raft.write(command(at)).catch(ignore);
  expect(raft.metrics().pendingEntries).toBe(count + 1);
  return heapUsed() - before;
}

const ignore = (): void => undefined;

describe("a pending write", () => {
  it("doesn't keep its command, once that is encoded (Z11)", async () => {
    const bytes = 200_000;
    const held = await leaderWithPending(60, (at) => "x".repeat(bytes) + String(at));
    expect(held).toBeLessThan(10 * bytes);
  });

  // The garbage collector copies and marks all that is pending, in pauses that count towards a turn.
  it("takes no more than 1,200 bytes of the heap (Z19)", async () => {
    const held = await leaderWithPending(20_000, String);
    expect(held / 20_000).toBeLessThan(1200);
  });
});
