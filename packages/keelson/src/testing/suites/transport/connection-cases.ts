// What a transport promises when peers restart, move or change, and when it closes.
import { strict as assert } from "node:assert";
import { closeAll, closeOne, pair, TestHost, TestNode } from "./test-node.ts";
import type { TransportCase, TransportRig } from "./transport-rig.ts";

/** Reconnecting, changed peers and addresses, and closing. */
export const connectionCases: readonly TransportCase[] = [
  { name: "reconnects to a restarted peer, and reports that peer's new store id", run: reconnects },
  { name: "follows a change of peers", run: followsPeers },
  { name: "follows a peer to another address", run: followsAddress },
  { name: "reaches a peer at any of its addresses", run: looksEverywhere },
  { name: "delivers nothing after close, and leaves nothing open", run: closes },
  { name: "closes before it was started, while it starts, and twice", run: closesEarly },
];

async function reconnects(rig: TransportRig): Promise<void> {
  const [a, b] = await pair(rig);
  await closeOne(rig, b);
  await rig.until(() => !a.send(b), "the loss of b");
  const again = await TestNode.start(rig, "b", "c1", "another disk");
  assert.equal(again.transport.address, b.transport.address);
  again.knows(a);
  await a.reaches(rig, again);
  await again.reaches(rig, a);
  assert.equal(a.host.peers.at(-1)?.storeId, "another disk");
  assert.equal(again.host.events[0], "met a");
  await closeAll(rig, a, again);
}

async function followsPeers(rig: TransportRig): Promise<void> {
  const [a, b] = await pair(rig);
  const c = await TestNode.start(rig, "c");
  a.knows(c);
  assert.equal(a.send(b), false);
  await a.reaches(rig, c);
  assert.deepEqual(b.host.received, []);
  // a still receives from b: each side decides for itself to whom it sends.
  await b.reaches(rig, a);
  a.knows(b, c);
  await a.reaches(rig, b);
  assert.equal(a.send(c), true);
  await closeAll(rig, a, b, c);
}

async function followsAddress(rig: TransportRig): Promise<void> {
  const [a, b] = await pair(rig);
  await closeOne(rig, b);
  // The node b moves: it now listens where the rig has a node of the name "elsewhere" listen.
  const moved = new TestNode(
    new TestHost("b", rig.environment("elsewhere"), "c1"),
    rig.transport("elsewhere"),
  );
  await moved.transport.start(moved.host);
  assert.notEqual(moved.transport.address, b.transport.address);
  a.knows(moved);
  await a.reaches(rig, moved);
  await closeAll(rig, a, moved);
}

async function looksEverywhere(rig: TransportRig): Promise<void> {
  const [a, b] = await pair(rig);
  const { address } = b.transport;
  const places = (...addresses: string[]): void => {
    a.transport.setPeers(new Map([["b", addresses]]));
  };
  // The peer may be about to move to the other address. Until then it must stay reachable at this one.
  places("nowhere:1", address);
  assert.equal(a.send(b), true);
  await rig.until(() => b.host.received.length === 1, "what was sent meanwhile");
  await closeOne(rig, b);
  const moved = new TestNode(
    new TestHost("b", rig.environment("elsewhere"), "c1"),
    rig.transport("elsewhere"),
  );
  await moved.transport.start(moved.host);
  places(address, moved.transport.address);
  await a.reaches(rig, moved);
  await closeAll(rig, a, moved);
}

async function closes(rig: TransportRig): Promise<void> {
  const [a, b] = await pair(rig);
  a.send(b);
  b.send(a);
  const closing = a.transport.close();
  assert.equal(a.send(b), false);
  a.transport.setPeers(new Map([["b", [b.transport.address]]]));
  let closed = false;
  void Promise.all([closing, a.transport.close()]).then(() => (closed = true));
  await rig.until(() => closed, "the end of a");
  const { length } = a.host.events;
  for (let n = 0; n < 3; n++) {
    b.send(a);
    await rig.quiet();
  }
  assert.equal(a.host.events.length, length);
  await assert.rejects(a.transport.start(a.host));
  await closeAll(rig, b);
}

async function closesEarly(rig: TransportRig): Promise<void> {
  const unborn = rig.transport("a");
  await unborn.close();
  await assert.rejects(unborn.start(new TestHost("a", rig.environment("a"))));
  const b = new TestNode(new TestHost("b", rig.environment("b")), rig.transport("b"));
  b.knows(b);
  const starting = b.transport.start(b.host).catch(() => "closed");
  await Promise.all([b.transport.close(), starting]);
  await closeAll(rig, b);
}
