/**
 * LIVE, after healing: the cluster gets one leader, ends all calls, leaves joint configurations and unusable
 * members behind, and all nodes apply the same entries. SMS: the states that result are equal.
 */
import { isJoint } from "../../../core/config.ts";
import { assertInvariant } from "../checkers/violation.ts";
import { LastCalls } from "./last-calls.ts";
import { Rest } from "./rest.ts";
import type { SimulatedCluster } from "./simulated-cluster.ts";
import type { TurnLoop } from "./turn-loop.ts";

/** Takes a healed cluster to the point where all nodes hold the same, and checks that they do. */
export class Convergence {
  readonly #cluster: SimulatedCluster;
  readonly #turns: TurnLoop;

  constructor(cluster: SimulatedCluster, turns: TurnLoop) {
    this.#cluster = cluster;
    this.#turns = turns;
  }

  async run(): Promise<void> {
    const { clients, plan } = this.#cluster;
    const lastCalls = new LastCalls(this.#cluster, this.#turns);
    if (plan.catchUpMs !== null) clients.stop();
    await this.#wait(() => this.#cluster.leader() !== null, "LIVE", "a leader after the run healed");
    if (plan.catchUpMs !== null) await this.#catchUp(plan.catchUpMs);
    clients.stop();
    await this.#wait(() => clients.underWay === 0, "KNOWN", "all calls to end");
    await this.#removeUnusableMembers();
    if (plan.restsBeforeWriting) {
      await new Rest(this.#cluster, this.#turns).reach();
      await this.#compareStates();
      if (this.#cluster.isUndisturbed()) await lastCalls.promptWrite();
    }
    await lastCalls.transfer();
    await lastCalls.write();
    await this.#compareStates();
    await lastCalls.reads();
    if (plan.restartsAtEnd) await this.#restart();
  }

  /**
   * Restarts every node, which then makes its state again from its own snapshot and the log after it. Each
   * node's snapshot is of another entry, so a snapshot or a log that is wrong shows as a difference.
   */
  async #restart(): Promise<void> {
    const members = this.#cluster.usableMembers();
    // A damaged node refuses to start, and nobody would remove it now.
    if (this.#cluster.processes.some(({ hasDamagedData }) => hasDamagedData)) return;
    for (const process of members) process.kill(false);
    await this.#wait(() => members.every(({ isUp }) => isUp), "START", "all nodes to start again");
    await this.#wait(() => this.#cluster.leader() !== null, "LIVE", "a leader after all nodes started again");
    await this.#compareStates();
  }

  /**
   * LIVE: all nodes have what the leader has within `limitMs`, which the plan counts in round trips. That is
   * much less than `patienceMs`.
   */
  async #catchUp(limitMs: number): Promise<void> {
    await this.#turns.runUntil(
      () => this.#cluster.haveAllApplied(),
      limitMs,
      "LIVE",
      "all nodes to catch up",
    );
  }

  #wait(condition: () => boolean, code: string, what: string): Promise<void> {
    return this.#turns.runUntil(condition, this.#turns.patienceMs, code, what);
  }

  /**
   * The operator removes members that can't come back. Then one configuration that isn't joint is in force
   * everywhere.
   */
  async #removeUnusableMembers(): Promise<void> {
    const { plan, operator } = this.#cluster;
    if (plan.spares === 0) return;
    const removing = operator.removeUnusableMembers();
    await this.#turns.settled(removing, 2 * this.#turns.patienceMs, "LIVE", "the operator to clean up");
    await this.#wait(() => this.#isSettled(), "LIVE", "one configuration everywhere");
  }

  /** Whether a voter leads, and every usable member acts on the same configuration, which isn't joint. */
  #isSettled(): boolean {
    const leader = this.#cluster.leader();
    const config = leader?.raft?.metrics().config;
    if (leader === null || config === undefined || isJoint(config)) return false;
    const text = JSON.stringify(config);
    return (
      config.voters.includes(leader.id) &&
      this.#cluster.usableMembers().every(({ raft }) => JSON.stringify(raft?.metrics().config) === text)
    );
  }

  /**
   * SMS: nodes that have applied the same entries hold the same state and the same sessions. A forwarded
   * write whose caller gave up may arrive meanwhile: then the states are of different entries, and are read
   * again.
   */
  async #compareStates(): Promise<void> {
    const endAt = this.#cluster.clock.now() + this.#turns.patienceMs;
    for (;;) {
      await this.#wait(() => this.#cluster.haveAllApplied(), "LIVE", "all nodes to apply the same");
      const { states, entries } = await this.#readStates();
      if (entries.size <= 1) {
        assertEqualStates(states);
        return;
      }
      const isLate = this.#cluster.clock.now() >= endAt;
      assertInvariant(!isLate, "LIVE", () => "entries come without end, and nobody writes");
    }
  }

  /** The state of each usable member, and the last entries that these states are of. */
  async #readStates(): Promise<{ states: Map<string, string>; entries: Set<number | undefined> }> {
    const states = new Map<string, string>();
    const entries = new Set<number | undefined>();
    for (const { id, machine, raft } of this.#cluster.usableMembers()) {
      if (machine === null) continue;
      entries.add(raft?.metrics().appliedIndex);
      const sessions = JSON.stringify(raft?.metrics().sessions);
      const reading = Promise.resolve(this.#cluster.subject.digest(machine)).then((state) => {
        states.set(id, `${state} ${sessions}`);
      });
      await this.#turns.settled(reading, this.#turns.patienceMs, "LIVE", `the state of ${id}`);
      entries.add(raft?.metrics().appliedIndex);
    }
    return { states, entries };
  }
}

function assertEqualStates(states: ReadonlyMap<string, string>): void {
  assertInvariant(new Set(states.values()).size <= 1, "SMS", () => {
    const each = [...states].map(([id, state]) => `${id} ${state}`);
    return `the nodes have applied the same, and hold different states: ${each.join("; ")}`;
  });
}
