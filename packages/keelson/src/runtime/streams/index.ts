// Streams: what callers can follow as async iterables, the node's changes and the committed commands.
export { ChangeStream, type RaftChange } from "./change-stream.ts";
export { CommittedStream, type CommittedCommand } from "./committed-stream.ts";
