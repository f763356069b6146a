import { nodeEnvironment } from "keelson";
import { snapshotFiles, type SnapshotStore } from "keelson/storage/snapshots";
import { encodeMembership } from "keelson/codec";
import { expect, it, onTestFinished } from "vitest";
import { HttpServer } from "./http-server.ts";
import { ANY_PORT, fakeServing } from "../test/serving.ts";
import { temporaryDirectory } from "../test/temporary.ts";
import { errorOf } from "../test/started-http.ts";

/** More bytes than the sockets buffer, so that the sender must wait for a client that doesn't read. */
const STATE_BYTES = 24 * 1024 * 1024;

async function storeWithSnapshot(): Promise<SnapshotStore> {
  const store = snapshotFiles(temporaryDirectory());
  onTestFinished(() => store.close());
  await store.open(nodeEnvironment());
  const membership = encodeMembership({
    config: { voters: ["n1"], outgoingVoters: [], learners: [] },
    members: new Map([["n1", { address: "h:1" }]]),
  });
  const header = { clusterId: "c", position: { index: 7, term: 2 }, membership };
  const draft = await store.create(header, []);
  await draft.write(new Uint8Array(STATE_BYTES));
  await draft.finish();
  return store;
}

it("a backup holds every write answered before it, few run at once, and one ends when its client disconnects", async () => {
  const serving = await fakeServing();
  const snapshots = await storeWithSnapshot();
  const server = await HttpServer.listen(ANY_PORT);
  onTestFinished(() => server.close());
  server.serve({ ...serving, snapshots });
  const url = `http://${server.address}/snapshot`;

  const whole = await fetch(url);
  expect([whole.status, whole.headers.get("keelson-snapshot"), whole.headers.get("content-length")]).toEqual([
    200,
    "index=7, term=2",
    String(snapshots.newest?.bytes),
  ]);
  expect((await whole.arrayBuffer()).byteLength).toBe(snapshots.newest?.bytes);
  expect([serving.node.consistency, serving.node.changes]).toEqual([undefined, [{ snapshot: true }]]);
  expect((await fetch(url, { method: "HEAD" })).status).toBe(405);
  expect((await fetch(`${url}?fast=1`)).status).toBe(400);

  const leaving = new AbortController();
  const held = await Promise.all([1, 2, 3, 4].map(() => fetch(url, { signal: leaving.signal })));
  expect(held.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
  const fifth = await fetch(url);
  expect([fifth.status, (await errorOf(fifth)).code]).toEqual([429, "OVERLOADED"]);
  leaving.abort();
  await expect.poll(async () => (await fetch(url, { signal: AbortSignal.timeout(5000) })).status).toBe(200);
});

it("a node without snapshots answers a backup request with 404", async () => {
  const server = await HttpServer.listen(ANY_PORT);
  onTestFinished(() => server.close());
  server.serve(await fakeServing());
  expect((await fetch(`http://${server.address}/snapshot`)).status).toBe(404);
});
