import { expect, it, onTestFinished } from "vitest";
import path from "node:path";
import { temporaryDirectory } from "../src/test/temporary.ts";
import { freePorts } from "./support/ports.ts";
import { Keelson, run, until } from "./support/process.ts";

interface Node {
  readonly raft: string;
  readonly http: string;
  readonly process: Keelson;
}

async function start(id: string, how: (raft: string) => readonly string[]): Promise<Node> {
  const [raft = "", line = "", http = ""] = (await freePorts(3)).map((port) => `127.0.0.1:${port}`);
  const flags = ["--data", path.join(temporaryDirectory(), id), "--line", line, "--http", http];
  const process = new Keelson(["serve", "--id", id, ...flags, ...how(raft)]);
  onTestFinished(() => process.kill("SIGKILL"));
  return { raft, http, process };
}

async function cluster(id: string): Promise<Node> {
  const node = await start(id, (raft) => ["--peers", `${id}=${raft}`]);
  await until(`${id} leads`, async () => {
    const answer = await fetch(`http://${node.http}/readyz`).catch(() => null);
    return answer?.status === 200;
  });
  return node;
}

it("add refuses a node of another cluster, or one with another id, and doesn't leave it a learner [Z21]", async () => {
  const [one, foreign] = [await cluster("n1"), await cluster("n2")];
  const fresh = await start("n3", (raft) => ["--listen", raft, "--join", `http://127.0.0.1:1`]);
  await until("n3 serves", () => fresh.process.stderr.includes('"msg":"serving"'));
  for (const [id, { raft }] of [
    ["n2", foreign],
    ["n4", fresh],
  ] as const) {
    const began = performance.now();
    const { code, stderr } = await run(["add", id, raft, "--url", one.http]);
    expect(code).toBe(1);
    expect(stderr).toContain(`${id} can't be added at ${raft}: the node there does not talk to the caller`);
    expect(stderr).toContain(`it belongs to ANOTHER CLUSTER, or is not ${id}`);
    expect(performance.now() - began).toBeLessThan(10_000);
  }
  const { stdout } = await run(["members", "--url", one.http]);
  expect(stdout.trim().split("\n")).toHaveLength(2);
  expect(foreign.process.stderr).toContain("this node belongs to cluster");

  // One that is really new is taken in.
  const added = await run(["add", "n3", fresh.raft, "--url", one.http]);
  expect([added.code, added.stdout], added.stderr).toEqual([0, expect.stringMatching(/\nn3 +voter/)]);
}, 60_000);
