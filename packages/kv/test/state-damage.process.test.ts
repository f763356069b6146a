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
    const response = await fetch(`http://${cluster.node("n1").http}/kv/${key}`);
    return { status: response.status, text: await response.text() };
  } catch {
    return null;
  }
}

/** Flips a bit of the value where it is on disk, in place. */
function damageValue(cluster: Cluster, value: string): void {
  const files = readdirSync(stateOf(cluster)).map((name) => path.join(stateOf(cluster), name));
  const file = files.find((name) => readFileSync(name).includes(value.slice(0, 100)));
  const bytes = readFileSync(file!);
  bytes[bytes.indexOf(value.slice(0, 100)) + 50]! ^= 2;
  writeFileSync(file!, bytes, { flag: "r+" });
}

/**
 * Asks n1 for k7 until it is served. Nothing but the right value may be: not another one, and not "there is
 * none".
 */
async function servesOnly(cluster: Cluster, value: string): Promise<void> {
  const seen: string[] = [];
  await until("the right value is served", async () => {
    const answer = await get(cluster, "k7");
    if (answer?.status === 200 || answer?.status === 404) seen.push(answer.text);
    return answer?.status === 200;
  });
  expect(seen).toEqual([value]);
}

it("a node with a flipped bit in its state never serves it, and rebuilds the state by itself (Z3)", async () => {
  const value = randomBytes(1000).toString("base64");
  await using cluster = await clusterWithTables(value);
  damageValue(cluster, value);
  cluster.start("n1");
  await servesOnly(cluster, value);
  expect(cluster.node("n1").process!.stderr).toMatch(
    /is rebuilt from the log and the snapshot: the database is damaged: .*ldb: the block at offset \d+ does not match/,
  );
});

it("a node whose state gets a flipped bit while it runs opens itself again, and rebuilds it (Z3)", async () => {
  const value = randomBytes(1000).toString("base64");
  await using cluster = await clusterWithTables(value);
  cluster.start("n1");
  await cluster.caughtUp("n1");
  damageValue(cluster, value);
  const { process } = cluster.node("n1");
  await until("the node has noticed", async () => {
    const answer = await get(cluster, "k7");
    expect(answer?.status).not.toBe(404);
    return process!.stderr.includes("opening the node again, to rebuild its state");
  });
  await servesOnly(cluster, value);
  expect(process!.stderr).toMatch(/key \\"k7\\" does not match its checksum/);
  expect(process).toBe(cluster.node("n1").process);
});

it("a node whose tables have a damaged index serves no missing keys, and rebuilds the state by itself (Z3)", async () => {
  const value = randomBytes(1000).toString("base64");
  await using cluster = await clusterWithTables(value);
  for (const name of readdirSync(stateOf(cluster)).filter((one) => one.endsWith(".ldb"))) {
    const file = path.join(stateOf(cluster), name);
    const bytes = readFileSync(file);
    // The index block is before the footer of 48 bytes. It ends with a trailer of 5, and 8 of restart points.
    bytes[bytes.length - 48 - 5 - 8 - 12]! ^= 0x40;
    writeFileSync(file, bytes);
  }
  cluster.start("n1");
  await cluster.caughtUp("n1");
  await servesOnly(cluster, value);
  expect(cluster.node("n1").process!.stderr).toMatch(
    /rebuilt from the log and the snapshot: the database is damaged/,
  );
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
