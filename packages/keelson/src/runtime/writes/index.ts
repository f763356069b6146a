// Writes: commands and session entries on their way into the log, proposed on this node or forwarded to the leader.
export { ForwardedCalls } from "./forwarded-calls.ts";
export { Forwarding } from "./forwarding.ts";
export { PendingWrites } from "./pending-writes.ts";
export { Proposals, type WriteOptions } from "./proposals.ts";
