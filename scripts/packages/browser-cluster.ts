/**
 * Three nodes in one page: the program that `npm run packages` bundles for a browser and runs without Node's
 * globals. They elect a leader, write, read and take snapshots; then one begins anew and is sent a snapshot.
 */
import { Raft, type Environment } from "keelson";
import { webEnvironment } from "keelson/environment/web";
import { memoryLog } from "keelson/storage/memory";
import { memorySnapshots } from "keelson/storage/snapshots";
import { memoryNetwork, memoryTransport } from "keelson/transport/memory";

const WRITES = 200;
const network = memoryNetwork();

/** A node with parts in memory: nothing of it needs Node. It adds up the commands. */
class Adder {
  readonly raft: Raft<number, number>;
  readonly #state: { sum: number };

  private constructor(raft: Raft<number, number>, state: { sum: number }) {
    this.raft = raft;
    this.#state = state;
  }

  /** `isFirst`: it is one of the nodes that the cluster begins with. */
  static async open(
    id: string,
    environment: Environment | undefined,
    first: Readonly<Record<string, string>> | undefined,
  ): Promise<Adder> {
    const state = { sum: 0 };
    const raft = await Raft.open<number, number>({
      id,
      members: first,
      environment,
      log: memoryLog(),
      transport: memoryTransport(network, `${id}:1`),
      snapshots: { store: memorySnapshots(), everyEntries: 50, keepEntries: 5 },
      stateMachine: {
        apply: (command) => (state.sum += command),
        async *snapshot() {
          yield new TextEncoder().encode(String(state.sum));
        },
        async restore(pieces) {
          let text = "";
          for await (const piece of pieces) text += new TextDecoder().decode(piece);
          state.sum = Number(text);
        },
      },
    });
    return new Adder(raft, state);
  }

  read(): Promise<number> {
    return this.raft.read(() => this.#state.sum);
  }
}

function check(condition: boolean, what: string): void {
  if (!condition) throw new Error(`in the browser, it doesn't hold that ${what}`);
}

const environment = webEnvironment();
const first = { a: "a:1", b: "b:1", c: "c:1" };
const nodes = await Promise.all(Object.keys(first).map((id) => Adder.open(id, environment, first)));
for (let n = 0; n < WRITES; n++) await nodes[n % nodes.length]?.raft.write(1);
for (const node of nodes) check((await node.read()) === WRITES, "each node reads all writes");
check(nodes.filter(({ raft }) => raft.metrics().role === "leader").length === 1, "one node leads");

const late = await Adder.open("d", environment, undefined);
await nodes[0]?.raft.addLearner("d", "d:1");
check((await late.read()) === WRITES, "a node that joins later is sent a snapshot and reads all writes");
check((late.raft.metrics().snapshots?.installed ?? 0) > 0, "it got there by a snapshot");
for (const { raft } of [late, ...nodes]) await raft.close();

const refusal = await Adder.open("a", undefined, first).then(
  () => "none",
  (error: unknown) => (error instanceof Error ? error.message : "something else"),
);
check(refusal.includes("webEnvironment()"), `a missing environment is explained: ${refusal}`);
console.log(`three nodes elected a leader, wrote and read ${WRITES} times, and sent a snapshot to a fourth`);
