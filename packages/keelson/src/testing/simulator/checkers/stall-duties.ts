/**
 * DUTY: a node with a part that has stalled (its disk, its state machine, its snapshot store) leaves leading
 * to others. Such a node sends heartbeats as well as ever, so that no other node would stand for election,
 * and commits or serves nothing.
 *
 * - It begins no election, asks for no pre-votes and wins no election, whatever it is given: a timeout, a
 *   vote, or the leader's request to take over.
 * - A leader gives up its term, and a candidate its election, as soon as the core is told of the stall or is
 *   woken.
 *
 * A sole voter is excused: no other node could lead instead.
 */
import type { RaftNode } from "../../../core/node.ts";
import type { Input } from "../../model/index.ts";
import { duty, type CoreBefore } from "./duty.ts";
import { isSoleVoter } from "./votes.ts";

/** Checks one step of a core. `isStalled`: whether a part of the node has stalled, after this input. */
export function checkStalled(core: RaftNode, input: Input, before: CoreBefore, isStalled: boolean): void {
  const { id, role, term, config } = core;
  if (!isStalled || role === "follower" || isSoleVoter(config, id)) return;
  const isNew = role !== before.role || term !== before.term;
  duty(!isNew, () => `a part of ${id} has stalled, and it becomes ${role} in term ${String(term)}`);
  const mustGiveUp = input.type === "stall" || (input.type === "timeout" && role === "leader");
  duty(!mustGiveUp, () => `a part of ${id} has stalled, and it goes on as ${role}`);
}
