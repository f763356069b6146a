/*
 * The payload of a configuration entry: the members of the cluster, their addresses and their store ids.
 *
 * It is UTF-8 text, a JSON object with these keys in this order, and without spaces:
 *
 * | key | value |
 * |---|---|
 * | version | 1 |
 * | voters | the voters' ids, ascending; while the configuration is joint, those of C_new |
 * | outgoing | while the configuration is joint, the ids of the voters of C_old, ascending; else [] |
 * | learners | the learners' ids, ascending |
 * | members | for each member [id, address] or [id, address, store id], ascending by id |
 * | removed | the ids of former members, earliest first; absent if there are none |
 *
 * JSON, because such entries are few, so size and speed don't matter, and a person may want to read one.
 * Members are a list of pairs, because JavaScript reorders the keys of an object that look like numbers.
 *
 * **Canonical.** One membership has exactly one encoding. Nodes that create the same cluster at the same
 * time, each for itself, so write the same first entry, and their logs agree.
 *
 * **Checks.** Decoding refuses another version, unknown keys, text that is not canonical, and a membership
 * that no change can produce (`problemOf`), with a `DecodeError`. On a message, that closes the connection;
 * in the log, it stops the node. A configuration must never be guessed: two nodes with different ideas of a
 * majority can elect two leaders.
 */
import { assert } from "../core/assert.ts";
import { membersOf, type ClusterConfig } from "../core/config.ts";
import type { NodeId } from "../core/position.ts";
import { DecodeError } from "../errors.ts";

/** What a configuration entry says about one member. */
export interface MemberData {
  /** Where other nodes reach it: "host:port". */
  readonly address: string;
  /**
   * The id of its storage. A node with this id and another store id has lost its disk and must not take part.
   * Absent: not known yet; the leader adds it later, by another configuration entry.
   */
  readonly storeId?: string;
}

/** The contents of a configuration entry. */
export interface Membership {
  readonly config: ClusterConfig;
  /** One for each member of `config`, and no other. */
  readonly members: ReadonlyMap<NodeId, MemberData>;
  /** The ids of former members, earliest first. They are never used again. Absent: none. */
  readonly removed?: readonly NodeId[];
}

/**
 * The payload of a configuration entry: the same bytes for the same membership, in whatever order its parts
 * are listed.
 */
export function encodeMembership(membership: Membership): Uint8Array {
  const { config, members, removed = [] } = membership;
  const stored: MembershipJson = {
    version: FORMAT_VERSION,
    voters: [...config.voters].sort(),
    outgoing: [...config.outgoingVoters].sort(),
    learners: [...config.learners].sort(),
    members: [...members].map(memberJsonOf).sort(byId),
    ...(removed.length === 0 ? {} : { removed }),
  };
  const problem = problemOf(stored);
  assert(problem === null, `a membership that cannot be: ${String(problem)}`);
  return encoder.encode(JSON.stringify(stored));
}

/**
 * Decodes the payload of a configuration entry.
 *
 * @throws DecodeError says what is wrong; also when the text means a valid membership, but is not canonical
 */
export function decodeMembership(payload: Uint8Array): Membership {
  const text = decodeText(payload);
  const stored = parse(text);
  const problem = problemOf(stored);
  if (problem !== null) throw new DecodeError(`a cluster configuration that cannot be: ${problem}`);
  // Encoded again and compared: unknown or repeated keys, another order and spaces all show as a difference.
  const { version, voters, outgoing, learners, members, removed } = stored;
  const inOrder = { version, voters, outgoing, learners, members };
  if (JSON.stringify(removed === undefined ? inOrder : { ...inOrder, removed }) !== text) {
    throw new DecodeError("a cluster configuration that is not in canonical form");
  }
  return {
    config: { voters, outgoingVoters: outgoing, learners },
    members: new Map(
      members.map(([id, address, storeId]) => [
        id,
        storeId === undefined ? { address } : { address, storeId },
      ]),
    ),
    ...(removed === undefined ? {} : { removed }),
  };
}

/** The contents of the JSON text, typed, before they are checked. */
interface MembershipJson {
  readonly version: number;
  readonly voters: readonly NodeId[];
  readonly outgoing: readonly NodeId[];
  readonly learners: readonly NodeId[];
  readonly members: readonly MemberJson[];
  readonly removed?: readonly NodeId[];
}

type MemberJson = readonly [id: NodeId, address: string, storeId?: string];

function memberJsonOf([id, { address, storeId }]: readonly [NodeId, MemberData]): MemberJson {
  return storeId === undefined ? [id, address] : [id, address, storeId];
}

function decodeText(payload: Uint8Array): string {
  try {
    return decoder.decode(payload);
  } catch (cause) {
    throw new DecodeError("a cluster configuration that is not UTF-8", { cause });
  }
}

