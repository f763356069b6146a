/**
 * LIVE, after healing: leadership can be transferred, a new write succeeds, and every node answers a read.
 */
import { assertInvariant, Violation } from "../checkers/violation.ts";
import type { Outcome } from "../clients/client-calls.ts";
import { CALL_TIMEOUT_MS } from "../plan/workload.ts";
import type { SimProcess } from "../world/sim-process.ts";
import type { SimulatedCluster } from "./simulated-cluster.ts";
import type { TurnLoop } from "./turn-loop.ts";

/** A target may lose its election by chance once or twice. So often in a row is a bug. */
const MISSED_TRANSFERS_MAX = 3;

/**
 * How many round trips a prompt write may take: to the followers and back, and once more for a message that
 * had just left.
 */
const PROMPT_ROUND_TRIPS = 2;

/**
 * How many calls to the disk a prompt write may take: those of one append, with a new segment, and those of
 * the state machine.
 */
const PROMPT_DISK_CALLS = 12;

/** Added to the limits of a prompt write, since timers are whole milliseconds. */
const PROMPT_GRACE_MS = 2;

/**
 * Makes the calls that must succeed on a healed cluster. Each is repeated until it does. It is a violation if
 * it doesn't within the loop's `patienceMs`, or less.
 */
export class LastCalls {
  readonly #cluster: SimulatedCluster;
  readonly #turns: TurnLoop;

  constructor(cluster: SimulatedCluster, turns: TurnLoop) {
    this.#cluster = cluster;
    this.#turns = turns;
  }

  /** In runs whose plan transfers leadership: it can be moved to a chosen voter now (E17). */
  async transfer(): Promise<void> {
    const { plan } = this.#cluster;
    const isPlanned = plan.faults.some(({ type }) => type === "transfer");
    if (!isPlanned || this.#cluster.usableMembers().length < 2) return;
    const transfer = { isAsking: false, isDone: false, missed: 0 };
    const condition = (): boolean => {
      const leader = this.#cluster.leader();
      if (!transfer.isAsking && !transfer.isDone && leader !== null)
        void this.#askToTransfer(leader, transfer);
      return transfer.isDone;
    };
    const patienceMs = plan.checkQuorum ? this.#turns.patienceMs / 4 : this.#turns.patienceMs;
    await this.#turns.runUntil(
      condition,
      patienceMs,
      "LIVE",
      "a transfer of leadership after the run healed",
    );
  }

  async #askToTransfer(
    leader: SimProcess,
    transfer: { isAsking: boolean; isDone: boolean; missed: number },
  ): Promise<void> {
    const { record } = this.#cluster;
    transfer.isAsking = true;
    const { raft } = leader;
    const voters = raft?.metrics().config.voters ?? [];
    const to = this.#cluster.usableMembers().find(({ id }) => id !== leader.id && voters.includes(id))?.id;
    try {
      // The plan's call timeout may be too short: a caller that gives up doesn't hear of the success.
      const next = await raft?.transferLeadership(to, { timeoutMs: this.#turns.patienceMs });
      transfer.isDone = next === to;
      if (!transfer.isDone) transfer.missed += 1;
      if (transfer.missed === MISSED_TRANSFERS_MAX && !transfer.isDone)
        record.report(new Violation("LIVE", `${String(to)} never gets what is handed to it`));
    } catch (error) {
      // A sole voter has no one to transfer to.
      transfer.isDone = voters.length === 1;
      record.event(`${leader.id} leads on: ${String(error)}`);
    }
    this.#afterHeartbeat(() => {
      transfer.isAsking = false;
    });
  }

  /**
   * LIVE, in round trips: a write at the leader of a cluster at rest is acknowledged as soon as a majority
   * can have it on disk, and all nodes apply it by the next heartbeat.
   */
  async promptWrite(): Promise<void> {
    const { plan, clients } = this.#cluster;
    const leader = this.#cluster.leader();
    if (leader === null) return;
    const roundTripMs = 2 * plan.linkDelayMs.max + PROMPT_DISK_CALLS * plan.diskMs;
    const outcomes: Outcome[] = [];
    const ended = (outcome: Outcome, why: string): void => {
      // The plan's limit on commands may be lower than what its clients write. Then the refusal is right.
      outcomes.push(why === "COMMAND_TOO_LARGE" ? "done" : outcome);
    };
    clients.write("prompt", leader, "last", ended, CALL_TIMEOUT_MS);
    const limitMs = PROMPT_ROUND_TRIPS * roundTripMs + PROMPT_GRACE_MS;
    await this.#turns.runUntil(() => outcomes.length > 0, limitMs, "LIVE", "a write in a cluster at rest");
    const [outcome] = outcomes;
    assertInvariant(
      outcome === "done",
      "LIVE",
      () => `a write in a cluster at rest ends as ${String(outcome)}`,
    );
    const spreadMs = plan.heartbeatMs / Math.min(...plan.clockRates) + limitMs;
    // The leader may add an entry of its own meanwhile, such as the time of the log, which isn't waited for.
    const through = leader.raft?.metrics().commitIndex ?? 0;
    const isEverywhere = (): boolean =>
      this.#cluster.usableMembers().every((process) => (process.appliedIndex() ?? -1) >= through);
    await this.#turns.runUntil(
      isEverywhere,
      spreadMs,
      "LIVE",
      "a commit to reach all nodes by the next heartbeat",
    );
  }

  /** LIVE: repeats a write at the leader until it is acknowledged. */
  async write(): Promise<void> {
    let isDone = false;
    let isAsking = false;
    const condition = (): boolean => {
      const leader = this.#cluster.leader();
      if (!isAsking && !isDone && leader !== null) {
        isAsking = true;
        const ended = (outcome: Outcome): void => {
          isAsking = false;
          isDone = outcome === "done";
        };
        this.#cluster.clients.write("last", leader, "last", ended, CALL_TIMEOUT_MS);
      }
      return isDone;
    };
    await this.#turns.runUntil(condition, this.#turns.patienceMs, "LIVE", "a write after the run healed");
  }

  /**
   * LIVE: a read, of the consistency that the plan's clients use, is answered at every node. Whether the
   * answers are right is checked with the history.
   */
  async reads(): Promise<void> {
    for (const process of this.#cluster.usableMembers()) await this.#read(process);
  }

  async #read(process: SimProcess): Promise<void> {
    const ends: string[] = [];
    let isAsking = false;
    const condition = (): boolean => {
      if (isAsking || ends.length > 0) return ends.length > 0;
      isAsking = true;
      const ended = (outcome: Outcome, why: string): void => {
        // A read whose answer was lost before the run healed may still fill the queue.
        if (why !== "OVERLOADED") ends.push(`${outcome} ${why}`.trim());
        this.#afterHeartbeat(() => {
          isAsking = false;
        });
      };
      this.#cluster.clients.read("last", process, "last", ended, CALL_TIMEOUT_MS);
      return false;
    };
    await this.#turns.runUntil(condition, this.#turns.patienceMs, "LIVE", `a read at ${process.id}`);
    const [end] = ends;
    assertInvariant(
      end === "done",
      "LIVE",
      () => `${process.id} cannot read after the run healed: ${String(end)}`,
    );
  }

  /**
   * Calls back after a heartbeat interval. If a call that is refused at once were repeated at the same
   * instant, time would not advance.
   */
  #afterHeartbeat(then: () => void): void {
    this.#cluster.clock.setTimer(this.#cluster.plan.heartbeatMs, then);
  }
}
