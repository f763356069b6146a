// What a transport promises about handshakes: who may talk to whom, and how a node joins a cluster.
import { strict as assert } from "node:assert";
import type { InquiryAnswer } from "../../../transport/transport.ts";
import { closeAll, closeOne, hasLog, TestNode } from "./test-node.ts";
import type { TransportCase, TransportRig } from "./transport-rig.ts";

/** Handshakes: connecting, refusing, and joining a cluster. */
export const handshakeCases: readonly TransportCase[] = [
  { name: "reports each peer before it delivers a message of that peer", run: introduces },
  {
    name: "refuses a node of another cluster before anything is received (W1, M16)",
    run: refusesForeignCluster,
  },
  { name: "refuses a peer that its host refuses, whichever side dials", run: refusesUnwelcome },
  { name: "delivers nothing to a node that was dialled under another id (W1)", run: refusesWrongAddressee },
  { name: "lets a node without a cluster join before it receives", run: adoptsFirst },
  { name: "delivers nothing to a node that refuses to join the cluster", run: adoptionRefused },
  { name: "sends nothing for a node without a cluster", run: silentWithoutCluster },
  {
    name: "asks whether a cluster may be created, and makes nobody join it [M11]",
    run: inquires,
  },
];

async function introduces(rig: TransportRig): Promise<void> {
  const a = await TestNode.start(rig, "a");
  const b = await TestNode.start(rig, "b");
  // Only one side dials, and both learn who the other is.
  a.knows(b);
  await rig.until(() => a.send(b), "a way from a to b");
  await rig.until(() => b.host.received.length > 0, "a message");
  assert.deepEqual(b.host.events.slice(0, 2), ["met a", "received from a"]);
  assert.deepEqual(b.host.peers[0], { ...a.host.self, address: a.transport.address });
  assert.deepEqual(a.host.peers[0], { ...b.host.self, address: b.transport.address });
  assert.equal(b.send(a), false);
  await closeAll(rig, a, b);
}

async function refusesForeignCluster(rig: TransportRig): Promise<void> {
  const a = await TestNode.start(rig, "a", "c1");
  const b = await TestNode.start(rig, "b", "c2");
  a.knows(b);
  b.knows(a);
  await rig.until(() => hasLog(a, "c2") && hasLog(b, "c1"), "a reason in both logs");
  for (let n = 0; n < 5; n++) {
    a.send(b);
    b.send(a);
    await rig.quiet();
  }
  assert.deepEqual([...a.host.events, ...b.host.events], []);
  // Each node logs a reason once, not at each attempt: at most two, one for the connection that it opens and
  // one for the one that it accepts.
  assert.ok(a.host.logs.length <= 2, a.host.logs.join("\n"));
  await closeAll(rig, a, b);
}

async function refusesUnwelcome(rig: TransportRig): Promise<void> {
  const a = await TestNode.start(rig, "a");
  const b = await TestNode.start(rig, "b");
  b.host.unwelcome = "a";
  a.knows(b);
  b.knows(a);
  await rig.until(() => hasLog(a, "a is not welcome"), "the reason in the log of who is refused");
  for (let n = 0; n < 3; n++) {
    a.send(b);
    b.send(a);
    await rig.quiet();
  }
  assert.deepEqual(b.host.events, []);
  assert.deepEqual(a.host.received, []);
  // The refused host is told, with the very text: it may recognise the reason.
  assert.ok(a.host.refusals.length > 0);
  assert.deepEqual([...new Set(a.host.refusals)], ["b: a is not welcome"]);
  assert.deepEqual(b.host.refusals, []);
  await closeAll(rig, a, b);
}

async function refusesWrongAddressee(rig: TransportRig): Promise<void> {
  const a = await TestNode.start(rig, "a");
  const b = await TestNode.start(rig, "b");
  a.transport.setPeers(new Map([["x", [b.transport.address]]]));
  await rig.until(() => hasLog(a, "this is node b, not x"), "the reason in the log");
  assert.equal(a.send("x"), false);
  await rig.quiet();
  assert.deepEqual([...a.host.events, ...b.host.events], []);
  await closeAll(rig, a, b);
}

