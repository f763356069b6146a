// Shared: what every folder of the runtime may use. The options and the settings made from them, the
// interface of the state machine, the types of the metrics, and failures that stop a node.
export { bytesCodec } from "./bytes-codec.ts";
export { ResultEncoder, type EncodedResult } from "./result-encoder.ts";
export { rejectionOf, rejectionOfText, textOfRejection } from "./rejection.ts";
export { jsonCodec } from "./json-codec.ts";
export type { SchemaIssue, SchemaResult, StandardSchema } from "./standard-schema.ts";
export {
  asPromise,
  errorOf,
  failureOfHang,
  isPromiseLike,
  reasonOf,
  stateMachineFailure,
  toError,
  type Failure,
} from "./failure.ts";
export type {
  MemberMetrics,
  RaftCounters,
  LatencyMetrics,
  RaftMetrics,
  SessionMetrics,
  SnapshotFetchMetrics,
  SnapshotMetrics,
  SnapshotSendMetrics,
  SnapshotsMetrics,
  StallMetrics,
  WatchedPart,
} from "./metrics.ts";
export type {
  Given,
  RaftLimits,
  RaftOptions,
  RaftTimings,
  SnapshotOptions,
  SnapshotPolicy,
} from "./options.ts";
export {
  checkId,
  DEFAULT_LIMITS,
  DEFAULT_SNAPSHOT_POLICY,
  DEFAULT_TIMINGS,
  settingsOf,
  takesSnapshots,
  type Settings,
} from "./settings.ts";
export {
  StateMachineFailure,
  type ApplyContext,
  type CodedStateMachine,
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
