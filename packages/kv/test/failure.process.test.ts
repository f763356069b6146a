import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect, it } from "vitest";
import { KvClient } from "../src/index.ts";
import { Cluster } from "./support/cluster.ts";
import { pause, until } from "./support/process.ts";

/** How long the damaged node may take to notice and stop. */
const STOP_MS_MAX = 10_000;

/** Changes one byte of the log, in the entry that contains `text`. */
function damageLog(directory: string, text: string): void {
  for (const name of readdirSync(directory)) {
    const file = path.join(directory, name);
    const bytes = readFileSync(file);
    const at = bytes.indexOf(text);
    if (at === -1) continue;
    bytes[at] = 0x21;
    writeFileSync(file, bytes);
    return;
  }
  throw new Error(`no file in ${directory} holds ${text}`);
}

it("a node that finds its log damaged stops, says why and exits with 1; the others keep serving", async () => {
  await using cluster = await Cluster.create();
  const client = new KvClient({ nodes: cluster.httpAddresses });
  for (const id of ["n1", "n2", "n3"]) cluster.start(id);
  await cluster.leader(3);
  await cluster.kill("n3");
  await client.put("name", "the-needle-in-the-log");
  // After a restart, no entries are in memory. To feed the node that was away, the leader must read its log.
  for (const id of ["n1", "n2"]) await cluster.kill(id);
  for (const id of ["n1", "n2"]) cluster.start(id);
  const { id } = await cluster.leader(2);
  damageLog(path.join(cluster.directory, id, "log"), "the-needle-in-the-log");
  cluster.start("n3");
  const failed = cluster.node(id).process!;
  const ending = await Promise.race([failed.ended, pause(STOP_MS_MAX)]);
  expect(ending, cluster.lastLines(12)).toEqual({ code: 1, signal: null });
  expect(failed.stderr).toMatch(
    /^keelson: .*so the node stops: .*the record of entry \d+ does not match its checksum/m,
  );
  await until("the others have a leader", async () => (await cluster.leader(2)).id !== id);
  expect(Buffer.from((await client.get("name"))?.value ?? []).toString()).toBe("the-needle-in-the-log");
});
