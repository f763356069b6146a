/** `GET /metrics`: the node's figures and the server's own, in the text format of Prometheus. */
import { Counter, Gauge, Registry } from "prom-client";
import type { LatencyMetrics, RaftMetrics } from "keelson";

/** Reads one figure from the node's metrics. */
type Figure = (metrics: RaftMetrics) => number;

/** Name without "keelson_", help text, and the figure. */
type Metric = readonly [name: string, help: string, figure: Figure];

const GAUGES: readonly Metric[] = [
  ["term", "The node's term", (metrics) => metrics.term],
  ["commit_index", "The last entry known to be committed", (metrics) => metrics.commitIndex],
  ["applied_index", "The last entry applied", (metrics) => metrics.appliedIndex],
  ["durable_index", "The last entry on the node's disk", (metrics) => metrics.durableIndex],
  ["last_index", "The last entry in the log", (metrics) => metrics.lastIndex],
  ["has_leader", "1 if the node knows a leader", (metrics) => (metrics.leader === null ? 0 : 1)],
  ["pending_entries", "Entries proposed here and not settled", (metrics) => metrics.pendingEntries],
  ["pending_bytes", "Bytes of those entries", (metrics) => metrics.pendingBytes],
  ["pending_reads", "Reads that wait", (metrics) => metrics.pendingReads],
  [
    "forwarded_calls",
    "Calls that wait for a leader, or were passed on to it and not answered",
    (metrics) => metrics.forwardedCalls,
  ],
];

const COUNTERS: readonly Metric[] = [
  ["elections_total", "Elections that the node began", ({ counters }) => counters.elections],
  ["proposals_total", "Commands that the node proposed", ({ counters }) => counters.writes],
  ["reads_total", "Reads asked of the node", ({ counters }) => counters.reads],
  ["read_rounds_total", "Rounds that those reads took", ({ counters }) => counters.readRounds],
  ["log_writes_total", "Writes to the log", ({ counters }) => counters.logWrites],
  ["log_bytes_total", "Bytes of records written", ({ counters }) => counters.logBytes],
  [
    "messages_sent_total",
    "Messages of the Raft algorithm to other nodes",
    ({ counters }) => counters.messagesSent,
  ],
  [
    "messages_dropped_total",
    "Of these messages, those dropped unsent",
    ({ counters }) => counters.messagesDropped,
  ],
  [
    "messages_received_total",
    "Messages received, forwarded calls and parts of snapshots included",
    ({ counters }) => counters.messagesReceived,
  ],
];

const ROLES = ["follower", "pre-candidate", "candidate", "leader", "removed", "stopped"] as const;

/** The parts of a node that `RaftMetrics.stalled` may name, because their calls can hang. */
const PARTS = ["log", "state-machine", "snapshot-store"] as const;

/** In seconds. A write takes a sync and a round trip, about a millisecond, and more under load. */
const LATENCY_BUCKETS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/**
 * All metrics of one server. The node's figures are copied from `RaftMetrics` for each scrape; requests and
 * write latencies are recorded here.
 */
export class HttpMetrics {
  readonly #registry = new Registry();
  readonly #requests: Counter;
  /**
   * Requests answered, by route, method and status. The counter is set from it for each scrape: to increment
   * that one costs objects and the sorting of its labels, for each request.
   */
  readonly #answered = new Map<string, Map<string, Map<number, number>>>();
  readonly #writes = new Latencies();
  readonly #calls: Counter;
  /** Answers by the binary protocol, by operation and status: a map for the same reason. */
  readonly #called = new Map<string, Map<number, number>>();
  /** Each with the figure of the node that it shows. */
  readonly #gauges: readonly (readonly [Gauge, Figure])[];
  readonly #counters: readonly (readonly [Counter, Figure])[];
  readonly #role: Gauge;
  readonly #stalledSeconds: Gauge;
  readonly #lag: Gauge;
  readonly #lostEntries: Gauge;

