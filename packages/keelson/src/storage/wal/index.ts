export { wal, type WalOptions } from "./wal-log.ts";
export {
  INSPECT_ENTRIES_MAX,
  inspectWal,
  type EntryTally,
  type InspectOptions,
  type MembershipEntry,
  type SegmentSummary,
  type WalDamage,
  type WalInspection,
} from "./inspect-wal.ts";
export {
  planForceNewCluster,
  forceNewCluster,
  type ForcedNewCluster,
  type ForceNewClusterOptions,
  type ForceNewClusterPlan,
} from "./force-new-cluster.ts";
export { restoreWal, type Restored, type RestoreOptions } from "./restore-wal.ts";
