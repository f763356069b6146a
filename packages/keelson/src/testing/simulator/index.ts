// The simulator of whole clusters: what keelson/testing exports of it, and what scripts use.
export { Chance } from "./plan/chance.ts";
export { ClusterChecker } from "./checkers/cluster-checker.ts";
export type { NodeStatus } from "./checkers/node-status.ts";
export type {
  BusyReceiversFault,
  ChangeKind,
  ClientFault,
  CrashFault,
  DiskErrorKind,
  DiskFault,
  Fault,
  FaultType,
  GreetingAct,
  HandoverTarget,
  LeaderFault,
  NetworkFault,
  OperatorFault,
  SnapshotFault,
  TimingFault,
} from "./plan/faults.ts";
export { FAULT_NAMES, featuresOf, whyNever, WORKLOAD_NAMES, type Feature } from "./plan/features.ts";
export { planOf } from "./plan/make-plan.ts";
export type { Plan, SnapshotPlan, StartValues, Usage } from "./plan/plan.ts";
export { shrink, type ShrinkOptions } from "./shrink.ts";
export { simulate, type RunResult, type SimulateOptions } from "./simulate.ts";
export { simStoreSubject, type SimCommand, type SimResult, type SimStore } from "./subject/sim-store.ts";
export type { ClientFigures } from "./clients/client-calls.ts";
export type {
  AnySubject,
  CallContext,
  MachineHost,
  MakeSubject,
  ReadCall,
  Subject,
  WriteCall,
} from "./subject/subject.ts";
export { subjectOf, type SubjectOfOptions, type SubjectQuery } from "./subject/subject-of.ts";
export { assertInvariant, Violation } from "./checkers/violation.ts";
