// Shared: what every folder of the runtime may use. The options and the settings made from them, the interface of the
// state machine, the types of the metrics, and failures that stop a node.
export {
  asPromise,
  errorOf,
  failureOfHang,
  reasonOf,
  stateMachineFailure,
  toError,
  type Failure,
} from "./failure.ts";
export type {
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
} from "./metrics.ts";
export type { RaftLimits, RaftOptions, RaftTimings, SnapshotOptions, SnapshotPolicy } from "./options.ts";
export {
  checkId,
  DEFAULT_LIMITS,
  DEFAULT_SNAPSHOT_POLICY,
  DEFAULT_TIMINGS,
  settingsOf,
  type Settings,
} from "./settings.ts";
export {
  StateMachineFailure,
  type CommandCodec,
  type OpenedState,
  type ResultCodec,
  type SessionChanges,
  type SessionRecords,
  type StateIdentity,
  type StateMachine,
  type StateMachineCodec,
  type StateMachineHost,
} from "./state-machine.ts";
export { endOfTurn, inOneTurn, inTurns, type Steps } from "./turns.ts";
