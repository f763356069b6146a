// Snapshots (§7): taking, sending, fetching and installing them, and compacting the log that they cover.
export { NoSnapshots } from "./no-snapshots.ts";
export { WatchedSnapshotStore } from "./watched-snapshot-store.ts";
export { SnapshotManager } from "./snapshot-manager.ts";
export type { SnapshotService } from "./snapshot-service.ts";
