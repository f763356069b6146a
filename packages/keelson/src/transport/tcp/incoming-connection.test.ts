import net from "node:net";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encodeControlMessage, encodeMessage } from "../../codec/frame.ts";
import { append, type TestHost, TestNode } from "../../testing/suites/transport/test-node.ts";
import { STRANGER_REASON } from "../handshake.ts";
import {
  expectUsable,
  simulatedRig,
  hello,
  hugeHeader,
  identity,
  inquiry,
  loopbackRig,
  messageBytes,
  RawPeer,
} from "./test/rig.ts";

describe("tcp, on incoming connections", () => {
  it.each([
    ["another protocol", [new TextEncoder().encode("GET / HTTP/1.1\r\nHost: b\r\n\r\n")], "another protocol"],
    ["a TLS handshake", [Uint8Array.of(22, 3, 1, 2, 0, 1)], "speaks TLS, and this node doesn't"],
    ["a proof of a secret", [Uint8Array.of(0x4b, 0x4c, 0x41, 1)], "wants to prove a shared secret"],
    ["a message before the handshake", [messageBytes("a")], "where none belongs"],
    [
      "a message right after the hello of another cluster",
      [hello({ clusterId: "c2" }), messageBytes("a")],
      "this node's log says why",
    ],
    ["a ping before the handshake", [encodeControlMessage({ type: "ping" })], "where none belongs"],
    ["a second hello", [hello(), hello()], "where none belongs"],
    ["an inquiry after a hello", [hello(), inquiry()], "a inquiry frame came where none belongs"],
    ["a hello after an inquiry", [inquiry(), hello()], "a hello frame came where none belongs"],
    ["a message after an inquiry", [inquiry(), messageBytes("a")], "a message frame came where none belongs"],
    ["an inquiry for another node", [inquiry({ to: "c" })], "this is node b, not c"],
    ["an inquiry about another cluster", [inquiry({ clusterId: "c2" })], "this node's log says why"],
    [
      "a welcome",
      [encodeControlMessage({ type: "welcome", version: 1, clusterId: "c1", from: identity })],
      "where none belongs",
    ],
    ["a message under another node's id", [hello(), messageBytes("c")], "a message from c came from a"],
    ["a message for an unknown group", [hello(), messageBytes("a", 7)], "no group 7"],
    ["a hello for another node", [hello({ to: "c" })], "this is node b, not c"],
    ["a hello from a node with the same id", [hello({ from: { ...identity, id: "b" } })], "reached itself"],
    ["a hello with newer versions only", [hello({ versionMin: 2, versionMax: 9 })], "versions 2 to 9"],
    ["a hello of another cluster", [hello({ clusterId: "c2" })], "this node's log says why"],
    ["a hello without a cluster", [hello({ clusterId: "" })], "no cluster"],
    ["a header that announces 4 GB", [hello(), hugeHeader()], "announces 4294967295 bytes"],
    ["a large frame before the handshake", [hugeHeader(100_000)], "the limit is 8192"],
  ])("answers %s with the reason, closes, and delivers nothing", async (_name, pieces, reason) => {
    const rig = simulatedRig();
    const b = await TestNode.start(rig, "b");
    const peer = new RawPeer(rig, "b:7000").write(...pieces);
    await rig.until(() => peer.closed !== null, "the close");
    expect(peer.goodbye).toContain(reason);
    expect(b.host.received).toEqual([]);
    await expectUsable(rig, b);
  });

  it.each([
    ["of another cluster", "c1", { clusterId: "c2" }, "this node belongs to cluster c1, not to c2"],
    ["of another cluster, to another node", "c1", { clusterId: "c2", to: "x" }, "cluster c1, not to c2"],
    ["for another node, when this one waits to join a cluster", null, { to: "x" }, "this is node b, not x"],
  ])("tells a stranger nothing about this node: a hello %s [Z17]", async (_name, cluster, change, logged) => {
    const rig = simulatedRig();
    const b = await TestNode.start(rig, "b", cluster);
    const stranger = new RawPeer(rig, "b:7000").write(hello(change));
    await rig.until(() => stranger.closed !== null, "the close");
    expect(stranger.frames).toEqual([{ type: "goodbye", reason: STRANGER_REASON }]);
    expect(STRANGER_REASON).not.toMatch(/\bb\b|c1|store/);
    // The operator of this node learns what is wrong.
    expect(b.host.logs.join("\n")).toContain(logged);
    await Promise.all([b.transport.close(), rig.world.clock.advance(2_000)]);
  });

  it("tells its host whether the peer knows this node's store", async () => {
    const rig = simulatedRig();
    const b = await TestNode.start(rig, "b");
    const vouched: boolean[] = [];
    b.host.refusalOf = (_peer, isVouchedFor) => {
      vouched.push(isVouchedFor);
      return "not now";
    };
    for (const change of [{}, { toStoreId: "store-b" }, { toStoreId: "store-x" }, { toStoreId: "" }]) {
      new RawPeer(rig, "b:7000").write(hello(change));
      await rig.quiet();
    }
    expect(vouched).toEqual([false, true, false, false]);
    await Promise.all([b.transport.close(), rig.world.clock.advance(2_000)]);
  });

  it("agrees with a newer node on a version that both speak [W7]", async () => {
    const rig = simulatedRig();
    await TestNode.start(rig, "b");
    const newer = new RawPeer(rig, "b:7000").write(hello({ versionMin: 1, versionMax: 7 }));
    await rig.quiet();
    expect(newer.frames).toMatchObject([{ type: "welcome", version: 1, clusterId: "c1", from: { id: "b" } }]);
  });

  it("reads nothing from a connection while the node joins that peer's cluster", async () => {
    const rig = simulatedRig();
    const b = await TestNode.start(rig, "b", null);
    const join = holdAdoption(b.host);
    const early = new RawPeer(rig, "b:7000").write(hello());
    await rig.quiet();
    early.write(messageBytes("a"), messageBytes("c"));
    await rig.quiet();
    expect([early.closed, early.frames, b.host.received]).toEqual([null, [], []]);
    join();
    await rig.quiet();
    expect(early.frames.map(({ type }) => type)).toEqual(["welcome", "goodbye"]);
    expect(b.host.events).toEqual(["adopted", "met a", "received from a"]);
    await expectUsable(rig, b);
  });

  it("refuses a message that comes in one chunk with the hello, also after the node has joined", async () => {
    const rig = simulatedRig();
    const b = await TestNode.start(rig, "b", null);
    const join = holdAdoption(b.host);
    const hasty = new RawPeer(rig, "b:7000").write(joined(hello(), messageBytes("a")));
    await rig.until(() => hasty.goodbye !== undefined, "the goodbye");
    join();
    await rig.quiet();
    expect(b.host.events).toEqual(["adopted"]);
    await expectUsable(rig, b);
  });

  it("joins one cluster at a time, within the handshake timeout", async () => {
    const rig = simulatedRig();
    const b = await TestNode.start(rig, "b", null);
    holdAdoption(b.host);
    const waiting = new RawPeer(rig, "b:7000").write(hello());
    const foreign = new RawPeer(rig, "b:7000").write(hello({ clusterId: "c2" }));
    await rig.quiet();
    expect(foreign.goodbye).toBe(STRANGER_REASON);
    expect(b.host.logs.join("\n")).toContain("joining cluster c1, not c2");
    expect([waiting.closed, b.host.adoptions]).toEqual([null, 1]);
    await rig.world.clock.advance(7_000);
    expect(waiting.goodbye).toContain("no handshake within 5000 ms");
    await b.transport.close();
  });

  it.each([
    ["joined another one instead", "c9"],
    ["reports that it joined, but did not", null],
  ])("refuses the cluster of the hello when the node %s", async (_name, cluster) => {
    const rig = simulatedRig();
    const b = await TestNode.start(rig, "b", null);
    b.host.adoptClusterId = () => {
      b.host.cluster = cluster;
      return Promise.resolve();
    };
    const peer = new RawPeer(rig, "b:7000").write(hello());
    await rig.quiet();
    expect(peer.goodbye).toBe(STRANGER_REASON);
    expect(b.host.logs.join("\n")).toContain("did not join cluster c1");
    expect(b.host.peers).toEqual([]);
  });

  it("limits how many handshakes are pending, and for how long", async () => {
    const rig = simulatedRig(1, { pendingHandshakesMax: 5 });
    const b = await TestNode.start(rig, "b");
    const peers = Array.from({ length: 20 }, () => new RawPeer(rig, "b:7000"));
    await rig.quiet();
    expect(peers.filter(({ closed }) => closed === null)).toHaveLength(5);
    await rig.world.clock.advance(5_100);
    expect(peers.filter(({ closed }) => closed === null)).toHaveLength(0);
    await expectUsable(rig, b);
  });

  it("lets a member in although strangers hold every place for a handshake, and come again [B22]", async () => {
    const rig = simulatedRig(1, { pendingHandshakesMax: 8, pendingHandshakesPerHostMax: 4 });
    const b = await TestNode.start(rig, "b");
    const strangers = Array.from(
      { length: 40 },
      (_, n) => new RawPeer(rig, "b:7000", `stranger${String(n % 5)}`),
    );
    await rig.quiet();
    expect(strangers.filter(({ closed }) => closed === null)).toHaveLength(8);
    const member = new RawPeer(rig, "b:7000", "a").write(hello());
    strangers.push(...Array.from({ length: 6 }, () => new RawPeer(rig, "b:7000", "stranger9")));
    await rig.quiet();
    expect([member.frames[0]?.type, member.closed]).toEqual(["welcome", null]);
    // One host takes the places of its own connections first.
    expect(strangers.slice(-6).filter(({ closed }) => closed === null)).toHaveLength(4);
    await expectUsable(rig, b);
  });

  it("makes room for a member among established connections of other nodes [B22]", async () => {
    const rig = simulatedRig(1, { connectionsMax: 3 });
    const b = await TestNode.start(rig, "b");
    b.transport.setPeers(new Map([["m1", ["m1:7000"]]]));
    const named = (id: string): RawPeer =>
      new RawPeer(rig, "b:7000", id).write(hello({ from: { ...identity, id } }));
    const first = named("m1");
    await rig.quiet();
    const others = ["x1", "x2", "x3"].map(named);
    await rig.quiet();
    expect(first.goodbye).toBeUndefined();
    expect(others.map(({ goodbye }) => goodbye)).toEqual([
      "another peer took its place",
      undefined,
      undefined,
    ]);
    await Promise.all([b.transport.close(), rig.world.clock.advance(2_000)]);
  });

  it("closes a connection that sends pings and does not read the pongs", async () => {
    const rig = simulatedRig();
    const b = await TestNode.start(rig, "b");
    const peer = new RawPeer(rig, "b:7000").write(hello());
    await rig.quiet();
    peer.stopReading();
    const pings = Uint8Array.from(
      Array.from({ length: 1_000 }, () => [...encodeControlMessage({ type: "ping" })]).flat(),
    );
    for (let n = 0; n < 50 && !b.host.logs.some((line) => line.includes("does not read")); n++) {
      peer.write(pings.slice());
      await rig.quiet();
    }
    expect(b.host.logs.join("\n")).toContain("it asks and does not read the answers");
    await expectUsable(rig, b);
  });

  it("logs repeated refusals of the same peer once", async () => {
    const rig = simulatedRig();
    const b = await TestNode.start(rig, "b");
    for (let n = 0; n < 10; n++) {
      new RawPeer(rig, "b:7000").write(hello({ clusterId: "c2" }));
      await rig.quiet();
    }
    expect(b.host.logs).toEqual([
      "warn: refused evil:0 (a at a:7000): this node belongs to cluster c1, not to c2",
    ]);
  });

  it("answers arbitrary bytes with a goodbye, before and after a handshake, and stays usable", async () => {
    const bytes = fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(bytes, fc.boolean(), fc.nat(), async (pieces, greets, seed) => {
        const rig = simulatedRig(seed);
        const b = await TestNode.start(rig, "b");
        const peer = new RawPeer(rig, "b:7000");
        if (greets) peer.write(hello());
        peer.write(...pieces);
        await rig.quiet();
        const total = pieces.reduce((sum, piece) => sum + piece.length, 0);
        // Fewer bytes than a header are not refused yet.
        if (total >= 24) expect(peer.goodbye).toContain("another protocol");
        expect(b.host.received).toEqual([]);
        await expectUsable(rig, b);
      }),
      { numRuns: 60 },
    );
  });

  it("delivers no frame with a flipped bit, and stays usable", async () => {
    const { message, records } = append("a", [Uint8Array.of(1, 2, 3), new Uint8Array(40)]);
    const whole = Uint8Array.from(encodeMessage(message, records).chunks.flatMap((chunk) => [...chunk]));
    const rig = simulatedRig();
    const b = await TestNode.start(rig, "b");
    for (let bit = 0; bit < whole.length * 8; bit += 7) {
      const damaged = whole.slice();
      damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      new RawPeer(rig, "b:7000").write(hello(), damaged);
      await rig.world.clock.advance(10);
    }
    expect(b.host.received).toEqual([]);
    await expectUsable(rig, b);
  });
});

/** Makes the host's joining wait until the returned function is called. */
function holdAdoption(host: TestHost): () => void {
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

describe("tcp on real sockets, under floods of garbage", () => {
  it("stays usable, and delivers nothing", async () => {
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
      // A connection with an incomplete frame is not refused; close it from this side after a while.
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
