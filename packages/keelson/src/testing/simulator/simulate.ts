/** Runs one simulation from its plan: the phases of a run, in order. */
import type { Violation } from "./checkers/violation.ts";
import type { ClientFigures } from "./clients/client-calls.ts";
import type { FaultType } from "./plan/faults.ts";
import { stageOf, workloadsOf } from "./plan/features.ts";
import type { Plan } from "./plan/plan.ts";
import { replaceRealSources } from "#real-sources";
import type { Operation } from "../linearizability/index.ts";
import { Convergence } from "./run/convergence.ts";
import { shutDown } from "./run/shutdown.ts";
import { SimulatedCluster } from "./run/simulated-cluster.ts";
import { TurnLoop } from "./run/turn-loop.ts";
import { simStoreSubject } from "./subject/sim-store.ts";
import type { MakeSubject } from "./subject/subject.ts";

/** How a run ended. */
export interface RunResult {
  readonly plan: Plan;
  /** The first invariant that didn't hold; null: all held. */
  readonly violation: Violation | null;
  /** How long the run took, in simulated milliseconds. */
  readonly ms: number;
  /** How many entries were committed. */
  readonly committed: number;
  readonly clients: ClientFigures;
  /** How often a fault of each type was carried out, whether or not it found something to strike. */
  readonly faults: ReadonlyMap<FaultType, number>;
  /**
   * What really came together in the run: its stage, its workloads, and the types of faults that found
   * something to strike.
   */
  readonly met: readonly string[];
  /** The linearizability checker gave up on the history: it is shown to be neither right nor wrong. */
  readonly undecided: boolean;
  /**
   * The calls of all clients that the subject's model describes, by the time of the call; `formatHistory`
   * writes it as text. Of a run that broke an invariant: up to that moment.
   */
  readonly history: readonly Operation<unknown, unknown>[];
  /** Equal for two runs that did the same things at the same times. */
  readonly traceHash: string;
  /** Every event, with the option `fullTrace`; otherwise the last few hundred. */
  readonly trace: readonly string[];
}

/** What is simulated, and how much of it is recorded. */
export interface SimulateOptions {
  /** The replicated state machine and its clients. Default: a small key-value store. */
  readonly subject?: MakeSubject | undefined;
  /** Keep every event, messages in full. Default: the last few hundred, messages by type and term. */
  readonly fullTrace?: boolean | undefined;
  /**
   * Whether a state machine, a query or a subject that reads a real clock, sets a real timer or draws a real
   * random number breaks the run (DET). Default: true. Say false if its use has no effect on the state, as in
   * a line that is logged; then nothing notices other uses.
   */
  readonly trapsRealTime?: boolean | undefined;
}

/**
 * Runs a whole cluster, its clients and its faults in one thread, as the plan says. The same plan gives the
 * same run. What breaks in it is returned as `violation`, also an error that the code under test throws (code
 * CRASH).
 *
 * @example
 * const { violation } = await simulate(planOf(seed), { subject: () => myStateMachineAndItsClients });
 */
export async function simulate(plan: Plan, options: SimulateOptions = {}): Promise<RunResult> {
  const { subject = simStoreSubject } = options;
  const cluster = new SimulatedCluster(plan, subject, options);
  const { clock, record } = cluster;
  const beganAt = clock.now();
  const putBack = replaceRealSources();
  try {
    await runPhases(cluster);
  } catch (error) {
    record.report(error);
  } finally {
    putBack();
  }
  const ms = clock.now() - beganAt;
  for (const process of cluster.processes) process.kill(false);
  return {
    plan,
    violation: record.violation,
    ms,
    committed: cluster.checker.history.committed.length,
    clients: cluster.clients.figures,
    faults: cluster.faults.counts,
    met: [...stageOf(plan), ...workloadsOf(plan), ...cluster.faults.struck.types],
    undecided: cluster.outcomes.undecided,
    history: cluster.clients.history.operations(),
    traceHash: record.hash(),
    trace: record.trace,
  };
}

async function runPhases(cluster: SimulatedCluster): Promise<void> {
  const turns = new TurnLoop(cluster);
  await start(cluster, turns);
  await createCluster(cluster, turns);
  if (cluster.plan.start.term > 0) await raiseTerms(cluster, turns);
  await runFaults(cluster, turns);
  await new Convergence(cluster, turns).run();
  cluster.outcomes.checkOutcomes(cluster.clients);
  cluster.outcomes.checkHistory(cluster.subject, cluster.clients);
  await shutDown(cluster, turns);
}

async function start({ processes, plan }: SimulatedCluster, turns: TurnLoop): Promise<void> {
  for (const process of processes) process.start();
  const areUp = (): boolean => processes.every((process) => process.isUp);
  await turns.runUntil(areUp, 1_000, "START", "all nodes to start");
  await turns.runFor(plan.initializeAfterMs);
}

/** The plan's initializers call `initialize`, all at the same time. There are no faults yet. */
async function createCluster(cluster: SimulatedCluster, turns: TurnLoop): Promise<void> {
  const { plan, processes, initialMembers, checker } = cluster;
  const created = Promise.all(
    plan.initializers.map((node) => processes[node]?.raft?.initialize(initialMembers) ?? Promise.resolve()),
  );
  await turns.settled(created, turns.patienceMs, "LIVE", "the cluster to be created");
  if (plan.initializers.length > 1) return;
  // While only one node holds the first entry, losing its disk loses the cluster. So let the others get it
  // first.
  const isHeldByMajority = (): boolean => checker.history.committed.length > 0;
  await turns.runUntil(isHeldByMajority, turns.patienceMs, "LIVE", "the first leader");
}

/** All nodes stop, and go on in the plan's term, as after so many elections. */
async function raiseTerms({ plan, processes, record }: SimulatedCluster, turns: TurnLoop): Promise<void> {
  record.event(`all nodes have been in term ${String(plan.start.term)}`);
  const raised = Promise.all(processes.map((process) => process.raiseTerm(plan.start.term)));
  await turns.settled(raised, turns.patienceMs, "START", "the terms to be raised");
  for (const process of processes) process.start();
  const areUp = (): boolean => processes.every((process) => process.isUp);
  await turns.runUntil(areUp, turns.patienceMs, "START", "all nodes to start again");
}

async function runFaults(
  { clients, faults, plan, record }: SimulatedCluster,
  turns: TurnLoop,
): Promise<void> {
  clients.start();
  faults.start();
  await turns.runFor(plan.faultyMs);
  record.event("heal");
  faults.heal();
}
