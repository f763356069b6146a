/** Adds slow snapshot transfers to a plan, and faults that interrupt them. */
import type { Chance } from "./chance.ts";
import { byTime, drawFaults } from "./draw-faults.ts";
import type { DiskErrorKind, Fault } from "./faults.ts";
import type { Plan } from "./plan.ts";

/**
 * `absence` is a crash or a cut that makes a node fall behind. Those that stand twice happen twice as often.
 */
const SNAPSHOT_TRANSFER_TYPES = [
  "snapshot",
  "snapshot",
  "absence",
  "absence",
  "transfer",
  "lossy",
  "spoil-snapshot",
  "snapshot-disk-error",
  "snapshot-error-at-rename",
] as const;

type TransferType = (typeof SNAPSHOT_TRANSFER_TYPES)[number];

/**
 * The `patienceMs` of "spoil-snapshot": the snapshot is damaged while another node fetches it, or after so
 * long in any case.
 */
const TRANSFER_WAIT_MS = 1_000;

const SNAPSHOT_DISK_ERRORS: readonly DiskErrorKind[] = [
  "io-error",
  "no-space",
  "short-write",
  "failed-sync",
  "read-error",
  "no-handles",
  "failed-rename",
];

/**
 * In a fifth of the runs with snapshots, these take many chunks and nodes fetch them slowly, while leaders
 * change, links fail and snapshots are damaged: transfers are interrupted at every point, and resumed (S6).
 */
export function withSlowSnapshotTransfers(plan: Plan, chance: Chance, damageable: readonly number[]): Plan {
  const { snapshots } = plan;
  if (snapshots === null || plan.nodes < 2 || !chance.happens(0.2)) return plan;
  const ballastBytes = chance.pick([5_000, 20_000, 40_000]);
  const fetchBytesPerSecond = chance.pick([20_000, 60_000, Infinity]);
  const standAlone = chance.happens(0.5);
  const types = chance.happens(0.5)
    ? SNAPSHOT_TRANSFER_TYPES
    : [...chance.some(SNAPSHOT_TRANSFER_TYPES, 0.5), "absence" as const];
  const everyMs = chance.pick([100, 250, 500]);
  const faults = drawFaults(chance, { everyMs, untilMs: plan.faultyMs }, (at) =>
    transferFaultOf(chance, chance.pick(types), at, plan, damageable),
  );
  return {
    ...plan,
    snapshots: { ...snapshots, keepEntries: chance.pick([0, 0, 3]), ballastBytes, fetchBytesPerSecond },
    faults: standAlone ? faults : byTime([...plan.faults, ...faults]),
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
    case "snapshot-error-at-rename": {
      const error = chance.pick(["no-handles", "no-handles", "read-error"] as const);
      return { type, at, node, error, after: chance.pick([0, 0, 0, 1, 2]) };
    }
    case "snapshot-disk-error":
      return { type, at, node, error: chance.pick(SNAPSHOT_DISK_ERRORS) };
  }
}
