// Lifecycle: how a node is opened, composed from its parts, comes to belong to a cluster, and ends.
export type { ComposedNode } from "./compose.ts";
export { coreObserver, type CoreObserverOption } from "./core-observer.ts";
export { openNode } from "./open-node.ts";
