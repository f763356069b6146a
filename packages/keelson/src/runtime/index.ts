/**
 * Keelson: Raft for TypeScript. Begin with `Raft`, which is one node, `RaftOptions` and `StateMachine`.
 */
export { Raft } from "./raft.ts";

// A replicated log in two calls.
export {
  RaftClient,
  RaftConfig,
  run,
  type CommandPosition,
  type Committed,
  type RaftConfigOptions,
} from "./run.ts";

// What a node is opened with.
export {
  bytesCodec,
  DEFAULT_LIMITS,
  DEFAULT_SNAPSHOT_POLICY,
  DEFAULT_TIMINGS,
  jsonCodec,
  StateMachineFailure,
  type CommandCodec,
  type OpenedState,
  type Given,
  type RaftLimits,
  type RaftOptions,
  type RaftTimings,
  type ResultCodec,
  type SchemaIssue,
  type SchemaResult,
  type SessionChanges,
  type SessionRecords,
  type StateIdentity,
  type StateMachineHost,
  type SnapshotOptions,
  type SnapshotPolicy,
  type StandardSchema,
  type StateMachine,
  type StateMachineCodec,
  type ApplyContext,
} from "./shared/index.ts";

// Calls: what they take and return.
export type { CallOptions, WriteResult } from "./calls/index.ts";
export type { WriteOptions } from "./writes/index.ts";
export type { Consistency, ReadOptions, Staleness } from "./reads/index.ts";
export type { MembershipChange } from "./members/index.ts";
export {
  countSessions,
  ResumableSession,
  Session,
  SESSION_LIMITS,
  type OpenedSession,
  type OpenSessionOptions,
  type SessionLimits,
  type SessionState,
} from "./sessions/index.ts";
export type { SessionCommandId } from "../codec/session-entry.ts";

// What a program can follow.
export type { CommittedCommand, RaftChange } from "./streams/index.ts";
export type {
  LatencyMetrics,
  MemberMetrics,
  RaftCounters,
  RaftMetrics,
  SessionMetrics,
  SnapshotFetchMetrics,
  SnapshotMetrics,
  SnapshotSendMetrics,
  SnapshotsMetrics,
  StallMetrics,
  WatchedPart,
} from "./shared/index.ts";

// Errors: each has a stable `code` and an `outcome`.
export {
  AbortedError,
  AlreadyInitializedError,
  AnswerForgottenError,
  CatchUpTimeoutError,
  ChangeRefusedError,
  ClosedError,
  CommandInvalidError,
  CommandLostError,
  CommandRejectedError,
  CommandTooLargeError,
  CorruptLogError,
  CorruptSnapshotError,
  DecodeError,
  DirectoryLockedError,
  ForwardedCallError,
  InvalidOptionError,
  isRaftError,
  ListenFailedError,
  LostEntriesError,
  NodeFailedError,
  NotLeaderError,
  OutcomeUnknownError,
  OverloadedError,
  LogCompactedError,
  RaftError,
  Rejection,
  RemovedError,
  ResultUnavailableError,
  SnapshotFailedError,
  SessionExpiredError,
  StateMachineFailedError,
  StorageFailedError,
  TransferFailedError,
  TransferringError,
  WrongIdentityError,
  type CommandIssue,
  type ErrorCode,
  type KnownRaftError,
  type LeaderHint,
  type Outcome,
} from "../errors.ts";

// What `RaftOptions.onLog` gets, and how a store of your own takes part.
export type { ComponentLog, LogComponent, LogEvent, LogFields, LogLevel } from "../log-event.ts";

// What a node publishes for tools, on channels of `node:diagnostics_channel`.
export {
  DIAGNOSTICS_CHANNELS,
  type ElectionDiagnostics,
  type MessageDiagnostics,
  type StorageDiagnostics,
} from "./lifecycle/index.ts";
export type { Diagnostics, DiagnosticsChannel } from "../environment/environment.ts";

// Terms of Raft.
export { ORIGIN, type LogIndex, type LogPosition, type NodeId, type Term } from "../core/position.ts";
export type { ClusterConfig } from "../core/config.ts";
export type { Role } from "../core/role.ts";

// The interfaces of a node's parts, for programs that bring their own.
export { nodeEnvironment } from "#node-environment";
export type {
  AlternativeName,
  Certificate,
  Connection,
  ConnectionHandler,
  Environment,
  FileHandle,
  FileLock,
  FileSystem,
  Listener,
  LockMode,
  Network,
  Timer,
  TlsCredentials,
  TlsNetwork,
} from "../environment/environment.ts";
export type { LogBase, LogIdentity, LogStore, LogWrite, StoredLog } from "../storage/log-store.ts";
export type {
  DamagedSnapshot,
  IncomingSnapshot,
  OpenedSnapshots,
  SnapshotDraft,
  SnapshotHeader,
  SnapshotReader,
  SnapshotStore,
  StoredSnapshot,
} from "../storage/snapshot-store.ts";
export type { Identify } from "../transport/tcp/certificate-names.ts";
export type { FileOr } from "../transport/tcp/credential-files.ts";
export type { PeerSecret, PeerTls } from "../transport/tcp/peer-security.ts";
export type {
  InquiryAnswer,
  PeerInfo,
  Transport,
  TransportHost,
  TransportMessage,
} from "../transport/transport.ts";
