// Random tests of the runtime: one run per seed.

import { RaftError } from "../../errors.ts";
import type { LogIndex, NodeId } from "../../core/position.ts";
import { seededRandom } from "../../environment/simulated/simulated-clock.ts";
import { TestCluster, type TestNode, type TestOptions } from "./test-cluster.ts";

const IDS: readonly NodeId[] = ["a", "b", "c"];
const STEPS = 60;

/** Counts of what happened in a run. The test checks that all runs together covered every kind. */
export interface RunSummary {
  acknowledged: number;
  lost: number;
  unknown: number;
  refused: number;
  reads: number;
  crashes: number;
  terms: number;
}

/**
 * Runs one cluster under random writes, reads, crashes, network cuts and losses, all derived from one seed.
 * Throws at the first violation of what it checks:
 *
 * - all nodes apply the same command at an index, in every life of each node;
 * - in the end every acknowledged command is applied, and no command that was "not done";
 * - a read sees every write that was acknowledged, and all that an earlier read saw, before it began;
 * - every call ends, and no count of pending work leaks.
 */
export class RandomRun {
  readonly #seed: number;
  readonly #random: () => number;
  readonly #cluster: TestCluster;
  readonly #commandAt = new Map<LogIndex, string>();
  readonly #acknowledged = new Map<string, LogIndex>();
  readonly #notDone = new Set<string>();
  /** The highest index whose effect a finished call has shown to a client. */
  #highestShown: LogIndex = 0;
  #down: NodeId[] = [];
  #violation: Error | null = null;
  readonly #summary: RunSummary = {
    acknowledged: 0,
    lost: 0,
    unknown: 0,
    refused: 0,
    reads: 0,
    crashes: 0,
    terms: 0,
  };

  constructor(seed: number) {
    this.#seed = seed;
    this.#random = seededRandom(seed * 7919 + 13);
    this.#cluster = new TestCluster(seed, this.#options());
  }

  async run(): Promise<RunSummary> {
    const cluster = this.#cluster;
    for (const id of IDS) await this.#openNode(id);
    await cluster.finish(Promise.all(IDS.map((id) => cluster.raft(id).initialize(cluster.members(IDS)))));
    if (this.#chance(0.8)) await cluster.leader();
    cluster.net.delayMs = { min: 0.2, max: this.#chance(0.5) ? 2 : 30 };
    cluster.net.lossRate = this.#chance(0.5) ? 0.05 : 0;
    cluster.net.duplicateRate = this.#chance(0.5) ? 0.1 : 0;
    for (let step = 0; step < STEPS; step++) {
      await this.#step(step);
      this.#check();
    }
    await this.#end();
    return this.#summary;
  }

  #options(): TestOptions {
    return {
      timings: { callTimeoutMs: 3000 },
      limits: {
        // Often too small for the load, so that the store is read and batches are split.
        cacheBytesMax: this.#chance(0.5) ? 150 : 1_000_000,
        applyBatchEntriesMax: this.#chance(0.5) ? 2 : 1024,
      },
    };
  }

  async #step(step: number): Promise<void> {
    const dice = this.#random();
    if (dice < 0.4) this.#write(step);
    else if (dice < 0.6) this.#read();
    else if (dice < 0.68) await this.#crash();
    else if (dice < 0.78) await this.#restart();
    else if (dice < 0.85) this.#cluster.isolate(this.#pick(IDS));
    else if (dice < 0.9) this.#cluster.net.cut(this.#pick(IDS), this.#pick(IDS));
    else if (dice < 0.96) this.#cluster.net.heal();
    await this.#cluster.advance(this.#random() ** 3 * 800);
  }

  #write(step: number): void {
    // Mostly to the leader, sometimes to any node; several in one turn.
    const node = this.#chance(0.8) ? this.#cluster.currentLeader() : this.#anyNode();
    if (node === undefined) return;
    const count = 1 + Math.floor(this.#random() * 4);
    for (let i = 0; i < count; i++) void this.#writeAndRecord(node, `${String(step)}.${String(i)}`);
  }

  async #writeAndRecord({ raft }: TestNode, text: string): Promise<void> {
    try {
      const { index } = await raft.writeWithIndex(text);
      this.#summary.acknowledged += 1;
      this.#acknowledged.set(text, index);
      this.#highestShown = Math.max(this.#highestShown, index);
    } catch (error) {
      if (!(error instanceof RaftError)) this.#fail(`a write failed with ${String(error)}`);
      else if (error.outcome === "not-done") this.#notDone.add(text);
      if (error instanceof RaftError && error.code === "COMMAND_LOST") this.#summary.lost += 1;
      else if (error instanceof RaftError && error.outcome === "unknown") this.#summary.unknown += 1;
      else this.#summary.refused += 1;
    }
  }

  #read(): void {
    const node = this.#anyNode();
    if (node === undefined) return;
    const { raft, journal } = node;
    const shownBefore = this.#highestShown;
    raft
      .read(() => journal.commands.at(-1)?.at.index ?? 0)
      .then(
        (index) => {
          this.#summary.reads += 1;
          if (index < shownBefore)
            this.#fail(`a read saw ${String(index)} after ${String(shownBefore)} was shown`);
          this.#highestShown = Math.max(this.#highestShown, index);
        },
        () => undefined,
      );
  }

  async #crash(): Promise<void> {
    const node = this.#anyNode();
    if (node === undefined || this.#down.length > 1) return;
    this.#checkApplied(node);
    this.#summary.crashes += 1;
    const kept = Math.floor(this.#random() * (node.log.writesInFlight + 1));
    // The callers crash with the node, so their calls are never answered.
    await this.#cluster.crash(node.id, kept);
    this.#down.push(node.id);
  }

  async #restart(): Promise<void> {
    const id = this.#down.shift();
    if (id !== undefined) await this.#openNode(id);
  }

  async #openNode(id: NodeId): Promise<void> {
    const node = await this.#cluster.open(id);
    node.log.latencyMs = 0.1 + this.#random() * 5;
  }

  /** Ends all faults, and checks that the cluster recovers and has kept its promises. */
  async #end(): Promise<void> {
    const { net } = this.#cluster;
    net.heal();
    net.lossRate = 0;
    while (this.#down.length > 0) await this.#restart();
    const leader = await this.#cluster.leader();
    const { index } = await this.#cluster.finish(this.#writeUntilDone());
    const all = [...this.#cluster.nodes.values()];
    await this.#cluster.until(
      () => all.every(({ raft }) => raft.metrics().appliedIndex >= index),
      `all nodes apply ${String(index)}`,
    );
    await this.#cluster.advance(4000);
    this.#check();
    for (const [text, at] of this.#acknowledged) {
      if (this.#commandAt.get(at) !== text)
        this.#fail(`${text} was acknowledged at ${String(at)} and is not there`);
    }
    for (const text of this.#commandAt.values()) {
      if (this.#notDone.has(text)) this.#fail(`${text} was "not done", and took effect`);
    }
    for (const { id, raft } of all) {
      const { pendingEntries, pendingBytes, pendingReads, role } = raft.metrics();
      if (role === "stopped") this.#fail(`${id} stopped: ${this.#cluster.messages.join("; ")}`);
      if (pendingEntries + pendingBytes + pendingReads > 0)
        this.#fail(`${id} counts what is no longer there`);
    }
    this.#summary.terms = leader.raft.metrics().term;
    await this.#cluster.close();
    if (this.#violation !== null) throw this.#violation;
  }

  async #writeUntilDone(): Promise<{ index: LogIndex }> {
    for (;;) {
      try {
        const leader = await new Promise<TestNode>((resolve) => {
          const look = (): void => {
            const node = this.#cluster.currentLeader();
            if (node !== undefined) resolve(node);
            else this.#cluster.world.clock.setTimer(10, look);
          };
          look();
        });
        return await leader.raft.writeWithIndex("final");
      } catch (error) {
        if (!(error instanceof RaftError)) throw error;
      }
    }
  }

  #check(): void {
    for (const node of this.#cluster.nodes.values()) this.#checkApplied(node);
    if (this.#violation !== null) throw this.#violation;
  }

  /** Compares what the node has applied with what any node ever applied at the same index (SMS). */
  #checkApplied({ id, journal, raft }: TestNode): void {
    for (const { at, command } of journal.commands) {
      const known = this.#commandAt.get(at.index);
      if (known !== undefined && known !== command) {
        this.#fail(`${id} applied ${command} at ${String(at.index)}, another node ${known}`);
      }
      this.#commandAt.set(at.index, command);
    }
    if (raft.metrics().role === "stopped") this.#fail(`${id} stopped: ${this.#cluster.messages.join("; ")}`);
  }

  #fail(what: string): void {
    this.#violation ??= new Error(`seed ${String(this.#seed)}: ${what}`);
  }

  #anyNode(): TestNode | undefined {
    return this.#cluster.nodes.size === 0 ? undefined : this.#pick([...this.#cluster.nodes.values()]);
  }

  #pick<T>(from: readonly T[]): T {
    const item = from[Math.floor(this.#random() * from.length)];
    if (item === undefined) throw new Error("nothing to pick from");
    return item;
  }

  #chance(share: number): boolean {
    return this.#random() < share;
  }
}
