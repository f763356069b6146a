export { memorySnapshots, snapshotFiles, type SnapshotFilesOptions } from "./snapshot-files.ts";
