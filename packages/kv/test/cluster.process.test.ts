import { expect, it } from "vitest";
import { LineClient } from "../src/test/line-client.ts";
import { Cluster } from "./support/cluster.ts";
import { Load } from "./support/load.ts";
import { pause, until } from "./support/process.ts";

const KILLS = 20;
/** The longest time without a successful write after a kill: an election, and finding the new leader. */
const GAP_MS_MAX = 2000;

it("three nodes serve the line protocol as one store, and a follower names the leader", async () => {
  await using cluster = await Cluster.create();
  const leader = await cluster.startAll();
  const others = cluster.nodes.filter(({ id }) => id !== leader.id);
  const [first, second, third] = await Promise.all(
    [cluster.node(leader.id), ...others].map(({ line }) => LineClient.connect(line)),
  );
  expect(await first!.ask("put 1 bar")).toBe("Ok: Appended at 0");
  expect(await second!.ask("get 1")).toBe("Ok: bar");
  expect(await first!.ask("put 2 foo")).toBe("Ok: Appended at 1");
  expect(await first!.ask("del 1")).toBe("Ok: Appended at 2");
  expect(await third!.ask("get 1")).toBe("Error: value does not exist");
  expect(await third!.ask("get 2")).toBe("Ok: foo");
  const there = `Error: Leader is ${cluster.node(leader.id).line}`;
  expect(await second!.ask("put 3 baz")).toBe(there);
  expect(await third!.ask("del 2")).toBe(there);
  for (const client of [first, second, third]) client!.close();
});

it(`under load, ${KILLS} leaders are killed one after another, and no acknowledged write is lost`, async () => {
  await using cluster = await Cluster.create();
  await cluster.startAll();
  const load = new Load(cluster.httpAddresses);
  const gaps: number[] = [];
  for (let kill = 0; kill < KILLS; kill++) {
    const { id } = await cluster.leader();
    const { writes } = load;
    await until("the load runs", () => load.writes > writes + 20);
    load.takeLongestGapMs();
    await cluster.kill(id);
    await cluster.leader();
    const after = load.writes;
    await until("the load goes on", () => load.writes > after + 20);
    cluster.start(id);
    await cluster.caughtUp(id);
    // The old leader's return must not disturb the new one.
    gaps.push(Math.round(load.takeLongestGapMs()));
  }
  await load.stop();
  await load.check();
  console.log(
    `${KILLS} leaders killed: ${load.writes} writes and ${load.reads} reads answered, ${load.unknown} of unknown outcome; ` +
      `longest stretch without a write, ms: ${gaps.join(" ")}`,
  );
  expect(load.violations).toEqual([]);
  expect(load.writes).toBeGreaterThan(KILLS * 40);
  expect(Math.max(...gaps)).toBeLessThan(GAP_MS_MAX);
}, 120_000);

it("all three nodes, killed at once, hold every acknowledged write after their restart", async () => {
  await using cluster = await Cluster.create();
  await cluster.startAll();
  const load = new Load(cluster.httpAddresses);
  for (let round = 0; round < 2; round++) {
    const { writes } = load;
    await until("the load runs", () => load.writes > writes + 100);
    await Promise.all(cluster.nodes.map(({ id }) => cluster.kill(id)));
    await pause(100);
    await cluster.startAll();
  }
  const { writes } = load;
  await until("the load goes on", () => load.writes > writes + 100);
  await load.stop();
  await load.check();
  expect(load.violations).toEqual([]);
  // Each entry took effect exactly once on each node, so all have the same count of puts and deletes.
  const counts = await Promise.all(
    cluster.nodes.map(async ({ id }) => {
      await cluster.caughtUp(id);
      return (await cluster.status(id))?.applied;
    }),
  );
  expect(new Set(counts).size).toBe(1);
});
