import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect, it } from "vitest";
import { KvClient } from "../src/index.ts";
import { Cluster } from "./support/cluster.ts";
import { until } from "./support/process.ts";

const KEYS = 30;

/** A cluster in which n1 is stopped, and has this text as the value of k7 in a table of its state. */
async function clusterWithTables(value: string): Promise<Cluster> {
  const cluster = await Cluster.create();
  await cluster.startAll();
  const client = new KvClient({ nodes: cluster.httpAddresses });
  for (let key = 1; key <= KEYS; key++)
    await client.put(`k${key}`, key === 7 ? value : randomBytes(1000).toString("base64"));
  await cluster.caughtUp("n1");
  // On opening, LevelDB moves everything from its log file into a table.
  await cluster.kill("n1", "SIGTERM");
  cluster.start("n1");
  await cluster.leader(3);
  await cluster.kill("n1", "SIGTERM");
  return cluster;
}

function stateOf(cluster: Cluster): string {
  return path.join(cluster.directory, "n1", "state");
}

async function get(cluster: Cluster, key: string): Promise<{ status: number; text: string } | null> {
  try {
    const response = await fetch(`http://${cluster.node("n1").http}/kv/${key}?consistency=stale`);
    return { status: response.status, text: await response.text() };
  } catch {
    return null;
  }
}

it("a node with a flipped bit in its state never serves it, and rebuilds the state by itself (Z3)", async () => {
  const value = randomBytes(1000).toString("base64");
  await using cluster = await clusterWithTables(value);
  const files = readdirSync(stateOf(cluster)).map((name) => path.join(stateOf(cluster), name));
  const file = files.find((name) => readFileSync(name).includes(value.slice(0, 100)));
  const bytes = readFileSync(file!);
  bytes[bytes.indexOf(value.slice(0, 100)) + 50]! ^= 2;
  writeFileSync(file!, bytes);
  cluster.start("n1");
  const { process } = cluster.node("n1");
  const seen: string[] = [];
  await until("the right value is served", async () => {
    const answer = await get(cluster, "k7");
    if (answer?.status === 200) seen.push(answer.text);
    return answer?.status === 200;
  });
  expect(seen).toEqual([value]);
  expect(process!.stderr).toMatch(/key \\"k7\\" does not match its checksum/);
  expect(process!.stderr).toMatch(/opening the node again, to rebuild its state/);
  expect(process).toBe(cluster.node("n1").process);
  await cluster.caughtUp("n1");
});

it("a node whose LevelDB has an empty manifest, as after a power cut, rebuilds its state by itself (Z5)", async () => {
  const value = randomBytes(1000).toString("base64");
  await using cluster = await clusterWithTables(value);
  for (const name of readdirSync(stateOf(cluster)))
    if (name.startsWith("MANIFEST")) writeFileSync(path.join(stateOf(cluster), name), "");
  cluster.start("n1");
  await until("the right value is served", async () => (await get(cluster, "k7"))?.text === value);
  expect(cluster.node("n1").process!.stderr).toMatch(
    /the state can't be used, and is rebuilt from the log and the snapshot: .*Corruption/,
  );
});
