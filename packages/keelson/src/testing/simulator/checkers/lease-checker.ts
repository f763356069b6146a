import type { Message } from "../../../core/message.ts";
import type { NodeId } from "../../../core/position.ts";
import { assertInvariant } from "./violation.ts";

/** What a node is when it is given a message. */
export interface ReceiverState {
  readonly isLeader: boolean;
  readonly term: number;
  /** It has given its vote of this term. */
  readonly hasVoted: boolean;
  /** On its own clock. */
  readonly now: number;
}

/**
 * Watches one process for votes that it must not give. The reference model has the same rule, for the times
 * that the runtime names to the core; this checker reads the process's clock when the message arrives, so it
 * also notices a runtime that names a wrong time.
 *
 * - STABLE: a node that leads, or has heard its leader within the shortest election timeout, grants no
 *   pre-vote, and with check-quorum gives no vote (dissertation 4.2.3, 6.2; E15), whether the request or
 *   another message told it the later term (L5).
 *
 * Requests that the leader itself asked for are exempt (dissertation 3.10). A request that came several times
 * may be granted if it could have been granted once, because the answer doesn't say which copy it is for.
 */
export class LeaseChecker {
  /** The shortest election timeout, on the node's clock. */
  readonly #leaseMs: number;
  readonly #checkQuorum: boolean;
  /** When the node last heard its leader, on its own clock. */
  #heardAt = -Infinity;
  /** By request: whether it had to be refused each time that it came. */
  readonly #refusable = new Map<string, boolean>();

  constructor(leaseMs: number, checkQuorum: boolean) {
    this.#leaseMs = leaseMs;
    this.#checkQuorum = checkQuorum;
  }

  /** Notes whether the node must refuse this message, which it is about to be given, and returns that. */
  receiving(message: Message, { isLeader, term, hasVoted, now }: ReceiverState): boolean {
    if (message.type !== "pre-vote" && message.type !== "request-vote") return false;
    const isFresh = isLeader || now < this.#heardAt + this.#leaseMs;
    const isFirst = message.term > term || (message.term === term && !hasVoted);
    const binds = message.type === "pre-vote" || (this.#checkQuorum && isFirst && !message.transfer);
    const number = message.type === "pre-vote" ? message.round : message.term;
    const key = keyOf(message.type, message.from, number);
    this.#refusable.set(key, isFresh && binds && this.#refusable.get(key) !== false);
    return isFresh && binds;
  }

  /** Notes that the node heard its leader, if the message is an AppendEntries of its term. */
  received(message: Message, { term, now }: ReceiverState): void {
    if (message.type === "append-entries" && message.term === term) this.#heardAt = now;
  }

  /** Checks that the message doesn't grant a vote or pre-vote that the node had to refuse. */
  sending(to: NodeId, message: Message): void {
    let key: string | null = null;
    if (message.type === "pre-vote-reply" && message.granted) key = keyOf("pre-vote", to, message.round);
    if (message.type === "request-vote-reply" && message.granted)
      key = keyOf("request-vote", to, message.term);
    assertInvariant(
      key === null || this.#refusable.get(key) !== true,
      "STABLE",
      () => `${message.from} helps ${to} to depose a leader that it hears`,
    );
  }
}

/** `number` tells the requests of one node apart: a pre-vote's round, a vote's term. */
function keyOf(type: string, from: NodeId, number: number): string {
  return `${type} ${from} ${String(number)}`;
}
