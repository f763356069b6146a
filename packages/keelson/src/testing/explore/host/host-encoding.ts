// Hosts as text, so that equal hosts can be found by a map.
import type { NodeId } from "../../../core/index.ts";
import { encodeLog } from "./entry.ts";
import { progressOf, type Host, type RoleImage } from "./host-state.ts";
import { encodeModel } from "./model.ts";

/** The host as text: equal texts mean equal hosts. */
export function encodeHost(host: Host): string {
  const { id, node, memory, disk, writes, wanted, hasUndrainedInput, reads, model } = host;
  const { pendingActions, following } = node;
  const isNothingPending =
    pendingActions.hardState === null &&
    pendingActions.append === null &&
    pendingActions.commit === null &&
    pendingActions.snapshots.length + pendingActions.reads.length === 0 &&
    pendingActions.installSnapshot === null &&
    pendingActions.messages.length + pendingActions.messagesAfterPersist.length === 0;
  return JSON.stringify([
    id,
    encodeRole(node.role),
    node.term,
    node.votedFor,
    node.hardStateId,
    node.appendsInFlight.flatMap(({ persistId, upTo }) => [persistId, upTo]),
    node.durableIndex,
    node.commitIndex,
    node.leaderId,
    node.leaderHeardAt === 0 ? 1 : 0,
    node.electionDeadline,
    node.preVoteRound,
    [
      following.matchedIndex,
      following.receivedRound,
      following.acknowledgedRound,
      following.acknowledgedIndex,
      following.acknowledgementDue ? 1 : 0,
    ],
    isNothingPending ? 0 : pendingActions,
    node.pendingActions.persistId,
    encodeLog(memory),
    disk.hardState,
    encodeLog(disk.log),
    [disk.covered, node.log.base.index],
    wanted === null ? 0 : wanted,
    writes.map((write) => ({ ...write, entries: encodeLog(write.entries) })),
    hasUndrainedInput ? 1 : 0,
    node.reads,
    reads,
    encodeModel(model),
  ]);
}

function encodeRole(role: RoleImage): unknown[] {
  switch (role.type) {
    case "follower":
      return [role.type];
    case "pre-candidate":
      return [role.type, role.round, role.votes];
    case "candidate":
      return [role.type, role.votes, role.ownVoteId];
    case "leader":
      return [
        role.type,
        role.progress.map(([member, p]) => [
          member,
          p.state,
          p.match,
          p.next,
          p.inFlight.map(({ last }) => last),
          p.probeSent ? 1 : 0,
          p.acknowledgedRound,
          p.matchedInRound,
          p.heartbeatDue ? 1 : 0,
          p.timeoutNowSentInRound,
          p.removalNotice === null ? 0 : [p.removalNotice.index, p.removalNotice.round],
        ]),
        role.termStartIndex,
        role.heartbeatRound,
        role.transfer?.to ?? 0,
        role.leaseFrom,
        role.leaseProbe ?? 0,
        role.leaseIsVoid ? 1 : 0,
      ];
  }
}

/** A text that is equal for hosts that differ only in names, and usually differs for others. */
export function signatureOf({ id, node, memory, disk, writes }: Host): string {
  const who = (name: NodeId | null): string => (name === null ? "nobody" : name === id ? "self" : "other");
  const { role, following } = node;
  const votes = role.type === "pre-candidate" || role.type === "candidate" ? role.votes.length : 0;
  return JSON.stringify([
    role.type,
    node.term,
    who(node.votedFor),
    who(node.leaderId),
    node.durableIndex,
    node.commitIndex,
    [following.matchedIndex, following.acknowledgedIndex, node.leaderHeardAt, votes],
    progressOf(node)
      .map(([, { match, next, state }]) => `${match} ${next} ${state}`)
      .sort(),
    encodeLog(memory),
    encodeLog(disk.log),
    [disk.covered, node.log.base.index],
    disk.hardState.term,
    writes.length,
  ]);
}
