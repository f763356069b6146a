import { strict as assert } from "node:assert";
import { encodeMembership } from "../../codec/config.ts";
import { RUNTIME_PAYLOAD_BYTES_MAX, type RuntimeMessage } from "../../codec/frame-runtime-message.ts";
import { encodeRecord, EntryKind } from "../../codec/record.ts";
import type { AppendEntries, Message } from "../../core/message.ts";
import { INDEX_MAX, ROUND_MAX, TERM_MAX, type NodeId } from "../../core/position.ts";
import type { Environment } from "../../environment/environment.ts";
import type { TransportMessage, PeerInfo, Transport, TransportHost } from "../../transport/transport.ts";
import type { TestFramework } from "./log-store-suite.ts";

/** What a case needs of the transport that it checks. One rig serves one case. */
export interface TransportRig {
  environment(node: NodeId): Environment;
  /** A new transport for this node. When a node gets a second one, it has the address of the first. */
  transport(node: NodeId): Transport;
  /** Lets time pass until the condition holds; throws after some seconds. */
  until(condition: () => boolean, what: string): Promise<void>;
  /** Lets enough time pass for whatever is on its way to arrive. */
  quiet(): Promise<void>;
  /** Throws if anything is left open after every transport was closed. */
  assertNothingLeft(): void;
}

/** One promise that a transport keeps; `run` throws if it does not. */
export interface TransportCase {
  readonly name: string;
  readonly run: (rig: TransportRig) => Promise<void>;
}

/**
 * Checks that a `Transport` keeps its promises on a network that is well, and towards strangers.
 *
 * @example
 * describeTransport("my transport", () => myRig(), { describe, it });
 */
export function describeTransport(
  name: string,
  makeRig: () => TransportRig,
  { describe, it }: TestFramework,
): void {
  describe(`${name}, as a Transport,`, () => {
    for (const { name: sentence, run } of transportCases) it(sentence, () => run(makeRig()));
  });
}

/** What every transport must do, as named cases. */
export const transportCases: readonly TransportCase[] = [
  { name: "carries each kind of message, and records as the same bytes", run: carriesEachKind },
  { name: "keeps the order on a healthy link, within a turn and across turns", run: keepsOrder },
  { name: "carries a record of 8 MiB, and a thousand records at once", run: carriesLargeEntries },
  { name: "gives the receiver bytes of its own", run: givesOwnBytes },
  { name: "introduces both sides before anything is received", run: introduces },
  {
    name: "W1, M16: refuses a node of another cluster before anything is received",
    run: refusesForeignCluster,
  },
  { name: "refuses a peer that its host will not talk to, whoever calls", run: refusesUnwelcome },
  { name: "W1: delivers nothing to a node that was reached by another's name", run: refusesWrongAddressee },
  { name: "lets a node without a cluster join before it receives", run: adoptsFirst },
  { name: "delivers nothing to a node that will not join", run: adoptionRefused },
  { name: "sends nothing for a node without a cluster", run: silentWithoutCluster },
  { name: "drops what is for a peer that it does not know, or for itself", run: dropsUnknown },
  { name: "drops rather than queue without end", run: boundsQueue },
  { name: "finds a peer again that was restarted, and tells that it is another", run: reconnects },
  { name: "follows a change of peers", run: followsPeers },
  { name: "follows a peer to another address", run: followsAddress },
  { name: "reaches a peer at whichever of its addresses it is", run: looksEverywhere },
  { name: "delivers nothing after close, and leaves nothing open", run: closes },
  { name: "closes before it was started, while it starts, and twice", run: closesEarly },
];

/** A node that notes all that a transport tells it. */
export class TestHost implements TransportHost {
  readonly environment: Environment;
  readonly self: PeerInfo;
  readonly received: TransportMessage[] = [];
  readonly peers: PeerInfo[] = [];
  readonly logs: string[] = [];
  /** Everything in the order in which it came. */
  readonly events: string[] = [];
  cluster: string | null;
  /** What joining waits for; it rejects if this does. */
  adoption: Promise<void> = Promise.resolve();
  adoptions = 0;

  constructor(id: NodeId, environment: Environment, cluster: string | null = "c1", storeId = `store-${id}`) {
    this.environment = environment;
    this.cluster = cluster;
    this.self = { id, storeId, data: `data of ${id}: é`, priority: 7 };
  }

  clusterId(): string | null {
    return this.cluster;
  }

  async adoptClusterId(clusterId: string): Promise<void> {
    this.adoptions++;
    await this.adoption;
    this.events.push("adopted");
    this.cluster = clusterId;
  }

