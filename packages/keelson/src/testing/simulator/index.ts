export { Chance } from "./chance.ts";
export { ClusterChecker, type NodeStatus } from "./cluster-checker.ts";
export { planOf, type Fault, type FaultType, type Plan } from "./plan.ts";
export { shrink, type ShrinkOptions } from "./shrink.ts";
export { simulate, type RunResult, type SimulateOptions } from "./simulate.ts";
export { simStoreSubject } from "./sim-store.ts";
export type {
  AnySubject,
  CallContext,
  MachineHost,
  MakeSubject,
  ReadCall,
  Subject,
  WriteCall,
} from "./subject.ts";
export { fact, Violation } from "./violation.ts";
