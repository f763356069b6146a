/** Keelson: Raft for TypeScript. `Raft` is the way in. */
export type { OpenedSession, OpenSessionOptions, WriteOptions } from "./writes/proposals.ts";
export { Raft } from "./raft.ts";
export type { Consistency, ReadOptions, Staleness } from "./reads/reading.ts";
export type { CallOptions } from "./calls/call.ts";
export type { RaftChange } from "./streams/change-stream.ts";
export type { CommittedCommand } from "./streams/committed-stream.ts";
export type {
  MemberMetrics,
  RaftCounters,
  RaftMetrics,
  SessionMetrics,
  SnapshotFetchMetrics,
  SnapshotMetrics,
  SnapshotSendMetrics,
  SnapshotsMetrics,
} from "./metrics.ts";
export type { RaftLimits, RaftOptions, RaftTimings, SnapshotOptions, SnapshotPolicy } from "./options.ts";
export type { MembershipChange } from "./members/membership-changes.ts";
export type { Written } from "./writes/pending-writes.ts";
export { Session } from "./sessions/session.ts";
export { countSessions, type SessionChanges, type SessionRecords } from "./sessions/session-records.ts";
export { SESSION_LIMITS, type SessionLimits } from "./sessions/session-table.ts";
export type { SessionCommandId } from "../codec/session-entry.ts";
export { DEFAULT_LIMITS, DEFAULT_SNAPSHOT_POLICY, DEFAULT_TIMINGS } from "./settings.ts";
export {
  StateMachineFailure,
  type CommandCodec,
  type OpenedState,
  type ResultCodec,
  type StateMachine,
  type StateMachineCodec,
} from "./state-machine.ts";
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
