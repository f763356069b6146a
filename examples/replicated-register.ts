// A register that three nodes keep, in one process: the smallest use of `Raft`.
//
// Each node has a state machine, a log and a transport. Here log and transport live in memory, so that
// this program needs nothing; take `wal("./data/a")` and `tcp({ listen: "127.0.0.1:7001" })` instead, and
// the same three nodes run on three machines.
//
//   node --conditions=source examples/replicated-register.ts
import assert from "node:assert/strict";

import { Raft, type StateMachine } from "keelson";
import { memoryLog } from "keelson/storage/memory";
import { memoryNetwork, memoryTransport } from "keelson/transport/memory";

/** The register's command: set it, if it still holds the value that the caller saw. */
interface CompareAndSet {
  readonly expected: number;
  readonly value: number;
}

interface Answer {
  readonly done: boolean;
  readonly value: number;
}

/** The state machine: all nodes apply the same commands in the same order, so all hold the same value. */
class Register implements StateMachine<CompareAndSet, Answer> {
  value = 0;

  /** The state is kept in memory, so it is empty now, and Keelson applies the log from the beginning. */
  open() {
    return { term: 0, index: 0 };
  }

  apply({ expected, value }: CompareAndSet): Answer {
    const done = this.value === expected;
    if (done) this.value = value;
    return { done, value: this.value };
  }
}

interface Member {
  readonly raft: Raft<CompareAndSet, Answer>;
  readonly register: Register;
}

const network = memoryNetwork();
const addresses = { a: "a:1", b: "b:1", c: "c:1" };

async function start(id: string, address: string): Promise<Member> {
  const register = new Register();
  const raft = await Raft.open({
    id,
    stateMachine: register,
    log: memoryLog(),
    transport: memoryTransport(network, address),
  });
  // Every node may do this, at the same time, as long as all name the same members.
  await raft.initialize(addresses);
  return { raft, register };
}

let members = await Promise.all(Object.entries(addresses).map(([id, address]) => start(id, address)));

/** Writes on any node: it passes the command on to the leader, and waits while there is none. */
async function write(command: CompareAndSet): Promise<Answer> {
  const [member] = members;
  assert(member !== undefined, "a node is left");
  return member.raft.write(command);
}

try {
  console.log("set 0 -> 7:", await write({ expected: 0, value: 7 }));
  console.log("set 0 -> 8:", await write({ expected: 0, value: 8 }), "(it is not 0 any more)");

  // A linearizable read, on every node: it sees all that was written before it began.
  for (const { raft, register } of members) {
    const value = await raft.read(() => register.value);
    console.log(`${raft.metrics().id} (${raft.metrics().role}) reads ${value}`);
    assert.equal(value, 7);
  }

  // When the leader is lost, the cluster elects another one and continues.
  const leader = members.find(({ raft }) => raft.metrics().role === "leader");
  assert(leader !== undefined, "somebody took the writes");
  console.log(`${leader.raft.metrics().id} led, and stops`);
  await leader.raft.close();
  members = members.filter((member) => member !== leader);

  const answer = await write({ expected: 7, value: 9 });
  console.log("set 7 -> 9:", answer);
  assert.deepEqual(answer, { done: true, value: 9 });
} finally {
  await Promise.all(members.map(({ raft }) => raft.close()));
}
