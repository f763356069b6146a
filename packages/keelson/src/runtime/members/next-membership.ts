// Computes memberships from each other: what a caller's change makes of the current one, and the steps
// towards it. Pure functions. They refuse changes that contradict themselves or the current membership, that
// would leave no voters, or whose membership has no encoding.
import { MEMBERS_MAX, REMOVED_MAX, type MemberData, type Membership } from "../../codec/config.ts";
import { configOf, membersOf, sameConfig, type ClusterConfig } from "../../core/config.ts";
import type { NodeId } from "../../core/position.ts";
import { InvalidOptionError } from "../../errors.ts";

/**
 * A change of the members. It happens as a whole in one step, or not at all. It says what should be, so a
 * caller that doesn't know whether it took place can make it again: what is so already is left as it is.
 */
export interface MembershipChange {
  /**
   * New voters, id to address. Each is a learner first, and becomes a voter when it has caught up. A node
   * that is a voter at that address already is left as it is.
   */
  readonly add?: Readonly<Record<NodeId, string>> | undefined;
  /**
   * Members that leave the cluster: voters or learners, the leader included. Their ids can't be used again. A
   * node that was removed before may be named.
   */
  readonly remove?: readonly NodeId[] | undefined;
  /** Learners that become voters, each when it has caught up. Voters stay what they are. */
  readonly promote?: readonly NodeId[] | undefined;
  /** Voters that become learners. Learners stay what they are. */
  readonly demote?: readonly NodeId[] | undefined;
  /** New addresses of members that stay, id to address. */
  readonly addresses?: Readonly<Record<NodeId, string>> | undefined;
}

/**
 * The membership that `change` makes of `current`. The nodes in `newLearners` (id to address) count as
 * learners already: so a change can be checked before its new members are added.
 *
 * @throws InvalidOptionError
 */
export function membershipAfter(
  current: Membership,
  change: MembershipChange,
  newLearners: Readonly<Record<NodeId, string>> = {},
): Membership {
  checkChange(current, change, newLearners);
  const { config, members } = current;
  const { add = {}, remove = [], promote = [], demote = [], addresses = {} } = change;
  const stays = (id: NodeId): boolean => !remove.includes(id) && !demote.includes(id);
  const voters = [...config.voters.filter(stays), ...promote, ...Object.keys(add)];
  if (voters.length === 0) {
    throw new InvalidOptionError("the change would leave no voters, and nothing could ever be decided again");
  }
  const next = configOf(voters, [
    ...config.learners.filter((id) => !voters.includes(id) && !remove.includes(id)),
    ...demote,
  ]);
  const data = new Map<NodeId, MemberData>();
  for (const id of membersOf(next)) {
    const before = members.get(id);
    const address = addresses[id] ?? add[id] ?? newLearners[id] ?? before?.address ?? "";
    data.set(id, { ...before, address });
  }
  const target = { config: next, members: data };
  checkUniqueAddresses(target);
  return target;
}

/**
 * The membership in which the nodes in `add` (id to address) are members at these addresses. New members are
 * learners. null: all of them are members at these addresses already.
 *
 * @throws InvalidOptionError
 */
export function withNewLearners(
  current: Membership,
  add: Readonly<Record<NodeId, string>>,
): Membership | null {
  const { config, members } = current;
  checkNotRemoved(current, Object.keys(add));
  const fresh = Object.entries(add).filter(([id, address]) => members.get(id)?.address !== address);
  if (fresh.length === 0) return null;
  const known = membersOf(config);
  const learners = [...config.learners, ...fresh.map(([id]) => id).filter((id) => !known.includes(id))];
  const target: Membership = {
    config: configOf(config.voters, learners),
    members: new Map([
      ...members,
      ...fresh.map(([id, address]) => [id, { ...members.get(id), address }] as const),
    ]),
  };
  checkUniqueAddresses(target);
  checkCount(target.members.size);
  return target;
}

/**
 * The membership for a configuration that the core appends on the way from `current` to `target`: the core
 * knows ids alone. Members of both have their data from `target`. A node that leaves is remembered as
 * removed: if its id came back with an empty store, entries that it had acknowledged would count as stored
 * there (M10).
 */
export function membershipOf(
  config: ClusterConfig,
  current: Membership,
  target: Membership = current,
): Membership {
  const members = new Map<NodeId, MemberData>();
  for (const id of membersOf(config)) {
    const data = target.members.get(id) ?? current.members.get(id);
    if (data !== undefined) members.set(id, data);
  }
  const gone = [...current.members.keys()].filter((id) => !members.has(id));
  const removed = [...(current.removed ?? []), ...gone].slice(-REMOVED_MAX);
  return removed.length === 0 ? { config, members } : { config, members, removed };
}

/** Whether both have the same configuration, and the same address and store of each member. */
export function isSameMembership(a: Membership, b: Membership): boolean {
  return (
    sameConfig(a.config, b.config) &&
    [...a.members].every(([id, { address, storeId }]) => {
      const other = b.members.get(id);
      return other?.address === address && other.storeId === storeId;
    })
  );
}

function checkChange(
  current: Membership,
  change: MembershipChange,
  newLearners: Readonly<Record<NodeId, string>>,
): void {
  const { config, members } = current;
  const { add = {}, remove = [], promote = [], demote = [], addresses = {} } = change;
  const named = [...Object.keys(add), ...remove, ...promote, ...demote];
  const twice = named.find((id, at) => named.indexOf(id) !== at);
  if (twice !== undefined) throw new InvalidOptionError(`${twice} is named twice in one change`);
  const known = [...membersOf(config), ...Object.keys(newLearners)];
  for (const id of [...remove, ...promote, ...demote, ...Object.keys(addresses)]) {
    if (remove.includes(id) && current.removed?.includes(id) === true) continue;
    if (!known.includes(id)) {
      throw new InvalidOptionError(`${id} is not a member; the members are ${membersOf(config).join(", ")}`);
    }
  }
  checkNotRemoved(current, Object.keys(add));
  for (const [id, address] of Object.entries(add)) {
    const known = config.voters.includes(id) ? (members.get(id)?.address ?? address) : address;
    if (known !== address) {
      throw new InvalidOptionError(
        `${id} is a voter already, at ${known}: give the new node another id; or, if ${id} itself is to be found ` +
          `at ${address} now, name that in \`addresses\``,
      );
    }
  }
}

function checkNotRemoved({ removed = [] }: Membership, ids: readonly NodeId[]): void {
  const back = ids.find((id) => removed.includes(id));
  if (back === undefined) return;
  throw new InvalidOptionError(
    `${back} was a member once, and an id is not used again: give the new node an id and a directory of its own`,
  );
}

/**
 * Checks that so many members fit into a configuration entry. New members are added as learners first, beside
 * those that leave; no later step has more.
 */
function checkCount(members: number): void {
  if (members <= MEMBERS_MAX) return;
  throw new InvalidOptionError(
    `the cluster would have ${String(members)} members, with those that leave; there can be ${String(MEMBERS_MAX)}`,
  );
}

function checkUniqueAddresses({ members }: Membership): void {
  const owners = new Map<string, NodeId>();
  for (const [id, { address }] of members) {
    const owner = owners.get(address);
    if (owner !== undefined) {
      throw new InvalidOptionError(`members ${owner} and ${id} would have the same address, ${address}`);
    }
    owners.set(address, id);
  }
}
