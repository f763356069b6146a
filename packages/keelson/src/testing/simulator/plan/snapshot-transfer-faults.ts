import type { Chance } from "./chance.ts";
import type { DiskErrorKind, Fault } from "./faults.ts";
import { PLAIN_USAGE, type Plan, type Usage } from "./plan.ts";

/** In some runs the nodes are used in more ways than the plainest one. */
export function withVariedUsage(plan: Plan, chance: Chance): Plan {
  if (!chance.happens(0.2)) return plan;
  const usage: Usage = {
    forward: chance.happens(0.6),
    abortShare: chance.happens(0.3) ? 0.2 : 0,
    pendingReadsMax: chance.happens(0.3) ? chance.pick([1, 3]) : PLAIN_USAGE.pendingReadsMax,
    queryMs: chance.happens(0.3) ? chance.pick([1, 30]) : 0,
    listeners: chance.happens(0.3)
      ? { changesMax: 4, pauseMs: chance.pick([50, 400]), leaveAfter: chance.pick([2, 10]) }
      : null,
    librarySessions: chance.happens(0.5),
    closeShare: chance.pick([0, 0.1]),
  };
  // Who uses sessions is decided elsewhere; here some more do.
  const sessions =
    plan.sessions ?? (chance.happens(0.4) ? { clients: chance.whole(1, plan.clients), ttlMs: 1_000 } : null);
  return { ...plan, usage, sessions };
}

type TransferType = "snapshot" | "absence" | "transfer" | "lossy" | "spoil-snapshot" | "snapshot-disk-error";

const SNAPSHOT_TRANSFER_TYPES: readonly TransferType[] = [
  "snapshot",
  "snapshot",
  "absence",
  "absence",
  "transfer",
  "lossy",
  "spoil-snapshot",
  "snapshot-disk-error",
];

/** How long one waits for somebody to fetch a snapshot before it is spoilt all the same. */
const TRANSFER_WAIT_MS = 1_000;

const SNAPSHOT_DISK_ERRORS: readonly DiskErrorKind[] = [
  "io-error",
  "no-space",
  "short-write",
  "failed-sync",
  "read-error",
];

/**
 * In some of the runs that take snapshots, these are larger than what is sent at once, and nodes fetch them slowly,
 * while leaders change, links fail and snapshots go bad: a transfer is interrupted at every point, and goes on.
 */
export function withSlowSnapshotTransfers(plan: Plan, chance: Chance, damageable: readonly number[]): Plan {
  const { snapshots } = plan;
  if (snapshots === null || plan.nodes < 2 || !chance.happens(0.2)) return plan;
  const ballastBytes = chance.pick([5_000, 20_000, 40_000]);
  const fetchBytesPerSecond = chance.pick([20_000, 60_000, Infinity]);
  const isStaged = chance.happens(0.5);
  const types = chance.happens(0.5)
    ? SNAPSHOT_TRANSFER_TYPES
    : [...chance.some(SNAPSHOT_TRANSFER_TYPES, 0.5), "absence" as const];
  const faults = isStaged ? [] : [...plan.faults];
  const everyMs = chance.pick([100, 250, 500]);
  for (let at = chance.time(everyMs); at < plan.faultyMs; at += chance.time(everyMs)) {
    const fault = transferFaultOf(chance, chance.pick(types), at, plan, damageable);
    if (fault !== null) faults.push(fault);
  }
  return {
    ...plan,
    snapshots: { ...snapshots, keepEntries: chance.pick([0, 0, 3]), ballastBytes, fetchBytesPerSecond },
    faults: faults.sort((a, b) => a.at - b.at),
  };
}

function transferFaultOf(
  chance: Chance,
  type: TransferType,
  at: number,
  plan: Plan,
  damageable: readonly number[],
): Fault | null {
  const node = chance.whole(0, plan.nodes - 1);
  const ms = chance.time(plan.electionTimeoutMs.max * chance.pick([1, 3]));
  switch (type) {
    case "snapshot":
      return { type, at, node };
    case "absence":
      return chance.happens(0.3)
        ? { type: "crash", at, node, ms }
        : { type: "partition", at, side: [node], oneWay: false, ms };
    case "transfer":
      return { type, at };
    case "lossy":
      return { type, at, link: null, drop: 0.3, duplicate: 0.2, ms };
    case "spoil-snapshot":
      if (damageable.length === 0) return null;
      return { type, at, node: chance.pick(damageable), patienceMs: TRANSFER_WAIT_MS, crashShare: 0.3 };
    case "snapshot-disk-error":
      return { type, at, node, error: chance.pick(SNAPSHOT_DISK_ERRORS) };
  }
}

/** In some runs a node is told again to create the cluster: by a program that does so whenever it starts, or in error. */
export function withRepeatedInitialize(plan: Plan, chance: Chance): Plan {
  if (!chance.happens(0.06)) return plan;
  const faults = [...plan.faults];
  for (let at = chance.time(300); at < plan.faultyMs; at += chance.time(700)) {
    const node = chance.whole(0, plan.nodes - plan.spares - 1);
    faults.push({ type: "found-again", at, node, others: chance.happens(0.4) });
  }
  return { ...plan, faults: faults.sort((a, b) => a.at - b.at) };
}
