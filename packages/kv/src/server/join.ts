import type { AdminClient, Member, Members } from "../client/admin-client.ts";
import { progressOf } from "../client/membership-goal.ts";
import { KvClientError } from "../client/client-error.ts";
import { StartError } from "../shared/errors.ts";
import { pause } from "../shared/pause.ts";

/** A request that waits for this node to catch up comes back after this long. */
const SLICE_MS = 2000;
/** Between two tries while the cluster does not answer, or has no leader. */
const PAUSE_MS = 1000;
/** Between two words on how far this node is. */
const TELL_MS_MIN = 5000;

export interface Joining {
  readonly id: string;
  /** Where the other nodes reach this one. */
  readonly address: string;
  /** The node had no log when it started. */
  readonly isBlank: boolean;
  /** The cluster that the node belongs to by now; null: none yet. */
  readonly clusterId: () => string | null;
  readonly client: Pick<AdminClient, "members" | "change">;
  readonly tell: (text: string) => void;
  readonly signal: AbortSignal;
}

/**
 * Has the cluster take this node in: as a learner, and as a voter when it has caught up. Resolves when it is a voter, or
 * when the signal ends it. Begun again after a crash, it goes on where it was.
 *
 * @throws StartError the cluster has reasons not to
 */
export async function join(joining: Joining): Promise<void> {
  const { id, address, client, tell, signal } = joining;
  let toldAt = -Infinity;
  const tellNow = (text: string): void => {
    if (text === "" || performance.now() - toldAt < TELL_MS_MIN) return;
    toldAt = performance.now();
    tell(text);
  };
  // What this process asked for itself is no reason to refuse it.
  let hasAsked = false;
  while (!signal.aborted) {
    try {
      const members = await client.members();
      const member = members.members.find((one) => one.id === id);
      if (members.role === "leader") {
        const objection = otherCluster(joining, members) ?? (hasAsked ? null : objectionTo(joining, member));
        if (objection !== null) throw new StartError(objection);
        if (isTakenIn(members, member, address)) return;
        tellNow(progressOf(id, members));
        hasAsked = true;
        const change =
          member?.role === "voter" ? { addresses: { [id]: address } } : { add: { [id]: address } };
        await client.change("POST", "/members", { ...change, timeoutMs: SLICE_MS });
        continue;
      }
      tellNow(`joining: no leader of the cluster is known at the moment`);
    } catch (error) {
      if (!(error instanceof KvClientError)) throw error;
      if (error.status === 400 || error.status === 401 || error.status === 403)
        throw new StartError(`the cluster does not take this node in: ${error.message}`, { cause: error });
      if (error.code === "CATCH_UP_TIMEOUT") continue;
      tellNow(`joining: ${error.message}`);
    }
    await pause(PAUSE_MS, signal);
  }
}

function isTakenIn({ changing }: Members, member: Member | undefined, address: string): boolean {
  return !changing && member?.role === "voter" && member.address === address;
}

/** A node belongs to one cluster for ever: another one must not count on it. */
function otherCluster({ id, clusterId }: Joining, members: Members): string | null {
  const own = clusterId();
  if (own === null || members.clusterId === own) return null;
  return (
    `${id} belongs to cluster ${own}, and those that it was told to join are of cluster ` +
    `${String(members.clusterId)}. To have this machine join those, give it a new --id and an empty --data directory`
  );
}

/** Why a node that has just started must not join; null: it may. */
function objectionTo({ id, address, isBlank }: Joining, member: Member | undefined): string | null {
  if (!isBlank) {
    if (member !== undefined) return null;
    return (
      `${id} is no member of the cluster: it was removed from it, so what its directory holds is of no use any more. ` +
      "To have this machine join again, give it a new --id and an empty --data directory"
    );
  }
  if (member === undefined || (member.role === "learner" && member.address === address)) return null;
  // A voter that lost its log may have acknowledged what nobody else has, and may have voted already.
  return (
    `${id} is a member already, at ${member.address}, and this node's directory is empty. If another node has this id, ` +
    `choose another --id. If this node's disk was lost, run keelson remove ${id}, and join with a new --id`
  );
}
