// The loop: runs the core on real parts. Inputs go in, one batch of actions per turn comes out; records are
// written, sent and applied.
export { Applier, type ApplierHost } from "./applier.ts";
export { Driver, type DriverHost, type SnapshotMetadata } from "./driver.ts";
export { EntryBuffer } from "./entry-buffer.ts";
export { checkRecords, LogRecords } from "./log-records.ts";
export { StallWatch, type WatchedCall } from "./stall-watch.ts";
export { StorageWatchdog } from "./storage-watchdog.ts";
export { WriteLatency } from "./write-latency.ts";
