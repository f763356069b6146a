/**
 * BOUND: what a leader still holds about its followers when nothing is under way. A leftover does no harm at
 * once. But bytes that are never given back fill a follower's window in the end, and replication stands
 * still; a notice that never ends keeps connections open and messages going.
 */
import type { RaftNode } from "../../../core/node.ts";
import type { NodeId } from "../../../core/position.ts";

type NodeImage = ReturnType<RaftNode["capture"]>;
type LeaderImage = Extract<NodeImage["role"], { type: "leader" }>;
type FollowerImage = LeaderImage["progress"][number][1];

/**
 * What is left of earlier work in a leader that has nothing to do; null: nothing is. `isUsable`: whether a
 * member answers, so that nothing may be under way to it.
 */
export function leftoverOf({ role }: NodeImage, isUsable: (id: NodeId) => boolean): string | null {
  if (role.type !== "leader") return null;
  if (role.transfer !== null) return `a transfer to ${role.transfer.to}`;
  for (const [id, follower] of role.progress) {
    const { removalNotice } = follower;
    // It ends with the first round after its time is over.
    if (removalNotice !== null) return `a notice to ${id}, to end after ${String(removalNotice.until)} ms`;
    const left = isUsable(id) ? leftoverOfFollower(follower) : null;
    if (left !== null) return `${left} of ${id}`;
  }
  return null;
}

function leftoverOfFollower({ state, inFlight, inFlightBytes, probeSent }: FollowerImage): string | null {
  if (state !== "replicate") return `the state "${state}"`;
  if (inFlight.length > 0) return `${String(inFlight.length)} messages in flight`;
  if (inFlightBytes !== 0) return `${String(inFlightBytes)} bytes in flight`;
  return probeSent ? "a probe" : null;
}
