/**
 * LIN, for reads that a leader answers under its lease, without a round of messages (dissertation 6.4.1). At
 * the moment of the answer nobody else can be elected, by any configuration in force:
 *
 * - A majority of its voters, the leader included, is still bound: each has heard the leader within the
 *   shortest election timeout, on its own clock, and has helped nobody to lead a later term. One that doesn't
 *   run is bound too, because it waits as long after its start.
 * - The leader has asked nobody to take over in this term: the election that follows ignores these promises.
 *
 * The reference model checks the same moment on the leader's clock, by the rounds that were answered. This
 * checker goes to the voters. It sees one that breaks its promise, forgets it at a restart, or counts a
 * shorter time than the leader, and a leader that is wrong about who its voters are.
 */
import type { ClusterConfig } from "../../../core/config.ts";
import type { Message } from "../../../core/message.ts";
import type { RaftNode } from "../../../core/node.ts";
import type { NodeId } from "../../../core/position.ts";
import type { ClusterHistory } from "./cluster-history.ts";
import { assertInvariant } from "./violation.ts";
import { showConfig } from "./votes.ts";

/** A node other than the leader, at the moment of the answer. */
export interface LeaseVoter {
  readonly id: NodeId;
  /** null: it doesn't run. */
  readonly core: Pick<RaftNode, "term" | "votedFor" | "leader"> | null;
  /** How long ago it last heard a leader, or started, on its own clock. */
  readonly sinceLeaderMs: number;
}

/**
 * How much earlier than the leader's lease ends a voter may be free: it adds and rounds the same times in
 * another order. Some runs begin with clocks near 2^53 ms, which have a resolution of one millisecond.
 */
const ROUNDING_MS = 1;

/** See the file's header. */
export class LeaseReadChecker {
  readonly #history: ClusterHistory;
  /** The shortest election timeout, on each node's clock. */
  readonly #promiseMs: number;
  /** Clocks drift no further than the nodes were told; otherwise a lease promises nothing. */
  readonly #isDriftBounded: boolean;
  /** The last term in which each node asked another one to take over. */
  readonly #handedOverIn = new Map<NodeId, number>();

  constructor(history: ClusterHistory, promiseMs: number, isDriftBounded: boolean) {
    this.#history = history;
    this.#promiseMs = promiseMs;
    this.#isDriftBounded = isDriftBounded;
  }

  /** Notes that the node asks another one to take over, if that is what it sends. */
  sending({ type, from, term }: Message): void {
    if (type === "timeout-now") this.#handedOverIn.set(from, term);
  }

  /**
   * Checks that nobody else can be elected at the moment at which the leader answers a read under its lease.
   * `others`: all other nodes.
   */
  answered(leader: RaftNode, others: readonly LeaseVoter[]): void {
    const { id, term } = leader;
    assertInvariant(
      this.#handedOverIn.get(id) !== term,
      "LIN",
      () => `${id} answers a lease read, and has asked another node to take over in term ${String(term)}`,
    );
    if (!this.#isDriftBounded) return;
    const bound = new Set([id]);
    for (const voter of others) if (this.#isBound(voter, term)) bound.add(voter.id);
    for (const config of configsInForce(leader))
      assertInvariant(
        isBlocked(config, bound),
        "LIN",
        () =>
          `${id} answers a lease read in term ${String(term)}, and only ${[...bound].join(" ")} of ` +
          `${showConfig(config)} are bound to vote for nobody else`,
      );
  }

  #isBound({ id, core, sinceLeaderMs }: LeaseVoter, term: number): boolean {
    const state = core ?? { leader: null, ...this.#history.node(id).hardState };
    const helpedAnother = state.term > term && (state.votedFor !== null || state.leader !== null);
    return !helpedAnother && (core === null || sinceLeaderMs < this.#promiseMs + ROUNDING_MS);
  }
}

/** The configurations that a candidate may act on while this leader's own is the newest. */
function configsInForce({ log, commitIndex }: RaftNode): readonly ClusterConfig[] {
  const { index, config } = log.configAt(log.last.index);
  const mayBeUndone = index > commitIndex && index > log.base.index;
  return mayBeUndone ? [config, log.configAt(index - 1).config] : [config];
}

/** Whether these nodes can keep everyone from being elected: a candidate needs a majority of each group. */
function isBlocked({ voters, outgoingVoters }: ClusterConfig, bound: ReadonlySet<NodeId>): boolean {
  return [voters, outgoingVoters].some(
    (group) => group.filter((id) => bound.has(id)).length * 2 > group.length,
  );
}
