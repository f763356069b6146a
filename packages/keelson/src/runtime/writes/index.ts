// Writes: commands and session entries on their way into the log, proposed on this node or forwarded to the
// leader.
export { CommandEncoder } from "./command-encoder.ts";
export { CallForwarder } from "./call-forwarder.ts";
export { ForwardedCallServer } from "./forwarded-call-server.ts";
export { PendingProposals } from "./pending-proposals.ts";
export { Proposer, type WriteOptions } from "./proposer.ts";
