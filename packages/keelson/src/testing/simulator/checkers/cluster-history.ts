/**
 * What the checkers have seen of a cluster so far. The checkers in this folder write it and read it; the
 * operator and the committed reader read it. It holds the whole history, so a checker also notices a
 * contradiction between things that no two nodes held at the same time.
 *
 * Nothing in it comes from a node's own idea of its disk: it is built from what each log store was given, and
 * from what the store then reported as durable.
 */
import type { Membership } from "../../../codec/config.ts";
import type { HardState } from "../../../core/action.ts";
import type { ClusterConfig } from "../../../core/config.ts";
import type { LogIndex, LogPosition, NodeId } from "../../../core/position.ts";
import type { LogBase, LogWrite } from "../../../storage/log-store.ts";
import { assertInvariant } from "./violation.ts";

/** One entry of a node's log. */
export interface SeenEntry {
  readonly term: number;
  /**
   * CRC-32 over all records of the log up to this one. Logs with equal chains are equal, payloads included.
   */
  readonly chain: number;
  readonly isCommand: boolean;
  /**
   * The configuration in force in a log that ends with this entry; null: the log has no configuration yet.
   */
  readonly inForce: SeenConfig | null;
}

/** A configuration entry. */
export interface SeenConfig {
  readonly index: LogIndex;
  readonly membership: Membership;
  /**
   * The configuration entry before it in the same log, which would be in force again if this one were
   * truncated.
   */
  readonly before: SeenConfig | null;
}

/** A committed entry, and the term of the node that was first seen to know it as committed. */
export type CommittedEntry = SeenEntry & { readonly seenInTerm: number };

/** What has been seen of one node. It outlives the node's processes. */
export interface NodeHistory {
  readonly id: NodeId;
  /**
   * Entries 1, 2, ... that the node's store was given, durable or not. For the entries that the node's log no
   * longer holds, these are the committed ones.
   */
  submitted: SeenEntry[];
  /** Entries 1, 2, ... that the store has reported as durable. */
  durable: SeenEntry[];
  /**
   * What was durable when the node lost its disk, or had it replaced by an older copy. Acknowledgements of
   * these entries may still be counted.
   */
  durableBeforeDiskLoss: readonly SeenEntry[];
  /** The durable term and vote. */
  hardState: HardState;
  /** Writes that the store was given and hasn't reported as durable, in order. */
  pending: LogWrite[];
  /** The snapshot that the log is being replaced by, while the store resets; otherwise null. */
  resetting: LogBase | null;
  /** Counts the node's starts, so that a late report of an earlier process's write is told apart. */
  incarnation: number;
  /** The node's commit index, as far as its entries were checked. Falls to 0 at a restart. */
  commit: LogIndex;
  /** The last entry that the state machine applied, or was opened with. */
  applied: LogIndex;
  /**
   * The term that the node was last seen to lead; 0: none since it started or since a leader truncated its
   * log.
   */
  leaderTerm: number;
  /** What the node, as leader of `leaderTerm`, has reported as `match` of each member. */
  readonly matches: Map<NodeId, LogIndex>;
  /**
   * The oldest write of entries that the store hasn't finished, and when it was first seen, on the node's
   * clock. Null: there is none, or the node isn't a leader that another node could replace.
   */
  oldestWrite: { readonly write: LogWrite; readonly since: number } | null;
  /**
   * The call of the state machine, or for a snapshot's file, that hangs for the longest, and when it was
   * first seen, on the node's clock; null: none hangs.
   */
  hungCall: { readonly call: object; readonly since: number } | null;
  /** The same of the calls for its log. */
  hungLogCall: { readonly call: object; readonly since: number } | null;
  /** Like `hungCall`, but counted only while the node leads and another node could lead instead. */
  leadersHungCall: { readonly call: object; readonly since: number } | null;
  /**
   * While the node leads: the time on its own clock since which it has heard from no majority; null: it hears
   * from one.
   */
  withoutMajoritySince: number | null;
}

/** See the file's header. */
export class ClusterHistory {
  /** The history of each node, by id. A node's history is added when it is asked for the first time. */
  readonly nodes: Map<string, NodeHistory> = new Map<NodeId, NodeHistory>();
  /** The committed entries, by index - 1. Written by `CommitChecker`; only grows. */
  readonly committed: CommittedEntry[] = [];
  /** The leader of each term. Written by `LeadershipChecker`. */
  readonly leaders: Map<number, string> = new Map<number, NodeId>();
  /**
   * Nodes whose directory was replaced by an older copy. Other nodes may accept no message of such a node any
   * more.
   */
  readonly rolledBack: Set<string> = new Set<NodeId>();
  /** Nodes that have sent something as a candidate or as a leader. Written by `MessageWatch`. */
  readonly campaigners: Set<string> = new Set<NodeId>();
  /**
   * Durable votes: by voter and term, the candidates; more than one only where the voter's directory was
   * replaced by an older copy in between. Written by `StoreChecker`.
   */
  readonly #votes = new Map<string, NodeId[]>();
  /**
   * The votes, by voter and term, that a voter forgot because its directory was replaced by an older copy.
   */
  readonly #forgottenVotes = new Set<string>();

