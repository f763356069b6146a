import type { AdminClient, Members } from "./admin-client.ts";
import { KvClientError } from "./client-error.ts";
import { StartError } from "../shared/errors.ts";
import { count, formatBytes } from "../shared/format.ts";

/** Between two requests. */
const PAUSE_MS = 250;

/** How far a member is on its way; "": nothing to say. */
export function progressOf(id: string, { members }: Members): string {
  const member = members.find((one) => one.id === id);
  if (member?.role !== "learner") return "";
  if (member.active === false) return `${id} is a learner and does not answer at ${member.address}`;
  if (member.snapshot !== undefined) {
    const { bytesDone, bytesTotal } = member.snapshot;
    return `${id} is a learner and fetches a snapshot, ${formatBytes(bytesDone)} of ${formatBytes(bytesTotal)}`;
  }
  return member.lag === null ? "" : `${id} is a learner, ${count(member.lag, "entry", "entries")} behind`;
}

/** How a change of the cluster is brought about. */
export interface Goal {
  /** Why it should not even be tried, by the members as they are before the first request; null: nothing is. */
  readonly objection?: (members: Members) => string | null;
  /** One request towards it. */
  readonly request: (client: AdminClient) => Promise<unknown>;
  /** Whether it is reached already. */
  readonly isReached: (members: Members) => boolean;
  /** How far it is, in words: told each time that it is not reached yet, and when time is up. "": nothing to say. */
  readonly progress?: (members: Members) => string;
  readonly onProgress?: (text: string) => void;
  readonly timeoutMs: number;
}

/**
 * Asks until the goal is reached: a node may be gone, leadership may change, and new members take their time. Each
 * request names what should be, so asking twice does no harm.
 *
 * @throws StartError it was refused, or not reached in time
 */
export async function pursue(client: AdminClient, goal: Goal): Promise<Members> {
  const deadline = performance.now() + goal.timeoutMs;
  let last = "no node answered";
  let progress = "";
  let refusal: KvClientError | null = null;
  let hasAsked = false;
  for (;;) {
    try {
      const members = await client.members();
      if (goal.isReached(members)) return members;
      if (!hasAsked) refuse(goal.objection?.(members) ?? null);
      // An earlier request may have been carried out unseen, and this one refused for just that.
      if (refusal !== null && members.role === "leader")
        throw new StartError(refusal.message, { cause: refusal });
      if (refusal === null) {
        progress = goal.progress?.(members) ?? "";
        goal.onProgress?.(progress);
        hasAsked = true;
        last = "the cluster agreed, and it is not so yet";
        await goal.request(client);
        const changed = await client.members();
        if (goal.isReached(changed)) return changed;
      }
    } catch (error) {
      if (!(error instanceof KvClientError)) throw error;
      if (isFinal(error)) refusal ??= error;
      last = error.message;
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

function refuse(objection: string | null): void {
  if (objection !== null) throw new StartError(objection);
}

/** Whether asking again would give the same answer. */
function isFinal({ status }: KvClientError): boolean {
  return status !== null && status >= 400 && status < 500 && status !== 409 && status !== 429;
}
