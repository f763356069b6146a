/**
 * The end of a run.
 *
 * - BOUND: a cluster at rest has nothing under way, and nothing kept for calls that have ended; a closed node
 *   leaves no timer running.
 * - LIVE: streams of changes and of committed commands have delivered the latest.
 * - DUR: each log reads back from disk as it was written.
 * - KNOWN: every node closes within `CLOSE_MS_MAX`; calls that wait then end, and those that come later.
 */
import { Violation } from "../checkers/violation.ts";
import { Chance } from "../plan/chance.ts";
import { CALL_TIMEOUT_MS } from "../plan/workload.ts";
import { heldBeyond } from "../world/open-node.ts";
import type { SimProcess } from "../world/sim-process.ts";
import type { SimulatedCluster } from "./simulated-cluster.ts";
import { StoppedCalls } from "./stopped-calls.ts";
import type { TurnLoop } from "./turn-loop.ts";

/** A node gives its parts a second to close. Byte streams may take as long again to say goodbye. */
const CLOSE_MS_MAX = 1_500;

/** In a part of the runs the nodes are closed while they apply commands. The constant is arbitrary. */
const BUSY_CLOSING_CONSTANT = 0xc1_05e;

/** How long a command takes then, in milliseconds: less than a closing node waits for it. */
const BUSY_CLOSING_MS = 200;

/**
 * More than the parts of a node keep at rest in any run. A node answers more calls than that in most runs.
 */
const HELD_AT_REST_MAX = 24;

/** Checks a cluster at rest, then closes all nodes and checks that nothing is left of them. */
export async function shutDown(cluster: SimulatedCluster, turns: TurnLoop): Promise<void> {
  const { patienceMs } = turns;
  const all = (condition: (process: SimProcess) => boolean) => (): boolean =>
    cluster.usableMembers().every(condition);
  await turns.runUntil(all(isIdle), patienceMs, "BOUND", "all books to be empty");
  checkCollections(cluster);
  await untilListenersAreCurrent(
    cluster,
    turns,
    all((process) => listenersAreCurrent(process, cluster)),
  );
  const reading = Promise.all(cluster.usableMembers().map((process) => process.readBack()));
  await turns.settled(reading, patienceMs, "LIVE", "all logs to be read");
  if (new Chance(cluster.plan.seed ^ BUSY_CLOSING_CONSTANT).happens(0.3)) await startApplying(cluster, turns);
  await closeAll(cluster, turns);
}

/**
 * BOUND: no part of a node keeps an entry for each call or message of the run. What is kept for good is
 * limited by the members, the processes that connected, and the sessions, and a run has few of them.
 */
function checkCollections(cluster: SimulatedCluster): void {
  for (const { id, raft } of cluster.usableMembers()) {
    const excess = raft === null ? null : heldBeyond(raft, HELD_AT_REST_MAX);
    if (excess !== null) throw new Violation("BOUND", `${id} has nothing to do, and keeps ${excess}`);
  }
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

/**
 * Waits until a state machine is working on a command, for so long that its node will be closed meanwhile.
 * The node must wait for it: a state machine that is closed in the middle of a command may damage what it
 * stores.
 */
async function startApplying(cluster: SimulatedCluster, turns: TurnLoop): Promise<void> {
  const leader = cluster.leader();
  if (leader === null) return;
  const members = cluster.usableMembers();
  for (const { machineConditions } of members) machineConditions.delayMs = BUSY_CLOSING_MS;
  let hasEnded = false;
  const ended = (): void => {
    hasEnded = true;
  };
  cluster.clients.write("late", leader, "late", ended, CALL_TIMEOUT_MS, false);
  // A leader first waits for another one to take over, and has applied the command by then.
  const others = members.filter((process) => process !== leader || members.length === 1);
  const isApplying = (): boolean => others.some(({ machineConditions }) => machineConditions.isApplying);
  await turns.runUntil(
    () => (hasEnded && !leader.machineConditions.isApplying) || isApplying(),
    turns.patienceMs,
    "LIVE",
    "a last write to be applied",
  );
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
  const calls = new StoppedCalls();
  for (const one of running) {
    const { process, delivery } = one;
    const { id, raft } = process;
    if (raft !== null) calls.waitAt(id, raft);
    void process.close().then(() => {
      open -= 1;
      // A process that was killed meanwhile ends no calls.
      if (raft !== null && process.delivery === delivery) calls.askAfter(id, raft);
      // Byte streams linger to say goodbye. Nothing else has a reason to.
      if (cluster.plan.transport === "datagrams") checkTimers(one);
    });
  }
  await turns.runUntil(() => open === 0, CLOSE_MS_MAX, "KNOWN", "all nodes to close");
  await turns.runFor(CLOSE_MS_MAX);
  const [unended] = calls.open;
  if (unended !== undefined) throw new Violation("KNOWN", `${unended}, never ends`);
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
