/**
 * Brings about a change of the cluster through its HTTP interface. A goal describes the desired state, so its
 * requests are repeated: after unknown outcomes, while there is no leader, and while new members catch up.
 */
import { NothingListensError, type AdminClient, type Members } from "./admin-client.ts";
import { KvClientError } from "./client-error.ts";
import { REDIRECT_REFUSED } from "./known-nodes.ts";
import { StartError } from "../shared/errors.ts";
import { count, formatBytes } from "../shared/format.ts";

/** The pause between two requests. */
const PAUSE_MS = 250;

/** How far a learner has caught up, in words. "": nothing to report. */
export function progressOf(id: string, { members }: Members): string {
  const member = members.find((one) => one.id === id);
  if (member?.role !== "learner") return "";
  if (member.active === false) return `${id} is a learner and ${silenceOf(member)}`;
  if (member.snapshot !== undefined) {
    const { bytesDone, bytesTotal } = member.snapshot;
    return `${id} is a learner and fetches a snapshot, ${formatBytes(bytesDone)} of ${formatBytes(bytesTotal)}`;
  }
  return member.lag === null ? "" : `${id} is a learner, ${count(member.lag, "entry", "entries")} behind`;
}

/**
 * What to tell about a member that doesn't answer, in words. A leader that adds a node first asks the node
 * whether it belongs to another cluster; but a node that isn't running can't answer. When it starts later, it
 * refuses the leader, and stays a learner that never answers (Z21). So the text for a learner that holds no
 * entry names this reason.
 */
export function silenceOf({ role, address, match }: Members["members"][number]): string {
  if (role !== "learner" || match !== 0) return `does not answer at ${address}`;
  return (
    `has not answered its leader yet at ${address}: check that it runs there, and is a new node or of this cluster; ` +
    "the leader's log says why it can't be reached"
  );
}

/** A desired state of the members, and how to reach it. */
export interface MembershipGoal {
  /** Called before the first request. Says why the change should not be tried. null: it should be. */
  readonly objection?: (members: Members) => string | null;
  /** Sends one request towards the goal. */
  readonly request: (client: AdminClient) => Promise<unknown>;
  /** Whether these members are the desired ones. */
  readonly isReached: (members: Members) => boolean;
  /** How far the change is, for `onProgress` and for the error when time is up. "": nothing to report. */
  readonly progress?: (members: Members) => string;
  /** Called with what is waited for, each time that the goal is not reached yet. */
  readonly onProgress?: (text: string) => void;
  /** The most milliseconds until the goal is reached. */
  readonly timeoutMs: number;
}

/**
 * Sends requests until the goal is reached, and resolves with the members then.
 *
 * @throws StartError the cluster refuses the change, or the time is up
 */
export async function reachGoal(client: AdminClient, goal: MembershipGoal): Promise<Members> {
  const deadline = performance.now() + goal.timeoutMs;
  let last = "no node answered";
  let progress = "";
  let refusal: KvClientError | null = null;
  let hasAsked = false;
  let wasAnswered = false;
  for (;;) {
    try {
      const members = await client.members();
      wasAnswered = true;
      if (goal.isReached(members)) return members;
      if (!hasAsked) refuse(goal.objection?.(members) ?? null);
      // A refusal proves nothing if an earlier request, whose answer got lost, already had its effect. So
      // look at the members once more before giving up.
      if (refusal !== null && members.role === "leader")
        throw new StartError(refusal.message, { cause: refusal });
      if (refusal === null) {
        progress = goal.progress?.(members) ?? "";
        goal.onProgress?.(progress === "" ? waitingFor(members) : progress);
        hasAsked = true;
        last = "the cluster agreed, and it is not so yet";
        await goal.request(client);
        const changed = await client.members();
        if (goal.isReached(changed)) return changed;
      }
    } catch (error) {
      if (!(error instanceof KvClientError)) throw error;
      // The leader can't be asked whether the goal is reached either.
      if (error.code === REDIRECT_REFUSED) throw new StartError(error.message, { cause: error });
      // Give up only if no node ever answered. One that did may be restarting.
      if (error instanceof NothingListensError && !wasAnswered)
        throw new StartError(error.message, { cause: error });
      if (isFinal(error)) refusal ??= error;
      last = error.message;
      goal.onProgress?.(`${progress === "" ? last : `${progress} (${last})`}; trying again`);
    }
    if (performance.now() > deadline) {
      const seconds = Math.round(goal.timeoutMs / 1000);
      throw new StartError(
        `not done within ${seconds} s: ${progress === "" ? last : `${progress} (${last})`}`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

/** What a request to these members waits for, in words. */
export function waitingFor({ id, role, leader, members, changing }: Members): string {
  const voters = members.filter((member) => member.role !== "learner");
  if (role !== "leader") {
    const ids = voters.map((voter) => voter.id).join(", ");
    return leader === null
      ? `waiting for a leader: ${id} knows none; a majority of the voters ${ids} has to run and reach each other`
      : `waiting for the leader, ${leader.id}, to answer`;
  }
  const silent = voters.filter(({ active }) => active === false).map((voter) => voter.id);
  if (silent.length * 2 >= voters.length) {
    return `waiting for a majority of the voters: ${silent.join(", ")} ${silent.length === 1 ? "does" : "do"} not answer`;
  }
  return changing
    ? "waiting for the change of members that is under way"
    : "waiting for the members to agree";
}

function refuse(objection: string | null): void {
  if (objection !== null) throw new StartError(objection);
}

/** Whether the request would be refused again. Another change (409) and load (429) end after a while. */
function isFinal({ status }: KvClientError): boolean {
  return status !== null && status >= 400 && status < 500 && status !== 409 && status !== 429;
}
