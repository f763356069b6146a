// What a transport promises about messages: kinds, order, sizes, and limits.
import { strict as assert } from "node:assert";
import { messagesOfEachKind } from "./message-samples.ts";
import { append, closeAll, hasLog, pair, vote } from "./test-node.ts";
import type { TransportCase, TransportRig } from "./transport-rig.ts";

/** The delivery of messages. */
export const deliveryCases: readonly TransportCase[] = [
  { name: "carries each kind of message, and records as the same bytes", run: carriesEachKind },
  { name: "keeps the order on a healthy link, within a turn and across turns", run: keepsOrder },
  { name: "carries a record of 8 MiB, and a thousand records at once", run: carriesLargeEntries },
  { name: "gives the receiver records that the sender can't change", run: givesOwnBytes },
  { name: "drops messages to unknown peers and to itself", run: dropsUnknown },
  { name: "drops messages instead of queueing without limit", run: boundsQueue },
];

async function carriesEachKind(rig: TransportRig): Promise<void> {
  const [a, b] = await pair(rig);
  const messages = messagesOfEachKind("a");
  for (const transportMessage of messages) assert.equal(a.transport.send("b", transportMessage), true);
  await rig.until(() => b.host.received.length === messages.length, "every message");
  for (const [at, transportMessage] of messages.entries()) {
    const received = b.host.received[at];
    assert.deepEqual(received?.message, transportMessage.message);
    assert.deepEqual(
      received.records.map((record) => [...record]),
      transportMessage.records.map((record) => [...record]),
    );
  }
  await closeAll(rig, a, b);
}

async function keepsOrder(rig: TransportRig): Promise<void> {
  const [a, b] = await pair(rig);
  let sent = 0;
  for (let turn = 0; turn < 10; turn++) {
    for (let n = 0; n < 50; n++) assert.equal(a.send(b, vote("a", ++sent)), true);
    const expected = turn < 5 ? 0 : sent;
    await rig.until(() => b.host.received.length >= expected, "the messages so far");
  }
  await rig.until(() => b.host.received.length === sent, "all messages");
  assert.deepEqual(
    b.host.received.map(({ message }) => ("term" in message ? message.term : null)),
    Array.from({ length: sent }, (_, n) => n + 1),
  );
  await closeAll(rig, a, b);
}

async function carriesLargeEntries(rig: TransportRig): Promise<void> {
  const [a, b] = await pair(rig);
  const large = append("a", [new Uint8Array(8 * 1024 * 1024).fill(7)]);
  const many = append(
    "a",
    Array.from({ length: 1_000 }, (_, n) => new Uint8Array(100 + n).fill(n)),
  );
  assert.equal(a.transport.send("b", large), true);
  assert.equal(a.transport.send("b", many), true);
  await rig.until(() => b.host.received.length === 2, "both messages");
  for (const [at, { records }] of [large, many].entries()) {
    const received = b.host.received[at]?.records ?? [];
    assert.equal(received.length, records.length);
    assert.ok(records.every((record, n) => Buffer.compare(record, received[n] ?? new Uint8Array(0)) === 0));
  }
  await closeAll(rig, a, b);
}

async function givesOwnBytes(rig: TransportRig): Promise<void> {
  const [a, b] = await pair(rig);
  const transportMessage = append("a", [Uint8Array.of(1, 2, 3)]);
  const [record] = transportMessage.records;
  assert.ok(record !== undefined);
  const before = [...record];
  a.transport.send("b", transportMessage);
  await rig.until(() => b.host.received.length === 1, "the message");
  record.fill(0);
  for (let n = 0; n < 20; n++) a.send(b);
  await rig.until(() => b.host.received.length === 21, "more messages");
  assert.deepEqual([...(b.host.received[0]?.records[0] ?? [])], before);
  await closeAll(rig, a, b);
}

async function dropsUnknown(rig: TransportRig): Promise<void> {
  const [a, b] = await pair(rig);
  assert.equal(a.send("nobody"), false);
  a.knows(a, b);
  await rig.quiet();
  assert.equal(a.send(a), false);
  assert.equal(a.send(b), true);
  await rig.until(() => b.host.received.length === 1, "the message");
  assert.deepEqual(a.host.received, []);
  assert.ok(!hasLog(a, "itself"), "a node dials itself");
  await closeAll(rig, a, b);
}

async function boundsQueue(rig: TransportRig): Promise<void> {
  const [a, b] = await pair(rig);
  const transportMessage = append("a", [new Uint8Array(1024 * 1024)]);
  let taken = 0;
  let dropped = 0;
  // Nothing is sent within this turn, so a transport without a limit would queue all of them.
  for (let n = 0; n < 200; n++) {
    if (a.transport.send("b", transportMessage)) taken++;
    else dropped++;
  }
  assert.ok(taken >= 1, "one message is always let in");
  assert.ok(dropped > 0, "200 MiB were queued");
  await rig.until(() => b.host.received.length === taken, "what was taken");
  assert.equal(a.send(b), true);
  await closeAll(rig, a, b);
}
