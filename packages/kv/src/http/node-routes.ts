/** The routes that tell how the node is: `GET /status`, `/healthz` and `/readyz`. */
import type { RaftMetrics } from "keelson";
import type { Serving } from "../node/kv-node.ts";
import { decodeClientAddresses } from "../shared/addresses.ts";
import { errorAnswer, unavailable } from "./error-answers.ts";
import { memberViewOf } from "./member-routes.ts";
import { errorResponse, jsonAnswer, type Answer } from "./answer.ts";

/**
 * Committed entries that a ready node may still have to apply. With more, `GET /readyz` answers 503, so that
 * load balancers send no stale reads to a node that lags so far.
 */
const READY_LAG_ENTRIES_MAX = 1000;

/** The body of `GET /status`. */
export function statusOf(metrics: RaftMetrics): object {
  const { id, clusterId, role, term, leader } = metrics;
  return {
    id,
    pid: process.pid,
    clusterId,
    role,
    term,
    leader:
      leader === null
        ? null
        : { id: leader.id, address: leader.address, ...decodeClientAddresses(leader.info) },
    commit: metrics.commitIndex,
    applied: metrics.appliedIndex,
    durable: metrics.durableIndex,
    first: metrics.firstIndex,
    last: metrics.lastIndex,
    changing: metrics.config.outgoingVoters.length > 0,
    members: metrics.members.map((member) => memberViewOf(member, metrics)),
    pending: { entries: metrics.pendingEntries, bytes: metrics.pendingBytes, reads: metrics.pendingReads },
    stalled: metrics.stalled,
    sessions: metrics.sessions,
    snapshots: metrics.snapshots,
    counters: metrics.counters,
  };
}

/** `GET /healthz`, for a supervisor: 503 means that the node has stopped, so restart the process. */
export function healthAnswer({ node }: Serving): Answer {
  if (node.metrics().role !== "stopped") return jsonAnswer({ ok: true });
  return errorResponse(errorAnswer(503, "STOPPED", "the node has stopped; the server's log says why"));
}

/** `GET /readyz`, for load balancers: 503 means that this node should get no clients at the moment. */
export function readinessAnswer({ node }: Serving): Answer {
  const { id, role, leader, commitIndex, appliedIndex, members, stalled } = node.metrics();
  if (role === "stopped") return errorResponse(unavailable("STOPPED", "the node has stopped"));
  if (role === "removed") {
    return errorResponse(unavailable("REMOVED", `${id} was removed from the cluster`));
  }
  if (members.find((member) => member.id === id)?.lostEntries === true) {
    return errorResponse(
      unavailable("LOST_ENTRIES", `${id} lost entries that it had acknowledged; remove it and add it anew`),
    );
  }
  if (stalled !== null) {
    const forMs = Math.round(stalled.ms);
    return errorResponse(
      unavailable(
        "STALLED",
        `the ${stalled.part} hangs: ${stalled.call} has made no progress for ${forMs} ms`,
      ),
    );
  }
  if (leader === null) return errorResponse(unavailable("NO_LEADER", "no leader is known"));
  const behind = commitIndex - appliedIndex;
  if (behind > READY_LAG_ENTRIES_MAX) {
    return errorResponse(unavailable("CATCHING_UP", `${behind} entries are committed and not applied yet`));
  }
  return jsonAnswer({ ok: true, leader: leader.id });
}
