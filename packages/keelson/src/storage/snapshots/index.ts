export { memorySnapshots, snapshotFiles, type SnapshotFilesOptions } from "./snapshot-files.ts";
export { openSnapshotFile } from "./snapshot-file.ts";
export type { SnapshotReader, SnapshotStore, StoredSnapshot } from "./snapshot-store.ts";
