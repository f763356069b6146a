/** How a test gets at the core of a node. The package doesn't export it, so it isn't part of the API. */
import type { RaftNode } from "../../core/node.ts";

/** Names the internal option. A symbol, so that no option of a user can be taken for it. */
export const coreObserver: unique symbol = Symbol("core observer");

/**
 * Besides the options of `Raft.open`: called once with the node's core, before its first input. It may
 * replace methods of this one core by others that call them, to see each input and what follows from it.
 * Without it a node does nothing more than without this file.
 */
export interface CoreObserverOption {
  readonly [coreObserver]?: (core: RaftNode) => void;
}
