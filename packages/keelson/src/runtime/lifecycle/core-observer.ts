/** How a test gets at the inside of a node. The package doesn't export it, so it isn't part of the API. */
import type { RaftNode } from "../../core/node.ts";
import type { RaftNodeOptions } from "../../core/options.ts";
import type { SessionLimits } from "../sessions/index.ts";
import type { ProbedState } from "./node-metrics.ts";

/** Names the internal option. A symbol, so that no option of a user can be taken for it. */
export const coreObserver: unique symbol = Symbol("core observer");

/** Names the internal option that gives a test the node's state for less than its metrics cost. */
export const stateProbe: unique symbol = Symbol("state probe");

/** Names the internal option that gives a test a core with smaller messages and windows than its defaults. */
export const coreWindow: unique symbol = Symbol("core window");

/**
 * Names the internal option that gives a test a session table with smaller limits. Give it to all nodes: the
 * limits are part of the replicated state.
 */
export const sessionLimits: unique symbol = Symbol("session limits");

/** How much a leader sends in one message, and ahead of a follower's answers. See `RaftNodeOptions`. */
export type CoreWindow = Required<
  Pick<RaftNodeOptions, "messageEntriesMax" | "messageBytesMax" | "inflightMessagesMax" | "inflightBytesMax">
>;

/**
 * Options for tests, besides those of `Raft.open`. `coreObserver` is called once with the node's core, before
 * its first input. It may replace methods of this core by others that call them, to see each input and what
 * follows from it. A node that is opened without these options does no more than if they didn't exist.
 */
export interface CoreObserverOption {
  readonly [coreObserver]?: (core: RaftNode) => void;
  /** Absent: the core's defaults. */
  readonly [coreWindow]?: CoreWindow;
  /** Absent: `SESSION_LIMITS`. */
  readonly [sessionLimits]?: SessionLimits;
  /** Called once, before the node takes any input, with a function that tells its state at each call. */
  readonly [stateProbe]?: (probe: () => ProbedState) => void;
}
