/** Clusters of real processes whose nodes prove who they are. */
import { once } from "node:events";
import { chmodSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import path from "node:path";
import { encodeControlMessage } from "keelson/codec";
import { expect, it } from "vitest";
import { KvClient } from "../src/index.ts";
import { TestAuthority } from "../src/test/certificates.ts";
import { Cluster } from "./support/cluster.ts";
import { until } from "./support/process.ts";

const SECRET = "0123456789abcdef".repeat(4);

it("nodes with certificates and a secret serve clients, refuse strangers and nodes with others, and print none", async () => {
  const authority = new TestAuthority();
  await using cluster = await Cluster.create({
    flags: (id, directory) => {
      const file = path.join(directory, `${id}.secret`);
      writeFileSync(file, `${SECRET}\n`, { mode: 0o600 });
      const tls = { ...authority.issue({ names: [`URI:keelson:${id}`] }), ca: authority.cert };
      const flags = Object.entries(tls).flatMap(([name, pem]) => {
        const pemFile = path.join(directory, `${id}.${name}`);
        writeFileSync(pemFile, pem, { mode: 0o600 });
        return [`--peer-tls-${name}`, pemFile];
      });
      return [...flags, "--peer-secret-file", file];
    },
  });
  const { term } = await cluster.startAll();
  const client = new KvClient({ nodes: cluster.httpAddresses });
  await client.put("ship", "Argo");

  // A stranger that knows every name, and says that it is n2.
  const answer = await fetch(`http://${cluster.node("n1").http}/members`);
  const { clusterId } = (await answer.json()) as { clusterId: string };
  const [host = "", port] = cluster.node("n1").raft.split(":");
  const socket = createConnection({ host, port: Number(port) });
  const heard: Buffer[] = [];
  socket.on("data", (bytes) => heard.push(bytes));
  const from = { id: "n2", storeId: "s", info: "", address: "127.0.0.1:1", priority: 0 };
  socket.write(
    encodeControlMessage({ type: "hello", versionMin: 1, versionMax: 1, clusterId, from, to: "n1" }),
  );
  await once(socket, "close");
  expect(Buffer.concat(heard).length).toBe(0);
  const said = (id: string): string => cluster.node(id).process?.stderr ?? "";
  await until("n1 says why it refused the stranger", async () => said("n1").includes("it doesn't speak TLS"));

  // A member with another secret is left out; with the right one it is back.
  await cluster.kill("n3");
  const file = path.join(cluster.directory, "n3.secret");
  writeFileSync(file, `${SECRET.toUpperCase()}\n`);
  cluster.start("n3");
  await until("n1 says why it refused n3", async () =>
    said("n1").includes("it has another secret than this node"),
  );
  await client.put("ship", "Argo II");
  expect((await cluster.status("n3"))?.leader ?? null).toBeNull();
  writeFileSync(file, `${SECRET}\n`);
  await cluster.kill("n3");
  cluster.start("n3");
  await cluster.caughtUp("n3");
  expect((await cluster.leader(3)).term).toBeGreaterThanOrEqual(term);

  const texts = await Promise.all(
    ["/status", "/metrics", "/members"].map(async (door) =>
      (await fetch(`http://${cluster.node("n1").http}${door}`)).text(),
    ),
  );
  for (const { id } of cluster.nodes) texts.push(said(id), cluster.node(id).process?.stdout ?? "");
  // A secret that other users of the machine can read is none.
  await cluster.kill("n3");
  texts.push(said("n3"));
  chmodSync(file, 0o644);
  cluster.start("n3");
  expect(await cluster.node("n3").process?.ended).toMatchObject({ code: 1 });
  expect(said("n3")).toContain("is open to other users of this machine (mode 644): chmod 600");
  expect(texts.join("\n")).not.toMatch(new RegExp(SECRET.slice(0, 32), "i"));
});
