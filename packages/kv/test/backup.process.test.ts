import { existsSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect, it } from "vitest";
import { KvClient } from "../src/index.ts";
import { GrowingCluster } from "./support/growing-cluster.ts";
import { run, until } from "./support/process.ts";

it("a backup of a running node starts another cluster, with every write before it and none after", async () => {
  await using cluster = await GrowingCluster.create(3);
  const file = path.join(cluster.directory, "monday.backup");
  cluster.found("n1");
  await cluster.voters("n1");
  const client = new KvClient({ nodes: [cluster.http("n1")] });
  for (let at = 0; at < 30; at++) await client.put(`key ${at}`, Buffer.alloc(20_000, at));
  await client.delete("key 7");
  const url = ["--url", cluster.http("n1")];
  const done = await run(["backup", file, ...url]);
  expect([done.code, existsSync(`${file}.part`)], done.stderr).toEqual([0, false]);
  expect(done.stdout).toMatch(/monday\.backup: .* KiB, all that was written up to entry \d+ of term \d+/);
  await client.put("late", "x");

  const again = await run(["backup", file, ...url]);
  expect(again).toMatchObject({
    code: 1,
    stderr: `keelson: ${file} is there already; --force replaces it\n`,
  });
  expect((await run(["backup", file, ...url, "--force"])).code).toBe(0);
  const gone = await run(["backup", `${file}2`, "--url", "127.0.0.1:2"]);
  expect(gone).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^keelson: 127.0.0.1:2 cannot be reached: nothing listens there/) as string,
  });
  expect(existsSync(`${file}2`) || existsSync(`${file}2.part`)).toBe(false);

  const restoring = (source: string, id: string) =>
    run(["restore", source, cluster.data(id), "--id", id, "--address", cluster.raft(id)]);
  const bad = `${file}.bad`;
  const bytes = readFileSync(file);
  bytes[Math.floor(bytes.length / 2)]! ^= 1;
  writeFileSync(bad, bytes);
  expect(await restoring(bad, "n2")).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^keelson: .*checksum/m) as string,
  });
  truncateSync(bad, bytes.length - 10);
  expect(await restoring(bad, "n2")).toMatchObject({ code: 1, stdout: "" });
  expect(existsSync(cluster.data("n2"))).toBe(false);

  const restored = await restoring(file, "n2");
  expect([restored.code, restored.stdout], restored.stderr).toEqual([
    0,
    expect.stringMatching(/node n2 of the new cluster [0-9a-f]{32}\+[0-9a-f]{16}, from entry \d+ on/),
  ]);
  expect(await restoring(file, "n2")).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("is not empty") as string,
  });
  cluster.start("n2", "--listen", cluster.raft("n2"));
  const other = new KvClient({ nodes: [cluster.http("n2")] });
  await until("the new cluster answers", async () => (await other.get("key 0").catch(() => null)) !== null);
  for (let at = 0; at < 30; at++) {
    const found = await other.get(`key ${at}`);
    if (at === 7) expect(found).toBeNull();
    else expect(found?.value).toEqual(new Uint8Array(20_000).fill(at));
  }
  // The second backup replaced the first, and has this write.
  expect((await other.get("late"))?.value).toEqual(Uint8Array.of(0x78));
  await other.put("only here", "x");
  expect(await client.get("only here")).toBeNull();
  // Nodes can join the new cluster.
  cluster.start("n3", "--listen", cluster.raft("n3"), "--join", cluster.http("n2"));
  await until("n3 joined the new cluster", () => cluster.process("n3").stderr.includes("joined: a voter"));
  const third = new KvClient({ nodes: [cluster.http("n3")] });
  expect((await third.get("key 29"))?.value).toEqual(new Uint8Array(20_000).fill(29));
});
