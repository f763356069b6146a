/**
 * The core of Keelson: Raft without I/O. One class, `RaftNode`, takes inputs and gives `Actions`; the rest of
 * this entry point is what goes in and comes out. It needs no package and no module of Node, so it runs in
 * any JavaScript engine.
 *
 * Begin with `RaftNode` (inputs) and `Actions` (effects: their order, what must be durable, what may be
 * lost).
 */

// The algorithm.
export { RaftNode, type CommitStatus, type FollowerProgress, type NodeImage } from "./node.ts";
export type { RaftNodeOptions, RestartOptions } from "./options.ts";
export type { Role } from "./role.ts";
export type { ProgressState } from "./progress.ts";
export type { ConfigRefusal } from "./membership.ts";
export type { TransferRefusal } from "./transfer.ts";

// What it asks its caller to do.
export type {
  Action,
  Actions,
  AddressedMessage,
  AppendAction,
  HardState,
  ReadAction,
  SendSnapshotAction,
} from "./action.ts";

// What nodes send to each other.
export type {
  AppendEntries,
  AppendEntriesReply,
  ConfigAt,
  EntryRange,
  InstallSnapshot,
  Message,
  MessageType,
  PreVote,
  PreVoteReply,
  ReadIndexReply,
  ReadIndexRequest,
  RequestVote,
  RequestVoteReply,
  TermRun,
  TimeoutNow,
} from "./message.ts";

// Entries and the log, without payloads.
export {
  INDEX_MAX,
  isUpToDate,
  ORIGIN,
  ROUND_MAX,
  samePosition,
  TERM_JUMP_MAX,
  TERM_MAX,
  type LogIndex,
  type LogPosition,
  type NodeId,
  type Term,
} from "./position.ts";
export { EMPTY_LOG, type LogImage, type LogView } from "./log.ts";

// Configurations and their majorities.
export {
  configOf,
  EMPTY_CONFIG,
  isJoint,
  isVoter,
  leaveJoint,
  membersOf,
  sameConfig,
  stepTowards,
  type ClusterConfig,
} from "./config.ts";
export { hasQuorum, quorumValue } from "./quorum.ts";

// What is thrown when Raft's rules are broken.
export { assert, ProtocolViolation } from "./assert.ts";
