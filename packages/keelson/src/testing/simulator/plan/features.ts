/**
 * What a plan is made of, by name: its faults, its stage, and its workloads (ways of using the nodes and of
 * configuring them). Many bugs need two of them in the same run, so pairs are what coverage counts
 * (`npm run sim:pairs`), and what some plans are steered to (`paired-plans.ts`).
 */
import type { FaultType } from "./faults.ts";
import type { Plan } from "./plan.ts";

/** Each workload, and which plans have it. */
const WORKLOADS: Readonly<Record<Workload, (plan: Plan) => boolean>> = {
  "one node": ({ nodes }) => nodes === 1,
  "many nodes": ({ nodes, spares }) => nodes - spares >= 5,
  "new members": ({ spares }) => spares > 0,
  "byte streams": ({ transport, nodes }) => transport === "tcp" && nodes > 1,
  datagrams: ({ transport, nodes }) => transport === "datagrams" && nodes > 1,
  "old messages": ({ replayOldMessages, nodes }) => replayOldMessages && nodes > 1,
  "no pre-vote": ({ preVote, nodes }) => !preVote && nodes > 1,
  "no check-quorum": ({ checkQuorum, nodes }) => !checkQuorum && nodes > 1,
  priorities: ({ priorities }) => priorities.length > 0,
  "drifting clocks": ({ clockRates }) => clockRates.some((rate) => rate !== 1),
  "wrong wall clocks": ({ wallOffsetsMs }) => wallOffsetsMs.some((offset) => offset !== 0),
  "slow disks": ({ diskMs }) => diskMs > 0,
  "durable state": ({ durableState }) => durableState,
  snapshots: ({ snapshots }) => snapshots !== null,
  "large snapshots": ({ snapshots }) => (snapshots?.ballastBytes ?? 0) > 0,
  "full queues": ({ pendingEntriesMax, pendingBytesMax }) =>
    pendingEntriesMax < 10 || pendingBytesMax < 10_000,
  "long values": ({ valueBytesMax }) => valueBytesMax >= 2_000,
  "committed stream": ({ reopenCommittedAfter }) => reopenCommittedAfter !== null,
  sessions: ({ sessions, usage }) => sessions !== null && !usage.librarySessions,
  "library sessions": ({ sessions, usage }) => sessions !== null && usage.librarySessions,
  forwarding: ({ usage, nodes }) => usage.forward && nodes > 1,
  "aborted calls": ({ usage }) => usage.abortShare > 0,
  "hasty calls": ({ callTimeoutMs }) => callTimeoutMs <= 150,
  "slow queries": ({ usage }) => usage.queryMs > 0,
  "slow listeners": ({ usage }) => usage.listeners !== null,
  "lease reads": ({ leaseShare }) => leaseShare > 0,
  "stale reads": ({ staleShare }) => staleShare > 0,
  "rest before writing": ({ restsBeforeWriting }) => restsBeforeWriting,
};

export type Workload =
  | "one node"
  | "many nodes"
  | "new members"
  | "byte streams"
  | "datagrams"
  | "old messages"
  | "no pre-vote"
  | "no check-quorum"
  | "priorities"
  | "drifting clocks"
  | "wrong wall clocks"
  | "slow disks"
  | "durable state"
  | "snapshots"
  | "large snapshots"
  | "full queues"
  | "long values"
  | "committed stream"
  | "sessions"
  | "library sessions"
  | "forwarding"
  | "aborted calls"
  | "hasty calls"
  | "slow queries"
  | "slow listeners"
  | "lease reads"
  | "stale reads"
  | "rest before writing";

/** The name of a fault, a workload, or a stage. */
export type Feature = FaultType | Workload | `stage ${string}`;

export const WORKLOAD_NAMES = Object.keys(WORKLOADS) as Workload[];

