import { expect, it, onTestFinished } from "vitest";
import { Cluster } from "./support/cluster.ts";
import { Load } from "./support/load.ts";
import { pause, until } from "./support/process.ts";
import { ProxyNetwork } from "./support/proxy.ts";

const PAUSE_MS = 10_000;
const CUT_MS = 2500;
const GAP_MS_MAX = 2000;

it("writes continue while a follower, then the leader, is paused, and the paused node catches up", async () => {
  await using cluster = await Cluster.create();
  const leader = await cluster.startAll();
  const load = new Load(cluster.httpAddresses);
  await until("the load runs", () => load.writes > 100);
  const follower = cluster.nodes.find(({ id }) => id !== leader.id)!.id;
  load.takeLongestGapMs();
  await cluster.kill(follower, "SIGSTOP");
  const { writes } = load;
  await pause(PAUSE_MS);
  expect(load.writes).toBeGreaterThan(writes + 100);
  expect(load.takeLongestGapMs()).toBeLessThan(GAP_MS_MAX);
  await cluster.kill(follower, "SIGCONT");
  await cluster.caughtUp(follower);
  // A paused leader doesn't know about the pause. When it continues, it must not serve reads as the leader.
  const { id, term } = await cluster.leader();
  await cluster.kill(id, "SIGSTOP");
  const before = load.writes;
  await until("writes go on without it", () => load.writes > before + 20);
  await cluster.kill(id, "SIGCONT");
  await cluster.caughtUp(id);
  expect((await cluster.leader(3)).term).toBeGreaterThan(term);
  await load.stop();
  await load.check();
  expect(load.violations).toEqual([]);
});

it("writes continue while a follower, then the leader, is cut off, and that node catches up", async () => {
  const network = new ProxyNetwork();
  onTestFinished(() => {
    network.close();
  });
  await using cluster = await Cluster.create({ network });
  const leader = await cluster.startAll();
  const load = new Load(cluster.httpAddresses);
  await until("the load runs", () => load.writes > 100);
  const follower = cluster.nodes.find(({ id }) => id !== leader.id)!.id;
  load.takeLongestGapMs();
  network.cut(follower);
  const { writes } = load;
  await pause(CUT_MS);
  await until("writes go on without it", () => load.writes > writes + 100);
  expect((await cluster.status(follower))?.leader).toBeNull();
  expect(load.takeLongestGapMs()).toBeLessThan(GAP_MS_MAX);
  network.mend();
  await cluster.caughtUp(follower);
  // Pre-vote: the isolated follower raised no term, so its return deposes no leader.
  const { id, term } = await cluster.leader(3);
  expect([id, term]).toEqual([leader.id, leader.term]);
  network.cut(id);
  const before = load.writes;
  await until("writes go on without it", () => load.writes > before + 20);
  // Check-quorum: the isolated leader steps down.
  await until(`${id} gives up`, async () => (await cluster.status(id))?.role !== "leader");
  network.mend();
  await cluster.caughtUp(id);
  await load.stop();
  await load.check();
  expect(load.violations).toEqual([]);
});
