import { assert } from "../core/assert.ts";
import { membersOf, type ClusterConfig } from "../core/config.ts";
import type { NodeId } from "../core/position.ts";
import { DecodeError } from "../errors.ts";

/** What the cluster keeps about a member, in the configuration entry itself. */
export interface MemberData {
  /** Where the other nodes reach it ("host:port"). */
  readonly address: string;
  /** The id of its storage: the same node id with another storage is another node. Absent: not known yet. */
  readonly storeId?: string;
}

/** The payload of a configuration entry: who takes part, and where they are. */
export interface Membership {
  readonly config: ClusterConfig;
  /** Has a key for each member of `config`, and no other. */
  readonly members: ReadonlyMap<NodeId, MemberData>;
  /** Who was a member and is not any more, the earliest first: such an id never comes back. Absent: nobody. */
  readonly removed?: readonly NodeId[];
}

/**
 * Removed ids that are remembered; beyond that the earliest are forgotten. A cluster that replaced a member
 * every day would get there in eleven years.
 */
export const REMOVED_MAX = 4096;

/** A store's id is short; this bounds what a damaged payload may ask for. */
export const STORE_ID_CHARS_MAX = 256;

/** Far more than a Raft group can use; a bound for what a damaged or hostile payload may ask for. */
export const MEMBERS_MAX = 256;

/** A host name has at most 253 characters; then a colon and a port. */
export const ADDRESS_CHARS_MAX = 260;

/** A node's id: 1 to 64 of `A-Z a-z 0-9 . _ -`. */
export const NODE_ID_PATTERN = /^[A-Za-z0-9._-]{1,64}$/;

const FORMAT_VERSION = 1;

/**
 * What is stored: JSON, because there is one in a million entries and a person may want to read it.
 * Members are pairs, not an object, whose keys JavaScript would reorder if they look like numbers.
 */
interface Stored {
  readonly version: number;
  readonly voters: readonly NodeId[];
  readonly outgoing: readonly NodeId[];
  readonly learners: readonly NodeId[];
  /** Id, address, and store id where it is known. */
  readonly members: readonly (readonly [NodeId, string, string?])[];
  /** Left out when there is nobody. */
  readonly removed?: readonly NodeId[];
}

/**
 * The payload of a configuration entry. Canonical: the same membership gives the same bytes,
 * in whatever order its parts are listed.
 */
export function encodeMembership(membership: Membership): Uint8Array {
  const { config, members, removed = [] } = membership;
  const stored: Stored = {
    version: FORMAT_VERSION,
    voters: [...config.voters].sort(),
    outgoing: [...config.outgoingVoters].sort(),
    learners: [...config.learners].sort(),
    members: [...members].map(pairOf).sort(byId),
    ...(removed.length === 0 ? {} : { removed }),
  };
  const fault = faultOf(stored);
  assert(fault === null, `a membership that cannot be: ${String(fault)}`);
  return new TextEncoder().encode(JSON.stringify(stored));
}

/**
 * Reads a configuration payload.
 *
 * @throws DecodeError what is wrong with it, also when it is right but not in canonical form
 */
export function decodeMembership(payload: Uint8Array): Membership {
  const text = decodeText(payload);
  const stored = parse(text);
  const fault = faultOf(stored);
  if (fault !== null) throw new DecodeError(`a cluster configuration that cannot be: ${fault}`);
  // Field by field in our order: unknown fields, doubled keys or spaces show as a difference.
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

function pairOf([id, { address, storeId }]: readonly [NodeId, MemberData]): readonly [
  NodeId,
  string,
  string?,
] {
  return storeId === undefined ? [id, address] : [id, address, storeId];
}

function decodeText(payload: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(payload);
  } catch (cause) {
    throw new DecodeError("a cluster configuration that is not UTF-8", { cause });
  }
}

function parse(text: string): Stored {
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
  const { voters, outgoing, learners, members, removed } = value as Partial<Record<keyof Stored, unknown>>;
  if (!isIdList(voters) || !isIdList(outgoing) || !isIdList(learners) || !isPairList(members)) {
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

function isPairList(value: unknown): value is Stored["members"] {
  return (
    Array.isArray(value) &&
    value.every((pair: unknown) => isIdList(pair) && (pair.length === 2 || pair.length === 3))
  );
}

/** What is wrong, in words; null: nothing. */
function faultOf(stored: Stored): string | null {
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
  const gone = faultOfRemoved(stored.removed ?? [], ids);
  if (gone !== null) return gone;
  // A lone surrogate would be stored as another character, and so not come back as it was.
  if (members.some(([, address]) => !address.isWellFormed())) return "an address is not well-formed text";
  return null;
}

function isStoreId(storeId: string): boolean {
  return storeId.length > 0 && storeId.length <= STORE_ID_CHARS_MAX && storeId.isWellFormed();
}

function faultOfRemoved(removed: readonly NodeId[], members: readonly NodeId[]): string | null {
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
