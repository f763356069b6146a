import { describe, expect, it } from "vitest";
import type { ControlMessage } from "../../codec/frame-control-message.ts";
import { FrameReader } from "../../codec/frame-reader.ts";
import { encodeControlMessage } from "../../codec/frame.ts";
import type { Environment, Network } from "../../environment/environment.ts";
import type { SimulatedClock } from "../../environment/simulated/simulated-clock.ts";
import { nodeEnvironment } from "../../environment/node/node-environment.ts";
import { TestAuthority } from "../../environment/test/certificates.ts";
import { transportCases } from "../../testing/suites/transport-suite.ts";
import { append, pair, TestHost, TestNode, vote } from "../../testing/suites/transport/test-node.ts";
import { tcp } from "./tcp-transport.ts";
import { simulatedRig, validHello, identity, loopbackRig, messageBytes, sleep } from "./test/rig.ts";

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

describe("tcp on loopback with TLS", () => {
  const authority = new TestAuthority();
  it.each(transportCases)("$name", async ({ run }) => {
    // Some cases start a node under another id than the rig knows: so each certificate names all of them.
    const names = ["a", "b", "c", "d", "x"].map((id) => `URI:keelson:${id}`);
    await run(loopbackRig(() => ({ tls: { ...authority.issue({ names }), ca: authority.cert } })));
    for (let ms = 0; ms < 2_000 && openHandles().length > 0; ms++) await sleep(1);
    expect(openHandles()).toEqual([]);
  });
});

describe.each([
  ["", {}],
  [", with a shared secret", { secret: "s".repeat(32) }],
])("tcp on a simulated network that delays and splits%s", (_name, options) => {
  it.each(transportCases)("$name", async ({ run }) => {
    const rig = simulatedRig(1, options);
    await run({ ...rig, assertNothingLeft: () => undefined });
    // Closes are still on their way to the other ends when close() resolves.
    await rig.world.clock.advance(1_500);
    rig.assertNothingLeft();
  });
});

