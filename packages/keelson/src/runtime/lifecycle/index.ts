// Lifecycle: how a node is opened, comes to belong to a cluster, and is shut down.
export { Founding } from "./founding.ts";
export { openParts, type Opened } from "./opening.ts";
export { Shutdown } from "./shutdown.ts";
