import type { NodeId } from "../../core/position.ts";
import { simulatedWorld, type SimulatedWorld } from "../../environment/simulated/simulated-environment.ts";
import { SimulatedFiles } from "../../environment/simulated/simulated-files.ts";
import { snapshotFiles } from "../../storage/snapshots/index.ts";
import { wal } from "../../storage/wal/index.ts";
import type { RaftOptions, SnapshotPolicy } from "../options.ts";
import { Raft } from "../raft.ts";
import { FakeNet, type FakeTransport } from "./fake-transport.ts";
import { killableEnvironment } from "./test-cluster.ts";
import { SnapshotJournal, emptyJournalDisk, type JournalDisk } from "./snapshot-journal.ts";

/** What of a node outlives its process. */
export interface Machine {
  readonly files: SimulatedFiles;
  /** null: its state machine keeps its state in memory. */
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
  /** null: without snapshots. */
  readonly policy?: Partial<SnapshotPolicy> | null;
  /** Called with the state machine before it is opened. */
  readonly prepare?: (journal: SnapshotJournal) => void;
};

const LIMIT_MS = 60_000;

/** Nodes with real logs and snapshots on made-up disks, under a clock that stands still unless it is moved. */
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
      onLog: (level, text) => this.messages.push(`${level} ${id}: ${text}`),
      ...merged,
    });
    const node = { id, raft, journal, transport, kill };
    this.nodes.set(id, node);
    return node;
  }

  /** The machine of a node goes down, with whatever its disks did not keep. */
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

  /** Some other node than these. */
  other(...not: readonly SnapshotNode[]): SnapshotNode {
    const node = [...this.nodes.values()].find((one) => !not.includes(one));
    if (node === undefined) throw new Error("there is no other node");
    return node;
  }

  /** Writes so many commands, each another, one after another or all at once. */
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

  /** Waits until every node has applied as much as the one furthest on, and compares the states. */
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

  /** For what a test lets wait in the made-up world. */
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
