// The core by itself: three nodes in one process, driven by a loop that anyone could write.
//
// `RaftNode` does no I/O. It says what it wants done, as actions, and the loop below does it: on a disk
// that is an array, a network that is an array, and a clock that is a number. A real driver does the
// same with real parts (see packages/keelson/src/runtime).
//
//   node --conditions=source examples/core-loop.ts
import assert from "node:assert/strict";

import {
  RaftNode,
  type Action,
  type LogIndex,
  type LogPosition,
  type Message,
  type NodeId,
} from "keelson/core";

/** A clock that moves when the loop says so, in milliseconds. */
let now = 0;
const STEP_MS = 10;
const STEPS_MAX = 1000;

/** Any generator will do; this one makes every run the same. */
let seed = 1;
function random(): number {
  seed = (seed * 48_271) % 2_147_483_647;
  return seed / 2_147_483_647;
}

/** The core's messages contain positions only. The payloads travel with them, here and on a real network. */
interface MessageWithPayloads {
  readonly message: Message;
  readonly payloads: ReadonlyMap<string, string>;
}

interface Snapshot {
  readonly last: LogPosition;
  readonly state: readonly string[];
}

/** A node with its disk, network, timer and state machine. */
class Host {
  readonly node: RaftNode;
  /** The disk: term and vote, and the positions of the log with their payloads. */
  hardState = "nothing";
  stored: LogPosition[] = [];
  /**
   * The payloads, by position. By the Log Matching Property (§5.3), the entry with some index and term is the
   * same on every node.
   */
  readonly payloads = new Map<string, string>();
  /** The network: what has arrived, and whether anything can. */
  readonly inbox: MessageWithPayloads[] = [];
  online = true;
  /** The timer. */
  deadline: number | null = null;
  /** The state machine: a list of the applied payloads. */
  state: string[] = [];
  applied: LogIndex = 0;
  snapshot: Snapshot | null = null;

  constructor(id: NodeId) {
    this.node = RaftNode.start({ id, random });
  }
}

function nameOf({ index, term }: LogPosition): string {
  return `${index}@${term}`;
}

const hosts = new Map(["a", "b", "c"].map((id) => [id, new Host(id)]));

function hostOf(id: NodeId): Host {
  const host = hosts.get(id);
  assert(host !== undefined, `there is no node ${id}`);
  return host;
}

/** Delivers a message to another node, with its entries' payloads. */
function send(from: Host, to: NodeId, message: Message): void {
  const other = hostOf(to);
  if (!from.online || !other.online) return;
  const payloads = new Map<string, string>();
  if (message.type === "append-entries") {
    const { prev, lastIndex } = message.entries;
    for (let index = prev.index + 1; index <= lastIndex; index++) {
      const name = nameAt(from.node, index);
      payloads.set(name, from.payloads.get(name) ?? "");
    }
  }
  other.inbox.push({ message, payloads });
}

/** The name of the entry at an index of the node's log. */
function nameAt(node: RaftNode, index: LogIndex): string {
  const term = node.log.termAt(index);
  assert(term !== undefined, `${node.id} holds entry ${index}`);
  return nameOf({ index, term });
}

/** Carries out one action of the node. */
function execute(host: Host, action: Action): void {
  const { node } = host;
  switch (action.type) {
    case "set-timer":
      host.deadline = action.deadline;
      break;
    case "save-hard-state":
      host.hardState = `term ${action.term}, vote for ${action.votedFor ?? "nobody"}`;
      console.log(`${stamp(node)} saves ${host.hardState}`);
      break;
    case "append-entries":
      if (action.truncateFrom !== null) {
        const from = action.truncateFrom;
        host.stored = host.stored.filter(({ index }) => index < from);
      }
      for (let index = action.from; index < action.to; index++) {
        host.stored.push({ index, term: node.log.termAt(index) ?? 0 });
      }
      console.log(`${stamp(node)} appends ${action.from} to ${action.to - 1}`);
      break;
    case "send":
    case "send-after-persist": // This disk is an array: what was written above is durable already. Others wait.
      send(host, action.to, action.message);
      break;
    case "send-snapshot": {
      assert(host.snapshot !== null, "a log is compacted only after a snapshot was taken");
      const { last } = host.snapshot;
      const { config } = node.log.configAt(last.index);
      console.log(`${stamp(node)} offers ${action.to} a snapshot of 1 to ${last.index}`);
      send(host, action.to, {
        type: "install-snapshot",
        from: node.id,
        term: node.term,
        last,
        config,
        round: 0,
      });
      break;
    }
    case "install-snapshot": {
      const { from, last, config } = action.offer;
      const { snapshot } = hostOf(from);
      assert(snapshot !== null && snapshot.last.index === last.index, "the offer stands");
      host.state = [...snapshot.state];
      host.applied = last.index;
      host.stored = [];
      node.handleSnapshotInstalled(last, config, now);
      console.log(`${stamp(node)} installs the snapshot of 1 to ${last.index}`);
      break;
    }
    case "commit":
      console.log(`${stamp(node)} knows that 1 to ${action.position.index} are committed`);
      break;
    case "read":
      break; // This example asks for none: see `RaftNode.readIndex`.
  }
}

