/** Strangers on the ports for other nodes of a real cluster. */
import { createConnection, type Socket } from "node:net";
import { encodeControlMessage } from "keelson/codec";
import { expect, it, onTestFinished } from "vitest";
import { KvClient } from "../src/index.ts";
import { Cluster } from "./support/cluster.ts";
import { pause } from "./support/process.ts";

/**
 * How long a cluster may take from the start of its processes to a leader. Without strangers it takes about 2
 * s.
 */
const LEADER_MS_MAX = 12_000;
/** Connections of strangers to each node: more than it takes at once. */
const CONNECTIONS = 120;

/** What a stranger sends, and then keeps its connection for as long as it is let. */
function openings(clusterId: string, to: string): readonly (Buffer | Uint8Array)[] {
  const from = { id: "stranger", storeId: "s", info: "", address: "127.0.0.1:1", priority: 0 };
  const hello = { type: "hello", versionMin: 1, versionMax: 1, clusterId, from, to } as const;
  const valid = encodeControlMessage(hello);
  const huge = Buffer.from(valid);
  huge.writeUInt32LE(30 * 1024 * 1024, 8);
  return [
    // Silence; half of a handshake; one that announces 30 MiB.
    Buffer.alloc(0),
    valid.subarray(0, valid.length - 1),
    huge,
    // A handshake by a node that was never a member; by one of another cluster; to another node.
    valid,
    encodeControlMessage({ ...hello, clusterId: "another" }),
    encodeControlMessage({ ...hello, to: "n9" }),
    Buffer.from("GET / HTTP/1.1\r\n\r\n"),
  ];
}

/**
 * Connects to a node again and again, so that there are always so many connections; until the test has ended.
 */
function besiege(address: string, what: readonly (Buffer | Uint8Array)[]): () => number {
  const [host = "", port] = address.split(":");
  const sockets = new Set<Socket>();
  let isOver = false;
  let opened = 0;
  const open = (at: number): void => {
    if (isOver) return;
    const socket = createConnection({ host, port: Number(port) });
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("connect", () => {
      opened += 1;
      const bytes = what[at % what.length];
      if (bytes !== undefined && bytes.length > 0) socket.write(bytes);
      // Some read nothing that the node says, and so don't notice that it has closed the connection.
      if (at % 2 === 0) socket.resume();
      else setTimeout(() => void socket.destroy(), 1000);
    });
    socket.on("close", () => {
      sockets.delete(socket);
      setTimeout(open, 50, at + 1);
    });
  };
  for (let at = 0; at < CONNECTIONS; at++) open(at);
  onTestFinished(() => {
    isOver = true;
    for (const socket of sockets) socket.destroy();
  });
  return () => opened;
}

it("a cluster that restarts among strangers who hold connections to it has a leader soon (Z17, Z18)", async () => {
  await using cluster = await Cluster.create();
  await cluster.startAll();
  const client = new KvClient({ nodes: cluster.httpAddresses });
  await client.put("ship", "Argo");
  const { term } = await cluster.leader(3);
  const answer = await fetch(`http://${cluster.node("n1").http}/members`);
  const { clusterId } = (await answer.json()) as { clusterId: string };
  const counts = cluster.nodes.map(({ id, raft }) => besiege(raft, openings(clusterId, id)));
  await pause(2000);
  // The running cluster keeps its leader.
  expect((await cluster.leader(3)).term).toBe(term);
  await client.put("ship", "Argo II");
  for (const { id } of cluster.nodes) await cluster.kill(id);
  const startedAt = performance.now();
  for (const { id } of cluster.nodes) cluster.start(id);
  await cluster.leader(3);
  expect(performance.now() - startedAt).toBeLessThan(LEADER_MS_MAX);
  expect(Buffer.from((await client.get("ship"))?.value ?? []).toString()).toBe("Argo II");
  for (const opened of counts) expect(opened()).toBeGreaterThan(CONNECTIONS);
});