/** Each type of fault. A type that is missing here doesn't compile. */
const FAULTS: Readonly<Record<FaultType, true>> = {
  cut: true,
  partition: true,
  unreachable: true,
  bridge: true,
  lossy: true,
  "slow-network": true,
  "hostile-peer": true,
  reset: true,
  "late-copies": true,
  stragglers: true,
  crash: true,
  "crash-all": true,
  "restart-under-reads": true,
  "crash-at-storage-call": true,
  "crash-loop": true,
  "crash-voter": true,
  destroy: true,
  close: true,
  "state-machine-failure": true,
  pause: true,
  busy: true,
  freeze: true,
  "late-timers": true,
  "clock-jump": true,
  "hang-part": true,
  "slow-apply": true,
  "slow-disk": true,
  "hanging-disk": true,
  "disk-error": true,
  "full-disk": true,
  "begin-anew": true,
  "second-process": true,
  "short-transfers": true,
  "bit-flip": true,
  "lost-write": true,
  snapshot: true,
  "spoil-snapshot": true,
  "snapshot-disk-error": true,
  "snapshot-error-at-rename": true,
  "crash-at-snapshot": true,
  "strand-leader": true,
  "lonely-leader": true,
  "stall-leader": true,
  "deaf-handover": true,
  "failed-installation": true,
  "leader-without-voters": true,
  "contested-fetch": true,
  "busy-receivers": true,
  change: true,
  transfer: true,
  "greet-leader": true,
  "interrupt-change": true,
  wipe: true,
  "roll-back": true,
  "found-again": true,
  quiet: true,
  burst: true,
  bulk: true,
};

export const FAULT_NAMES = Object.keys(FAULTS) as FaultType[];

/** The plan's workloads. */
export function workloadsOf(plan: Plan): Workload[] {
  return WORKLOAD_NAMES.filter((name) => WORKLOADS[name](plan));
}

/**
 * Everything that the plan means to bring together: its stage, its workloads, and the types of its faults.
 */
export function featuresOf(plan: Plan): Feature[] {
  const types = new Set(plan.faults.map(({ type }) => type));
  return [...stageOf(plan), ...workloadsOf(plan), ...FAULT_NAMES.filter((type) => types.has(type))];
}

export function stageOf({ stage }: Plan): Feature[] {
  return stage === null ? [] : [`stage ${stage}`];
}

/** Faults that need a follower to miss what is sent during a cut, so that it fetches a snapshot. */
export const FAILING_FETCHES: readonly Feature[] = ["failed-installation", "contested-fetch"];

/** What needs datagrams: the simulated byte streams lose, repeat and reorder nothing. */
export const OF_DATAGRAMS: readonly Feature[] = [
  ...(["lossy", "late-copies", "stragglers", "old messages", "datagrams"] as const),
  ...FAILING_FETCHES,
];

/** What needs connections. */
export const OF_STREAMS: readonly Feature[] = ["reset", "unreachable", "byte streams"];

/** What a node without others can have. */
const OF_ONE_NODE: readonly Feature[] = [
  ...([
    "crash",
    "crash-all",
    "crash-at-storage-call",
    "crash-loop",
    "close",
    "state-machine-failure",
  ] as const),
  ...([
    "pause",
    "busy",
    "freeze",
    "late-timers",
    "clock-jump",
    "hang-part",
    "slow-apply",
    "slow-disk",
  ] as const),
  ...([
    "hanging-disk",
    "full-disk",
    "second-process",
    "disk-error",
    "short-transfers",
    "snapshot",
    "snapshot-disk-error",
  ] as const),
  ...(["crash-at-snapshot", "stall-leader", "found-again", "quiet", "burst", "bulk"] as const),
  ...(["drifting clocks", "wrong wall clocks", "slow disks", "durable state", "snapshots"] as const),
  ...(["large snapshots", "full queues", "long values", "committed stream", "sessions"] as const),
  ...(["library sessions", "aborted calls", "hasty calls", "slow queries", "slow listeners"] as const),
  ...(["lease reads", "stale reads", "rest before writing"] as const),
];

/** Why no run can have both; null: a run can. */
export function whyNever(a: Feature, b: Feature): string | null {
  const isPairOf = (some: readonly Feature[], others: readonly Feature[]): boolean =>
    (some.includes(a) && others.includes(b)) || (some.includes(b) && others.includes(a));
  if (a.startsWith("stage ") && b.startsWith("stage ")) return "a run has one stage";
  if (isPairOf(FAILING_FETCHES, OF_STREAMS))
    return "after a cut, a byte stream delivers what the follower missed, and no snapshot is needed";
  if (isPairOf(OF_DATAGRAMS, OF_STREAMS)) return "a run has one kind of transport";
  if (isPairOf(["sessions"], ["library sessions"])) return "the clients of a run have one kind of sessions";
  if (a === "one node" || b === "one node") {
    const other = a === "one node" ? b : a;
    if (!OF_ONE_NODE.includes(other) && !other.startsWith("stage "))
      return "it takes other nodes, or another that holds what is lost";
  }
  return null;
}
