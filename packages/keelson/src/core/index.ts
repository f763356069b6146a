/** The core of Keelson: Raft without I/O. See `RaftNode`. */
export { assert, ProtocolViolation } from "./assert.ts";
export type {
  Action,
  Actions,
  AppendAction,
  HardState,
  AddressedMessage,
  ReadAction,
  SendSnapshotAction,
} from "./action.ts";
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
export { EMPTY_LOG, type LogImage, type LogView } from "./log.ts";
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
export { RaftNode, type CommitStatus, type FollowerProgress, type NodeImage } from "./node.ts";
export type { RaftNodeOptions, RestartOptions } from "./options.ts";
export {
  isUpToDate,
  ORIGIN,
  samePosition,
  type LogIndex,
  type LogPosition,
  type NodeId,
  type Term,
} from "./position.ts";
export type { ProgressState } from "./progress.ts";
export { hasQuorum, quorumValue } from "./quorum.ts";
export type { ConfigRefusal } from "./membership.ts";
export type { Role } from "./role.ts";
export type { TransferRefusal } from "./transfer.ts";
export {
  describeAction,
  describeActions,
  describeConfig,
  describeMessage,
  describeNode,
  describePosition,
} from "./trace.ts";
