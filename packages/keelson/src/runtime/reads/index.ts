// Reads: queries on this node's own state that take no log entry (§8; dissertation 6.4).
export { ReadIndexQueue } from "./read-index-queue.ts";
export { ReadHandler, type Consistency, type ReadOptions, type Staleness } from "./read-handler.ts";