function parse(text: string): MembershipJson {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new DecodeError("a cluster configuration that is not JSON", { cause });
  }
  if (typeof value !== "object" || value === null || !("version" in value)) {
    throw new DecodeError("a cluster configuration without a version");
  }
  if (value.version !== FORMAT_VERSION) {
    throw new DecodeError(
      `a cluster configuration of version ${JSON.stringify(value.version)}; this program reads version ${String(FORMAT_VERSION)}`,
    );
  }
  const { voters, outgoing, learners, members, removed } = value as Partial<
    Record<keyof MembershipJson, unknown>
  >;
  if (!isIdList(voters) || !isIdList(outgoing) || !isIdList(learners) || !isMemberList(members)) {
    throw new DecodeError("a cluster configuration whose fields are not lists of names");
  }
  const required = { version: FORMAT_VERSION, voters, outgoing, learners, members };
  if (removed === undefined) return required;
  if (!isIdList(removed) || removed.length === 0) {
    throw new DecodeError("a cluster configuration whose removed members are not a list of names");
  }
  return { ...required, removed };
}

function isIdList(value: unknown): value is readonly NodeId[] {
  return Array.isArray(value) && value.every((id) => typeof id === "string");
}

function isMemberList(value: unknown): value is MembershipJson["members"] {
  return (
    Array.isArray(value) &&
    value.every((pair: unknown) => isIdList(pair) && (pair.length === 2 || pair.length === 3))
  );
}

/** Why this cannot be a membership; null: it can. Checked before it is encoded, and after it is decoded. */
function problemOf(stored: MembershipJson): string | null {
  const { voters, outgoing, learners, members } = stored;
  const ids = members.map(([id]) => id);
  if (voters.length === 0) return "it has no voters";
  if (ids.length > MEMBERS_MAX) return `it has more than ${String(MEMBERS_MAX)} members`;
  for (const list of [voters, outgoing, learners, ids]) {
    const bad = list.find((id) => !NODE_ID_PATTERN.test(id));
    if (bad !== undefined) return `${JSON.stringify(bad)} is not an id (1 to 64 of A-Z a-z 0-9 . _ -)`;
    if (!isAscending(list)) return "a list of ids has an id twice or out of order";
  }
  const both = learners.find((id) => voters.includes(id));
  if (both !== undefined) return `${both} is both a voter and a learner`;
  const named = membersOf({ voters, outgoingVoters: outgoing, learners });
  if (named.length !== ids.length || named.some((id) => !ids.includes(id))) {
    return "its addresses are not those of its members";
  }
  const unreachable = members.find(
    ([, address]) => address.length === 0 || address.length > ADDRESS_CHARS_MAX,
  );
  if (unreachable !== undefined) {
    return `the address of ${unreachable[0]} has not 1 to ${String(ADDRESS_CHARS_MAX)} characters`;
  }
  const badStoreId = members.find(([, , storeId]) => storeId !== undefined && !isStoreId(storeId));
  if (badStoreId !== undefined)
    return `the disk of ${badStoreId[0]} has not 1 to ${String(STORE_ID_CHARS_MAX)} characters`;
  const gone = problemOfRemoved(stored.removed ?? [], ids);
  if (gone !== null) return gone;
  // UTF-8 can't represent a lone surrogate: encoding would replace it by another character.
  if (members.some(([, address]) => !address.isWellFormed())) return "an address is not well-formed text";
  return null;
}

function isStoreId(storeId: string): boolean {
  return storeId.length > 0 && storeId.length <= STORE_ID_CHARS_MAX && storeId.isWellFormed();
}

function problemOfRemoved(removed: readonly NodeId[], members: readonly NodeId[]): string | null {
  if (removed.length > REMOVED_MAX) return `it remembers more than ${String(REMOVED_MAX)} removed members`;
  const bad = removed.find((id) => !NODE_ID_PATTERN.test(id));
  if (bad !== undefined) return `${JSON.stringify(bad)} is not an id (1 to 64 of A-Z a-z 0-9 . _ -)`;
  if (new Set(removed).size !== removed.length) return "it names a removed member twice";
  const back = removed.find((id) => members.includes(id));
  return back === undefined ? null : `${back} is a member, and was removed`;
}

function isAscending(ids: readonly NodeId[]): boolean {
  return ids.every((id, at) => at === 0 || (ids[at - 1] ?? "") < id);
}

function byId(a: readonly [NodeId, ...unknown[]], b: readonly [NodeId, ...unknown[]]): number {
  return a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0;
}

const FORMAT_VERSION = 1;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * The most removed ids that a membership remembers; when there are more, the earliest are forgotten, and such
 * an id could then be added again. A cluster that replaced a member every day would reach the limit after
 * eleven years.
 */
export const REMOVED_MAX = 4096;

/**
 * The most members of a cluster: far more than a Raft group can use. Bounds what a damaged payload can
 * demand.
 */
export const MEMBERS_MAX = 256;

/**
 * The most characters of a store id. Store ids are short; the limit bounds what a damaged payload can demand.
 */
export const STORE_ID_CHARS_MAX = 256;

/** The most characters of an address: a host name has at most 253, then come a colon and a port. */
export const ADDRESS_CHARS_MAX = 260;

/** A node's id: 1 to 64 of `A-Z a-z 0-9 . _ -`. */
export const NODE_ID_PATTERN: RegExp = /^[A-Za-z0-9._-]{1,64}$/;
