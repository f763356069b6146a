// The simulator of whole clusters: what keelson/testing exports of it, and what scripts use.
export { Chance } from "./plan/chance.ts";
export { ClusterChecker } from "./checkers/cluster-checker.ts";
export type { NodeStatus } from "./checkers/node-status.ts";
export type { Fault, FaultType } from "./plan/faults.ts";
export { FAULT_NAMES, featuresOf, whyNever, WORKLOAD_NAMES, type Feature } from "./plan/features.ts";
export { planOf } from "./plan/make-plan.ts";
export type { Plan } from "./plan/plan.ts";
export { shrink, type ShrinkOptions } from "./shrink.ts";
export { simulate, type RunResult, type SimulateOptions } from "./simulate.ts";
export { simStoreSubject } from "./subject/sim-store.ts";
export type {
  AnySubject,
  CallContext,
  MachineHost,
  MakeSubject,
  ReadCall,
  Subject,
  WriteCall,
} from "./subject/subject.ts";
export { assertInvariant, Violation } from "./checkers/violation.ts";
