/** Keelson: Raft for TypeScript. `Raft` is the way in. */
export type { WriteOptions } from "./writes/index.ts";
export { Raft } from "./raft.ts";
export type { Consistency, ReadOptions, Staleness } from "./reads/index.ts";
export type { CallOptions, WriteResult } from "./calls/index.ts";
export type { RaftChange, CommittedCommand } from "./streams/index.ts";
export {
  type MemberMetrics,
  type RaftCounters,
  type RaftMetrics,
  type SessionMetrics,
  type SnapshotFetchMetrics,
  type SnapshotMetrics,
  type SnapshotSendMetrics,
  type SnapshotsMetrics,
  type RaftLimits,
  type RaftOptions,
  type RaftTimings,
  type SnapshotOptions,
  type SnapshotPolicy,
  DEFAULT_LIMITS,
  DEFAULT_SNAPSHOT_POLICY,
  DEFAULT_TIMINGS,
  StateMachineFailure,
  type CommandCodec,
  type OpenedState,
  type ResultCodec,
  type SessionChanges,
  type SessionRecords,
  type StateMachine,
  type StateMachineCodec,
} from "./shared/index.ts";
export type { MembershipChange } from "./members/index.ts";
export {
  Session,
  type OpenedSession,
  type OpenSessionOptions,
  countSessions,
  SESSION_LIMITS,
  type SessionLimits,
} from "./sessions/index.ts";
export type { SessionCommandId } from "../codec/session-entry.ts";
export {
  AbortedError,
  AlreadyInitializedError,
  AnswerForgottenError,
  CatchUpTimeoutError,
  ChangeRefusedError,
  ClosedError,
  CommandLostError,
  CommandRejectedError,
  CommandTooLargeError,
  CorruptLogError,
  CorruptSnapshotError,
  DecodeError,
  DirectoryLockedError,
  InvalidOptionError,
  NodeFailedError,
  NotLeaderError,
  OutcomeUnknownError,
  OverloadedError,
  LogCompactedError,
  RaftError,
  SnapshotFailedError,
  SessionExpiredError,
  StateMachineFailedError,
  StorageFailedError,
  TransferFailedError,
  TransferringError,
  WrongIdentityError,
  type LeaderHint,
  type Outcome,
} from "../errors.ts";
export { ORIGIN, type LogIndex, type LogPosition, type NodeId, type Term } from "../core/position.ts";
export type { ClusterConfig } from "../core/config.ts";
export type { Role } from "../core/role.ts";
export { nodeEnvironment } from "../environment/node/node-environment.ts";
export type { Environment } from "../environment/environment.ts";
export type { LogStore } from "../storage/log-store.ts";
export type {
  DamagedSnapshot,
  OpenedSnapshots,
  SnapshotDraft,
  SnapshotHeader,
  IncomingSnapshot,
  SnapshotReader,
  SnapshotStore,
  StoredSnapshot,
} from "../storage/snapshot-store.ts";
export type { TransportMessage, PeerInfo, Transport, TransportHost } from "../transport/transport.ts";
