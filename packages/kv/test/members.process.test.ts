import { expect, it } from "vitest";
import { GrowingCluster } from "./support/growing-cluster.ts";
import { Load } from "./support/load.ts";
import { until } from "./support/process.ts";

const CLIENTS = 4;

/**
 * How large the cluster gets, and how many of its nodes are replaced. With KEELSON_LONG set, about what a
 * cluster of five goes through in years; otherwise a small version.
 */
const PLAN =
  process.env["KEELSON_LONG"] === undefined
    ? { sizes: [1, 3], replaced: 1, shrunkTo: 1 }
    : { sizes: [1, 3, 5], replaced: 5, shrunkTo: 3 };

it(`a cluster grows ${PLAN.sizes.join(" → ")}, has ${PLAN.replaced} nodes replaced, and shrinks to ${PLAN.shrunkTo}, under load and without a failed write`, async () => {
  const largest = PLAN.sizes.at(-1) ?? 1;
  const ids = Array.from({ length: largest + PLAN.replaced }, (_, at) => `n${at + 1}`);
  await using cluster = await GrowingCluster.create(ids.length);
  cluster.found("n1");
  await cluster.voters("n1");
  const load = new Load(
    ids.map((id) => cluster.http(id)),
    CLIENTS,
  );
  await until("the load runs", () => load.writes > 20);
  load.takeLongestGapMs();
  const gaps: string[] = [];
  const note = (step: string): void => {
    gaps.push(`${step} ${Math.round(load.takeLongestGapMs())}`);
  };

  for (const size of PLAN.sizes.slice(1)) {
    for (const id of ids.slice(cluster.running.length, size)) cluster.join(id);
    await cluster.voters(...cluster.running);
    note(`grow to ${size}`);
  }
  for (const [at, old] of ids.slice(0, PLAN.replaced).entries()) {
    const successor = ids[largest + at] ?? "";
    cluster.join(successor);
    await cluster.voters(...cluster.running);
    note(`add ${successor}`);
    // The last node is removed while it leads. Before the other removals, the new node becomes the leader.
    const to = at === PLAN.replaced - 1 ? old : successor;
    if ((await cluster.members())?.leader?.id !== to) await cluster.command("transfer", to);
    note(`transfer to ${to}`);
    await cluster.command("remove", old);
    note(`remove ${old}`);
    await cluster.process(old).kill("SIGTERM");
    expect(await cluster.process(old).ended).toMatchObject({ code: 0 });
    note(`stop ${old}`);
  }
  const left = cluster.running.slice(-PLAN.shrunkTo);
  const leaving = cluster.running.filter((id) => !left.includes(id));
  await cluster.command("remove", ...leaving);
  await cluster.voters(...left);
  for (const id of leaving) await cluster.process(id).kill("SIGTERM");
  note(`shrink to ${PLAN.shrunkTo}`);

  const { writes } = load;
  await until("the load goes on", () => load.writes > writes + 50);
  await load.stop();
  await load.check();
  console.log(
    `members: ${load.writes} writes and ${load.reads} reads answered, ${load.refused} refused, ${load.unknown} of unknown outcome; ` +
      `longest stretch without a write, ms: ${gaps.join(", ")}`,
  );
  expect({ violations: load.violations, refused: load.refused, unknown: load.unknown }).toEqual({
    violations: [],
    refused: 0,
    unknown: 0,
  });
  expect(load.writes).toBeGreaterThan(70);
}, 240_000);