function stamp(node: RaftNode): string {
  return `${String(now).padStart(5)} ms  ${node.id} (${node.role}, term ${node.term})`;
}

/** Applies the entries that are committed and on this node's own disk. */
function apply(host: Host): void {
  const end = Math.min(host.node.commitIndex, host.node.durableIndex);
  while (host.applied < end) {
    host.applied++;
    const said = host.payloads.get(nameAt(host.node, host.applied)) ?? "";
    if (said !== "") host.state.push(said);
  }
}

/** One round of the loop: everyone's actions, timers and messages. */
function step(): void {
  for (const host of hosts.values()) {
    const { node } = host;
    const actions = node.takeActions();
    for (const action of actions) {
      execute(host, action);
    }
    node.handlePersisted(actions.persistId, now);
    apply(host);

    // If the timer has run out, say so.
    if (host.deadline !== null && now >= host.deadline) {
      node.handleTimeout(now);
    }

    // If messages have arrived, pass them to the node.
    for (const { message, payloads } of host.inbox.splice(0)) {
      for (const [name, said] of payloads) host.payloads.set(name, said);
      node.handleMessage(message, now);
    }
  }
  now += STEP_MS;
}

function stepUntil(what: string, done: () => boolean): void {
  for (let steps = 0; !done(); steps++) {
    assert(steps < STEPS_MAX, `it takes too long until ${what}`);
    step();
  }
}

/** Proposes a command. Its payload stays with the caller. */
function propose(host: Host, said: string): LogPosition {
  const position = host.node.proposeCommand(now);
  assert(position !== null, `${host.node.id} leads`);
  host.payloads.set(nameOf(position), said);
  return position;
}

// Start a node.
const a = hostOf("a");

// Create a cluster of three.
const created = a.node.createCluster(["a", "b", "c"], now);

// Execute the actions until the creation is complete.
while (a.node.commitStatus(created) === "in-progress") {
  assert(now < STEPS_MAX * STEP_MS, "the cluster is created in time");
  step();
}
assert.equal(a.node.commitStatus(created), "committed");

// Propose commands. The loop hasn't taken the actions yet, so these two become one write and one message.
stepUntil("somebody leads", () => [...hosts.values()].some(({ node }) => node.termStartCommitted));
const leader = [...hosts.values()].find(({ node }) => node.role === "leader") ?? a;
propose(leader, "hello");
const greeted = propose(leader, "world");

// Execute the actions as before.
stepUntil("the commands are committed", () => leader.node.commitStatus(greeted) === "committed");
stepUntil("all have applied them", () => [...hosts.values()].every(({ state }) => state.length === 2));

// Cut one node off, continue without it, and compact the part of the log that it lacks.
const absent = [...hosts.values()].find((host) => host !== leader) ?? a;
absent.online = false;
console.log(`${stamp(absent.node)} is cut off`);
const missed = propose(leader, "again");
stepUntil(
  "two are enough",
  () => leader.node.commitStatus(missed) === "committed" && leader.state.length === 3,
);
leader.snapshot = { last: missed, state: [...leader.state] };
leader.stored = leader.stored.filter(({ index }) => index > missed.index);
leader.node.handleCompacted(missed.index, now);

// Reconnect it. The leader's log no longer reaches back far enough, so the node gets the snapshot.
absent.online = true;
console.log(`${stamp(absent.node)} is back`);
propose(leader, "everyone");
stepUntil("all have applied everything", () => [...hosts.values()].every(({ state }) => state.length === 4));

for (const { node, state } of hosts.values()) {
  console.log(`${node.id} says: ${state.join(", ")}`);
  assert.deepEqual(state, ["hello", "world", "again", "everyone"]);
}
