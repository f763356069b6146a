export { Chance } from "./plan/chance.ts";
export { ClusterChecker, type NodeStatus } from "./checkers/cluster-checker.ts";
export type { Fault, FaultType } from "./plan/faults.ts";
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
export { fact, Violation } from "./checkers/violation.ts";
