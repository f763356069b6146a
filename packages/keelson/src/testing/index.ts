export {
  describeLogStore,
  type LogStoreCase,
  logStoreCases,
  type LogStorePlace,
  type TestFramework,
} from "./log-store-suite.ts";
export {
  describeTransport,
  type TransportCase,
  transportCases,
  type TransportRig,
} from "./transport-suite.ts";
export {
  planOf,
  shrink,
  simulate,
  Violation,
  type Fault,
  type FaultType,
  type Plan,
  type RunResult,
  type ShrinkOptions,
  type SimulateOptions,
} from "./simulator/index.ts";
