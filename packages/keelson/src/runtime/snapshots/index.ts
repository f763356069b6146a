// Snapshots (§7): taking, sending, fetching and installing them, and compacting the log that they cover.
// installed.
export { SnapshotManager } from "./snapshot-manager.ts";
