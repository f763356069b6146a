/**
 * Checks that what a message claims follows from an event that entitles its sender to it, instead of
 * believing the claim.
 *
 * - ES: only the leader of a term replicates in it and asks for a transfer.
 * - STABLE: a candidate that says that its leader asked for the election was told so by the leader of the
 *   term before, and stands once for it. Any other candidate first has the pre-votes of a majority, all for
 *   the same round.
 *
 * It sees what nodes send and are given. All that it takes from a node itself is the configuration that the
 * node acts on. The reference model checks candidates too, but takes for granted that the core is given only
 * what was sent to its node, and that a TimeoutNow comes from a leader. This checker sees the messages at the
 * transport, and knows who leads.
 */
import type { ClusterConfig } from "../../../core/config.ts";
import type { Message } from "../../../core/message.ts";
import type { NodeId } from "../../../core/position.ts";
import type { ClusterHistory } from "./cluster-history.ts";
import { assertInvariant } from "./violation.ts";
import { isQuorum } from "./votes.ts";

/** A round of pre-votes, as others saw it. */
interface PreVoteRound {
  readonly round: number;
  /** The configuration that the node acted on when it began the round. */
  readonly config: ClusterConfig | null;
  /** The nodes whose grant of this round the node was given; and the node itself. */
  readonly grants: Set<NodeId>;
}

/** See the file's header. */
export class EntitlementChecker {
  readonly #history: ClusterHistory;
  readonly #preVote: boolean;
  /** The last round of each node's process. */
  readonly #rounds = new Map<NodeId, PreVoteRound>();
  /** The terms whose leader told a node to stand for election, by node. */
  readonly #toldIn = new Map<NodeId, Set<number>>();

  /** `preVote`: nodes ask for pre-votes before they stand. */
  constructor(history: ClusterHistory, preVote: boolean) {
    this.#history = history;
    this.#preVote = preVote;
  }

  /** A process of the node begins: what an earlier one was told or granted entitles it to nothing. */
  started(id: NodeId): void {
    this.#rounds.delete(id);
    this.#toldIn.delete(id);
  }

  /** Records what this message, which the node is about to be given, entitles it to. */
  receiving(id: NodeId, message: Message): void {
    if (message.type === "timeout-now") {
      if (this.#leads(message.from, message.term)) this.#toldOf(id).add(message.term);
    } else if (message.type === "pre-vote-reply" && message.granted) {
      const last = this.#rounds.get(id);
      if (last?.round === message.round) last.grants.add(message.from);
    }
  }

  /**
   * Checks that the node is entitled to send this message. `configOf`: the configuration that it acts on;
   * null: it doesn't run.
   */
  sending(id: NodeId, message: Message, configOf: () => ClusterConfig | null): void {
    switch (message.type) {
      case "append-entries":
      case "install-snapshot":
      case "timeout-now": {
        const leader = this.#history.leaders.get(message.term);
        assertInvariant(
          leader === undefined || leader === id,
          "ES",
          () =>
            `${id} sends a ${message.type} of term ${String(message.term)}, which ${String(leader)} leads`,
        );
        return;
      }
      case "pre-vote": {
        const { round } = message;
        if (this.#rounds.get(id)?.round !== round)
          this.#rounds.set(id, { round, config: configOf(), grants: new Set([id]) });
        return;
      }
      case "request-vote":
        this.#checkCandidate(id, message.term, message.transfer, configOf());
        return;
      default:
    }
  }

  #checkCandidate(id: NodeId, term: number, isTransfer: boolean, config: ClusterConfig | null): void {
    if (isTransfer) {
      assertInvariant(
        this.#toldOf(id).has(term - 1),
        "STABLE",
        () => `${id} stands in term ${String(term)} as if the leader of the term before had asked it to`,
      );
      return;
    }
    if (!this.#preVote) return;
    const last = this.#rounds.get(id);
    const isGranted = (of: ClusterConfig | null): boolean =>
      of !== null && isQuorum(of, (voter) => last?.grants.has(voter) ?? voter === id);
    assertInvariant(
      isGranted(config) || isGranted(last?.config ?? null),
      "STABLE",
      () =>
        `${id} stands in term ${String(term)} without a majority that granted its last round of pre-votes`,
    );
  }

  #leads(id: NodeId, term: number): boolean {
    return this.#history.leaders.get(term) === id;
  }

  #toldOf(id: NodeId): Set<number> {
    let told = this.#toldIn.get(id);
    if (told === undefined) {
      told = new Set();
      this.#toldIn.set(id, told);
    }
    return told;
  }
}
