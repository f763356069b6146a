import type { Message, NodeId } from "../../core/index.ts";
import { nameOf, placeOf } from "./bounds.ts";
import type { Entry, Host, Letter } from "./host.ts";

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

export function renameLetter(renaming: Renaming, { to, message, entries }: Letter): Letter {
  return {
    to: renamed(renaming, to),
    message: { ...message, from: renamed(renaming, message.from) },
    entries,
  };
}

export function renameHost(renaming: Renaming, host: Host): Host {
  const { id, node, disk, writes } = host;
  const name = (old: NodeId): NodeId => renamed(renaming, old);
  const letter = (old: Letter): Letter => renameLetter(renaming, old);
  const outgoing = ({ to, message }: { to: NodeId; message: Message }) => {
    const { entries: _, ...rest } = letter({ to, message, entries: [] });
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
      letters: write.letters.map(letter),
    })),
    node: {
      ...vote(node),
      leaderId: renamedOrNull(renaming, node.leaderId),
      votes: node.votes.map(name).sort(),
      progress: node.progress
        .map(([member, progress]) => [name(member), progress] as const)
        .sort(([a], [b]) => (a < b ? -1 : 1)),
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

/** A text that is equal for equal hosts only. */
export function encodeHost({ id, node, memory, disk, writes, wanted, stirred }: Host): string {
  const { pendingActions } = node;
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
    node.role,
    node.term,
    node.votedFor,
    node.hardStateId,
    node.appendsInFlight.flatMap(({ persistId, upTo }) => [persistId, upTo]),
    node.durableIndex,
    node.commitIndex,
    node.leaderId,
    node.leaderHeardAt === 0 ? 1 : 0,
    node.electionDeadline,
    node.votes.join(""),
    node.ownVoteId,
    [
      node.matchedIndex,
      node.receivedRound,
      node.acknowledgedRound,
      node.acknowledgedIndex,
      node.acknowledgementDue ? 1 : 0,
    ],
    node.progress.map(([member, p]) => [
      member,
      p.state,
      p.match,
      p.next,
      p.inFlight.map(({ last }) => last),
      p.probeSent ? 1 : 0,
      p.acknowledgedRound,
      p.heartbeatDue ? 1 : 0,
      p.removalNotice === null ? 0 : [p.removalNotice.index, p.removalNotice.round],
    ]),
    [node.termStart, node.heartbeatRound],
    gathered,
    node.pendingActions.persistId,
    encodeLog(memory),
    disk.hardState,
    encodeLog(disk.log),
    [disk.covered, node.log.base.index],
    wanted === null ? 0 : wanted,
    writes.map((write) => ({ ...write, entries: encodeLog(write.entries) })),
    stirred ? 1 : 0,
  ]);
}

/** A text that is equal for hosts that differ only in names, and mostly different for others. */
export function signatureOf({ id, node, memory, disk, writes }: Host): string {
  const who = (name: NodeId | null): string => (name === null ? "nobody" : name === id ? "self" : "other");
  return JSON.stringify([
    node.role,
    node.term,
    who(node.votedFor),
    who(node.leaderId),
    node.durableIndex,
    node.commitIndex,
    [node.matchedIndex, node.acknowledgedIndex, node.leaderHeardAt, node.votes.length],
    node.progress.map(([, { match, next, state }]) => `${match} ${next} ${state}`).sort(),
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
