/**
 * The routes of members and leadership: what `GET /members` shows, and what `POST /members`,
 * `DELETE /members/ID` and `POST /transfer` do.
 */
import {
  OutcomeUnknownError,
  RaftError,
  type MemberMetrics,
  type MembershipChange,
  type RaftMetrics,
} from "keelson";
import * as v from "valibot";
import { decodeClientAddresses, parseAddress, type ClientAddresses } from "../shared/addresses.ts";
import { BadRequestError, parametersOf } from "./request-syntax.ts";
import type { KvNode } from "../node/kv-node.ts";

/** How many milliseconds a change waits for new members to catch up: without `timeoutMs`, and at most. */
const CHANGE_MS_DEFAULT = 10_000;
const CHANGE_MS_MAX = 600_000;

const Ids = v.array(v.string());
const Addresses = v.pipe(
  v.unknown(),
  v.check((value) => !Array.isArray(value), "it should be an object of addresses by id, not a list"),
  v.record(
    v.string(),
    v.pipe(
      v.string(),
      v.check((text) => parseAddress(text) !== null, "an address is HOST:PORT, such as 10.0.0.4:7001"),
    ),
  ),
);
/**
 * The body of `POST /members`. `learners` must come alone: the library adds learners by a call of its own.
 */
const ChangeBody = v.strictObject({
  add: v.optional(Addresses),
  learners: v.optional(Addresses),
  remove: v.optional(Ids),
  promote: v.optional(Ids),
  demote: v.optional(Ids),
  addresses: v.optional(Addresses),
  timeoutMs: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(CHANGE_MS_MAX))),
});
/** The body of `POST /transfer`. Without `to`, the leader chooses. */
const TransferBody = v.strictObject({ to: v.optional(v.string()) });

/** `leaving`: a voter until the change under way is complete. */
export type MemberRole = "voter" | "learner" | "leaving";

/** A member as `GET /members` and `GET /status` show it. */
export interface MemberView extends Omit<MemberMetrics, "info" | "voter">, Partial<ClientAddresses> {
  readonly role: MemberRole;
  readonly voter: boolean;
  /** The snapshot that the member is fetching from this node. Absent: none. */
  readonly snapshot?: { readonly bytesDone: number; readonly bytesTotal: number };
}

/** The members as this node knows them. */
export interface MembersView {
  readonly id: string;
  readonly clusterId: string | null;
  readonly role: RaftMetrics["role"];
  readonly term: number;
  readonly leader: ({ readonly id: string } & Partial<ClientAddresses>) | null;
  /** A change of members is under way. */
  readonly changing: boolean;
  readonly members: readonly MemberView[];
}

/** The body of `GET /members`. */
export function membersViewOf(metrics: RaftMetrics): MembersView {
  const { id, clusterId, role, term, leader, config } = metrics;
  return {
    id,
    clusterId,
    role,
    term,
    leader: leader === null ? null : { id: leader.id, ...decodeClientAddresses(leader.info) },
    changing: config.outgoingVoters.length > 0,
    members: metrics.members.map((member) => memberViewOf(member, metrics)),
  };
}

/** One member of `metrics`, with its role and the addresses for its clients. */
export function memberViewOf(
  { info, ...member }: MemberMetrics,
  { config, snapshots }: RaftMetrics,
): MemberView {
  const role = config.voters.includes(member.id)
    ? "voter"
    : config.learners.includes(member.id)
      ? "learner"
      : "leaving";
  const sending = snapshots?.sending.find(({ to }) => to === member.id);
  const { bytesDone = 0, bytesTotal = 0 } = sending ?? {};
  return {
    ...member,
    role,
    ...(sending === undefined ? {} : { snapshot: { bytesDone, bytesTotal } }),
    ...decodeClientAddresses(info),
  };
}

/** The answer to a change of members. */
export interface ChangedView extends MembersView {
  /** False: the members were already as requested, and nothing was changed. */
  readonly changed: boolean;
}

/**
 * Carries out `POST /members`. Resolves when the change is complete.
 *
 * @throws BadRequestError the body isn't valid
 */
export async function changeMembers(node: KvNode, body: Buffer): Promise<ChangedView> {
  const { learners, timeoutMs = CHANGE_MS_DEFAULT, ...change } = jsonIn(ChangeBody, body);
  const isChange = partsIn(change).length > 0;
  if (learners !== undefined && isChange) {
    throw new BadRequestError(
      "learners are added by a change of their own: leave the rest to another request",
    );
  }
  if (learners === undefined && !isChange) {
    throw new BadRequestError(
      "the change is empty; it has one of add, learners, addresses (id to address), remove, promote, demote (ids)",
    );
  }
  if (isChange) return bringAbout(node, givenParts(change), timeoutMs);
  await addLearners(node, Object.entries(learners ?? {}), timeoutMs);
  return { ...membersViewOf(node.metrics()), changed: true };
}

