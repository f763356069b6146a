/** Runs a cluster from turn to turn, and checks after each turn everything that can be checked then. */
import type { NodeStatus } from "../checkers/node-status.ts";
import { assertInvariant, Violation } from "../checkers/violation.ts";
import type { Plan } from "../plan/plan.ts";
import { knownMembers } from "../world/known-members.ts";
import type { SimProcess } from "../world/sim-process.ts";
import { WITHOUT_MAJORITY_MS_MAX, type SimulatedCluster } from "./simulated-cluster.ts";

/**
 * After healing, a leader must be there within so many longest election timeouts, and so must each thing
 * after it.
 */
const HEAL_TIMEOUTS = 40;

/** How long a node waits after a failed snapshot before it takes another: the runtime's own constant. */
const SNAPSHOT_RETRY_MS = 10_000;

/**
 * More turns at one instant are taken for a loop of timers or deferred callbacks, in which time would never
 * advance.
 */
const TURNS_PER_INSTANT_MAX = 20_000;

const NO_MEMBERS: NodeStatus["members"] = [];

/** The only part of the simulator that moves time. */
export class TurnLoop {
  readonly #cluster: SimulatedCluster;
  /** The time at the last turn, and how many turns there were at that time. */
  #instant = { at: 0, turns: 0 };

  constructor(cluster: SimulatedCluster) {
    this.#cluster = cluster;
  }

  /**
   * How long each condition after healing may take to come about, in simulated milliseconds. It's generous: a
   * liveness bug keeps a cluster from making progress at all, or lets waits grow without limit.
   */
  get patienceMs(): number {
    const { clockRates, snapshots, electionTimeoutMs } = this.#cluster.plan;
    const snapshotMs = snapshots === null ? 0 : SNAPSHOT_RETRY_MS + 2 * fetchMs(snapshots);
    return (electionTimeoutMs.max * HEAL_TIMEOUTS + snapshotMs) / Math.min(...clockRates);
  }

  /** Runs for so long. Throws the violation if there is one. */
  async runFor(ms: number): Promise<void> {
    const { clock, record } = this.#cluster;
    let isOver = false;
    clock.setTimer(ms, () => {
      isOver = true;
    });
    await clock.runUntil(() => this.#turnEnded() || isOver, ms + 1, "the end of the faults");
    record.throwIfViolated();
  }

  /**
   * Runs until the condition holds after a turn. If it doesn't within `limitMs`, that's a violation with this
   * code.
   */
  async runUntil(
    condition: () => boolean,
    limitMs: number,
    code: string,
    what: string | (() => string),
  ): Promise<void> {
    const { clock, record } = this.#cluster;
    const deadline = clock.now() + limitMs;
    const isLate = (): boolean => clock.now() >= deadline;
    const timer = clock.setTimer(limitMs, () => undefined);
    const isOver = (): boolean => this.#turnEnded() || condition() || isLate();
    await clock.runUntil(isOver, limitMs + 1, typeof what === "string" ? what : what());
    timer.cancel();
    record.throwIfViolated();
    if (isLate() && !condition()) {
      const missing = typeof what === "string" ? what : what();
      throw new Violation(
        code,
        `waited ${String(Math.round(limitMs))} ms in vain for ${missing}: ${this.#cluster.summary()}`,
      );
    }
  }

  /** Waits for a promise of code that needs simulated time. Its rejection is reported as a violation. */
  async settled(promise: Promise<unknown>, limitMs: number, code: string, what: string): Promise<void> {
    let isSettled = false;
    promise.then(
      () => {
        isSettled = true;
      },
      (error: unknown) => {
        this.#cluster.record.report(error);
      },
    );
    await this.runUntil(() => isSettled, limitMs, code, what);
  }

  /** Checks all nodes. True: something is broken, and the run is over. */
  #turnEnded(): boolean {
    const { record, processes, clients, checker } = this.#cluster;
    if (record.isBroken()) return true;
    checker.chains.turnEnded();
    record.guard(() => {
      this.#checkTime();
      for (const process of processes) this.#checkProcess(process);
      clients.checkBounds();
    });
    return record.isBroken();
  }

  #checkProcess(process: SimProcess): void {
    const { clock, checker } = this.#cluster;
    const { id, core, delivery, raft, announced } = process;
    // A process that was paused in the middle of a turn is checked when it has finished the turn.
    if (!process.isUp || delivery === null || delivery.isPaused || !delivery.takeActivity()) return;
    const state = process.state();
    if (state === null) return;
    if (state.isInstalling) checker.turns.installing(id, clock.now());
    if (clock.now() - process.resumedAt < WITHOUT_MAJORITY_MS_MAX || process.timersAreLate) {
      checker.statuses.excuse(id);
      checker.runtimeMessages.excuse(id, process.now());
    }
    if (state.role === "stopped") checker.runtimeMessages.stopped(id);
    checker.runtimeMessages.checkDue(id, process.now());
    // A stopped node reports no snapshots, but what it did in its last turn is checked.
    const knowsSnapshots = !process.hasDamagedData && state.role !== "stopped";
    const newestSnapshot = knowsSnapshots ? state.newestSnapshot : undefined;
    const members = core !== null && state.role === "leader" ? knownMembers(core) : NO_MEMBERS;
    const { hungCall } = process;
    const [hungLogCall = null] = process.diskConditions.hungLogCalls;
    checker.statuses.step(id, { ...state, members, newestSnapshot, hungCall, hungLogCall }, process.now());
    const { role, term } = state;
    checker.hints.named(id, { leader: raft?.leader?.id ?? null, term, role });
    checker.hints.named(id, { leader: announced.leader, term: announced.leaderTerm });
    const { sessions, isInstalling, appliedIndex } = state;
    if (sessions !== null && !isInstalling) checker.sessions.step(id, appliedIndex, sessions);
  }

  /** LIVE: a timer that is set again and again for the present time keeps time from advancing. */
  #checkTime(): void {
    const now = this.#cluster.clock.now();
    if (now > this.#instant.at) this.#instant = { at: now, turns: 0 };
    this.#instant.turns += 1;
    assertInvariant(
      this.#instant.turns <= TURNS_PER_INSTANT_MAX,
      "LIVE",
      () => `time stands still: somebody is busy for ever at ${String(now)} ms`,
    );
  }
}

/** How long fetching the snapshot's ballast takes at least, at the plan's rate limit. */
function fetchMs({ ballastBytes, fetchBytesPerSecond }: NonNullable<Plan["snapshots"]>): number {
  return (ballastBytes / fetchBytesPerSecond) * 1_000;
}
