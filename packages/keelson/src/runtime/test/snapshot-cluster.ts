// A cluster for snapshot tests: real WALs and snapshot files on simulated disks, with a fake network.

import type { NodeId } from "../../core/position.ts";
import { simulatedWorld, type SimulatedWorld } from "../../environment/simulated/simulated-environment.ts";
import { SimulatedFiles } from "../../environment/simulated/simulated-files.ts";
import { snapshotFiles } from "../../storage/snapshots/index.ts";
import { wal } from "../../storage/wal/index.ts";
import type { RaftOptions, SnapshotPolicy } from "../shared/options.ts";
import { Raft } from "../raft.ts";
import { FakeNet, type FakeTransport } from "./fake-transport.ts";
import { killableEnvironment } from "./test-cluster.ts";
import { SnapshotJournal, emptyJournalDisk, type JournalDisk } from "./snapshot-journal.ts";

/** The part of a node that survives a crash: its disks. */
export interface Machine {
  readonly files: SimulatedFiles;
  /** The disk of its state machine; null: the state is in memory. */
  readonly journalDisk: JournalDisk | null;
}

export interface SnapshotNode {
  readonly id: NodeId;
  readonly raft: Raft<string, number>;
  readonly journal: SnapshotJournal;
  readonly transport: FakeTransport;
  readonly kill: () => void;
}

export type NodeOptions = Partial<RaftOptions<string, number>> & {
  /** When to take snapshots; null: the node is opened without the option `snapshots`. */
  readonly policy?: Partial<SnapshotPolicy> | null;
  /** Called with the state machine before it is opened. */
  readonly prepare?: (journal: SnapshotJournal) => void;
};

const LIMIT_MS = 60_000;

/** Nodes of one cluster in one process. Time stands still unless a method moves it. */
export class SnapshotCluster {
  readonly world: SimulatedWorld;
  readonly net: FakeNet;
  readonly machines = new Map<NodeId, Machine>();
  readonly nodes = new Map<NodeId, SnapshotNode>();
  readonly messages: string[] = [];
  readonly #options: NodeOptions;
  readonly #onDisk: boolean;
  #written = 0;

  constructor({
    seed = 1,
    onDisk = false,
    ...options
  }: NodeOptions & { seed?: number; onDisk?: boolean } = {}) {
    this.world = simulatedWorld({ seed });
    this.net = new FakeNet(this.world.clock, this.world.random);
    this.#options = options;
    this.#onDisk = onDisk;
  }

  static async of(
    ids: readonly NodeId[],
    options: NodeOptions & { seed?: number; onDisk?: boolean } = {},
  ): Promise<SnapshotCluster> {
    const cluster = new SnapshotCluster(options);
    for (const id of ids) await cluster.open(id);
    const members = Object.fromEntries(ids.map((id) => [id, `${id}:1`]));
    await cluster.finish(Promise.all(ids.map((id) => cluster.raft(id).initialize(members))));
    return cluster;
  }

