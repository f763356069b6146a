import net from "node:net";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Control, Hello } from "../../codec/frame-control.ts";
import { FrameReader } from "../../codec/frame-reader.ts";
import { encodeControl, encodeMessage, type Frame } from "../../codec/frame.ts";
import type { Connection, Environment, Network } from "../../environment/environment.ts";
import type { FakeClock } from "../../environment/fake-clock.ts";
import { type FakeWorld, fakeWorld } from "../../environment/fake-environment.ts";
import { nodeEnvironment } from "../../environment/node.ts";
import {
  append,
  TestHost,
  TestNode,
  transportCases,
  type TransportRig,
  vote,
} from "../../testing/transport-suite.ts";
import type { TcpLimits } from "./limits.ts";
import { tcp } from "./tcp-transport.ts";

async function sleep(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}

/** Real sockets. Ports are chosen by the system and kept for a node's next transport. */
function loopbackRig(): TransportRig {
  const addresses = new Map<string, string>();
  return {
    environment: () => nodeEnvironment(),
    transport(node) {
      const transport = tcp({ listen: addresses.get(node) ?? "127.0.0.1:0" });
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

interface FaultRig extends TransportRig {
  readonly world: FakeWorld;
}

function faultRig(seed = 1, limits: Partial<TcpLimits> = {}): FaultRig {
  const world = fakeWorld({ seed });
  world.network.setEveryLink({ delayMinMs: 0.1, delayMaxMs: 2, splitChance: 0.1 });
  return {
    world,
    environment: (node) => world.environment(node),
    transport: (node) => tcp({ listen: `${node}:7000`, ...limits }),
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

/** Sockets and servers that this process holds open. */
function openHandles(): string[] {
  return process.getActiveResourcesInfo().filter((name) => name.startsWith("TCP"));
}

describe("tcp on loopback", () => {
  it.each(transportCases)("$name", async ({ run }) => {
    await run(loopbackRig());
    // Node lets go of a listening socket in its next turn, which may be late on a busy machine.
    for (let ms = 0; ms < 2_000 && openHandles().length > 0; ms++) await sleep(1);
    expect(openHandles()).toEqual([]);
  });
});

describe("tcp on a network that delays and tears", () => {
  it.each(transportCases)("$name", async ({ run }) => {
    const rig = faultRig();
    await run({ ...rig, assertNothingLeft: () => undefined });
    // The last words of connections are still on their way when close() resolves.
    await rig.world.clock.advance(1_500);
    rig.assertNothingLeft();
  });
});

async function linked(rig: FaultRig): Promise<[TestNode, TestNode]> {
  const a = await TestNode.start(rig, "a");
  const b = await TestNode.start(rig, "b");
  a.knows(b);
  b.knows(a);
  await a.reaches(rig, b);
  await b.reaches(rig, a);
  return [a, b];
}

/** Notes when `connect` was called, and what was written at once. */
function spyOn(
  environment: Environment,
  clock: FakeClock,
): { environment: Environment; dials: number[]; writes: number[] } {
  const dials: number[] = [];
  const writes: number[] = [];
  const network: Network = {
    listen: (address, accept) => environment.network.listen(address, accept),
    connect(address) {
      dials.push(clock.now());
      const connection = environment.network.connect(address);
      const write = connection.write.bind(connection);
      connection.write = (bytes) => {
        writes.push(bytes.length);
        write(bytes);
      };
      return connection;
    },
  };
  return { environment: { ...environment, network }, dials, writes };
}

describe("tcp, when the network fails", () => {
  it("keeps an idle connection for ever: silence is broken by pings", async () => {
    const rig = faultRig();
    const [a, b] = await linked(rig);
    const logs = [a.host.logs.length, b.host.logs.length];
    await rig.world.clock.advance(120_000);
    expect([a.host.logs.length, b.host.logs.length]).toEqual(logs);
    expect(a.send(b)).toBe(true);
  });

  it.each([
    ["both directions", true, true],
    ["only the way there", true, false],
    ["only the way back", false, true],
  ])(
    "notices within the idle limit that %s went silent, and reconnects when it heals",
    async (_name, there, back) => {
      const rig = faultRig();
      const { network, clock } = rig.world;
      const [a, b] = await linked(rig);
      network.setLink("a", "b", { cut: there });
      network.setLink("b", "a", { cut: back });
      // A leader goes on sending, and that proves nothing: our own system takes the bytes.
      for (let ms = 0; ms < 6_400; ms += 80) {
        a.send(b);
        await clock.advance(80);
      }
      expect(a.send(b)).toBe(false);
      expect(a.host.logs.some((line) => line.includes("nothing heard for 5000 ms"))).toBe(true);
      expect(b.host.logs.some((line) => line.includes("nothing heard for 5000 ms"))).toBe(true);
      network.heal("a", "b");
      b.host.received.length = 0;
      const healedAt = clock.now();
      await a.reaches(rig, b);
      await b.reaches(rig, a);
      expect(clock.now() - healedAt).toBeLessThan(4_000);
    },
  );

  it("gives up a connection attempt and a handshake that nobody answers", async () => {
    const rig = faultRig();
    const { network, clock } = rig.world;
    const a = await TestNode.start(rig, "a");
    network.setLink("a", "b", { cut: true });
    a.transport.setPeers(new Map([["b", "b:7000"]]));
    await clock.advance(2_100);
    expect(a.host.logs).toEqual([
      "warn: no connection to b at b:7000: no connection within 2000 ms; trying again",
    ]);
    network.heal("a", "b");
    // Somebody listens there, and never says a word.
    await network.host("b").listen("b:7000", () => undefined);
    await clock.advance(7_100);
    expect(a.host.logs[1]).toContain("no answer to the handshake within 5000 ms");
  });

  it("survives resets in the midst of traffic without changing or reordering what arrives", async () => {
    const rig = faultRig(3);
    const { network, clock } = rig.world;
    const [a, b] = await linked(rig);
    let term = 0;
    let taken = 0;
    for (let round = 0; round < 20; round++) {
      for (let ms = 0; ms < 1_200; ms += 5) {
        if (a.send(b, vote("a", ++term))) taken++;
        await clock.advance(5);
      }
      network.reset("a", "b");
    }
    await clock.advance(100);
    const terms = b.host.received.map(({ message }) => message.term);
    expect(terms).toEqual([...new Set(terms)].sort((x, y) => x - y));
    expect(terms.length).toBeGreaterThan(0.9 * term);
    expect(terms.length).toBeLessThanOrEqual(taken);
    expect(b.host.logs.join()).not.toContain("refused");
  });

  it("waits a bounded, random time through 100 failures, tells people once, and begins anew after success", async () => {
    const rig = faultRig();
    const { network, clock } = rig.world;
    const spy = spyOn(rig.environment("a"), clock);
    const a = new TestNode(new TestHost("a", spy.environment), rig.transport("a"));
    await a.transport.start(a.host);
    a.transport.setPeers(new Map([["b", "b:7000"]]));
    await clock.advance(80_000);
    expect(spy.dials.length).toBeGreaterThan(100);
    const waits = spy.dials.slice(1).map((at, n) => at - (spy.dials[n] ?? 0));
    expect(Math.max(...waits)).toBeLessThanOrEqual(1_000 + 10);
    expect(Math.min(...waits.slice(10))).toBeGreaterThanOrEqual(500);
    expect(waits[0]).toBeLessThanOrEqual(20 + 10);
    expect(new Set(waits.slice(10)).size).toBeGreaterThan(50);
    expect(a.host.logs).toHaveLength(1);
    const b = await TestNode.start(rig, "b");
    await rig.until(() => a.send(b), "the connection");
    await clock.advance(2_000);
    const before = spy.dials.length;
    network.reset("a", "b");
    await clock.advance(30);
    expect(spy.dials.length).toBe(before + 1);
    expect(a.send(b)).toBe(true);
  });

  it("dials a peer that it waits for as soon as the peer dials it", async () => {
    const rig = faultRig(1, { backoffMinMs: 60_000, backoffMaxMs: 60_000 });
    const a = await TestNode.start(rig, "a");
    a.transport.setPeers(new Map([["b", "b:7000"]]));
    await rig.world.clock.advance(100);
    const b = await TestNode.start(rig, "b");
    b.knows(a);
    await rig.world.clock.advance(100);
    expect(a.send(b)).toBe(true);
  });

  it("does not dial sooner because it is told its peers once more", async () => {
    const rig = faultRig();
    const spy = spyOn(rig.environment("a"), rig.world.clock);
    const a = new TestNode(new TestHost("a", spy.environment), rig.transport("a"));
    await a.transport.start(a.host);
    for (let n = 0; n < 1_000; n++) {
      a.transport.setPeers(new Map([["b", "b:7000"]]));
      await rig.world.clock.advance(10);
    }
    expect(spy.dials.length).toBeLessThan(30);
  });

  it("dials those it knows as soon as it has joined a cluster, unasked", async () => {
    const rig = faultRig();
    const a = await TestNode.start(rig, "a");
    const b = await TestNode.start(rig, "b", null);
    const c = await TestNode.start(rig, "c");
    b.knows(c);
    a.knows(b);
    await rig.quiet();
    expect(c.host.events).toEqual(["met b"]);
  });

  it("lets two nodes of one id throw each other out slowly, and says why", async () => {
    const rig = faultRig();
    const { clock } = rig.world;
    const [a, b] = await linked(rig);
    const spy = spyOn(rig.environment("elsewhere"), clock);
    const double = new TestNode(new TestHost("a", spy.environment), rig.transport("elsewhere"));
    await double.transport.start(double.host);
    double.knows(b);
    await clock.advance(60_000);
    expect(spy.dials.length).toBeGreaterThan(10);
    expect(spy.dials.length).toBeLessThan(200);
    const logs = [...a.host.logs, ...double.host.logs].join("\n");
    expect(logs).toContain("a newer connection from a took its place");
  });

  it("sends all that one turn brings in one write, with large records as they are", async () => {
    const rig = faultRig();
    const spy = spyOn(rig.environment("a"), rig.world.clock);
    const a = new TestNode(new TestHost("a", spy.environment), rig.transport("a"));
    await a.transport.start(a.host);
    const b = await TestNode.start(rig, "b");
    a.knows(b);
    await a.reaches(rig, b);
    spy.writes.length = 0;
    const { message, records } = append("a", [
      new Uint8Array(100),
      new Uint8Array(200),
      new Uint8Array(50_000),
      new Uint8Array(10),
    ]);
    for (let n = 0; n < 50; n++) a.send(b);
    a.send(b, message, records);
    for (let n = 0; n < 50; n++) a.send(b);
    await rig.until(() => b.host.received.length === 101, "all messages");
    expect(spy.writes.filter((length) => length !== 24)).toHaveLength(3);
    expect(spy.writes).toContain(records[2]?.length);
  });
});

/** The other end of a connection, in the hands of somebody who may say anything. */
class Stranger {
  readonly frames: Frame[] = [];
  closed: string | null = null;
  readonly #connection: Connection;
  readonly #reader = new FrameReader();

  constructor(rig: FaultRig, address: string, from = "evil") {
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

  /** The reason with which the other end said goodbye. */
  get goodbye(): string | undefined {
    const frame = this.frames.find(({ type }) => type === "goodbye");
    return frame?.type === "goodbye" ? frame.reason : undefined;
  }
}

const identity = { id: "a", storeId: "s", data: "", address: "a:7000" };
const goodHello: Hello = {
  type: "hello",
  versionMin: 1,
  versionMax: 1,
  clusterId: "c1",
  from: identity,
  to: "b",
};

function hello(change: Partial<Hello> = {}): Uint8Array {
  return encodeControl({ ...goodHello, ...change });
}

function messageBytes(from: string, group = 0): Uint8Array {
  return Uint8Array.from(encodeMessage(vote(from), [], group).chunks.flatMap((chunk) => [...chunk]));
}

describe("tcp, when it reaches somebody else", () => {
  const good: Control = { type: "welcome", version: 1, clusterId: "c1", from: { ...identity, id: "b" } };

  it.each([
    ["another node", [{ ...good, from: { ...identity, id: "c" } }], "node c answered for b"],
    ["a node of another cluster", [{ ...good, clusterId: "c2" }], "b belongs to cluster c2, this node to c1"],
    ["a version that it does not speak", [{ ...good, version: 2 }], "b chose protocol version 2"],
    ["a version from before the first", [{ ...good, version: 0 }], "b chose protocol version 0"],
    ["a hello", [{ ...goodHello }], "a hello frame came where none belongs"],
    ["two welcomes", [good, good], "a welcome frame came where none belongs"],
  ] as [string, Control[], string][])("hangs up on %s and says why", async (_name, answers, reason) => {
    const rig = faultRig();
    const goodbyes: string[] = [];
    await rig.world.network.host("b").listen("b:7000", (connection) => {
      const reader = new FrameReader();
      connection.handler = {
        onData(bytes) {
          reader.feed(bytes);
          for (let frame = reader.next(); frame !== null; frame = reader.next()) {
            if (frame.type === "hello") for (const answer of answers) connection.write(encodeControl(answer));
            if (frame.type === "goodbye") goodbyes.push(frame.reason);
          }
        },
        onClose: () => undefined,
      };
    });
    const a = await TestNode.start(rig, "a");
    a.transport.setPeers(new Map([["b", "b:7000"]]));
    await rig.until(() => goodbyes.length > 1, "two attempts");
    expect(goodbyes[0]).toContain(reason);
    expect(a.host.logs.filter((line) => line.includes(reason))).toHaveLength(1);
    expect(a.host.peers.length > 0).toBe(answers.length > 1);
    expect(a.send("b")).toBe(false);
  });
});

describe("tcp, its queue to one peer", () => {
  const bytesOf = (from: string): number => messageBytes(from).length;

  it("takes messages up to its limit, and not one more", async () => {
    const rig = faultRig(1, { queueBytesMax: 10 * bytesOf("a") + 1 });
    const [a, b] = await linked(rig);
    const taken = Array.from({ length: 20 }, () => a.send(b));
    expect(taken).toEqual(Array.from({ length: 20 }, (_, n) => n < 10));
    await rig.quiet();
    expect(b.host.received).toHaveLength(10);
    expect(a.send(b)).toBe(true);
  });

  it("counts what the connection has not taken yet", async () => {
    const rig = faultRig(1, { queueBytesMax: 1_000_000 });
    const [a, b] = await linked(rig);
    rig.world.network.cut("a", "b");
    const { message, records } = append("a", [new Uint8Array(50_000)]);
    let taken = 0;
    for (let n = 0; n < 100; n++) {
      if (a.send(b, message, records)) taken++;
      await rig.world.clock.advance(1);
    }
    // A million, and what the link has under way.
    expect(taken).toBeGreaterThanOrEqual(20);
    expect(taken).toBeLessThan(27);
  });

  it("lets one message in that is larger than the limit, or it could never be sent", async () => {
    const rig = faultRig(1, { queueBytesMax: 1_000 });
    const [a, b] = await linked(rig);
    const { message, records } = append("a", [new Uint8Array(5_000)]);
    expect([a.send(b, message, records), a.send(b)]).toEqual([true, false]);
    await rig.until(() => b.host.received.length === 1, "the message");
  });
});

describe("tcp, when strangers call", () => {
  it.each([
    ["another protocol", [new TextEncoder().encode("GET / HTTP/1.1\r\nHost: b\r\n\r\n")], "another protocol"],
    ["a message before the handshake", [messageBytes("a")], "where none belongs"],
    [
      "a message right behind an unanswered hello of a stranger",
      [hello({ clusterId: "c2" }), messageBytes("a")],
      "c2",
    ],
    ["a ping before the handshake", [encodeControl({ type: "ping" })], "where none belongs"],
    ["a second hello", [hello(), hello()], "where none belongs"],
    [
      "a welcome",
      [encodeControl({ type: "welcome", version: 1, clusterId: "c1", from: identity })],
      "where none belongs",
    ],
    ["a message in another's name", [hello(), messageBytes("c")], "a message from c came from a"],
    ["a message for a group that is not here", [hello(), messageBytes("a", 7)], "no group 7"],
    ["a hello for another node", [hello({ to: "c" })], "this is node b, not c"],
    ["a hello from a namesake", [hello({ from: { ...identity, id: "b" } })], "reached itself"],
    ["a hello of later versions", [hello({ versionMin: 2, versionMax: 9 })], "versions 2 to 9"],
    ["a hello of a foreign cluster", [hello({ clusterId: "c2" })], "cluster c1, not to c2"],
    ["a hello of no cluster", [hello({ clusterId: "" })], "no cluster"],
    ["a header that announces 4 GB", [hello(), hugeHeader()], "announces 4294967295 bytes"],
    ["a large frame before the handshake", [hugeHeader(100_000)], "the limit is 8192"],
  ])("answers %s with the reason, closes, and hears nothing of it", async (_name, pieces, reason) => {
    const rig = faultRig();
    const b = await TestNode.start(rig, "b");
    const stranger = new Stranger(rig, "b:7000").write(...pieces);
    await rig.until(() => stranger.closed !== null, "the close");
    expect(stranger.goodbye).toContain(reason);
    expect(b.host.received).toEqual([]);
    await healthy(rig, b);
  });

  it("welcomes a version that it shares with a newer node", async () => {
    const rig = faultRig();
    await TestNode.start(rig, "b");
    const newer = new Stranger(rig, "b:7000").write(hello({ versionMin: 1, versionMax: 7 }));
    await rig.quiet();
    expect(newer.frames).toMatchObject([{ type: "welcome", version: 1, clusterId: "c1", from: { id: "b" } }]);
  });

  it("reads nothing while it joins a cluster: what comes early waits outside", async () => {
    const rig = faultRig();
    const b = await TestNode.start(rig, "b", null);
    const join = gateOf(b.host);
    const early = new Stranger(rig, "b:7000").write(hello());
    await rig.quiet();
    early.write(messageBytes("a"), messageBytes("c"));
    await rig.quiet();
    expect([early.closed, early.frames, b.host.received]).toEqual([null, [], []]);
    join();
    await rig.quiet();
    expect(early.frames.map(({ type }) => type)).toEqual(["welcome", "goodbye"]);
    expect(b.host.events).toEqual(["adopted", "met a", "received from a"]);
    await healthy(rig, b);
  });

  it("refuses who speaks in one breath with the hello, and does not take it in later", async () => {
    const rig = faultRig();
    const b = await TestNode.start(rig, "b", null);
    const join = gateOf(b.host);
    const hasty = new Stranger(rig, "b:7000").write(joined(hello(), messageBytes("a")));
    await rig.until(() => hasty.goodbye !== undefined, "the goodbye");
    join();
    await rig.quiet();
    expect(b.host.events).toEqual(["adopted"]);
    await healthy(rig, b);
  });

  it("joins one cluster at a time, and waits for that no longer than for any handshake", async () => {
    const rig = faultRig();
    const b = await TestNode.start(rig, "b", null);
    gateOf(b.host);
    const patient = new Stranger(rig, "b:7000").write(hello());
    const foreign = new Stranger(rig, "b:7000").write(hello({ clusterId: "c2" }));
    await rig.quiet();
    expect(foreign.goodbye).toContain("joining cluster c1, not c2");
    expect([patient.closed, b.host.adoptions]).toEqual([null, 1]);
    await rig.world.clock.advance(7_000);
    expect(patient.goodbye).toContain("no handshake within 5000 ms");
    await b.transport.close();
  });

  it.each([
    ["joined another after all", "c9"],
    ["joined none, though it said so", null],
  ])("refuses the cluster that asked when the node %s", async (_name, cluster) => {
    const rig = faultRig();
    const b = await TestNode.start(rig, "b", null);
    b.host.adoptClusterId = () => {
      b.host.cluster = cluster;
      return Promise.resolve();
    };
    const stranger = new Stranger(rig, "b:7000").write(hello());
    await rig.quiet();
    expect(stranger.goodbye).toContain("did not join cluster c1");
    expect(b.host.peers).toEqual([]);
  });

  it("holds few strangers at a time, and none for long", async () => {
    const rig = faultRig(1, { strangersMax: 5 });
    const b = await TestNode.start(rig, "b");
    const strangers = Array.from({ length: 20 }, () => new Stranger(rig, "b:7000"));
    await rig.quiet();
    expect(strangers.filter(({ closed }) => closed === null)).toHaveLength(5);
    await rig.world.clock.advance(5_100);
    expect(strangers.filter(({ closed }) => closed === null)).toHaveLength(0);
    await healthy(rig, b);
  });

  it("throws out who asks and asks without reading the answers", async () => {
    const rig = faultRig();
    const b = await TestNode.start(rig, "b");
    const stranger = new Stranger(rig, "b:7000").write(hello());
    await rig.quiet();
    stranger.stopReading();
    const pings = Uint8Array.from(
      Array.from({ length: 1_000 }, () => [...encodeControl({ type: "ping" })]).flat(),
    );
    for (let n = 0; n < 50 && !b.host.logs.some((line) => line.includes("does not read")); n++) {
      stranger.write(pings.slice());
      await rig.quiet();
    }
    expect(b.host.logs.join("\n")).toContain("it asks and does not read the answers");
    await healthy(rig, b);
  });

  it("reports a stranger who knocks again and again once", async () => {
    const rig = faultRig();
    const b = await TestNode.start(rig, "b");
    for (let n = 0; n < 10; n++) {
      new Stranger(rig, "b:7000").write(hello({ clusterId: "c2" }));
      await rig.quiet();
    }
    expect(b.host.logs).toEqual([
      "warn: refused evil:0 (a at a:7000): this node belongs to cluster c1, not to c2",
    ]);
  });

  it("lives through any bytes, before and after a handshake, and says goodbye to their sender", async () => {
    const bytes = fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(bytes, fc.boolean(), fc.nat(), async (pieces, greets, seed) => {
        const rig = faultRig(seed);
        const b = await TestNode.start(rig, "b");
        const stranger = new Stranger(rig, "b:7000");
        if (greets) stranger.write(hello());
        stranger.write(...pieces);
        await rig.quiet();
        const total = pieces.reduce((sum, piece) => sum + piece.length, 0);
        // Less than a header may still become one.
        if (total >= 24) expect(stranger.goodbye).toContain("another protocol");
        expect(b.host.received).toEqual([]);
        await healthy(rig, b);
      }),
      { numRuns: 60 },
    );
  });

  it("lives through good frames with flipped bits, and takes none of them", async () => {
    const { message, records } = append("a", [Uint8Array.of(1, 2, 3), new Uint8Array(40)]);
    const whole = Uint8Array.from(encodeMessage(message, records).chunks.flatMap((chunk) => [...chunk]));
    const rig = faultRig();
    const b = await TestNode.start(rig, "b");
    for (let bit = 0; bit < whole.length * 8; bit += 7) {
      const damaged = whole.slice();
      damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      new Stranger(rig, "b:7000").write(hello(), damaged);
      await rig.world.clock.advance(10);
    }
    expect(b.host.received).toEqual([]);
    await healthy(rig, b);
  });
});

/** Lets joining wait until the function that it returns is called. */
function gateOf(host: TestHost): () => void {
  let open: () => void = () => undefined;
  host.adoption = new Promise((resolve) => {
    open = resolve;
  });
  return () => {
    open();
  };
}

function joined(...pieces: Uint8Array[]): Uint8Array {
  return Uint8Array.from(pieces.flatMap((piece) => [...piece]));
}

/** A node that still takes a good peer's messages is well. */
async function healthy(rig: FaultRig, node: TestNode): Promise<void> {
  const friend = await TestNode.start(rig, "friend");
  friend.knows(node);
  await friend.reaches(rig, node);
  const closing = Promise.all([friend.transport.close(), node.transport.close()]);
  await rig.world.clock.advance(10_000);
  await closing;
  expect(rig.world.clock.pendingTimers).toBe(0);
}

function hugeHeader(length = 2 ** 32 - 1): Uint8Array {
  const header = messageBytes("a").slice(0, 24);
  new DataView(header.buffer).setUint32(8, length, true);
  return header;
}

describe("tcp, its options", () => {
  it.each([
    [{ listen: "7001" }, "tcp: listen is"],
    [{ listen: "0.0.0.0:7001" }, 'say with "advertise"'],
    [{ listen: "[::]:7001" }, 'say with "advertise"'],
    [{ listen: "0.0.0.0:7001", advertise: "0.0.0.0:7001" }, "nobody can dial"],
    [{ listen: "127.0.0.1:0", advertise: "example:0" }, "nobody can dial"],
    [{ listen: "127.0.0.1:0", idleMs: 0 }, "idleMs is 0"],
    [{ listen: "127.0.0.1:0", queueBytesMax: Number.NaN }, "queueBytesMax is NaN"],
    [{ listen: "127.0.0.1:0", backoffMinMs: 5_000 }, "backoffMinMs"],
  ])("refuses %j and says why", (options, reason) => {
    expect(() => tcp(options)).toThrow(reason);
  });

  it("tells the address to others that it was given to tell, and listens elsewhere", async () => {
    const transport = tcp({ listen: "127.0.0.1:0", advertise: "db1.example:7001" });
    await transport.start(new TestHost("a", nodeEnvironment()));
    expect(transport.address).toBe("db1.example:7001");
    await transport.close();
  });

  it("rejects the start where somebody listens already, and closes all the same", async () => {
    const first = tcp({ listen: "127.0.0.1:0" });
    await first.start(new TestHost("a", nodeEnvironment()));
    const second = tcp({ listen: first.address });
    await expect(second.start(new TestHost("b", nodeEnvironment()))).rejects.toThrow("EADDRINUSE");
    await Promise.all([first.close(), second.close()]);
  });

  it("refuses to start for a node whose data is too long for a handshake", async () => {
    const host = new TestHost("a", nodeEnvironment());
    Object.assign(host.self, { data: "é".repeat(2_049) });
    await expect(tcp({ listen: "127.0.0.1:0" }).start(host)).rejects.toThrow(
      "data has 4098 bytes; the limit is 4096",
    );
  });
});

describe("tcp, its real sockets in the hands of strangers", () => {
  it("lives through floods of garbage, and its memory does not grow with them", async () => {
    const rig = loopbackRig();
    const b = await TestNode.start(rig, "b");
    const port = Number(b.transport.address.split(":").at(-1));
    const flood = async (n: number): Promise<string> => {
      const socket = net.connect(port, "127.0.0.1");
      const heard: Buffer[] = [];
      socket.on("data", (bytes) => heard.push(bytes));
      socket.on("error", () => undefined);
      const closed = new Promise((resolve) => socket.once("close", resolve));
      if (n % 2 === 0) socket.write(hello());
      // Garbage, or the beginning of a frame of 30 MiB that never ends.
      socket.write(n % 3 === 0 ? Buffer.alloc(200_000, n) : hugeHeader(30 * 1024 * 1024));
      // Those who wait for the rest of their frame may do so; at some time they give up.
      if (n % 3 !== 0) setTimeout(() => socket.destroy(), n % 6 === 4 ? 5 : 200);
      await closed;
      return Buffer.concat(heard).toString("latin1");
    };
    const goodbyes = await Promise.all(Array.from({ length: 60 }, (_, n) => flood(n)));
    expect(goodbyes.filter((text) => text.includes("another protocol")).length).toBeGreaterThan(10);
    expect(b.host.received).toEqual([]);
    const a = await TestNode.start(rig, "a");
    a.knows(b);
    await a.reaches(rig, b);
    await Promise.all([a.transport.close(), b.transport.close()]);
  });
});
