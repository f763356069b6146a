// Exchanges the names of nodes: states that differ only in names are one state.
import type { Message, NodeId } from "../../../core/index.ts";
import { nameOf, placeOf } from "../shared/bounds.ts";
import type { Host, MessageInTransit, RoleImage } from "./host-state.ts";
import { renameModel } from "./model.ts";

/**
 * By place: the place whose name the node gets. Nodes differ only in names, so a renamed state is the same
 * state.
 */
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

/** The name that a node gets. */
export function renamed(renaming: Renaming, name: NodeId): NodeId {
  return nameOf(renaming[placeOf(name)] ?? -1);
}

function renamedOrNull(renaming: Renaming, name: NodeId | null): NodeId | null {
  return name === null ? null : renamed(renaming, name);
}

/** A message with its nodes renamed. */
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

/** A host with all nodes renamed, wherever it names one. */
export function renameHost(renaming: Renaming, host: Host): Host {
  const { id, node, disk, writes, model } = host;
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
      reads: {
        ...node.reads,
        pending: node.reads.pending.map((read) => ({ ...read, from: renamedOrNull(renaming, read.from) })),
      },
      pendingActions: {
        ...pendingActions,
        hardState: pendingActions.hardState && vote(pendingActions.hardState),
        messages: pendingActions.messages.map(outgoing),
        messagesAfterPersist: pendingActions.messagesAfterPersist.map(outgoing),
        snapshots: pendingActions.snapshots.map(name).sort(),
        installSnapshot: pendingActions.installSnapshot && sender(pendingActions.installSnapshot),
      },
    },
    model: renameModel(name, model),
  };
}

/** A role with all nodes renamed; votes and members are ordered by their new names. */
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
        transfer: role.transfer && { ...role.transfer, to: name(role.transfer.to) },
        progress: role.progress
          .map(([member, progress]) => [name(member), progress] as const)
          .sort(([a], [b]) => (a < b ? -1 : 1)),
      };
  }
}
