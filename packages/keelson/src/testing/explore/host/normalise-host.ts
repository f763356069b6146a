// Makes hosts equal that behave the same from now on, so that the explorer counts them as one state.
import type { NodeImage } from "../../../core/index.ts";
import type { Bounds } from "../shared/bounds.ts";
import { invariant } from "../shared/violation.ts";
import { ELECTION_MS, HEARTBEAT_MS, LATE_MS, LONG_AGO_MS } from "./host-options.ts";
import type { Host, ProgressList, RoleImage } from "./host-state.ts";
import { normaliseModel } from "./model.ts";

type MemberImage = ProgressList[number][1];

/**
 * The same host without differences that have no effect: what the clock shows, the numbers of the batches
 * (only their order counts), and the order in which votes and members were added.
 */
export function normaliseHost(bounds: Bounds, host: Host): Host {
  const { node } = host;
  const leads = node.role.type === "leader";
  const looksAtLease = bounds.preVote || bounds.checkQuorum;
  const fresh = looksAtLease && !leads && node.now < node.leaderHeardAt + ELECTION_MS.min;
  const rank = rankOfBatches(host);
  return {
    ...host,
    writes: host.writes.map((write) => ({ ...write, persistId: rank(write.persistId) })),
    node: {
      ...node,
      now: 0,
      timer: null,
      leaderHeardAt: fresh ? 0 : LONG_AGO_MS,
      electionDeadline: deadlineOf(bounds, node),
      reads: withoutTimes(node.reads),
      hardStateId: rank(node.hardStateId),
      persistedId: 0,
      appendsInFlight: node.appendsInFlight.map((append) => ({
        ...append,
        persistId: rank(append.persistId),
      })),
      pendingActions: { ...node.pendingActions, persistId: rank(node.pendingActions.persistId) },
      role: normaliseRole(bounds, node.role, rank),
    },
    model: normaliseModel(bounds, host.model, rank),
  };
}

/**
 * The election deadline as one of two times: 0 if it has passed, and else a later one. Without leases it
 * never counts as passed, because a timeout is an event that may happen at any time.
 */
function deadlineOf({ leases }: Bounds, { electionDeadline, now }: NodeImage): number | null {
  if (electionDeadline === null) return null;
  return leases && electionDeadline <= now ? 0 : ELECTION_MS.min;
}

/**
 * The reads without their deadlines. In an exploration no read waits so long that it fails, which would be no
 * more than an answer that never comes.
 */
function withoutTimes({ pending, forwarded, lastId }: NodeImage["reads"]): NodeImage["reads"] {
  return {
    lastId,
    pending: pending.map((read) => ({ ...read, expiresAt: ELECTION_MS.max })),
    forwarded: forwarded.map((read) => ({ ...read, expiresAt: ELECTION_MS.max })),
  };
}

function normaliseRole({ leases }: Bounds, role: RoleImage, rank: (persistId: number) => number): RoleImage {
  switch (role.type) {
    case "follower":
      return role;
    case "pre-candidate":
      return { ...role, votes: [...role.votes].sort() };
    case "candidate": {
      const ownVoteId = role.ownVoteId === null ? null : rank(role.ownVoteId);
      return { ...role, votes: [...role.votes].sort(), ownVoteId };
    }
    case "leader":
      return {
        ...role,
        heartbeatDeadline: role.progress.length > 0 ? HEARTBEAT_MS : Infinity,
        transfer: role.transfer && { ...role.transfer, until: ELECTION_MS.max },
        leaseFrom: leases ? pastTick(role.leaseFrom) : LONG_AGO_MS,
        leaseProbe: leases ? probeOf(role) : null,
        progress: role.progress
          .map(([id, one]) => [id, { ...one, activeAt: 0, removalNotice: removalNoticeOf(one) }] as const)
          .sort(([a], [b]) => (a < b ? -1 : 1)),
      };
  }
}

function probeOf({ leaseProbe }: Extract<RoleImage, { type: "leader" }>) {
  return leaseProbe && { ...leaseProbe, at: pastTick(leaseProbe.at) };
}

/** A moment as one of three: since the last tick, between it and the one before, or long ago. */
function pastTick(at: number): number {
  if (at >= 0) return 0;
  return at >= -ELECTION_MS.min ? -ELECTION_MS.min : LONG_AGO_MS;
}

/**
 * The leader's removal notice with the same deadline for all, because the deadline has no effect: the only
 * event of a leader that lasts until then is `step-down`, and it ends every notice, whatever its deadline.
 */
function removalNoticeOf({ removalNotice }: MemberImage): MemberImage["removalNotice"] {
  return removalNotice === null ? null : { ...removalNotice, until: LATE_MS };
}

/**
 * Numbers the batches anew: 0 stands for every durable batch, the unfinished writes are 1, 2, ..., and the
 * batch that the core is gathering comes after them.
 */
function rankOfBatches({ id, node, writes }: Host): (persistId: number) => number {
  return (persistId) => {
    if (persistId <= node.persistedId) return 0;
    if (persistId === node.pendingActions.persistId) return writes.length + 1;
    const at = writes.findIndex((write) => write.persistId === persistId);
    invariant(at >= 0, () => `DRIVER: ${id} waits for a batch that nobody writes`);
    return at + 1;
  };
}
