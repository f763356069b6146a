import type { Message, NodeId } from "../../../core/index.ts";
import { nameOf, placeOf } from "../shared/bounds.ts";
import { progressOf, type Entry, type Host, type MessageInTransit, type RoleImage } from "./host.ts";

/** Where each place goes. Nodes are equal but for their names, so a state renamed is the same state. */
export type Renaming = readonly number[];

/** All renamings of `count` nodes; the first changes nothing. */
export function renamingsOf(count: number): Renaming[] {
  if (count === 0) return [[]];
  return renamingsOf(count - 1).flatMap((shorter) =>
    Array.from({ length: count }, (_, at) => [
      ...shorter.slice(0, count - 1 - at),
      count - 1,
      ...shorter.slice(count - 1 - at),
    ]),
  );
}

export function renamed(renaming: Renaming, name: NodeId): NodeId {
  return nameOf(renaming[placeOf(name)] ?? -1);
}

function renamedOrNull(renaming: Renaming, name: NodeId | null): NodeId | null {
  return name === null ? null : renamed(renaming, name);
}

export function renameMessage(
  renaming: Renaming,
  { to, message, entries }: MessageInTransit,
): MessageInTransit {
  return {
    to: renamed(renaming, to),
    message: { ...message, from: renamed(renaming, message.from) },
    entries,
  };
}

export function renameHost(renaming: Renaming, host: Host): Host {
  const { id, node, disk, writes } = host;
  const name = (old: NodeId): NodeId => renamed(renaming, old);
  const inTransit = (old: MessageInTransit): MessageInTransit => renameMessage(renaming, old);
  const outgoing = ({ to, message }: { to: NodeId; message: Message }) => {
    const { entries: _, ...rest } = inTransit({ to, message, entries: [] });
    return rest;
  };
  const sender = <T extends { readonly from: NodeId }>(message: T): T => ({
    ...message,
    from: name(message.from),
  });
  const vote = <T extends { readonly votedFor: NodeId | null }>(hard: T): T => ({
    ...hard,
    votedFor: renamedOrNull(renaming, hard.votedFor),
  });
  const { pendingActions } = node;
  return {
    ...host,
    id: name(id),
    disk: { ...disk, hardState: vote(disk.hardState) },
    wanted: host.wanted && { ...host.wanted, offer: sender(host.wanted.offer) },
    writes: writes.map((write) => ({
      ...write,
      hardState: write.hardState && vote(write.hardState),
      messagesAfterPersist: write.messagesAfterPersist.map(inTransit),
    })),
    node: {
      ...vote(node),
      leaderId: renamedOrNull(renaming, node.leaderId),
      role: renameRole(name, node.role),
      pendingActions: {
        ...pendingActions,
        hardState: pendingActions.hardState && vote(pendingActions.hardState),
        messages: pendingActions.messages.map(outgoing),
        messagesAfterPersist: pendingActions.messagesAfterPersist.map(outgoing),
        snapshots: pendingActions.snapshots.map(name).sort(),
        installSnapshot: pendingActions.installSnapshot && sender(pendingActions.installSnapshot),
      },
    },
  };
}

/** A role under other names; votes and members in the order of their new names. */
function renameRole(name: (old: NodeId) => NodeId, role: RoleImage): RoleImage {
  switch (role.type) {
    case "follower":
      return role;
    case "pre-candidate":
    case "candidate":
      return { ...role, votes: role.votes.map(name).sort() };
    case "leader":
      return {
        ...role,
        progress: role.progress
          .map(([member, progress]) => [name(member), progress] as const)
          .sort(([a], [b]) => (a < b ? -1 : 1)),
      };
  }
}

/** A text that is equal for equal hosts only. */
export function encodeHost({ id, node, memory, disk, writes, wanted, hasUndrainedInput }: Host): string {
  const { pendingActions, following } = node;
  const gathered =
    pendingActions.hardState === null &&
    pendingActions.append === null &&
    pendingActions.commit === null &&
    pendingActions.snapshots.length === 0 &&
    pendingActions.installSnapshot === null &&
    pendingActions.messages.length + pendingActions.messagesAfterPersist.length === 0
      ? 0
      : pendingActions;
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
    [
      following.matchedIndex,
      following.receivedRound,
      following.acknowledgedRound,
      following.acknowledgedIndex,
      following.acknowledgementDue ? 1 : 0,
    ],
    gathered,
    node.pendingActions.persistId,
    encodeLog(memory),
    disk.hardState,
    encodeLog(disk.log),
    [disk.covered, node.log.base.index],
    wanted === null ? 0 : wanted,
    writes.map((write) => ({ ...write, entries: encodeLog(write.entries) })),
    hasUndrainedInput ? 1 : 0,
  ]);
}

function encodeRole(role: RoleImage): unknown[] {
  switch (role.type) {
    case "follower":
      return [role.type];
    case "pre-candidate":
      return [role.type, role.votes];
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
          p.removalNotice === null ? 0 : [p.removalNotice.index, p.removalNotice.round],
        ]),
        role.termStartIndex,
        role.heartbeatRound,
      ];
  }
}

/** A text that is equal for hosts that differ only in names, and mostly different for others. */
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

/** A log as a text: equal texts are equal logs. */
export function encodeLog(log: readonly Entry[]): string {
  return log.map(({ term, payload }) => `${term}:${payload}`).join(" ");
}
