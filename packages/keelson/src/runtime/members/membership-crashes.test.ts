import { describe, expect, it } from "vitest";

import { membersOf } from "../../core/config.ts";
import type { NodeId } from "../../core/position.ts";
import { simulatedWorld } from "../../environment/simulated/simulated-environment.ts";
import { SimulatedFiles } from "../../environment/simulated/simulated-files.ts";
import { wal } from "../../storage/wal/index.ts";
import type { MembershipChange } from "./next-membership.ts";
import { Raft } from "../raft.ts";
import { FakeNet, type FakeTransport } from "../test/fake-transport.ts";
import { Journal } from "../test/journal.ts";
import { killableEnvironment } from "../test/test-cluster.ts";

interface Process {
  readonly id: NodeId;
  readonly raft: Raft<string, number>;
  readonly journal: Journal;
  readonly transport: FakeTransport;
  readonly kill: () => void;
}

/** Enough for several failed elections with the default timings. */
const LIMIT_MS = 20_000;

/** Nodes with real WALs, on simulated disks whose power can fail at any call. */
class Machines {
  readonly #world = simulatedWorld({ seed: 7 });
  readonly #net = new FakeNet(this.#world.clock, this.#world.random);
  readonly disks = new Map<NodeId, SimulatedFiles>();
  readonly processes = new Map<NodeId, Process>();

  async start(id: NodeId): Promise<void> {
    const files = this.disks.get(id) ?? new SimulatedFiles();
    this.disks.set(id, files);
    const { environment, kill } = killableEnvironment(this.#world.environment(id, files.mount()));
    const journal = new Journal();
    const transport = this.#net.transport(`${id}:1`);
    const raft = await this.finish(
      Raft.open<string, number>({
        id,
        environment,
        stateMachine: journal,
        log: wal("data", { segmentBytes: 4096 }),
        transport,
      }),
    );
    this.processes.set(id, { id, raft, journal, transport, kill });
  }

  /** A power failure of one machine. Either all unsynced data is kept, or none. */
  async stop(id: NodeId, kept: boolean): Promise<void> {
    const process = this.process(id);
    process.kill();
    const files = this.disks.get(id);
    if (files !== undefined) files.intercept = null;
    // What `SimulatedFiles.crash` draws: 0.25 keeps everything, 0 nothing.
    files?.crash(() => (kept ? 0.25 : 0));
    this.processes.delete(id);
    await process.transport.close();
  }

  process(id: NodeId): Process {
    const process = this.processes.get(id);
    if (process === undefined) throw new Error(`${id} is down`);
    return process;
  }

  /** The leader of the latest term. */
  get leader(): Process | undefined {
    return [...this.processes.values()]
      .filter(({ raft }) => raft.metrics().role === "leader")
      .sort((a, b) => b.raft.metrics().term - a.raft.metrics().term)[0];
  }

  until(condition: () => boolean, what: string): Promise<void> {
    return this.#world.clock.runUntil(condition, LIMIT_MS, what);
  }

  async finish<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const settle = (): void => {
      settled = true;
    };
    promise.then(settle, settle);
    await this.until(() => settled, "an answer");
    return promise;
  }

  async close(): Promise<void> {
    await this.finish(Promise.all([...this.processes.values()].map(({ raft }) => raft.close())));
  }
}

interface Case {
  readonly founders: readonly NodeId[];
  readonly others: readonly NodeId[];
  /** The change to request, for a given leader. */
  readonly change: (leader: NodeId, founders: readonly NodeId[]) => MembershipChange;
}

const THREE = ["a", "b", "c"];

const CASES: Readonly<Record<string, Case>> = {
  "adds a voter": { founders: THREE, others: ["d"], change: () => ({ add: at("d") }) },
  "removes a voter": {
    founders: [...THREE, "d"],
    others: [],
    change: (leader, founders) => ({ remove: founders.filter((id) => id !== leader).slice(0, 1) }),
  },
  "removes the leader": { founders: [...THREE, "d"], others: [], change: (leader) => ({ remove: [leader] }) },
  "replaces all": {
    founders: THREE,
    others: ["d", "e", "f"],
    change: () => ({ add: at("d", "e", "f"), remove: THREE }),
  },
};

function at(...ids: readonly NodeId[]): Record<NodeId, string> {
  return Object.fromEntries(ids.map((id) => [id, `${id}:1`]));
}

interface Begun {
  readonly machines: Machines;
  readonly leader: Process;
  readonly disk: SimulatedFiles;
  readonly old: readonly NodeId[];
  readonly change: MembershipChange;
}