async function adoptsFirst(rig: TransportRig): Promise<void> {
  const a = await TestNode.start(rig, "a");
  const c = await TestNode.start(rig, "c");
  const b = await TestNode.start(rig, "b", null);
  let join: () => void = () => undefined;
  b.host.adoption = new Promise((resolve) => {
    join = resolve;
  });
  b.knows(a);
  a.knows(b);
  c.knows(b);
  await rig.until(() => b.host.adoptions > 0, "the wish to join");
  for (let n = 0; n < 5; n++) {
    a.send(b);
    await rig.quiet();
  }
  assert.deepEqual(b.host.events, []);
  join();
  await rig.until(() => a.send(b) && c.send(b), "ways to b");
  await rig.until(() => b.host.received.length > 1, "a message");
  assert.equal(b.host.events[0], "adopted");
  assert.equal(b.host.adoptions, 1);
  // A node that has joined sends messages, too.
  await b.reaches(rig, a);
  await closeAll(rig, a, b, c);
}

async function adoptionRefused(rig: TransportRig): Promise<void> {
  const a = await TestNode.start(rig, "a");
  const b = await TestNode.start(rig, "b", null);
  b.host.adoption = Promise.reject(new Error("I would rather not"));
  b.host.adoption.catch(() => undefined);
  a.knows(b);
  await rig.until(
    () => hasLog(b, "I would rather not") && hasLog(a, "does not talk to the caller"),
    "the reason in b's log, which a is not told: to b it may be a stranger",
  );
  assert.equal(a.send(b), false);
  assert.deepEqual(b.host.events, []);
  await closeAll(rig, a, b);
}

async function silentWithoutCluster(rig: TransportRig): Promise<void> {
  const a = await TestNode.start(rig, "a", null);
  const b = await TestNode.start(rig, "b");
  a.knows(b);
  assert.equal(a.send(b), false);
  await rig.quiet();
  assert.equal(a.send(b), false);
  assert.deepEqual([...a.host.events, ...b.host.events, ...a.host.logs, ...b.host.logs], []);
  a.host.cluster = "c1";
  await a.reaches(rig, b);
  await closeAll(rig, a, b);
}

async function inquires(rig: TransportRig): Promise<void> {
  const a = await TestNode.start(rig, "a", null);
  const b = await TestNode.start(rig, "b", null);
  const c = await TestNode.start(rig, "c", "c2");
  const ask = async (id: string, address: string): Promise<InquiryAnswer | undefined> => {
    const answers: (InquiryAnswer | undefined)[] = [];
    void Promise.resolve(a.transport.inquireAt?.(id, address, "c1")).then((answer) => answers.push(answer));
    await rig.until(() => answers.length > 0, "an answer");
    return answers[0];
  };
  if (a.transport.inquireAt === undefined) {
    await closeAll(rig, a, b, c);
    return;
  }
  assert.deepEqual(await ask("b", b.transport.address), { type: "consent" });
  // A member of the same cluster consents too, unless its host objects.
  b.host.cluster = "c1";
  assert.deepEqual(await ask("b", b.transport.address), { type: "consent" });
  b.host.objection = "it exists already";
  const objection = await ask("b", b.transport.address);
  assert.ok(objection?.type === "refusal" && objection.reason.includes("it exists already"));
  b.host.objection = null;
  b.host.unwelcome = "a";
  const refusal = await ask("b", b.transport.address);
  assert.ok(refusal?.type === "refusal" && refusal.reason.includes("a is not welcome"));
  const wrong = await ask("x", b.transport.address);
  assert.ok(wrong?.type === "refusal" && wrong.reason.includes("this is node b, not x"));
  // A member of another cluster says so in its own log only.
  const foreign = await ask("c", c.transport.address);
  assert.ok(foreign?.type === "refusal" && !foreign.reason.includes("c2"));
  await rig.until(() => hasLog(c, "c2"), "the reason in the log of the node that refuses");
  await closeOne(rig, b);
  assert.deepEqual(await ask("b", b.transport.address), { type: "silence" });
  assert.equal(a.host.adoptions + b.host.adoptions + c.host.adoptions, 0);
  assert.deepEqual([...a.host.events, ...b.host.events, ...c.host.events], []);
  await closeAll(rig, a, b, c);
}
