import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { RaftMetrics } from "keelson";

const ROLES = ["follower", "pre-candidate", "candidate", "leader", "stopped"] as const;

/** Seconds; a write takes a sync and a round trip, and more under load. */
const LATENCY_BUCKETS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** What Prometheus may ask of a node. */
export class HttpMetrics {
  readonly #registry = new Registry();
  readonly #requests: Counter;
  readonly #writes: Histogram;
  readonly #gauges: readonly [Gauge, (metrics: RaftMetrics) => number][];
  readonly #counters: readonly [Counter, (metrics: RaftMetrics) => number][];
  readonly #role: Gauge;
  readonly #lag: Gauge;

  constructor() {
    const registers = [this.#registry];
    const gauge = (name: string, help: string, labelNames: string[] = []): Gauge =>
      new Gauge({ name: `keelson_${name}`, help, labelNames, registers });
    const counter = (name: string, help: string, labelNames: string[] = []): Counter =>
      new Counter({ name: `keelson_${name}`, help, labelNames, registers });
    this.#role = gauge("role", "1 for the role that the node has", ["role"]);
    this.#lag = gauge("member_lag_entries", "Entries that a member is behind; on the leader", ["member"]);
    this.#gauges = [
      [gauge("term", "The node's term"), (metrics) => metrics.term],
      [gauge("commit_index", "The last entry known to be committed"), (metrics) => metrics.commitIndex],
      [gauge("applied_index", "The last entry applied"), (metrics) => metrics.appliedIndex],
      [gauge("durable_index", "The last entry on the node's disk"), (metrics) => metrics.durableIndex],
      [gauge("last_index", "The last entry in the log"), (metrics) => metrics.lastIndex],
      [gauge("has_leader", "1 if the node knows a leader"), (metrics) => (metrics.leader === null ? 0 : 1)],
      [
        gauge("pending_entries", "Entries proposed here and not settled"),
        (metrics) => metrics.pendingEntries,
      ],
      [gauge("pending_bytes", "Bytes of those entries"), (metrics) => metrics.pendingBytes],
      [gauge("pending_reads", "Reads that wait"), (metrics) => metrics.pendingReads],
      [
        gauge("forwarded_calls", "Calls passed on to the leader and not answered"),
        (metrics) => metrics.forwardedCalls,
      ],
    ];
    this.#counters = [
      [counter("elections_total", "Elections that the node began"), ({ counters }) => counters.elections],
      [counter("proposals_total", "Commands that the node proposed"), ({ counters }) => counters.writes],
      [counter("reads_total", "Reads asked of the node"), ({ counters }) => counters.reads],
      [counter("read_rounds_total", "Rounds that those reads took"), ({ counters }) => counters.readRounds],
      [counter("log_writes_total", "Writes to the log"), ({ counters }) => counters.logWrites],
      [counter("log_bytes_total", "Bytes of records written"), ({ counters }) => counters.logBytes],
      [counter("messages_sent_total", "Messages to other nodes"), ({ counters }) => counters.messagesSent],
      [
        counter("messages_dropped_total", "Messages dropped unsent"),
        ({ counters }) => counters.messagesDropped,
      ],
      [counter("messages_received_total", "Messages received"), ({ counters }) => counters.messagesReceived],
    ];
    this.#requests = counter("http_requests_total", "Requests answered", ["method", "route", "status"]);
    this.#writes = new Histogram({
      name: "keelson_write_seconds",
      help: "From a command's arrival by HTTP to its being applied, in seconds",
      buckets: LATENCY_BUCKETS,
      registers,
    });
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  answered(method: string, route: string, status: number): void {
    this.#requests.inc({ method, route, status: String(status) });
  }

  wrote(seconds: number): void {
    this.#writes.observe(seconds);
  }

  /** The text of all of it, with the node as it is now. */
  async text(metrics: RaftMetrics): Promise<string> {
    for (const [gauge, valueOf] of this.#gauges) gauge.set(valueOf(metrics));
    for (const [counter, valueOf] of this.#counters) {
      counter.reset();
      counter.inc(valueOf(metrics));
    }
    for (const role of ROLES) this.#role.set({ role }, role === metrics.role ? 1 : 0);
    // A member that left, or a leader that no longer is one, must not keep its last figure.
    this.#lag.reset();
    for (const { id, lag } of metrics.members) if (lag !== null) this.#lag.set({ member: id }, lag);
    return this.#registry.metrics();
  }
}
