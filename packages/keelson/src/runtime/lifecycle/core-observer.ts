/** How a test gets at the inside of a node. The package doesn't export it, so it isn't part of the API. */
import type { RaftNode } from "../../core/node.ts";
import type { ProbedState } from "./node-metrics.ts";

/** Names the internal option. A symbol, so that no option of a user can be taken for it. */
export const coreObserver: unique symbol = Symbol("core observer");

/** Names the internal option that gives a test the node's state for less than its metrics cost. */
export const stateProbe: unique symbol = Symbol("state probe");

/**
 * Options for tests, besides those of `Raft.open`. `coreObserver` is called once with the node's core, before
 * its first input. It may replace methods of this core by others that call them, to see each input and what
 * follows from it. A node that is opened without these options does no more than if they didn't exist.
 */
export interface CoreObserverOption {
  readonly [coreObserver]?: (core: RaftNode) => void;
  /** Called once, before the node takes any input, with a function that tells its state at each call. */
  readonly [stateProbe]?: (probe: () => ProbedState) => void;
}
