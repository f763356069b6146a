// Calls: what every call to a node has in common. Each call is checked the same way, ends within its time
// limit, and has one of three outcomes. This folder knows neither the log nor the cluster.
export type { AppliedCommand, AppliedEntry, EncodedWriteResult, WriteResult } from "./applied-entry.ts";
export {
  causeOf,
  describeCancellation,
  NO_CLUSTER,
  type Call,
  type CallEndings,
  type CallOptions,
  type Cancellation,
} from "./call.ts";
export type { ForwardableCall, LeaderCalls } from "./forwardable-call.ts";
export { CallRegistry } from "./call-registry.ts";
export { CallDeadlines } from "./call-deadlines.ts";
export type { RemovalStatus } from "./removal-status.ts";
export { RetryDelays } from "./retry-delays.ts";