/**
 * Adds one learner after another. If one fails without effect after others were added, the error's outcome
 * must not be "not-done": the request as a whole had an effect.
 */
async function addLearners(
  node: KvNode,
  learners: readonly (readonly [id: string, address: string])[],
  timeoutMs: number,
): Promise<void> {
  const added: string[] = [];
  for (const [id, address] of learners) {
    try {
      await node.addLearner(id, address, { timeoutMs });
    } catch (error) {
      if (added.length === 0 || !(error instanceof RaftError) || error.outcome !== "not-done") throw error;
      throw new OutcomeUnknownError(
        `${added.join(", ")} was added, and ${id} was not: ${error.message}. Make the same request again to go on`,
        { cause: error },
      );
    }
    added.push(id);
  }
}

/** Carries out `DELETE /members/ID`. */
export function removeMember(node: KvNode, id: string): Promise<ChangedView> {
  return bringAbout(node, { remove: [id] }, CHANGE_MS_DEFAULT);
}

/**
 * Makes those parts of the change that aren't so yet. The library refuses to remove a node that is no member,
 * and to promote one that is a voter. But a client whose answer got lost must be able to repeat its request,
 * which then succeeds.
 */
async function bringAbout(node: KvNode, change: MembershipChange, timeoutMs: number): Promise<ChangedView> {
  const before = node.metrics();
  const rest = withoutDone(change, before);
  const changed = partsIn(rest).length > 0;
  // If nothing is left to change, still ask the library for a change, one without effect: this node's own
  // knowledge may be out of date, or not committed. Only the leader takes the change, and it succeeds when
  // the newest membership is committed.
  await node.changeMembership(changed ? rest : sameAddress(before), { timeoutMs });
  return { ...membersViewOf(node.metrics()), changed };
}

/** The parts of the change that aren't so yet, as far as this node knows. */
function withoutDone(change: MembershipChange, { config }: RaftMetrics): MembershipChange {
  const { remove, promote, demote, ...rest } = change;
  // While one change is under way, the library refuses another; it decides, not we.
  if (config.outgoingVoters.length > 0) return change;
  const isVoter = (id: string): boolean => config.voters.includes(id);
  const isLearner = (id: string): boolean => config.learners.includes(id);
  return givenParts({
    ...rest,
    remove: remove?.filter((id) => isVoter(id) || isLearner(id)),
    promote: promote?.filter((id) => !isVoter(id)),
    demote: demote?.filter((id) => !isLearner(id)),
  });
}

function sameAddress({ members, id, leader }: RaftMetrics): MembershipChange {
  const [member] = members;
  // Without members this node can't lead, and the library says so whatever the change is.
  return {
    addresses: member === undefined ? { [id]: leader?.address ?? "none:1" } : { [member.id]: member.address },
  };
}

/** Carries out `POST /transfer`. The body may be empty. */
export async function transferLeadership(node: KvNode, body: Buffer): Promise<{ readonly leader: string }> {
  const { to } = body.length === 0 ? {} : jsonIn(TransferBody, body);
  const { role, id } = node.metrics();
  if (to === id && role === "leader") {
    // This node leads, unless another was elected and it hasn't heard of that. A linearizable read finds out.
    await node.read(() => null);
    return { leader: id };
  }
  return { leader: await node.transferLeadership(to) };
}

/** The id in a path such as "/members/n3". */
export function memberIdOf(target: string): string {
  parametersOf(target, []);
  const [path = ""] = target.split("?");
  const text = path.slice("/members/".length);
  try {
    return decodeURIComponent(text);
  } catch {
    throw new BadRequestError(`"${text}" is not a member's id`);
  }
}

/** A change whose parts may be undefined, which the library's types tell from absent ones. */
type ChangeParts = { readonly [Part in keyof MembershipChange]: MembershipChange[Part] | undefined };

/** The parts of the change that are given and not empty. */
function partsIn(change: ChangeParts): object[] {
  const parts: (object | undefined)[] = Object.values(change);
  return parts.filter((part) => part !== undefined).filter((part) => Object.keys(part).length > 0);
}

/** The change without those parts that are undefined. */
function givenParts(change: ChangeParts): MembershipChange {
  return Object.fromEntries(Object.entries(change).filter(([, part]) => part !== undefined));
}

function jsonIn<Schema extends v.GenericSchema>(schema: Schema, body: Buffer): v.InferOutput<Schema> {
  const result = v.safeParse(v.pipe(v.string(), v.parseJson(), schema), body.toString("utf8"));
  if (result.success) return result.output;
  const [issue] = result.issues;
  const path = v.getDotPath(issue);
  throw new BadRequestError(
    `the body is not what it should be: ${path === null ? "" : `${path}: `}${issue.message}`,
  );
}
