/**
 * LIVE, after healing: the cluster gets one leader, ends all calls, leaves joint configurations and unusable
 * members behind, and all nodes apply the same entries. SMS: the states that result are equal, and so
 * are their snapshots.
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
      const { states, snapshots, entries } = await this.#readStates();
      if (entries.size <= 1) {
        assertEqualStates(states);
        assertEqualSnapshots(snapshots);
        return;
      }
      const isLate = this.#cluster.clock.now() >= endAt;
      assertInvariant(!isLate, "LIVE", () => "entries come without end, and nobody writes");
    }
  }

  /**
   * The state of each usable member as a digest and as a snapshot, and the last entries that these are of.
   */
  async #readStates(): Promise<ReadStates> {
    const states = new Map<string, string>();
    const snapshots = new Map<string, Uint8Array>();
    const entries = new Set<number | undefined>();
    for (const { id, machine, raft } of this.#cluster.usableMembers()) {
      if (machine === null) continue;
      entries.add(raft?.metrics().appliedIndex);
      const sessions = JSON.stringify(raft?.metrics().sessions);
      const reading = this.#cluster.readState(machine).then(({ digest, snapshot }) => {
        states.set(id, `${digest} ${sessions}`);
        if (snapshot !== null) snapshots.set(id, snapshot);
      });
      await this.#turns.settled(reading, this.#turns.patienceMs, "LIVE", `the state of ${id}`);
      entries.add(raft?.metrics().appliedIndex);
    }
    return { states, snapshots, entries };
  }
}

/** What was read of the members' states, by node id. */
interface ReadStates {
  readonly states: ReadonlyMap<string, string>;
  /** Empty if the state machine has none, or the subject doesn't want them compared. */
  readonly snapshots: ReadonlyMap<string, Uint8Array>;
  /** The last applied entries before and after each reading: one, if all states are of the same entry. */
  readonly entries: ReadonlySet<number | undefined>;
}

function assertEqualStates(states: ReadonlyMap<string, string>): void {
  assertInvariant(new Set(states.values()).size <= 1, "SMS", () => {
    const each = [...states].map(([id, state]) => `${id} ${state}`);
    return `the nodes have applied the same, and hold different states: ${each.join("; ")}`;
  });
}

/** How many bytes of a snapshot are shown from the first difference on. */
const SHOWN_BYTES = 60;

/**
 * SMS: the snapshots are equal as well. A digest is made for the test, and may leave out a part of the state;
 * a snapshot holds all of it, or a node that is restored from it lacks it.
 */
function assertEqualSnapshots(snapshots: ReadonlyMap<string, Uint8Array>): void {
  const [first, ...others] = [...snapshots];
  if (first === undefined) return;
  const [firstId, expected] = first;
  for (const [id, bytes] of others) {
    const at = firstDifference(expected, bytes);
    const shown = (snapshot: Uint8Array): string =>
      JSON.stringify(Buffer.from(snapshot.subarray(at, at + SHOWN_BYTES)).toString("latin1"));
    assertInvariant(
      at === -1,
      "SMS",
      () =>
        `${firstId} and ${id} have applied the same, and their snapshots differ from byte ${String(at)} on: ` +
        `${shown(expected)} and ${shown(bytes)}`,
    );
  }
}

/** The first place at which the bytes differ; -1: they are equal. */
function firstDifference(one: Uint8Array, other: Uint8Array): number {
  if (Buffer.compare(one, other) === 0) return -1;
  const at = one.findIndex((byte, place) => byte !== other[place]);
  return at === -1 ? one.length : at;
}
