// A cluster that grows while it works: from one node to three, the first one replaced, and its log kept
// short by snapshots. A client counts in a session, so that no step is counted twice.
//
//   node --conditions=source examples/growing-cluster.ts
import assert from "node:assert/strict";

import { Raft, type StateMachine } from "keelson";
import { memoryLog } from "keelson/storage/memory";
import { memorySnapshots } from "keelson/storage/snapshots";
import { memoryNetwork, memoryTransport } from "keelson/transport/memory";

/** A counter whose state can be encoded, which snapshots need. */
class Counter implements StateMachine<number, number> {
  total = 0;

  open() {
    return { term: 0, index: 0 };
  }

  apply(step: number): number {
    this.total += step;
    return this.total;
  }

  /** The state at this moment. Writes continue while the bytes are read. */
  snapshot(): AsyncIterable<Uint8Array> {
    const bytes = new TextEncoder().encode(String(this.total));
    return (async function* () {
      yield await Promise.resolve(bytes);
    })();
  }

  async restore(state: AsyncIterable<Uint8Array>): Promise<void> {
    let text = "";
    for await (const bytes of state) text += new TextDecoder().decode(bytes);
    this.total = Number(text);
  }
}

const network = memoryNetwork();

async function open(id: string): Promise<{ raft: Raft<number, number>; counter: Counter }> {
  const counter = new Counter();
  const raft = await Raft.open({
    id,
    stateMachine: counter,
    log: memoryLog(),
    transport: memoryTransport(network, `${id}:1`),
    snapshots: { store: memorySnapshots(), keepEntries: 1 },
  });
  return { raft, counter };
}

const a = await open("a");
await a.raft.initialize({ a: "a:1" });

{
  await using session = await a.raft.openSession();
  for (let step = 1; step <= 100; step++) await session.write(step);
}
await a.raft.snapshot();
assert.ok(a.raft.metrics().firstIndex > 90, "what the snapshot covers is forgotten");

// New nodes are opened empty. They are learners until they have caught up, here from the snapshot, and voters
// then.
const b = await open("b");
const c = await open("c");
await a.raft.changeMembership({ add: { b: "b:1", c: "c:1" } });
console.log("three voters:", a.raft.metrics().config.voters.join(", "));

// Remove the first node, which transfers leadership first. The leader can remove any member in this way.
const leader = await a.raft.transferLeadership();
const next = leader === "b" ? b : c;
await next.raft.changeMembership({ remove: ["a"] });
await a.raft.close();

assert.equal(await next.raft.write(1), 5051);
const other = next === b ? c : b;
assert.equal(await other.raft.read(() => other.counter.total), 5051);
console.log("the count went on without the first node:", next.counter.total);
await Promise.all([b.raft.close(), c.raft.close()]);
