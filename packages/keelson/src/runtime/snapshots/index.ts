// Snapshots (§7): taken of this node's state, sent to nodes that the log no longer helps, fetched and
// installed.
export { SnapshotManager } from "./snapshot-manager.ts";
