/**
 * LIN, directly: a linearizable read was confirmed before it was answered (dissertation 6.4). A majority of
 * the voters answered one leader, in its term, for a heartbeat round that began after the read was asked for.
 * A lease read may instead have been answered under the lease of its node, at a moment after it was asked
 * for.
 *
 * Two other checks see less. The check of histories sees a wrong read only if a write happens to make it
 * visible. The reference model checks the core's answers, which the runtime shares among the calls that wait:
 * it doesn't see a call that is given the answer to an earlier one. This checker goes from call to answer.
 */
import type { AppendEntriesReply, Message } from "../../../core/message.ts";
import type { NodeId } from "../../../core/position.ts";
import type { ClusterHistory, SeenConfig } from "./cluster-history.ts";
import { assertInvariant } from "./violation.ts";
import { isQuorum } from "./votes.ts";

/** A heartbeat round of a leader, from its first message on. */
interface Round {
  readonly leader: NodeId;
  readonly term: number;
  readonly round: number;
  /**
   * The configuration that the leader acted on when the round began. Its disk may be gone when the read is
   * answered.
   */
  readonly inForce: SeenConfig | null;
  /** The nodes that answered this round, or a later one, in this term. */
  readonly answeredBy: Set<NodeId>;
}

/** The moment at which a read is asked for. Heartbeat rounds that began before it don't confirm the read. */
export interface AskedAt {
  /** How many rounds had begun. */
  readonly rounds: number;
  /** How many reads had been asked for, this one included. */
  readonly reads: number;
}

/** Rounds that are looked through for one read. Far more than can begin while a read waits. */
const ROUNDS_KEPT = 4_096;

/** See the file's header. */
export class ReadChecker {
  readonly #history: ClusterHistory;
  /** The last rounds, in the order in which they began. */
  #rounds: Round[] = [];
  /** How many rounds began before the first of `#rounds`. */
  #dropped = 0;
  /** The last round of each leader and term. */
  readonly #lastOf = new Map<string, Round>();
  /** How many reads were asked for. */
  #reads = 0;
  /** For each node, how many reads had been asked for when it last answered one under its lease. */
  readonly #leaseAnsweredAt = new Map<NodeId, number>();

  constructor(history: ClusterHistory) {
    this.#history = history;
  }

  /** Notes the rounds that begin, and the answers to them, in the messages that nodes send. */
  sending(to: NodeId, message: Message): void {
    if (message.type === "append-entries-reply") this.#answer(to, message);
    if (message.type !== "append-entries") return;
    const { from: leader, term, round } = message;
    const key = keyOf(leader, term);
    if ((this.#lastOf.get(key)?.round ?? -1) >= round) return;
    const begun: Round = {
      leader,
      term,
      round,
      inForce: this.#inForce(leader),
      answeredBy: new Set([leader]),
    };
    this.#lastOf.set(key, begun);
    this.#rounds.push(begun);
    if (this.#rounds.length <= 2 * ROUNDS_KEPT) return;
    this.#dropped += ROUNDS_KEPT;
    this.#rounds = this.#rounds.slice(ROUNDS_KEPT);
  }

  #answer(leader: NodeId, { from, term, round }: AppendEntriesReply): void {
    for (let at = this.#rounds.length - 1; at >= 0; at--) {
      const begun = this.#rounds[at];
      if (begun?.leader !== leader || begun.term !== term || begun.round > round) continue;
      if (begun.answeredBy.has(from)) return;
      begun.answeredBy.add(from);
    }
  }

  /** Counts a read that is asked for. Returns what `answered` needs to know of this moment. */
  asked(): AskedAt {
    this.#reads += 1;
    return { rounds: this.#dropped + this.#rounds.length, reads: this.#reads };
  }

  /** Notes that the core of this node found that its lease holds. `LeaseReadChecker` checks that it does. */
  leaseHeld(id: NodeId): void {
    this.#leaseAnsweredAt.set(id, this.#reads);
  }

  /**
   * Checks that the read, which was asked for at `since` and is answered by node `id`, was confirmed.
   * `isLease`: it may rely on the lease.
   */
  answered(id: NodeId, since: AskedAt, isLease = false): void {
    if (isLease && (this.#leaseAnsweredAt.get(id) ?? 0) >= since.reads) return;
    const rounds = this.#rounds.slice(Math.max(0, since.rounds - this.#dropped));
    const isConfirmed =
      rounds.some(({ leader, inForce, answeredBy }) =>
        [inForce, this.#inForce(leader)].some((config) => isQuorumOf(config, (id) => answeredBy.has(id))),
      ) ||
      [...this.#history.nodes.keys()].some((alone) => isQuorumOf(this.#inForce(alone), (id) => id === alone));
    assertInvariant(
      isConfirmed,
      "LIN",
      () => `${id} answers a read that no leader confirmed with a majority after it was asked for`,
    );
  }

  /** The configuration that a node acts on; null: its log holds none, or its disk is gone. */
  #inForce(id: NodeId): SeenConfig | null {
    return this.#history.node(id).submitted.at(-1)?.inForce ?? null;
  }
}

/** Whether the nodes that satisfy `isOne` are a majority in this configuration, or in the one before it. */
function isQuorumOf(last: SeenConfig | null, isOne: (id: NodeId) => boolean): boolean {
  return [last, last?.before ?? null].some(
    (entry) => entry !== null && isQuorum(entry.membership.config, isOne),
  );
}

function keyOf(leader: NodeId, term: number): string {
  return `${leader} ${String(term)}`;
}