/** A cluster whose leader has committed a write and will be asked for the change. */
async function begin({ founders, others, change }: Case): Promise<Begun> {
  const machines = new Machines();
  for (const id of [...founders, ...others]) await machines.start(id);
  const founded = founders.map((id) => machines.process(id).raft.initialize(at(...founders)));
  await machines.finish(Promise.all(founded));
  await machines.until(() => machines.leader?.raft.metrics().role === "leader", "a leader");
  const { leader } = machines;
  const disk = machines.disks.get(leader?.id ?? "");
  if (leader === undefined || disk === undefined) throw new Error("nobody leads");
  await machines.finish(leader.raft.write("before"));
  return { machines, leader, disk, old: founders, change: change(leader.id, founders) };
}

/** The number of calls to the leader's disk from the request until the change is done. */
async function callsOf(one: Case): Promise<number> {
  const { machines, leader, disk, change } = await begin(one);
  const before = disk.operations;
  await machines.finish(leader.raft.changeMembership(change));
  const calls = disk.operations - before;
  await machines.close();
  return calls;
}

interface Crash {
  /**
   * Which call to the leader's disk since the request is the last: it is done, but its caller never learns of
   * it.
   */
  readonly call: number;
  /** Whether all unsynced data is kept, or none. */
  readonly kept: boolean;
  /** Whether messages that the leader sends after the request arrive. */
  readonly sent: boolean;
}

/** The calls of the first step: without answers from other nodes there is no second step. */
const CALLS_ALONE = 2;

function crashesOf(calls: number): Crash[] {
  return [false, true].flatMap((kept) => [
    ...Array.from({ length: calls }, (_, at) => ({ call: at + 1, kept, sent: true })),
    ...Array.from({ length: CALLS_ALONE }, (_, at) => ({ call: at + 1, kept, sent: false })),
  ]);
}

/**
 * Cuts the leader's power in the call and starts it again. Returns the configuration in which the cluster
 * ends.
 */
async function runCrash(one: Case, { call, kept, sent }: Crash): Promise<"old" | "new"> {
  const { machines, leader, disk, old, change } = await begin(one);
  const last = disk.operations + call;
  let isCut = false;
  disk.intercept = ({ number }) => {
    if (number !== last) return null;
    isCut = true;
    return { type: "power-cut" };
  };
  if (!sent) leader.transport.filter = () => false;
  leader.raft.changeMembership(change).catch(() => undefined);
  await machines.until(() => isCut, "the power to fail");
  await machines.stop(leader.id, kept);
  await machines.start(leader.id);

  const goal = [
    ...old.filter((id) => change.remove?.includes(id) !== true),
    ...Object.keys(change.add ?? {}),
  ];
  const ends = [old, goal].map((voters) => [...voters].sort().join());
  const isSettled = (): boolean => {
    const { config, commitIndex } = machines.leader?.raft.metrics() ?? {};
    if (config === undefined || commitIndex === undefined) return false;
    return config.outgoingVoters.length === 0 && ends.includes([...config.voters].sort().join());
  };
  await machines.until(isSettled, "a leader of the old or the new configuration");
  // The change may take another step before a write is committed. The final configuration counts.
  let acknowledged = false;
  for (let attempt = 0; attempt < 50 && !acknowledged; attempt++) {
    await machines.until(isSettled, "a leader of the old or the new configuration");
    acknowledged = await machines.finish(
      (machines.leader ?? leader).raft.write("after").then(
        () => true,
        () => false,
      ),
    );
  }
  expect(acknowledged).toBe(true);
  await machines.until(isSettled, "the change to end");
  const { config } = machines.leader?.raft.metrics() ?? leader.raft.metrics();
  for (const id of membersOf(config)) {
    const { journal } = machines.process(id);
    await machines.until(() => journal.texts.includes("after"), `${id} to have the write`);
    expect(journal.texts[0]).toBe("before");
    expect(machines.process(id).raft.metrics().config).toEqual(config);
  }
  await machines.close();
  return [...config.voters].sort().join() === ends[0] ? "old" : "new";
}

describe("a change of membership whose leader loses power at some call to its disk", () => {
  it.each(Object.entries(CASES))(
    "that %s ends in the old or the new configuration, and the cluster stays available (M3)",
    { timeout: 120_000 },
    async (_, one) => {
      const outcomes = { old: 0, new: 0 };
      const calls = await callsOf(one);
      for (const crash of crashesOf(calls)) {
        try {
          outcomes[await runCrash(one, crash)] += 1;
        } catch (error) {
          const how = `${JSON.stringify(crash)} of ${calls} calls`;
          throw new Error(`${how}: ${error instanceof Error ? error.message : String(error)}`, {
            cause: error,
          });
        }
      }
      expect(outcomes.old).toBeGreaterThan(0);
      expect(outcomes.new).toBeGreaterThan(0);
    },
  );
});
