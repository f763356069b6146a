import { describe, expect, it } from "vitest";
import { simulatedWorld } from "../../environment/simulated/simulated-environment.ts";
import { transportCases, type TransportRig } from "../../testing/suites/transport-suite.ts";
import { append, pair, TestNode, vote } from "../../testing/suites/transport/test-node.ts";
import type { TransportMessage } from "../transport.ts";
import { type MemoryNetwork, memoryNetwork, memoryTransport } from "./memory-network.ts";

function termOf({ message }: TransportMessage): number {
  return "term" in message ? message.term : -1;
}

function makeRig(): TransportRig & { readonly network: MemoryNetwork; advance(ms: number): Promise<void> } {
  const network = memoryNetwork();
  const world = simulatedWorld();
  return {
    network,
    environment: (node) => world.environment(node),
    transport: (node) => memoryTransport(network, `at ${node}`),
    until: async (condition, what) => {
      for (let ms = 0; !condition(); ms++) {
        if (ms === 1_000) throw new Error(`${what} did not come about`);
        await world.clock.advance(1);
      }
    },
    quiet: () => world.clock.advance(10),
    assertNothingLeft: () => {
      expect(world.clock.pendingTimers).toBe(0);
    },
    advance: (ms) => world.clock.advance(ms),
  };
}

describe("memoryTransport", () => {
  it.each(transportCases)("$name", async ({ run }) => {
    await run(makeRig());
  });

  it("refuses to start at an address that is in use", async () => {
    const rig = makeRig();
    await TestNode.start(rig, "a");
    await expect(TestNode.start(rig, "a")).rejects.toThrow("EADDRINUSE");
  });
});

describe("MemoryNetwork", () => {
  async function linked(): Promise<{ rig: ReturnType<typeof makeRig>; a: TestNode; b: TestNode }> {
    const rig = makeRig();
    const [a, b] = await pair(rig);
    return { rig, a, b };
  }

  it("loses messages that are sent or would arrive while a link is cut", async () => {
    const { rig, a, b } = await linked();
    a.send(b, vote("a", 1));
    rig.network.cut("a", "b");
    await rig.advance(10);
    a.send(b, vote("a", 2));
    b.send(a, vote("b", 2));
    await rig.advance(10);
    rig.network.heal("a", "b");
    a.send(b, vote("a", 3));
    await rig.advance(10);
    expect(b.host.received.map(termOf)).toEqual([3]);
    expect(a.host.received).toEqual([]);
  });

  it("loses, duplicates, delays and reorders messages as deliveryDelaysMs says", async () => {
    const { rig, a, b } = await linked();
    rig.network.deliveryDelaysMs = (_from, _to, transportMessage) =>
      [[], [30, 40], [10]][termOf(transportMessage)] ?? [0];
    for (const term of [0, 1, 2, 3]) a.send(b, vote("a", term));
    await rig.advance(100);
    expect(b.host.received.map(termOf)).toEqual([3, 2, 1, 1]);
  });

  it("gives each copy of a duplicated message bytes of its own", async () => {
    const { rig, a, b } = await linked();
    rig.network.deliveryDelaysMs = () => [0, 5];
    a.transport.send("b", append("a", [Uint8Array.of(1, 2, 3)]));
    await rig.advance(1);
    const first = b.host.received[0]?.records[0];
    const before = first?.slice();
    first?.fill(0);
    await rig.advance(10);
    expect(b.host.received[1]?.records[0]).toEqual(before);
  });

  it("does not deliver messages from before a restart to the restarted node", async () => {
    const { rig, a, b } = await linked();
    rig.network.deliveryDelaysMs = () => [20];
    a.send(b);
    await b.transport.close();
    const again = await TestNode.start(rig, "b");
    await rig.advance(100);
    expect(again.host.received).toEqual([]);
  });

  it("reaches a node that died while it joined the cluster, after its restart", async () => {
    const rig = makeRig();
    const a = await TestNode.start(rig, "a");
    const b = await TestNode.start(rig, "b", null);
    b.host.adoption = new Promise(() => undefined);
    a.knows(b);
    await rig.advance(10);
    expect(b.host.adoptions).toBe(1);
    await b.transport.close();
    const again = await TestNode.start(rig, "b", null);
    await a.reaches(rig, again);
    expect(again.host.cluster).toBe("c1");
  });
});