  /** Whom this node will not talk to. */
  unwelcome: NodeId | null = null;

  refusalOf({ id }: PeerInfo, _isVouchedFor: boolean): string | null {
    return id === this.unwelcome ? `${id} is not welcome` : null;
  }

  onPeer(peer: PeerInfo): void {
    this.events.push(`met ${peer.id}`);
    this.peers.push(peer);
  }

  receive(transportMessage: TransportMessage): void {
    this.events.push(`received from ${transportMessage.message.from}`);
    this.received.push(transportMessage);
  }

  log(level: "info" | "warn", text: string): void {
    this.logs.push(`${level}: ${text}`);
  }
}

/** A node of a case: its transport and what that told it. */
export class TestNode {
  readonly host: TestHost;
  readonly transport: Transport;

  constructor(host: TestHost, transport: Transport) {
    this.host = host;
    this.transport = transport;
  }

  static async start(
    rig: TransportRig,
    id: NodeId,
    cluster: string | null = "c1",
    storeId?: string,
  ): Promise<TestNode> {
    const host = new TestHost(id, rig.environment(id), cluster, storeId);
    const node = new TestNode(host, rig.transport(id));
    await node.transport.start(host);
    return node;
  }

  get id(): NodeId {
    return this.host.self.id;
  }

  knows(...peers: TestNode[]): void {
    this.transport.setPeers(new Map(peers.map((peer) => [peer.id, [peer.transport.address]])));
  }

  send(
    to: TestNode | NodeId,
    message: Message = vote(this.id),
    records: readonly Uint8Array[] = [],
  ): boolean {
    return this.transport.send(typeof to === "string" ? to : to.id, { message, records });
  }

  /** Sends until something gets through, then forgets about it. */
  async reaches(rig: TransportRig, to: TestNode): Promise<void> {
    await rig.until(() => this.send(to), `a way from ${this.id} to ${to.id}`);
    await rig.until(() => to.host.received.length > 0, `the first message from ${this.id} to ${to.id}`);
    await rig.quiet();
    to.host.received.length = 0;
  }
}

/** The smallest message there is; `term` tells one from another. */
export function vote(from: NodeId, term = 1): Message {
  return { type: "request-vote-reply", from, term, granted: false };
}

/** AppendEntries of one entry after another, each with this payload. */
export function append(
  from: NodeId,
  payloads: readonly Uint8Array[],
): { message: AppendEntries; records: Uint8Array[] } {
  const records = payloads.map((payload, at) => encodeRecord(at + 1, 1, EntryKind.command, payload));
  const entries = {
    prev: { term: 0, index: 0 },
    lastIndex: records.length,
    terms: records.length === 0 ? [] : [{ index: 1, term: 1 }],
    configs: [],
  };
  return { message: { type: "append-entries", from, term: 1, entries, commit: 0, round: 0 }, records };
}

async function pair(rig: TransportRig): Promise<[TestNode, TestNode]> {
  const a = await TestNode.start(rig, "a");
  const b = await TestNode.start(rig, "b");
  a.knows(b);
  b.knows(a);
  await a.reaches(rig, b);
  await b.reaches(rig, a);
  return [a, b];
}

async function closeAll(rig: TransportRig, ...nodes: TestNode[]): Promise<void> {
  let open = nodes.length;
  for (const node of nodes) void node.transport.close().then(() => open--);
  await rig.until(() => open === 0, "the end of every node");
  rig.assertNothingLeft();
}

async function closeOne(rig: TransportRig, node: TestNode): Promise<void> {
  let closed = false;
  void node.transport.close().then(() => (closed = true));
  await rig.until(() => closed, `the end of ${node.id}`);
}