  constructor() {
    const registers = [this.#registry];
    const gauge = (name: string, help: string, labelNames: string[] = []): Gauge =>
      new Gauge({ name: `keelson_${name}`, help, labelNames, registers });
    const counter = (name: string, help: string, labelNames: string[] = []): Counter =>
      new Counter({ name: `keelson_${name}`, help, labelNames, registers });
    // The order of these statements is the order in the text.
    this.#role = gauge("role", "1 for the role that the node has", ["role"]);
    this.#stalledSeconds = gauge(
      "stalled_seconds",
      "How long a call of this part has hung; 0: none hangs. Such a node doesn't lead, and stops after a time limit",
      ["part"],
    );
    this.#lag = gauge("member_lag_entries", "Entries that a member is behind; on the leader", ["member"]);
    this.#lostEntries = gauge(
      "member_lost_entries",
      "1: the member lost entries that it had acknowledged as durable; remove it and add it anew",
      ["member"],
    );
    this.#gauges = GAUGES.map(([name, help, figure]) => [gauge(name, help), figure]);
    this.#counters = COUNTERS.map(([name, help, figure]) => [counter(name, help), figure]);
    this.#requests = counter("http_requests_total", "Requests answered", ["method", "route", "status"]);
    this.#calls = counter("calls_total", "Calls answered by the binary protocol", ["operation", "status"]);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** Counts an answer. `route` is a pattern such as "/kv/:key": each path would be one more time series. */
  answered(method: string, route: string, status: number): void {
    const methods = inner(this.#answered, route);
    const statuses = inner(methods, method);
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
  }

  /** Counts an answer by the binary protocol. `status`: HTTP's for the same. */
  called(operation: string, status: number): void {
    const statuses = inner(this.#called, operation);
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
  }

  /** Records how long a write took that the node answered. */
  wrote(seconds: number): void {
    this.#writes.observe(seconds);
  }

  /** The text to send. `metrics`: the node's figures at this moment. */
  async text(metrics: RaftMetrics): Promise<string> {
    for (const [gauge, valueOf] of this.#gauges) gauge.set(valueOf(metrics));
    for (const [counter, valueOf] of this.#counters) {
      counter.reset();
      counter.inc(valueOf(metrics));
    }
    this.#calls.reset();
    for (const [operation, counts] of this.#called)
      for (const [status, count] of counts) this.#calls.inc({ operation, status: String(status) }, count);
    for (const role of ROLES) this.#role.set({ role }, role === metrics.role ? 1 : 0);
    for (const part of PARTS) {
      this.#stalledSeconds.set({ part }, metrics.stalled?.part === part ? metrics.stalled.ms / 1000 : 0);
    }
    // A removed member, or a node that no longer leads, must not go on showing its last figures.
    this.#lag.reset();
    for (const { id, lag } of metrics.members) if (lag !== null) this.#lag.set({ member: id }, lag);
    this.#lostEntries.reset();
    for (const { id, lostEntries } of metrics.members) {
      if (lostEntries !== null) this.#lostEntries.set({ member: id }, lostEntries ? 1 : 0);
    }
    this.#requests.reset();
    for (const [route, methods] of this.#answered) {
      for (const [method, statuses] of methods) {
        for (const [status, count] of statuses)
          this.#requests.inc({ method, route, status: String(status) }, count);
      }
    }
    const texts = [
      await this.#registry.metrics(),
      this.#writes.text(),
      logWriteText(metrics.logWriteLatency),
    ];
    return texts.join("\n");
  }
}

/** The map under `key`, which is added if it is missing. */
function inner<K, V>(maps: Map<string, Map<K, V>>, key: string): Map<K, V> {
  const found = maps.get(key);
  if (found !== undefined) return found;
  const added = new Map<K, V>();
  maps.set(key, added);
  return added;
}

/** A histogram of how long writes take, which is cheap to add to. */
class Latencies {
  /** By bucket of `LATENCY_BUCKETS`: writes that took at most so long, and longer than the bucket before. */
  readonly #counts = LATENCY_BUCKETS.map(() => 0);
  #count = 0;
  #sumSeconds = 0;

  observe(seconds: number): void {
    let at = 0;
    while (seconds > (LATENCY_BUCKETS[at] ?? Infinity)) at += 1;
    if (at < this.#counts.length) this.#counts[at] = (this.#counts[at] ?? 0) + 1;
    this.#count += 1;
    this.#sumSeconds += seconds;
  }

  text(): string {
    const name = "keelson_write_seconds";
    let upTo = 0;
    return [
      `# HELP ${name} From a command's arrival by HTTP or the binary protocol to its being applied, in seconds`,
      `# TYPE ${name} histogram`,
      ...LATENCY_BUCKETS.map((le, at) => `${name}_bucket{le="${le}"} ${(upTo += this.#counts[at] ?? 0)}`),
      `${name}_bucket{le="+Inf"} ${this.#count}`,
      `${name}_sum ${this.#sumSeconds}`,
      `${name}_count ${this.#count}`,
      "",
    ].join("\n");
  }
}

/**
 * The node's own histogram of its log writes, as text: the library of this file's other metrics has no
 * histogram that is copied from elsewhere.
 */
function logWriteText({ count, sumMs, recentMaxMs, buckets }: LatencyMetrics): string {
  const name = "keelson_log_write_seconds";
  return [
    `# HELP ${name} From handing a write to the node's log to its being durable, in seconds`,
    `# TYPE ${name} histogram`,
    ...buckets.map((bucket) => `${name}_bucket{le="${bucket.toMs / 1000}"} ${bucket.count}`),
    `${name}_bucket{le="+Inf"} ${count}`,
    `${name}_sum ${sumMs / 1000}`,
    `${name}_count ${count}`,
    "",
    `# HELP keelson_log_write_recent_max_seconds The longest of the last 10 to 20 seconds, the one under way included`,
    "# TYPE keelson_log_write_recent_max_seconds gauge",
    `keelson_log_write_recent_max_seconds ${recentMaxMs / 1000}`,
    "",
  ].join("\n");
}
