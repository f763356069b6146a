/**
 * The end of a run.
 *
 * - BOUND: a cluster at rest has nothing under way; a closed node leaves no timer running.
 * - LIVE: streams of changes and of committed commands have delivered the latest.
 * - DUR: each log reads back from disk as it was written.
 * - KNOWN: every node closes within `CLOSE_MS_MAX`.
 */
import { Violation } from "../checkers/violation.ts";
import type { SimProcess } from "../world/sim-process.ts";
import type { SimulatedCluster } from "./simulated-cluster.ts";
import type { TurnLoop } from "./turn-loop.ts";

/** A node gives its parts a second to close. Byte streams may take as long again to say goodbye. */
const CLOSE_MS_MAX = 1_500;

/** Checks a cluster at rest, then closes all nodes and checks that nothing is left of them. */
export async function shutDown(cluster: SimulatedCluster, turns: TurnLoop): Promise<void> {
  const { patienceMs } = turns;
  const all = (condition: (process: SimProcess) => boolean) => (): boolean =>
    cluster.usableMembers().every(condition);
  await turns.runUntil(all(isIdle), patienceMs, "BOUND", "all books to be empty");
  await untilListenersAreCurrent(
    cluster,
    turns,
    all((process) => listenersAreCurrent(process, cluster)),
  );
  const reading = Promise.all(cluster.usableMembers().map((process) => process.readBack()));
  await turns.settled(reading, patienceMs, "LIVE", "all logs to be read");
  await closeAll(cluster, turns);
}

/**
 * Waits as long as the readers of committed commands go on reading. One that opens a stream anew for each
 * command reads from the disk each time, and the disk may be slow.
 */
async function untilListenersAreCurrent(
  cluster: SimulatedCluster,
  turns: TurnLoop,
  areCurrent: () => boolean,
): Promise<void> {
  const commandsRead = (): number =>
    cluster.usableMembers().reduce((sum, process) => sum + (process.committedReader?.commandsRead ?? 0), 0);
  while (!areCurrent()) {
    const before = commandsRead();
    const isDone = (): boolean => areCurrent() || commandsRead() > before;
    await turns.runUntil(isDone, turns.patienceMs, "LIVE", "listeners to know how nodes are");
  }
}

async function closeAll(cluster: SimulatedCluster, turns: TurnLoop): Promise<void> {
  // Keep the delivery: a process that is killed meanwhile loses it.
  const running = cluster.running().map((process) => ({ process, delivery: process.delivery }));
  const checkTimers = ({ process, delivery }: (typeof running)[number]): void => {
    const timers = delivery?.pendingTimers ?? 0;
    if (timers === 0) return;
    const text = `${process.id} is closed, and ${String(timers)} of its timers go on`;
    cluster.record.report(new Violation("BOUND", text));
  };
  let open = running.length;
  for (const one of running) {
    void one.process.close().then(() => {
      open -= 1;
      // Byte streams linger to say goodbye. Nothing else has a reason to.
      if (cluster.plan.transport === "datagrams") checkTimers(one);
    });
  }
  await turns.runUntil(() => open === 0, CLOSE_MS_MAX, "KNOWN", "all nodes to close");
  await turns.runFor(CLOSE_MS_MAX);
  for (const one of running) checkTimers(one);
  cluster.record.throwIfViolated();
}

/** Nothing is under way at this node. */
function isIdle({ raft }: SimProcess): boolean {
  const metrics = raft?.metrics();
  if (metrics === undefined) return false;
  const { pendingEntries, pendingBytes, pendingReads, forwardedCalls, forwardedBytes } = metrics;
  return pendingEntries + pendingBytes + pendingReads + forwardedCalls + forwardedBytes === 0;
}

/** The node's streams have told their readers of its role, its leader and every command of its log. */
function listenersAreCurrent(process: SimProcess, { checker }: SimulatedCluster): boolean {
  const { id, raft, announced, committedReader, hasDamagedData } = process;
  const metrics = raft?.metrics();
  const hasRead =
    committedReader === null || hasDamagedData || committedReader.readTo >= checker.history.lastCommand(id);
  return hasRead && metrics?.role === announced.role && (metrics.leader?.id ?? null) === announced.leader;
}
