// Lifecycle: how a node is opened, comes to belong to a cluster, and is shut down.
export { ClusterBootstrap } from "./cluster-bootstrap.ts";
export { openParts, type Opened } from "./opening.ts";
export { Shutdown } from "./shutdown.ts";
