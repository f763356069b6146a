// keelson/storage/snapshots: snapshots in files or in memory, and tools to read them without a node.

export type { SnapshotFileKind } from "./file-names.ts";
export {
  inspectSnapshots,
  type InspectSnapshotsOptions,
  type SnapshotInspection,
} from "./inspect-snapshots.ts";
export { memorySnapshots, snapshotFiles } from "./snapshot-files.ts";
export { openSnapshotFile } from "./open-snapshot-file.ts";
export type { SnapshotReader, SnapshotStore, StoredSnapshot } from "../snapshot-store.ts";
