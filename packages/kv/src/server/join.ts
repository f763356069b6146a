/** Joining a cluster that runs: `keelson serve --join`. */
import type { AdminClient, Member, Members } from "../client/admin-client.ts";
import { progressOf } from "../client/membership-goal.ts";
import { KvClientError } from "../client/client-error.ts";
import { REDIRECT_REFUSED } from "../client/known-nodes.ts";
import { StartError } from "../shared/errors.ts";
import { pause } from "../shared/pause.ts";

/** How long one request waits for this node to catch up. Between requests, its progress is reported. */
const REQUEST_MS = 2000;
/** The pause between two attempts while no node answers, or none knows a leader. */
const PAUSE_MS = 1000;
/** The least time between two reports of progress. */
const REPORT_MS_MIN = 5000;

/** What joining needs to know. */
export interface Joining {
  /** This node's id. */
  readonly id: string;
  /** Where other nodes reach this one. */
  readonly address: string;
  /** Whether the log was empty when the node started. */
  readonly startedEmpty: boolean;
  /** The cluster that the node belongs to at the time of the call. null: none yet. */
  readonly clusterId: () => string | null;
  /** Asks the members named by `--join`. */
  readonly client: Pick<AdminClient, "members" | "change">;
  /** Receives reports of progress. */
  readonly report: (text: string) => void;
  /** Ends joining. */
  readonly signal: AbortSignal;
}

/**
 * Asks the cluster to make this node a voter; the cluster makes it a learner first, until it has caught up.
 * Resolves when it is a voter, or when `signal` is aborted. It may be called again after a crash: it looks at
 * the members first.
 *
 * @throws StartError this node may not join
 */
export async function join(joining: Joining): Promise<void> {
  const { id, address, client, report, signal } = joining;
  let reportedAt = -Infinity;
  const reportSometimes = (text: string): void => {
    if (text === "" || performance.now() - reportedAt < REPORT_MS_MIN) return;
    reportedAt = performance.now();
    report(text);
  };
  // Whether a request was sent. From then on, being a member is no objection: our request may be the reason.
  let hasAsked = false;
  while (!signal.aborted) {
    try {
      const members = await client.members();
      const member = members.members.find((one) => one.id === id);
      if (members.role === "leader") {
        const objection =
          otherClusterObjection(joining, members) ?? (hasAsked ? null : objectionTo(joining, member));
        if (objection !== null) throw new StartError(objection);
        if (hasJoined(members, member, address)) return;
        reportSometimes(progressOf(id, members));
        hasAsked = true;
        const change =
          member?.role === "voter" ? { addresses: { [id]: address } } : { add: { [id]: address } };
        await client.change("POST", "/members", { ...change, timeoutMs: REQUEST_MS });
        continue;
      }
      reportSometimes(`joining: no leader of the cluster is known at the moment`);
    } catch (error) {
      if (!(error instanceof KvClientError)) throw error;
      if (
        error.code === REDIRECT_REFUSED ||
        error.status === 400 ||
        error.status === 401 ||
        error.status === 403
      )
        throw new StartError(`the cluster does not take this node in: ${error.message}`, { cause: error });
      if (error.code === "CATCH_UP_TIMEOUT") continue;
      reportSometimes(`joining: ${error.message}`);
    }
    await pause(PAUSE_MS, signal);
  }
}

function hasJoined({ changing }: Members, member: Member | undefined, address: string): boolean {
  return !changing && member?.role === "voter" && member.address === address;
}

/**
 * Why this node may not join, if it belongs to another cluster; null: it doesn't. A node belongs to one
 * cluster for good: another one would count on votes and entries that this log doesn't have.
 */
function otherClusterObjection({ id, clusterId }: Joining, members: Members): string | null {
  const own = clusterId();
  if (own === null || members.clusterId === own) return null;
  return (
    `${id} belongs to cluster ${own}, and those that it was told to join are of cluster ` +
    `${String(members.clusterId)}. To have this machine join those, give it a new --id and an empty --data directory`
  );
}

/** Why a node may not join, going by its log and its entry among the members. null: it may. */
function objectionTo({ id, address, startedEmpty }: Joining, member: Member | undefined): string | null {
  if (!startedEmpty) {
    if (member !== undefined) return null;
    return (
      `${id} is no member of the cluster: it was removed from it, so what its directory holds is of no use any more. ` +
      "To have this machine join again, give it a new --id and an empty --data directory"
    );
  }
  if (member === undefined || (member.role === "learner" && member.address === address)) return null;
  // A voter with an empty log has lost its disk. The cluster may count on its copy of an entry, and it may
  // have voted in this term, so it must not come back under its id.
  return (
    `${id} is a member already, at ${member.address}, and this node's directory is empty. If another node has this id, ` +
    `choose another --id. If this node's disk was lost, run keelson remove ${id}, and join with a new --id`
  );
}