/** Records when `connect` was called, and the length of each write. */
function spyOn(
  environment: Environment,
  clock: SimulatedClock,
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
  it("keeps an idle connection open by pings", async () => {
    const rig = simulatedRig();
    const [a, b] = await pair(rig);
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
    "notices within the idle limit that %s went silent, and reconnects after it heals",
    async (_name, there, back) => {
      const rig = simulatedRig();
      const { network, clock } = rig.world;
      const [a, b] = await pair(rig);
      network.setLink("a", "b", { cut: there });
      network.setLink("b", "a", { cut: back });
      // That bytes are written must not count as a sign of life: our own system takes them.
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

  it("gives up an attempt to connect, and a handshake, when no answer comes in time", async () => {
    const rig = simulatedRig();
    const { network, clock } = rig.world;
    const a = await TestNode.start(rig, "a");
    network.setLink("a", "b", { cut: true });
    a.transport.setPeers(new Map([["b", ["b:7000"]]]));
    await clock.advance(2_100);
    expect(a.host.logs).toEqual([
      "warn: no connection to b at b:7000: no connection within 2000 ms; trying again",
    ]);
    network.heal("a", "b");
    // Accept the connection, and never answer.
    await network.host("b").listen("b:7000", () => undefined);
    await clock.advance(7_100);
    expect(a.host.logs[1]).toContain("no answer to the handshake within 5000 ms");
  });

  it("delivers unchanged messages in order across connection resets", async () => {
    const rig = simulatedRig(3);
    const { network, clock } = rig.world;
    const [a, b] = await pair(rig);
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
    const terms = b.host.received.map(({ message }) => ("term" in message ? message.term : 0));
    expect(terms).toEqual([...new Set(terms)].sort((x, y) => x - y));
    expect(terms.length).toBeGreaterThan(0.9 * term);
    expect(terms.length).toBeLessThanOrEqual(taken);
    expect(b.host.logs.join()).not.toContain("refused");
  });

  it("waits a bounded, random time after each of 100 failures, logs one, and starts over after success [W5]", async () => {
    const rig = simulatedRig();
    const { network, clock } = rig.world;
    const spy = spyOn(rig.environment("a"), clock);
    const a = new TestNode(new TestHost("a", spy.environment), rig.transport("a"));
    await a.transport.start(a.host);
    a.transport.setPeers(new Map([["b", ["b:7000"]]]));
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

  it("connects to a peer as soon as that peer connects, without waiting for the backoff", async () => {
    const rig = simulatedRig(1, { backoffMinMs: 60_000, backoffMaxMs: 60_000 });
    const a = await TestNode.start(rig, "a");
    a.transport.setPeers(new Map([["b", ["b:7000"]]]));
    await rig.world.clock.advance(100);
    const b = await TestNode.start(rig, "b");
    b.knows(a);
    await rig.world.clock.advance(100);
    expect(a.send(b)).toBe(true);
  });

  it("does not connect sooner when the same peers are set again", async () => {
    const rig = simulatedRig();
    const spy = spyOn(rig.environment("a"), rig.world.clock);
    const a = new TestNode(new TestHost("a", spy.environment), rig.transport("a"));
    await a.transport.start(a.host);
    for (let n = 0; n < 1_000; n++) {
      a.transport.setPeers(new Map([["b", ["b:7000"]]]));
      await rig.world.clock.advance(10);
    }
    expect(spy.dials.length).toBeLessThan(30);
  });

  it("connects to its peers as soon as it has joined a cluster", async () => {
    const rig = simulatedRig();
    const a = await TestNode.start(rig, "a");
    const b = await TestNode.start(rig, "b", null);
    const c = await TestNode.start(rig, "c");
    b.knows(c);
    a.knows(b);
    await rig.quiet();
    expect(c.host.events).toEqual(["met b"]);
  });

  it("forgets a peer that is removed before this node belongs to a cluster", async () => {
    const rig = simulatedRig();
    const a = await TestNode.start(rig, "a", null);
    a.transport.setPeers(new Map([["b", ["b:7000"]]]));
    a.transport.setPeers(new Map());
    a.transport.setPeers(new Map([["b", []]]));
    expect(a.send("b")).toBe(false);
    await a.transport.close();
  });

  it("gets to a peer's second address although the peers are named again and again", async () => {
    const rig = simulatedRig(1, { connectTimeoutMs: 100 });
    const a = await TestNode.start(rig, "a");
    const b = await TestNode.start(rig, "b");
    // An address that doesn't answer at all: the attempt lasts until its timeout.
    rig.world.network.setLink("a", "nowhere", { cut: true });
    const name = (): void => {
      a.transport.setPeers(new Map([["b", ["nowhere:7000", "b:7000"]]]));
    };
    name();
    for (let n = 0; n < 400 && b.host.peers.length === 0; n++) {
      await rig.world.clock.advance(5);
      name();
    }
    expect(b.host.peers.map(({ id }) => id)).toEqual(["a"]);
    await Promise.all([a.transport.close(), b.transport.close(), rig.world.clock.advance(2_000)]);
  });

  it("limits how often two nodes with one id replace each other's connections, and logs why", async () => {
    const rig = simulatedRig();
    const { clock } = rig.world;
    const [a, b] = await pair(rig);
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

  it("joins the messages of one turn into one write, and writes large records without a copy", async () => {
    const rig = simulatedRig();
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

describe("tcp, when the wrong node answers", () => {
  const good: ControlMessage = {
    type: "welcome",
    version: 1,
    clusterId: "c1",
    from: { ...identity, id: "b" },
  };

  it.each([
    ["another node", [{ ...good, from: { ...identity, id: "c" } }], "node c answered for b"],
    ["a node of another cluster", [{ ...good, clusterId: "c2" }], "b belongs to cluster c2, this node to c1"],
    ["a version that it does not speak", [{ ...good, version: 2 }], "b chose protocol version 2"],
    ["a version from before the first", [{ ...good, version: 0 }], "b chose protocol version 0"],
    ["a hello", [{ ...validHello }], "a hello frame came where none belongs"],
    ["two welcomes", [good, good], "a welcome frame came where none belongs"],
  ] as [string, ControlMessage[], string][])(
    "closes the connection to %s with the reason",
    async (_name, answers, reason) => {
      const rig = simulatedRig();
      const goodbyes: string[] = [];
      await rig.world.network.host("b").listen("b:7000", (connection) => {
        const reader = new FrameReader();
        connection.handler = {
          onData(bytes) {
            reader.feed(bytes);
            for (let frame = reader.next(); frame !== null; frame = reader.next()) {
              if (frame.type === "hello")
                for (const answer of answers) connection.write(encodeControlMessage(answer));
              if (frame.type === "goodbye") goodbyes.push(frame.reason);
            }
          },
          onClose: () => undefined,
        };
      });
      const a = await TestNode.start(rig, "a");
      a.transport.setPeers(new Map([["b", ["b:7000"]]]));
      await rig.until(() => goodbyes.length > 1, "two attempts");
      expect(goodbyes[0]).toContain(reason);
      expect(a.host.logs.filter((line) => line.includes(reason))).toHaveLength(1);
      expect(a.host.peers.length > 0).toBe(answers.length > 1);
      expect(a.send("b")).toBe(false);
    },
  );
});

describe("tcp, the queue to one peer", () => {
  const bytesOf = (from: string): number => messageBytes(from).length;

  it("takes messages up to its limit", async () => {
    const rig = simulatedRig(1, { queueBytesMax: 10 * bytesOf("a") + 1 });
    const [a, b] = await pair(rig);
    const taken = Array.from({ length: 20 }, () => a.send(b));
    expect(taken).toEqual(Array.from({ length: 20 }, (_, n) => n < 10));
    await rig.quiet();
    expect(b.host.received).toHaveLength(10);
    expect(a.send(b)).toBe(true);
  });

  it("counts the bytes that the connection has not taken yet", async () => {
    const rig = simulatedRig(1, { queueBytesMax: 1_000_000 });
    const [a, b] = await pair(rig);
    rig.world.network.cut("a", "b");
    const { message, records } = append("a", [new Uint8Array(50_000)]);
    let taken = 0;
    for (let n = 0; n < 100; n++) {
      if (a.send(b, message, records)) taken++;
      await rig.world.clock.advance(1);
    }
    // 1,000,000 bytes, and what fits into the link's window.
    expect(taken).toBeGreaterThanOrEqual(20);
    expect(taken).toBeLessThan(27);
  });

  it("takes a message larger than the limit when it is empty", async () => {
    const rig = simulatedRig(1, { queueBytesMax: 1_000 });
    const [a, b] = await pair(rig);
    const { message, records } = append("a", [new Uint8Array(5_000)]);
    expect([a.send(b, message, records), a.send(b)]).toEqual([true, false]);
    await rig.until(() => b.host.received.length === 1, "the message");
  });
});

describe("tcp, the options", () => {
  it.each([
    [{ listen: "7001" }, "tcp: listen is"],
    [{ listen: "0.0.0.0:7001" }, 'say with "advertise"'],
    [{ listen: "[::]:7001" }, 'say with "advertise"'],
    [{ listen: "0.0.0.0:7001", advertise: "0.0.0.0:7001" }, "nobody can dial"],
    [{ listen: "127.0.0.1:0", advertise: "example:0" }, "nobody can dial"],
    [{ listen: "127.0.0.1:0", idleMs: 0 }, "idleMs is 0"],
    [{ listen: "127.0.0.1:0", queueBytesMax: Number.NaN }, "queueBytesMax is NaN"],
    [{ listen: "127.0.0.1:0", backoffMinMs: 5_000 }, "backoffMinMs"],
  ])("refuse %j with the reason", (options, reason) => {
    expect(() => tcp(options)).toThrow(reason);
  });

  it("advertise an address other than the one that is listened at", async () => {
    const transport = tcp({ listen: "127.0.0.1:0", advertise: "db1.example:7001" });
    await transport.start(new TestHost("a", nodeEnvironment()));
    expect(transport.address).toBe("db1.example:7001");
    await transport.close();
  });

  it("make start reject at an address that is in use; close works afterwards", async () => {
    const first = tcp({ listen: "127.0.0.1:0" });
    await first.start(new TestHost("a", nodeEnvironment()));
    const second = tcp({ listen: first.address });
    await expect(second.start(new TestHost("b", nodeEnvironment()))).rejects.toMatchObject({
      code: "LISTEN_FAILED",
      cause: { code: "EADDRINUSE" },
    });
    await Promise.all([first.close(), second.close()]);
  });

  it("make start reject when the node's info is too long for a handshake", async () => {
    const host = new TestHost("a", nodeEnvironment());
    Object.assign(host.self, { info: "é".repeat(2_049) });
    await expect(tcp({ listen: "127.0.0.1:0" }).start(host)).rejects.toThrow(
      "info has 4098 bytes; the limit is 4096",
    );
  });
});
