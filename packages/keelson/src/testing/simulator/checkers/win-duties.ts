/**
 * DUTY: a vote that was given counts.
 *
 * - A candidate with the votes of a quorum leads. Its own vote counts like any other as soon as it is
 *   durable, also where a change of membership takes its vote away, as long as the old voters still decide.
 * - A node with the pre-votes of a quorum in its last round stands for election, unless a part of it has
 *   stalled.
 *
 * A vote that isn't counted costs an election where it would have been one more than enough. Where it would
 * have been just enough, nobody is ever elected.
 */
import type { Actions } from "../../../core/action.ts";
import type { RaftNode } from "../../../core/node.ts";
import type { NodeId } from "../../../core/position.ts";
import type { Input } from "../../model/index.ts";
import { duty, type CoreBefore } from "./duty.ts";
import { isQuorum } from "./votes.ts";

/** See the file's header. */
export class WinDuties {
  readonly #core: RaftNode;
  /** The term of the election that `#votes` were given in. */
  #term = 0;
  /** The voters whose votes the candidate has, its own once it is durable. */
  readonly #votes = new Set<NodeId>();
  /** The batch that makes the candidate's own vote durable; null: it was not taken, or is durable. */
  #ownVoteId: number | null = null;
  /**
   * The last round of pre-votes that was asked for in this term, and who granted one. 0: none, or the
   * messages of the last one weren't taken yet.
   */
  #round = 0;
  readonly #preVotes = new Set<NodeId>();

  constructor(core: RaftNode) {
    this.#core = core;
  }

  stepped(input: Input, before: CoreBefore, isStalled: boolean): void {
    const { id, term, role } = this.#core;
    if (term !== this.#term || role !== before.role) this.#begin(term);
    if (input.type === "timeout") this.#forgetRound();
    if (input.type === "persisted") this.#persisted(input.persistId);
    if (input.type === "message") {
      const { message } = input;
      if (message.type === "request-vote-reply" && message.term === term && message.granted)
        this.#votes.add(message.from);
      if (message.type === "pre-vote-reply" && message.granted && message.round === this.#round)
        this.#preVotes.add(message.from);
    }
    if (input.type !== "message" && input.type !== "persisted") return;
    if (role === "candidate")
      duty(
        !this.#votes.has(id) || !this.#isQuorum(this.#votes),
        () => `${id} has the votes of a quorum in term ${String(term)}, and doesn't lead`,
      );
    if (role === "pre-candidate" && !isStalled)
      duty(
        this.#preVotes.size === 0 || !this.#isQuorum(new Set([...this.#preVotes, id])),
        () => `${id} has the pre-votes of a quorum in round ${String(this.#round)}, and doesn't stand`,
      );
  }

  taken({ persistId, hardState }: Actions): void {
    const { id, term } = this.#core;
    if (hardState?.votedFor === id && hardState.term === term) this.#ownVoteId = persistId;
  }

  /** The node asks for pre-votes. */
  asked(round: number): void {
    if (round === this.#round) return;
    this.#round = round;
    this.#preVotes.clear();
  }

  #begin(term: number): void {
    if (term !== this.#term) {
      this.#votes.clear();
      this.#ownVoteId = null;
    }
    this.#term = term;
    this.#forgetRound();
  }

  /**
   * Another round may have begun, whose messages weren't taken yet: late answers to the one before don't
   * count.
   */
  #forgetRound(): void {
    this.#round = 0;
    this.#preVotes.clear();
  }

  #persisted(persistId: number): void {
    if (this.#ownVoteId === null || persistId < this.#ownVoteId) return;
    this.#ownVoteId = null;
    this.#votes.add(this.#core.id);
  }

  #isQuorum(votes: ReadonlySet<NodeId>): boolean {
    const { config } = this.#core;
    return config.voters.length > 0 && isQuorum(config, (voter) => votes.has(voter));
  }
}
