import { membersOf } from "../../../core/config.ts";
import type { RaftNode } from "../../../core/node.ts";
import type { NodeStatus } from "../checkers/node-status.ts";

/** What a leader knows of each member, itself included: the part of its metrics that the checkers need. */
export function knownMembers(core: RaftNode): NodeStatus["members"] {
  return membersOf(core.config).map((id) => {
    if (id === core.id) return { id, match: core.durableIndex, active: true };
    const { match, lostAfter, recentlyActive } = core.progress(id) ?? UNKNOWN_PROGRESS;
    return { id, match: lostAfter === null ? match : null, active: recentlyActive };
  });
}

const UNKNOWN_PROGRESS = { match: null, lostAfter: null, recentlyActive: false };
