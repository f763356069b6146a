import { describe, expect, it } from "vitest";
import { planOf } from "../plan/make-plan.ts";
import { SimulatedCluster } from "../run/simulated-cluster.ts";
import { TurnLoop } from "../run/turn-loop.ts";
import { simStoreSubject } from "../subject/sim-store.ts";
import { knownMembers } from "./known-members.ts";
import type { SimProcess } from "./sim-process.ts";

/** What the checkers are told of a node after each turn, gathered from its metrics instead. */
function fromMetrics({ raft }: SimProcess): object | null {
  if (raft === null) return null;
  const { role, term, commitIndex, appliedIndex, durableIndex, firstIndex, lastIndex, ...others } =
    raft.metrics();
  const { config, members, pendingEntries, pendingBytes, forwardedBytes, snapshots, sessions } = others;
  return {
    ...{ role, term, commitIndex, appliedIndex, durableIndex, firstIndex, lastIndex, config },
    ...{ pendingEntries, pendingBytes, forwardedBytes },
    newestSnapshot: snapshots?.newest?.index ?? null,
    isInstalling: snapshots?.receiving?.phase === "installing",
    sessions,
    known: role === "leader" ? members.map(({ id, match, active }) => ({ id, match, active })) : [],
  };
}

function fromProbe(process: SimProcess): object | null {
  const probed = process.state();
  const { core, leads } = process;
  if (probed === null) return null;
  const { removedAt, ...state } = probed;
  expect(removedAt !== null && state.role !== "stopped").toBe(process.raft?.metrics().role === "removed");
  // The metrics also tell of sessions in the middle of a batch, when they belong to no applied entry.
  const sessions = state.sessions ?? process.raft?.metrics().sessions;
  return { ...state, sessions, known: core !== null && leads ? knownMembers(core) : [] };
}

describe("SimProcess", () => {
  it("tells the checkers the same of a node as its metrics do, after each turn of a run with faults", async () => {
    const plan = planOf(6);
    const cluster = new SimulatedCluster(plan, simStoreSubject);
    const { processes, clients, faults } = cluster;
    const turns = new TurnLoop(cluster);
    for (const process of processes) process.start();
    await turns.runUntil(() => processes.every(({ isUp }) => isUp), 1_000, "START", "all nodes to start");
    const created = Promise.all(
      plan.initializers.map(
        (node) => processes[node]?.raft?.initialize(cluster.initialMembers) ?? Promise.resolve(),
      ),
    );
    await turns.settled(created, turns.patienceMs, "LIVE", "the cluster to be created");
    clients.start();
    faults.start();
    const seen = { turns: 0, leaders: 0, snapshots: 0, stopped: 0 };
    const compare = (): void => {
      for (const process of processes) {
        expect(fromProbe(process)).toEqual(fromMetrics(process));
        const { role, leader } = process.raft?.metrics() ?? {};
        if (role !== "stopped") expect(process.raft?.leader).toEqual(leader);
        if (process.leads) seen.leaders += 1;
        if (process.state()?.role === "stopped") seen.stopped += 1;
        if ((process.state()?.newestSnapshot ?? 0) > 0) seen.snapshots += 1;
      }
      seen.turns += 1;
    };
    const isLongEnough = (): boolean => {
      compare();
      return seen.turns >= 3_000;
    };
    await turns.runUntil(isLongEnough, plan.faultyMs, "LIVE", "three thousand turns");
    const closing = Promise.all(processes.map((process) => process.close()));
    await turns.settled(closing, turns.patienceMs, "KNOWN", "all nodes to close");
    compare();
    // Otherwise nothing was compared that differs between nodes.
    expect(Object.entries(seen).filter(([, count]) => count === 0)).toEqual([]);
    for (const process of processes) process.kill(false);
  });
});
