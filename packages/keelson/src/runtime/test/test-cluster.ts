// A cluster for tests of the runtime: fake logs and a fake network, in simulated time.

import type { NodeId } from "../../core/position.ts";
import type { Environment } from "../../environment/environment.ts";
import { simulatedWorld, type SimulatedWorld } from "../../environment/simulated/simulated-environment.ts";
import type { RaftError } from "../../errors.ts";
import type { RaftOptions } from "../shared/options.ts";
import { Raft } from "../raft.ts";
import { FakeDisk, FakeLog } from "./fake-log.ts";
import { FakeNet, type FakeTransport } from "./fake-transport.ts";
import { Journal } from "./journal.ts";

export interface TestNode {
  readonly id: NodeId;
  readonly raft: Raft<string, number>;
  readonly log: FakeLog;
  readonly journal: Journal;
  readonly transport: FakeTransport;
  /** Stops the node like a crash: none of its timers and callbacks run afterwards. */
  readonly kill: () => void;
}

export type TestOptions = Partial<RaftOptions<string, number>> & {
  readonly journal?: Journal;
  /** The node's address. Default: the one that `members` gives it. */
  readonly address?: string;
};

/** How much simulated time a wait may take: enough for several failed elections with the default timings. */
const LIMIT_MS = 20_000;

/** Nodes of one cluster in one process. Time stands still unless a method moves it. */
export class TestCluster {
  readonly world: SimulatedWorld;
  readonly net: FakeNet;
  readonly disks = new Map<NodeId, FakeDisk>();
  readonly nodes = new Map<NodeId, TestNode>();
  readonly messages: string[] = [];
  readonly #options: TestOptions;

  constructor(seed = 1, options: TestOptions = {}) {
    this.world = simulatedWorld({ seed });
    this.net = new FakeNet(this.world.clock, this.world.random);
    this.#options = options;
  }

  /** Opens these nodes, and initializes them as one cluster. */
  static async of(ids: readonly NodeId[], seed = 1, options: TestOptions = {}): Promise<TestCluster> {
    const cluster = new TestCluster(seed, options);
    for (const id of ids) await cluster.open(id);
    await cluster.finish(Promise.all(ids.map((id) => cluster.raft(id).initialize(cluster.members(ids)))));
    return cluster;
  }

  members(ids: readonly NodeId[] = [...this.disks.keys()]): Record<NodeId, string> {
    return Object.fromEntries(ids.map((id) => [id, `${id}:1`]));
  }

  /** Opens a node, on the disk that it had before, if any, and moves time until it is open. */
  open(id: NodeId, options: TestOptions = {}): Promise<TestNode> {
    return this.finish(this.startOpening(id, options));
  }

  /** Like `open`, but leaves it to the caller to move time. */
  async startOpening(id: NodeId, options: TestOptions = {}): Promise<TestNode> {
    let disk = this.disks.get(id);
    if (disk === undefined) this.disks.set(id, (disk = new FakeDisk(`store-${id}`)));
    const log = new FakeLog(disk);
    const merged = { ...this.#options, ...options };
    const journal = merged.journal ?? new Journal();
    const transport = this.net.transport(merged.address ?? `${id}:1`);
    const { environment, kill } = killableEnvironment(this.world.environment(id));
    const raft = await Raft.open<string, number>({
      id,
      stateMachine: journal,
      log,
      transport,
      environment,
      onLog: ({ level, text }) => this.messages.push(`${level} ${id}: ${text}`),
      ...merged,
    });
    const node = { id, raft, log, journal, transport, kill };
    this.nodes.set(id, node);
    return node;
  }

  /** Crashes a node's process. Of its writes in flight, the first `kept` become durable. */
  async crash(id: NodeId, kept = 0): Promise<void> {
    const node = this.node(id);
    node.kill();
    node.log.crash(kept);
    this.nodes.delete(id);
    await node.transport.close();
  }

  node(id: NodeId): TestNode {
    const node = this.nodes.get(id);
    if (node === undefined) throw new Error(`there is no node ${id}`);
    return node;
  }

  raft(id: NodeId): Raft<string, number> {
    return this.node(id).raft;
  }

  /** The node that is leader in the highest term; undefined: none is. */
  currentLeader(): TestNode | undefined {
    return [...this.nodes.values()]
      .filter(({ raft }) => raft.metrics().role === "leader")
      .sort((a, b) => b.raft.metrics().term - a.raft.metrics().term)[0];
  }

  /** Waits until there is a leader (other than `not`) that can take writes. */
  async leader(not?: NodeId): Promise<TestNode> {
    const found = (): TestNode | undefined => {
      const node = this.currentLeader();
      return node?.id === not ? undefined : node;
    };
    await this.until(() => found() !== undefined, "a leader");
    const node = found();
    if (node === undefined) throw new Error("the leader is gone again");
    return node;
  }

  followers(leader: TestNode): TestNode[] {
    return [...this.nodes.values()].filter((node) => node !== leader);
  }

  isolate(id: NodeId): void {
    this.net.isolate(
      id,
      [...this.disks.keys()].filter((other) => other !== id),
    );
  }

  /** Moves time until the promise is settled. */
  async finish<T>(promise: Promise<T>, limitMs = LIMIT_MS): Promise<T> {
    let settled = false;
    const settle = (): void => {
      settled = true;
    };
    promise.then(settle, settle);
    await this.until(() => settled, "an answer", limitMs);
    return promise;
  }

  /** Moves time until the promise is rejected, and returns the error. */
  async failure(promise: Promise<unknown>, limitMs = LIMIT_MS): Promise<RaftError> {
    let value: unknown;
    try {
      value = await this.finish(promise, limitMs);
    } catch (error) {
      return error as RaftError;
    }
    throw new Error(`expected a rejection, got ${String(value)}`);
  }

  until(condition: () => boolean, what: string, limitMs = LIMIT_MS): Promise<void> {
    return this.world.clock.runUntil(condition, limitMs, what);
  }

  advance(ms: number): Promise<void> {
    return this.world.clock.advance(ms);
  }

  async close(): Promise<void> {
    await this.finish(Promise.all([...this.nodes.values()].map(({ raft }) => raft.close())));
  }
}

/**
 * Wraps an environment so that `kill` stops its timers and deferred callbacks, as a
 * crash of the process would.
 */
export function killableEnvironment(environment: Environment): {
  environment: Environment;
  kill: () => void;
} {
  let isAlive = true;
  const whileAlive = (callback: () => void) => (): void => {
    if (isAlive) callback();
  };
  return {
    kill: () => {
      isAlive = false;
    },
    environment: {
      ...environment,
      setTimer: (delayMs, callback) => environment.setTimer(delayMs, whileAlive(callback)),
      defer: (callback) => {
        environment.defer(whileAlive(callback));
      },
    },
  };
}
