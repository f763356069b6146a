import type { Message, PreVote, RequestVote } from "../../../core/message.ts";
import { TERM_JUMP_MAX, type LogPosition, type NodeId } from "../../../core/position.ts";
import { isUpToDate } from "../../model/index.ts";
import { assertInvariant } from "./violation.ts";

/** What a node is when it is asked for a vote or a pre-vote. */
export interface Voter {
  readonly id: NodeId;
  readonly term: number;
  readonly votedFor: NodeId | null;
  readonly leader: NodeId | null;
  readonly isLeader: boolean;
  /** The last entry of its log. */
  readonly last: LogPosition;
  /** How long ago it last heard a leader, or started, by its own clock, in milliseconds. */
  readonly sinceLeaderMs: number;
}

/**
 * How much longer than the shortest election timeout a node may take itself to be bound to its leader. It
 * rounds times in another order than this checker.
 */
const ROUNDING_MS = 1;

/**
 * Watches one process for votes that it must give. Other checkers notice votes that must not be given. A vote
 * that is wrongly refused costs an election, and while other voters are away, it can leave the cluster
 * without a leader.
 *
 * - LIVE: a node that hears no leader and hasn't voted grants its vote, or its pre-vote, to a candidate whose
 *   log is at least as up-to-date as its own, whatever its own configuration says of the candidate and of
 *   itself: that configuration may be an older one (§6; M20).
 *
 * `ElectionDuties` requires the same of the core, for the times that the runtime names to it. This checker
 * goes by the messages and the clock of the process, so it also notices a runtime that keeps a message from
 * the core or names a wrong time, and it works in runs without the model.
 */
export class GrantChecker {
  /** The shortest election timeout, on the node's clock. */
  readonly #timeoutMs: number;
  /** The vote that must be given to the message that is being handled; null: none. */
  #owed: RequestVote | null = null;
  /**
   * By pre-vote request: whether it had to be granted each time that it came. An answer doesn't say for which
   * copy of the request it is.
   */
  readonly #owedPreVotes = new Map<string, boolean>();

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  /** Notes whether the node, which is about to be given this message, must grant what it asks for. */
  receiving(message: Message, voter: Voter): void {
    this.#owed = message.type === "request-vote" && this.#owesVote(message, voter) ? message : null;
    if (message.type !== "pre-vote") return;
    const key = keyOf(message.from, message.round);
    this.#owedPreVotes.set(key, this.#owesPreVote(message, voter) && this.#owedPreVotes.get(key) !== false);
  }

  /**
   * Checks that the node gave the vote, if it had to. A node that gives a vote changes `votedFor` at once.
   */
  received(message: Message, { id, term, votedFor }: Pick<Voter, "id" | "term" | "votedFor">): void {
    const owed = this.#owed;
    this.#owed = null;
    assertInvariant(
      owed === null || (term === owed.term && votedFor === owed.from),
      "LIVE",
      () =>
        `${id} gives ${message.from} no vote in term ${String(message.term)}, although it hears no leader, ` +
        "hasn't voted, and its log is not more up-to-date",
    );
  }

  /** Checks that the message doesn't refuse a pre-vote that the node had to grant. */
  sending(to: NodeId, message: Message): void {
    if (message.type !== "pre-vote-reply") return;
    const key = keyOf(to, message.round);
    const isOwed = this.#owedPreVotes.get(key) === true;
    assertInvariant(
      message.granted || !isOwed,
      "LIVE",
      () =>
        `${message.from} refuses ${to} a pre-vote, although it hears no leader and its log is not more up-to-date`,
    );
  }

  #owesVote({ term, from, last }: RequestVote, voter: Voter): boolean {
    const isNewTerm = term > voter.term && term <= voter.term + TERM_JUMP_MAX;
    const isFree = term === voter.term && voter.leader === null && (voter.votedFor ?? from) === from;
    return (isNewTerm || isFree) && this.#hearsNoLeader(voter) && isUpToDate(last, voter.last);
  }

  #owesPreVote({ term, last }: PreVote, voter: Voter): boolean {
    const isReached = term >= voter.term && term <= voter.term + TERM_JUMP_MAX;
    return isReached && this.#hearsNoLeader(voter) && isUpToDate(last, voter.last);
  }

  #hearsNoLeader({ isLeader, sinceLeaderMs }: Voter): boolean {
    return !isLeader && sinceLeaderMs >= this.#timeoutMs + ROUNDING_MS;
  }
}

function keyOf(from: NodeId, round: number): string {
  return `${from} ${String(round)}`;
}
