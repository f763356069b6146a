// Lifecycle: how a node is opened, composed from its parts, comes to belong to a cluster, and ends.
export type { ComposedNode } from "./compose.ts";
export {
  coreObserver,
  coreWindow,
  sessionLimits,
  stateProbe,
  type CoreObserverOption,
  type CoreWindow,
} from "./core-observer.ts";
export type { ProbedState } from "./node-metrics.ts";
export { openNode } from "./open-node.ts";
export {
  DIAGNOSTICS_CHANNELS,
  type ElectionDiagnostics,
  type MessageDiagnostics,
  type StorageDiagnostics,
} from "./node-diagnostics.ts";
