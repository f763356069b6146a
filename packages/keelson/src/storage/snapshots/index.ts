export { memorySnapshots, snapshotFiles, type SnapshotFilesOptions } from "./snapshot-files.ts";
export { openSnapshotFile } from "./snapshot-file.ts";
