/** The goals of the commands that change members: what each requests, and when its goal is reached. */
import type { AdminClient, Member, Members } from "../client/admin-client.ts";
import type { MembershipGoal } from "../client/membership-goal.ts";
import type { AdminOptions } from "./admin-options.ts";

/** How long one request waits for members to catch up. Between requests, their progress is shown. */
const REQUEST_MS = 2000;

/** The parts of a goal that depend on the command. */
type CommandGoal = Pick<MembershipGoal, "objection" | "request" | "isReached">;

/** The goal of a command that changes members. */
export function goalOf({ command, positionals, learner }: AdminOptions): CommandGoal {
  const [id = "", address = ""] = positionals;
  switch (command) {
    case "add":
      return goalOfAdding(id, address, learner);
    case "remove":
      return goalOfRemoving(positionals);
    case "promote":
      return {
        request: post({ promote: positionals }),
        isReached: (members) => haveRole(members, positionals, "voter"),
      };
    case "demote":
      return {
        request: post({ demote: positionals }),
        isReached: (members) => haveRole(members, positionals, "learner"),
      };
    case "move":
      return {
        request: post({ addresses: { [id]: address } }),
        isReached: (members) => isSettled(members) && isAt(members, id, address),
      };
    case "status":
    case "members":
    case "transfer":
    case "snapshot":
      throw new Error(`${command} changes no members`);
  }
}

function goalOfAdding(id: string, address: string, asLearner: boolean): CommandGoal {
  const role = asLearner ? "learner" : "voter";
  return {
    objection: (members) => objectionToAdding(id, address, asLearner, members),
    request: post({ [asLearner ? "learners" : "add"]: { [id]: address } }),
    isReached: (members) => isAt(members, id, address) && haveRole(members, [id], role),
  };
}

function goalOfRemoving(ids: readonly string[]): CommandGoal {
  // An id that was never seen as a member may be a typing error, so the goal isn't reached before the cluster
  // has judged it. One that was seen as a member and now isn't has been removed.
  const seen = new Set<string>();
  return {
    request: post({ remove: ids }),
    isReached: (members) => {
      for (const id of ids) {
        if (roleOf(members, id) !== undefined) seen.add(id);
      }
      return haveRole(members, ids, undefined) && ids.every((id) => seen.has(id));
    },
  };
}

/**
 * Why the member should not be added, in words. null: it may be. Adding the same member twice does no harm. A
 * learner that doesn't answer may be added at another address: the first may have been wrong. But a typing
 * error must not give a healthy member another address.
 */
function objectionToAdding(
  id: string,
  address: string,
  asLearner: boolean,
  { members }: Members,
): string | null {
  const member = members.find((one) => one.id === id);
  if (member === undefined) return null;
  if (asLearner && member.role !== "learner") {
    return `${id} is a member already, and not a learner; keelson demote ${id} takes its vote`;
  }
  if (member.address === address || (member.role === "learner" && member.active === false)) return null;
  return (
    `${id} is a member already, at ${member.address}. Give the new node another id; ` +
    `or, if ${id} itself is to be found elsewhere now: keelson move ${id} ${address}`
  );
}

/** Whether the leader reported these members, and no change of members is under way. */
function isSettled({ role, changing }: Members): boolean {
  return role === "leader" && !changing;
}

/** A request with this body to `POST /members`. */
function post(body: object): (client: AdminClient) => Promise<unknown> {
  return (client) => client.change("POST", "/members", { ...body, timeoutMs: REQUEST_MS });
}

/** The role of the member with this id. undefined: there is no such member. */
function roleOf({ members }: Members, id: string): Member["role"] | undefined {
  return members.find((member) => member.id === id)?.role;
}

function isAt({ members }: Members, id: string, address: string): boolean {
  return members.some((member) => member.id === id && member.address === address);
}

/**
 * Whether all ids have the role and no change is under way. `role` undefined: whether none of them is a
 * member.
 */
function haveRole(members: Members, ids: readonly string[], role: Member["role"] | undefined): boolean {
  return isSettled(members) && ids.every((id) => roleOf(members, id) === role);
}
