// Reads: queries on this node's own state that take no log entry (§8; dissertation 6.4).
export { PendingReads } from "./pending-reads.ts";
export { Reading, type Consistency, type ReadOptions, type Staleness } from "./reading.ts";