  node(id: NodeId): NodeHistory {
    let node = this.nodes.get(id);
    if (node === undefined) {
      node = newNode(id);
      this.nodes.set(id, node);
    }
    return node;
  }

  /** Whether this node has durably voted for this candidate in this term. */
  hasVotedFor(id: NodeId, term: number, candidate: NodeId): boolean {
    return this.#votes.get(voteKey(id, term))?.includes(candidate) === true;
  }

  /**
   * ES: a durable vote never changes within its term. A vote that a crash undid doesn't count: nobody was
   * told (PBR). A vote that was rolled back with its directory may be given again.
   */
  recordVote(id: NodeId, { term, votedFor }: HardState): void {
    if (votedFor === null) return;
    const key = voteKey(id, term);
    const candidates = this.#votes.get(key) ?? [];
    const before = candidates.at(-1) ?? votedFor;
    assertInvariant(
      before === votedFor || this.#forgottenVotes.has(key),
      "ES",
      () => `${id} voted for ${before} and for ${votedFor} in term ${String(term)}`,
    );
    if (candidates.at(-1) === votedFor) return;
    this.#forgottenVotes.delete(key);
    this.#votes.set(key, [...candidates, votedFor]);
  }

  /**
   * This node's directory is replaced by an older copy, in which its votes may be missing: allows it to vote
   * again in the terms in which it has voted.
   */
  forgetVotes(id: NodeId): void {
    this.rolledBack.add(id);
    for (const key of this.#votes.keys()) {
      if (key.startsWith(voteKey(id, ""))) this.#forgottenVotes.add(key);
    }
  }

  /**
   * The committed log up to this position, which a snapshot stands for. ORD: a snapshot covers only committed
   * entries.
   */
  committedUpTo(id: NodeId, { index, term }: LogPosition): SeenEntry[] {
    assertInvariant(
      index <= this.committed.length && (index === 0 || this.committed[index - 1]?.term === term),
      "ORD",
      () => `the log of ${id} begins after ${String(index)}@${String(term)}, which is not committed`,
    );
    return this.committed.slice(0, index);
  }

  /** The membership of the last committed configuration; null: none was committed. */
  get committedMembership(): Membership | null {
    return this.committed.at(-1)?.inForce?.membership ?? null;
  }

  /** For each node, the configuration it acts on and the one it would return to if that were truncated. */
  get configs(): ClusterConfig[] {
    return [...this.nodes.values()].flatMap(({ submitted }) => {
      const last = submitted.at(-1)?.inForce ?? null;
      return [last, last?.before ?? null].flatMap((entry) =>
        entry === null ? [] : [entry.membership.config],
      );
    });
  }

  /**
   * The last committed configuration, and those at the end of any node's log that come after it: each of them
   * may still be committed.
   */
  get possibleConfigs(): ClusterConfig[] {
    const committed = this.committed.at(-1)?.inForce ?? null;
    const tips = [...this.nodes.values()].map(({ submitted }) => submitted.at(-1)?.inForce ?? null);
    const later = tips.filter((tip) => tip !== null && tip.index > (committed?.index ?? 0));
    return [committed, ...later].flatMap((one) => (one === null ? [] : [one.membership.config]));
  }

  /**
   * Whether this node durably holds the store id of member `of` in a committed entry, so that it will refuse
   * a node with that member's id and another disk.
   */
  knowsStoreId(id: NodeId, of: NodeId): boolean {
    const { durable } = this.node(id);
    const last = Math.min(durable.length, this.committed.length);
    const isCommitted = durable[last - 1]?.chain === this.committed[last - 1]?.chain;
    return isCommitted && durable[last - 1]?.inForce?.membership.members.get(of)?.storeId !== undefined;
  }

  /** The last command in a node's log; 0: there is none. */
  lastCommand(id: NodeId): LogIndex {
    return this.node(id).submitted.findLastIndex(({ isCommand }) => isCommand) + 1;
  }
}

function voteKey(id: NodeId, term: number | ""): string {
  return `${id}@${String(term)}`;
}

function newNode(id: NodeId): NodeHistory {
  return {
    id,
    submitted: [],
    durable: [],
    durableBeforeDiskLoss: [],
    hardState: { term: 0, votedFor: null },
    pending: [],
    resetting: null,
    incarnation: 0,
    commit: 0,
    applied: 0,
    leaderTerm: 0,
    matches: new Map(),
    oldestWrite: null,
    hungCall: null,
    hungLogCall: null,
    leadersHungCall: null,
    withoutMajoritySince: null,
  };
}

/** A term and vote, for a violation's text. */
export function showHardState({ term, votedFor }: HardState): string {
  return `term ${String(term)}, vote for ${votedFor ?? "nobody"}`;
}
