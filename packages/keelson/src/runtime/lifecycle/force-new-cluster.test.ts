import { expect, it } from "vitest";
import { simulatedWorld } from "../../environment/simulated/simulated-environment.ts";
import { SimulatedFiles } from "../../environment/simulated/simulated-files.ts";
import { inspectWal, forceNewCluster, wal } from "../../storage/wal/index.ts";
import { tcp } from "../../transport/tcp/index.ts";
import { Raft } from "../raft.ts";
import { Journal } from "../test/journal.ts";

const IDS = ["a", "b", "c"];
const MEMBERS = { a: "a:7001", b: "b:7001", c: "c:7001" };

it("a cluster that was forced from the node that lagged behind refuses the old members, which stay a cluster of their own (O6)", async () => {
  const world = simulatedWorld({ seed: 3 });
  const disks = new Map(IDS.map((id) => [id, new SimulatedFiles()]));
  const environmentOf = (id: string) => world.environment(id, disks.get(id)?.mount());
  const rafts = new Map<string, { raft: Raft<string, number>; journal: Journal; warnings: string[] }>();
  const finish = async <T>(promise: Promise<T>): Promise<T> => {
    let isSettled = false;
    const settle = (): void => {
      isSettled = true;
    };
    promise.then(settle, settle);
    await world.clock.runUntil(() => isSettled, 20_000, "an answer");
    return promise;
  };
  const start = async (id: string): Promise<void> => {
    const journal = new Journal();
    const warnings: string[] = [];
    const raft = await finish(
      Raft.open<string, number>({
        id,
        environment: environmentOf(id),
        stateMachine: journal,
        log: wal("data"),
        transport: tcp({ listen: `${id}:7001` }),
        onLog: ({ text }) => void warnings.push(text),
      }),
    );
    rafts.set(id, { raft, journal, warnings });
  };
  const leaderAmong = async (ids: readonly string[]) => {
    const leading = () =>
      ids.map((id) => rafts.get(id)).find((node) => node?.raft.metrics().role === "leader");
    await world.clock.runUntil(() => leading() !== undefined, 20_000, "a leader");
    return leading()!.raft;
  };

  for (const id of IDS) await start(id);
  await finish(rafts.get("a")!.raft.initialize(MEMBERS));
  await finish((await leaderAmong(IDS)).write("everywhere"));
  await world.clock.runUntil(
    () => [...rafts.values()].every(({ journal }) => journal.texts.length === 1),
    20_000,
    "all to apply",
  );
  // c lags behind: it never gets what a and b acknowledge now.
  await finish(rafts.get("c")!.raft.close());
  await finish((await leaderAmong(["a", "b"])).write("not on c"));
  for (const id of ["a", "b"]) await finish(rafts.get(id)!.raft.close());

  const { clusterId } = await finish(
    forceNewCluster("data", { snapshots: null, environment: environmentOf("c") }),
  );
  await start("c");
  const alone = await leaderAmong(["c"]);
  expect(alone.metrics().clusterId).toBe(clusterId);
  // As `keelson serve` does at every start.
  await finish(alone.initialize(MEMBERS));
  await finish(alone.write("after the recovery"));

  for (const id of ["a", "b"]) await start(id);
  await finish((await leaderAmong(["a", "b"])).write("the old cluster goes on"));
  await world.clock.advance(10_000);
  const textsOf = (id: string) => rafts.get(id)!.journal.texts;
  expect(textsOf("c")).toEqual(["everywhere", "after the recovery"]);
  expect(textsOf("a")).toEqual(["everywhere", "not on c", "the old cluster goes on"]);
  expect(textsOf("b")).toEqual(textsOf("a"));
  const { config, role } = alone.metrics();
  expect([config.voters, role]).toEqual([["c"], "leader"]);
  expect(rafts.get("a")!.warnings.join("\n")).toContain("different incarnations of one cluster");
  for (const { raft } of rafts.values()) await finish(raft.close());
  expect((await inspectWal("data", { environment: environmentOf("a") })).clusterId).not.toBe(clusterId);
});
