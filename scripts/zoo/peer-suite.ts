// Attackers on the connections between nodes that have certificates or a secret: one that plays a recorded
// connection back, one that repeats what it passes on, and one with another node's certificate. The
// simulator's nodes have neither. The zoo uses the cases: each rejects if the attacker is listened to (Z17).
import type { Certificate, Connection, Network } from "../../packages/keelson/src/environment/environment.ts";
import {
  type SimulatedWorld,
  simulatedWorld,
} from "../../packages/keelson/src/environment/simulated/simulated-environment.ts";
import { TestHost, TestNode } from "../../packages/keelson/src/testing/suites/transport/test-node.ts";
import { tcp } from "../../packages/keelson/src/transport/tcp/index.ts";

const SECRET = "a secret of the zoo's suite".replaceAll(" ", "-").padEnd(40, ".");

function promise(isKept: boolean, text: string): void {
  if (!isKept) throw new Error(text);
}

/** The end of a connection that an attacker holds. */
function taken(connection: Connection, onData: (bytes: Uint8Array) => void): Connection {
  connection.handler = { onData, onClose: () => undefined };
  return connection;
}

/**
 * Starts nodes a and b, whose messages to b an attacker passes on. `pass` gets each piece of them, and the
 * connection to b; it has to write it.
 */
async function passedOn(
  world: SimulatedWorld,
  pass: (bytes: Uint8Array, to: Connection) => void,
): Promise<[TestNode, TestNode]> {
  const attacker = world.network.host("attacker");
  await attacker.listen("attacker:7000", (connection) => {
    const to = taken(attacker.connect("b:7000"), (bytes) => {
      from.write(bytes.slice());
    });
    const from = taken(connection, (bytes) => {
      pass(bytes.slice(), to);
    });
  });
  const [a, b] = ["a", "b"].map(
    (id) =>
      new TestNode(new TestHost(id, world.environment(id)), tcp({ listen: `${id}:7000`, secret: SECRET })),
  ) as [TestNode, TestNode];
  await Promise.all([a, b].map(({ transport, host }) => transport.start(host)));
  a.transport.setPeers(new Map([["b", ["attacker:7000"]]]));
  await world.clock.advance(500);
  return [a, b];
}

async function closed(world: SimulatedWorld, ...nodes: TestNode[]): Promise<void> {
  const all = Promise.all(nodes.map(({ transport }) => transport.close()));
  await world.clock.advance(10_000);
  await all;
}

/** What the zoo's "peer suite" runs. */
export const PEER_CASES: readonly { readonly name: string; readonly run: () => Promise<void> }[] = [
  {
    name: "a recorded connection of a member can't be played back",
    run: async () => {
      const world = simulatedWorld({ seed: 1 });
      const pieces: Uint8Array[] = [];
      const [a, b] = await passedOn(world, (bytes, to) => {
        pieces.push(bytes);
        to.write(bytes);
      });
      a.send(b);
      await world.clock.advance(100);
      promise(b.host.received.length === 1, "no message arrived: the case tests nothing");
      const known = b.host.events.length;
      await closed(world, a);
      const replay = taken(world.network.host("attacker").connect("b:7000"), () => undefined);
      for (const piece of pieces) {
        replay.write(piece);
        await world.clock.advance(20);
      }
      promise(b.host.events.length === known, "a recorded connection was listened to");
      await closed(world, b);
    },
  },
  {
    name: "what a member sent once doesn't arrive twice",
    run: async () => {
      const world = simulatedWorld({ seed: 2 });
      let isOpen = false;
      const [a, b] = await passedOn(world, (bytes, to) => {
        to.write(bytes);
        if (isOpen) to.write(bytes.slice());
      });
      isOpen = true;
      a.send(b);
      await world.clock.advance(100);
      promise(b.host.received.length === 1, `a message arrived ${b.host.received.length} times`);
      await closed(world, a, b);
    },
  },
  {
    name: "a node can't speak under an id that isn't in its certificate",
    run: async () => {
      const world = simulatedWorld({ seed: 3 });
      const start = async (id: string, at: string, identify?: () => string[]): Promise<TestNode> => {
        const environment = { ...world.environment(at), network: certified(world.network.host(at), at) };
        const transport = tcp({
          listen: `${at}:7000`,
          tls: { key: "-", cert: "-", ca: "-", identify },
        });
        const node = new TestNode(new TestHost(id, environment), transport);
        await node.transport.start(node.host);
        return node;
      };
      const b = await start("b", "b");
      // The attacker, on c's machine and with c's certificate, checks nobody, itself included.
      const attacker = await start("a", "c", () => ["a", "b"]);
      attacker.knows(b);
      await world.clock.advance(500);
      const { logs, peers } = b.host;
      promise(logs.length + peers.length > 0, "the attacker didn't connect: the case tests nothing");
      promise(peers.length === 0, "a node with the certificate of c was taken for a");
      await closed(world, attacker, b);
    },
  },
];

/**
 * The simulated network of a machine as if it did TLS: each connection has the other machine's certificate.
 */
function certified(network: Network, own: string): Network {
  const certificateOf = (id: string): Certificate => ({
    subject: `CN=${id}`,
    alternativeNames: [{ type: "URI", value: `keelson:${id}` }],
    fingerprint256: "",
    ...{ validFromMs: 0, validToMs: Number.MAX_SAFE_INTEGER, validTo: "later" },
  });
  const shown = (connection: Connection): Connection =>
    Object.assign(connection, { certificate: certificateOf(connection.peer.replace(/:.*/, "")) });
  return {
    ...network,
    withTls: () => ({
      certificate: certificateOf(own),
      setCredentials: () => undefined,
      connect: (address) => shown(network.connect(address)),
      listen: (address, accept) => network.listen(address, (connection) => accept(shown(connection))),
    }),
  };
}
