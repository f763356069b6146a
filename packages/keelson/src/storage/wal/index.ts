// keelson/storage/wal: the log on disk, and tools for logs whose nodes don't run.

export { wal, type WalOptions } from "./wal-log.ts";
export { INSPECT_ENTRIES_MAX, inspectWal, type InspectOptions } from "./inspect-wal.ts";
export type {
  EntryTally,
  MembershipEntry,
  SegmentSummary,
  WalDamage,
  WalInspection,
} from "./wal-inspection.ts";
export {
  planForceNewCluster,
  forceNewCluster,
  type ForcedNewCluster,
  type ForceNewClusterOptions,
  type ForceNewClusterPlan,
} from "./force-new-cluster.ts";
export { discardUnusedLog, type DiscardedLog, type DiscardOptions } from "./discard-unused-log.ts";
export { restoreWal, type Restored, type RestoreOptions } from "./restore-wal.ts";
