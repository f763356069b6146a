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
} from "./inspect.ts";
export { planRefound, refoundWal, type Refounded, type RefoundOptions, type RefoundPlan } from "./refound.ts";
export { restoreWal, type Restored, type RestoreOptions } from "./restore.ts";
