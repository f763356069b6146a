// What a node is at the moment (§5.1), and the state that belongs to one role alone.
import type { NodeId } from "./position.ts";

/** What a node is at the moment (§5.1); a `pre-candidate` asks whether it could win before it starts an election. */
export type Role = "follower" | "pre-candidate" | "candidate" | "leader";

/** A transfer of leadership that is under way (dissertation 3.10). The leader accepts no commands meanwhile. */
export interface Transfer {
  readonly to: NodeId;
  /** Time in milliseconds at which the leader gives up and accepts commands again. */
  readonly until: number;
}

/** The heartbeat round whose majority of answers will extend the leader's lease. */
export interface LeaseProbe {
  readonly round: number;
  /** Time in milliseconds at which the round began: before any of its messages was sent. */
  readonly at: number;
}
