import type {
  MembershipChange,
  OpenedSession,
  OpenSessionOptions,
  RaftMetrics,
  SnapshotMetrics,
  Staleness,
  WriteOptions,
} from "keelson";
import type { KvCommand, KvResult } from "../store/commands.ts";
import type { KvNode } from "../node/kv-node.ts";
import type { KvStateMachine } from "../store/state-machine.ts";

/** Stands in for a node: applies commands at once, without a log. A test can make its calls fail. */
export class FakeNode implements KvNode {
  readonly #store: KvStateMachine;
  #index = 1;
  /** What every call rejects with. null: calls succeed. */
  failure: Error | null = null;
  /** What the addition of a learner rejects with, by the learner's id. */
  readonly failures = new Map<string, Error>();
  /** The consistency of the last read. */
  consistency: string | undefined;
  metricsChanges: Partial<RaftMetrics> = {};

  constructor(store: KvStateMachine) {
    this.#store = store;
  }

  /** The options of the last write. */
  writeOptions: WriteOptions = {};
  /** Calls on sessions, in words. */
  readonly sessionCalls: string[] = [];

  beginSession({ ttlMs = 60_000 }: OpenSessionOptions = {}): Promise<OpenedSession> {
    if (this.failure !== null) return Promise.reject(this.failure);
    this.#index += 1;
    this.sessionCalls.push(`begin ${this.#index} for ${ttlMs}`);
    return Promise.resolve({ id: this.#index, ttlMs });
  }

  endSession(id: number): Promise<void> {
    if (this.failure !== null) return Promise.reject(this.failure);
    this.sessionCalls.push(`end ${id}`);
    return Promise.resolve();
  }

  async write(command: KvCommand, options: WriteOptions = {}): Promise<KvResult> {
    this.writeOptions = options;
    if (this.failure !== null) throw this.failure;
    this.#index += 1;
    const at = { term: 1, index: this.#index };
    // Encode and decode, as the log does.
    const { codec } = this.#store;
    const result = await this.#store.apply(codec.decode(codec.encode(command)), at);
    await this.#store.flush(at, new Map());
    return result;
  }

  async read<T>(query: () => T | Promise<T>, options: { consistency?: string | undefined } = {}): Promise<T> {
    this.consistency = options.consistency;
    if (this.failure !== null) throw this.failure;
    return query();
  }

  /** Arguments of calls that change members or leadership, or take snapshots. */
  readonly changes: unknown[] = [];

  changeMembership(change: MembershipChange, options: object = {}): Promise<void> {
    return this.#note({ change, ...options });
  }

  addLearner(id: string, address: string, options: object = {}): Promise<void> {
    const failure = this.failures.get(id);
    if (failure !== undefined) return Promise.reject(failure);
    return this.#note({ learner: id, address, ...options });
  }

  async transferLeadership(to?: string): Promise<string> {
    await this.#note({ transfer: to ?? null });
    return to ?? "n2";
  }

  async snapshot(): Promise<SnapshotMetrics> {
    await this.#note({ snapshot: true });
    return { index: this.#index, term: 1, bytes: 100 };
  }

  staleness(): Staleness {
    return { appliedIndex: 7, commitIndex: 9, leaderHeardMsAgo: 12.3 };
  }

  #note(what: object): Promise<void> {
    if (this.failure !== null) return Promise.reject(this.failure);
    this.changes.push(what);
    return Promise.resolve();
  }

  metrics(): RaftMetrics {
    return {
      id: "n1",
      clusterId: "c",
      role: "leader",
      term: 1,
      leader: { id: "n1", address: "127.0.0.1:7001", info: null },
      commitIndex: this.#index,
      appliedIndex: this.#index,
      durableIndex: this.#index,
      firstIndex: 1,
      lastIndex: this.#index,
      config: { voters: ["n1"], outgoingVoters: [], learners: [] },
      members: [
        {
          id: "n1",
          address: "127.0.0.1:7001",
          voter: true,
          info: '{"line":"127.0.0.1:8001","http":"127.0.0.1:9001"}',
          lag: 0,
          match: this.#index,
          active: true,
          caughtUp: true,
          lostEntries: false,
        },
      ],
      stalled: null,
      logWriteLatency: {
        ...{ count: 3, sumMs: 12.5, lastMs: 0.5, recentMaxMs: 11 },
        buckets: [
          { toMs: 1, count: 2 },
          { toMs: 10, count: 2 },
        ],
      },
      pendingEntries: 0,
      pendingBytes: 0,
      forwardedCalls: 3,
      forwardedBytes: 0,
      pendingReads: 0,
      sessions: { open: 0, bytes: 0, timeMs: 0 },
      snapshots: null,
      counters: {
        elections: 1,
        writes: 2,
        reads: 3,
        readRounds: 4,
        logWrites: 5,
        logBytes: 6,
        messagesSent: 7,
        messagesDropped: 8,
        messagesReceived: 9,
      },
      ...this.metricsChanges,
    };
  }
}
