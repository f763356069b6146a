// The options of explored nodes, and the few moments of time that an exploration knows.
import type { NodeId, RaftNodeOptions } from "../../../core/index.ts";
import type { Bounds } from "../shared/bounds.ts";

/**
 * The clock stands at 0 except during events about time. All that a node can observe of time is which
 * deadline has passed and whether it heard its leader within the shortest election timeout, and both are
 * events. With `leases`, what one node observes depends on the others: then all clocks advance together, and
 * what happens between two ticks happens at the same moment.
 */
export const ELECTION_MS = { min: 400, max: 800 };
export const HEARTBEAT_MS = 80;
export const CLOCK_DRIFT_MAX = 0.05;
/** Later than every deadline. */
export const LATE_MS = 10_000;
/** Longer ago than any timeout. */
export const LONG_AGO_MS = -10_000;

/** The options of the core of node `id`. */
export function optionsOf(bounds: Bounds, id: NodeId): RaftNodeOptions {
  return {
    id,
    random: () => 0,
    electionTimeoutMs: ELECTION_MS,
    heartbeatMs: HEARTBEAT_MS,
    clockDriftMax: CLOCK_DRIFT_MAX,
    preVote: bounds.preVote,
    checkQuorum: bounds.checkQuorum,
  };
}
