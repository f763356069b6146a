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
