import path from "node:path";
import { expect, it } from "vitest";
import { Cluster } from "./support/cluster.ts";
import { run, until } from "./support/process.ts";

async function put(address: string, key: string): Promise<number> {
  const response = await fetch(`http://${address}/kv/${key}`, { method: "PUT", body: key });
  return response.status;
}

it("a node that lagged forms a new cluster after keelson recover, which refuses its old members (O6)", async () => {
  await using cluster = await Cluster.create();
  const leader = await cluster.startAll();
  const lagging = cluster.nodes.find(({ id }) => id !== leader.id)?.id ?? "";
  const data = path.join(cluster.directory, lagging);
  expect(await put(cluster.node(leader.id).http, "everywhere")).toBe(200);
  await cluster.caughtUp(lagging);
  await cluster.kill(lagging);
  expect(await put(cluster.node(leader.id).http, "lost")).toBe(200);
  await Promise.all(cluster.nodes.map(({ id }) => cluster.kill(id)));

  const asked = await run(["recover", data]);
  expect([asked.code, asked.stderr]).toEqual([1, ""]);
  expect(asked.stdout).toContain(`Node ${lagging} at `);
  expect(asked.stdout).toContain("All of its entries were applied, so they were committed.");
  expect(asked.stdout).toMatch(/WHAT MAY BE LOST: every write that n\d, n\d acknowledged/);
  expect(asked.stdout).toContain("Nothing was changed. To do it, repeat the command with --yes.");
  const done = await run(["recover", data, "--yes"]);
  expect([done.code, done.stderr]).toEqual([0, ""]);
  expect(done.stdout).toMatch(
    new RegExp(`Done: node ${lagging} is cluster [0-9a-f]{32}\\+[0-9a-f]{16}, from entry \\d+`),
  );
  // A second recovery is refused: the node is a cluster of its own already.
  const again = await run(["recover", data, "--yes"]);
  expect(again).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("is the only voter of its cluster already") as string,
  });

  cluster.start(lagging);
  const { http } = cluster.node(lagging);
  await until("the node leads alone", async () => (await cluster.status(lagging))?.role === "leader");
  expect(await put(http, "after")).toBe(200);
  for (const { id } of cluster.nodes) if (id !== lagging) cluster.start(id);
  const others = cluster.nodes.filter(({ id }) => id !== lagging);
  await until("the old members lead themselves", async () => {
    const statuses = await Promise.all(others.map(({ id }) => cluster.status(id)));
    return statuses.some((status) => status?.role === "leader");
  });
  const get = (key: string) => fetch(`http://${http}/kv/${key}`).then(({ status }) => status);
  expect(await Promise.all(["everywhere", "lost", "after"].map(get))).toEqual([200, 404, 200]);
  const old = others[0]?.http ?? "";
  const getOld = (key: string) => fetch(`http://${old}/kv/${key}`).then(({ status }) => status);
  expect(await Promise.all(["everywhere", "lost", "after"].map(getOld))).toEqual([200, 200, 404]);
  await until("a refusal in the logs", () =>
    others.some(({ process }) => /a new cluster was forced/.test(process?.stderr ?? "")),
  );
  expect((await cluster.status(lagging))?.role).toBe("leader");
});