  machine(id: NodeId): Machine {
    let machine = this.machines.get(id);
    if (machine === undefined) {
      machine = { files: new SimulatedFiles(), journalDisk: this.#onDisk ? emptyJournalDisk() : null };
      this.machines.set(id, machine);
    }
    return machine;
  }

  open(id: NodeId, options: NodeOptions = {}): Promise<SnapshotNode> {
    return this.finish(this.startOpening(id, options));
  }

  async startOpening(id: NodeId, options: NodeOptions = {}): Promise<SnapshotNode> {
    const { files, journalDisk } = this.machine(id);
    const journal = new SnapshotJournal(journalDisk);
    const transport = this.net.transport(`${id}:1`);
    const { environment, kill } = killableEnvironment(this.world.environment(id, files.mount()));
    const { policy, prepare, ...merged } = { ...this.#options, ...options };
    prepare?.(journal);
    const raft = await Raft.open<string, number>({
      id,
      stateMachine: journal,
      log: wal("/log", { segmentBytes: 4096 }),
      ...(policy === null ? {} : { snapshots: { store: snapshotFiles("/snapshots"), ...policy } }),
      transport,
      environment,
      onLog: ({ level, text }) => this.messages.push(`${level} ${id}: ${text}`),
      ...merged,
    });
    const node = { id, raft, journal, transport, kill };
    this.nodes.set(id, node);
    return node;
  }

  /** Crashes a node and its machine: what its disks hadn't made durable may be lost. */
  async crash(id: NodeId): Promise<void> {
    const node = this.node(id);
    node.kill();
    this.machine(id).files.crash(this.world.random);
    this.nodes.delete(id);
    await node.transport.close();
  }

  node(id: NodeId): SnapshotNode {
    const node = this.nodes.get(id);
    if (node === undefined) throw new Error(`there is no node ${id}`);
    return node;
  }

  raft(id: NodeId): Raft<string, number> {
    return this.node(id).raft;
  }

  async leader(): Promise<SnapshotNode> {
    const leading = (): SnapshotNode | undefined =>
      [...this.nodes.values()]
        .filter(({ raft }) => raft.metrics().role === "leader")
        .sort((a, b) => b.raft.metrics().term - a.raft.metrics().term)[0];
    await this.until(() => leading() !== undefined, "a leader");
    const node = leading();
    if (node === undefined) throw new Error("the leader is gone again");
    return node;
  }

  /** A node that is none of these. */
  other(...not: readonly SnapshotNode[]): SnapshotNode {
    const node = [...this.nodes.values()].find((one) => !not.includes(one));
    if (node === undefined) throw new Error("there is no other node");
    return node;
  }

  /** Writes this many commands, all different, at once, and waits for all of them. */
  async write(count: number, node?: SnapshotNode): Promise<void> {
    const { raft } = node ?? (await this.leader());
    const written: Promise<number>[] = [];
    for (let n = 0; n < count; n++) written.push(raft.write(`w${String(++this.#written)}`));
    await this.finish(Promise.all(written));
  }

  isolate(id: NodeId): void {
    this.net.isolate(
      id,
      [...this.machines.keys()].filter((other) => other !== id),
    );
  }

  /** Waits until every node has applied what any node knows to be committed, and compares their states. */
  async converge(): Promise<string[]> {
    const applied = (): number[] => [...this.nodes.values()].map(({ raft }) => raft.metrics().appliedIndex);
    await this.until(() => {
      const indexes = applied();
      const commits = [...this.nodes.values()].map(({ raft }) => raft.metrics().commitIndex);
      return Math.min(...indexes) === Math.max(...commits);
    }, "every node to catch up");
    const [first, ...rest] = [...this.nodes.values()];
    const lines = first?.journal.lines ?? [];
    for (const { id, journal } of rest) {
      if (journal.lines.join() !== lines.join()) {
        throw new Error(
          `${id} differs from ${String(first?.id)}: ${journal.lines.join()} is not ${lines.join()}`,
        );
      }
    }
    return lines;
  }

  async finish<T>(promise: Promise<T>, limitMs = LIMIT_MS): Promise<T> {
    let settled = false;
    const settle = (): void => {
      settled = true;
    };
    promise.then(settle, settle);
    await this.until(() => settled, "an answer", limitMs);
    return promise;
  }

  until(condition: () => boolean, what: string, limitMs = LIMIT_MS): Promise<void> {
    return this.world.clock.runUntil(condition, limitMs, what);
  }

  /** Resolves after this much simulated time. */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.world.clock.setTimer(ms, resolve);
    });
  }

  advance(ms: number): Promise<void> {
    return this.world.clock.advance(ms);
  }

  async close(): Promise<void> {
    await this.finish(Promise.all([...this.nodes.values()].map(({ raft }) => raft.close())));
  }
}
