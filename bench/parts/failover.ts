/**
 * Failover: how long no put succeeds after the leader was killed (SIGKILL), or stopped (SIGSTOP) so that its
 * connections stay open and nobody answers. Both servers with their defaults, and etcd also with an election
 * timeout of 400 ms and heartbeats of 80 ms, which are Keelson's; etcd draws a timeout between one and two
 * times that, and so does Keelson.
 *
 * While the cluster is without a leader, a put starts at each survivor every `PROBE_EVERY_MS`, whatever
 * happens to those before it. So no client's policy of retries decides about the result.
 */
import { commitOf, machineFacts } from "../lib/machine.ts";
import type { BenchOptions } from "../lib/options.ts";
import { build, pinnedVersion } from "../lib/peer-builds.ts";
import type { Measure, Report, Row } from "../lib/report.ts";
import { alternate } from "../lib/statistics.ts";
import { EtcdCluster } from "../server/etcd-cluster.ts";
import { KeelsonCluster } from "../server/keelson-cluster.ts";
import type { ServerCluster } from "../server/server-cluster.ts";

const PROBE_EVERY_MS = 20;
/** A probe that wasn't answered in this time has failed: the leader that it waits for may be the dead one. */
const PROBE_MS_MAX = 3000;
/** A cluster that takes no put within this time is broken. */
const OUTAGE_MS_MAX = 60_000;
const SIGNALS = ["SIGKILL", "SIGSTOP"] as const;

const ETCD_TIMEOUTS = ["--heartbeat-interval", "80", "--election-timeout", "400"];

const OUTAGE: Measure = {
  ...{ name: "Time without a put", unit: "ms", better: "lower", digits: 0, hasChart: false },
};

interface Subject {
  readonly name: string;
  readonly title: string;
  readonly start: () => Promise<ServerCluster>;
  /** Starts a put at a member; resolves when it is acknowledged. */
  readonly put: (address: string, signal: AbortSignal) => Promise<void>;
}

export async function benchFailover(options: BenchOptions): Promise<Report> {
  const subjects = subjectsOf(options);
  const rows: Row[] = [];
  for (const signal of SIGNALS) {
    const values = await alternate(subjects, options.rounds, async (subject, round) => {
      await using cluster = await subject.start();
      const ms = await measure(cluster, subject, signal);
      console.log(`round ${round + 1}, ${subject.name}, ${signal}: ${ms.toFixed(0)} ms`);
      return ms;
    });
    const byName = Object.fromEntries([...values].map(([{ name }, all]) => [name, all]));
    rows.push({ measure: OUTAGE.name, point: signal, values: byName, target: 1 });
  }
  return {
    part: "failover",
    title: "Failover",
    command: options.command,
    commit: commitOf(),
    date: new Date().toISOString().slice(0, 10),
    machine: machineFacts(),
    subjects: Object.fromEntries(subjects.map(({ name, title }) => [name, title])),
    measures: [OUTAGE],
    rows,
    notes: [],
  };
}

/** Milliseconds from the signal to the first acknowledgement of a put that began after it. */
async function measure(
  cluster: ServerCluster,
  { put }: Subject,
  signal: (typeof SIGNALS)[number],
): Promise<number> {
  const survivors = cluster.addresses.filter((address) => address !== cluster.leaderAddress);
  // Connections, and code that runs for the first time.
  await put(cluster.leaderAddress, AbortSignal.timeout(OUTAGE_MS_MAX));
  cluster.leaderProcess.kill(signal);
  const began = performance.now();
  const over = new AbortController();
  const recovered = Promise.withResolvers<number>();
  const probe = (): void => {
    if (performance.now() - began > OUTAGE_MS_MAX)
      recovered.reject(new Error(`no put succeeded within ${OUTAGE_MS_MAX / 1000} s after ${signal}`));
    for (const address of survivors) {
      put(address, AbortSignal.any([over.signal, AbortSignal.timeout(PROBE_MS_MAX)])).then(
        () => {
          recovered.resolve(performance.now() - began);
        },
        () => undefined,
      );
    }
  };
  probe();
  const timer = setInterval(probe, PROBE_EVERY_MS);
  try {
    return await recovered.promise;
  } finally {
    clearInterval(timer);
    over.abort();
  }
}

function subjectsOf({ cache, data, peers }: BenchOptions): Subject[] {
  const keelson: Subject = {
    name: "keelson",
    title: "Keelson",
    start: () => KeelsonCluster.start(data),
    // A follower's redirect to the leader that it knows is followed.
    put: (address, signal) => request(`http://${address}/kv/probe`, { method: "PUT", body: "1", signal }),
  };
  if (peers !== undefined && !peers.includes("etcd")) return [keelson];
  const server = build({ peer: "etcd", target: "server" }, cache);
  if (server === null) return [keelson];
  const version = pinnedVersion("etcd", "go.etcd.io/etcd/server/v3");
  const body = JSON.stringify({ key: btoa("probe"), value: btoa("1") });
  const put: Subject["put"] = (address, signal) =>
    request(`http://${address}/v3/kv/put`, { method: "POST", body, signal });
  return [
    keelson,
    { name: "etcd", title: `etcd ${version}`, start: () => EtcdCluster.start(server, data), put },
    {
      ...{ name: "etcd-equal", title: `etcd ${version}, Keelson's timeouts`, put },
      start: () => EtcdCluster.start(server, data, ETCD_TIMEOUTS),
    },
  ];
}

async function request(url: string, init: RequestInit): Promise<void> {
  const response = await fetch(url, init);
  await response.arrayBuffer();
  if (!response.ok) throw new Error(`answered ${response.status}`);
}
