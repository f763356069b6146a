// Reads: queries on this node's own state, which take no log entry (§8; dissertation 6.4).
export { ReadHandler, type Consistency, type ReadOptions, type Staleness } from "./read-handler.ts";
export { ReadIndexQueue } from "./read-index-queue.ts";