async function carriesEachKind(rig: TransportRig): Promise<void> {
  const [a, b] = await pair(rig);
  const messages = everyKind("a");
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

/** One of each, with numbers at their limits. */
function everyKind(from: NodeId): TransportMessage[] {
  const large = Number.MAX_SAFE_INTEGER;
  const term = TERM_MAX;
  const index = INDEX_MAX;
  const round = ROUND_MAX;
  const last = { term: term - 1, index };
  const config = { voters: ["a", "b"], outgoingVoters: ["c"], learners: ["d"] };
  const members = new Map(["a", "b", "c", "d"].map((id) => [id, { address: `${id}:1` }]));
  const records = [
    encodeRecord(6, 2, EntryKind.blank, new Uint8Array(0)),
    encodeRecord(7, 3, EntryKind.config, encodeMembership({ config, members })),
    encodeRecord(8, 3, EntryKind.command, Uint8Array.of(0, 255, 1)),
  ];
  const terms = [
    { index: 6, term: 2 },
    { index: 7, term: 3 },
  ];
  const entries = { prev: { term: 2, index: 5 }, lastIndex: 8, terms, configs: [{ index: 7, config }] };
  const empty = { prev: last, lastIndex: last.index, terms: [], configs: [] };
  const plain: Message[] = [
    { type: "pre-vote", from, term, last },
    { type: "pre-vote-reply", from, term: 1, granted: true, requestTerm: term },
    { type: "request-vote", from, term: 1, last, transfer: true },
    { type: "request-vote-reply", from, term: 1, granted: true },
    { type: "append-entries", from, term, entries: empty, commit: index, round },
    { type: "append-entries-reply", from, term: 1, round, outcome: { accepted: true, match: index } },
    {
      type: "append-entries-reply",
      from,
      term: 1,
      round: 0,
      outcome: { accepted: false, refused: index, hint: last },
    },
    { type: "install-snapshot", from, term: 1, last, config, round: 0 },
    { type: "read-index", from, term: 1, id: round },
    { type: "read-index-reply", from, term: 1, id: 0, index: null },
    { type: "read-index-reply", from, term: 1, id: 0, index },
  ];
  const service: RuntimeMessage[] = [
    { type: "snapshot-request", from, id: null, index, offset: 0, bytes: RUNTIME_PAYLOAD_BYTES_MAX },
    { type: "snapshot-request", from, id: "s", index: 0, offset: large, bytes: 0 },
    { type: "snapshot-chunk", from, id: "s", size: large, offset: 7, payload: Uint8Array.of(0, 255, 1) },
    { type: "snapshot-chunk", from, id: "s", size: 0, offset: 0, payload: new Uint8Array(0) },
    { type: "snapshot-gone", from, id: "s" },
    { type: "snapshot-gone", from, id: null },
    { type: "snapshot-end", from, id: "s", intact: false },
    ...forwarded(from, large),
  ];
  return [
    ...[...plain, ...service].map((message) => ({ message, records: [] })),
    { message: { type: "append-entries", from, term: 4, entries, commit: 5, round: 6 }, records },
  ];
}

/** What nodes ask of the leader for their callers, and what they are told. */
function forwarded(from: string, large: number): RuntimeMessage[] {
  const request = {
    type: "forward-request",
    from,
    incarnation: large,
    id: 1,
    term: TERM_MAX,
    waitMs: 7,
  } as const;
  const reply = { type: "forward-reply", from, incarnation: large, id: 1 } as const;
  const payload = Uint8Array.of(0, 255, 1);
  const session = { id: large, sequence: 9, lowestUnanswered: 8 };
  const nothing = new Uint8Array(0);
  return [
    { type: "entries-lost", from, term: 7, acknowledged: { term: 3, index: 9 } },
    { ...request, call: { type: "write" }, payload },
    { ...request, call: { type: "session-write", session }, payload },
    { ...request, call: { type: "open-session", ttlMs: 1 }, payload: nothing },
    { ...request, call: { type: "close-session", id: 1 }, payload: nothing },
    { ...reply, answer: { type: "done", index: INDEX_MAX }, payload },
    ...(["done", "not-done", "unknown"] as const).map((outcome) => ({
      ...{ ...reply, answer: { type: "error" as const, code: "CODE", outcome }, payload },
    })),
  ];
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

async function introduces(rig: TransportRig): Promise<void> {
  const a = await TestNode.start(rig, "a");
  const b = await TestNode.start(rig, "b");
  // Only one of them dials, and yet each learns who the other is.
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
  // A reason is told once, not at each attempt; each has two: as caller, and as called.
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
  await closeAll(rig, a, b);
}

function hasLog(node: TestNode, text: string): boolean {
  return node.host.logs.some((line) => line.includes(text));
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
  // Having joined, it may speak as well.
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
  // In one turn nothing can leave, so a transport without a limit would take them all.
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
  // It is still heard: whom to talk to is each side's own business.
  await b.reaches(rig, a);
  a.knows(b, c);
  await a.reaches(rig, b);
  assert.equal(a.send(c), true);
  await closeAll(rig, a, b, c);
}

async function followsAddress(rig: TransportRig): Promise<void> {
  const [a, b] = await pair(rig);
  await closeOne(rig, b);
  // The node b moves to where another rig's node would listen.
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
  // It may be elsewhere soon; as long as it is not, it goes on being reached.
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
