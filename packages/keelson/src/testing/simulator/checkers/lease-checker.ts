import type { Message } from "../../../core/message.ts";
import type { NodeId } from "../../../core/position.ts";
import { assertInvariant } from "./violation.ts";

/** What a node is at the moment that it is given a message. */
export interface ReceiverState {
  readonly isLeader: boolean;
  readonly term: number;
  /** On its own clock. */
  readonly now: number;
}

/**
 * Watches one process for help that it must not give: a node that hears its leader, or leads, grants no
 * question before an election, and with check-quorum no vote of a later term (dissertation 4.2.3, 6.2).
 */
export class LeaseChecker {
  readonly #leaseMs: number;
  readonly #checkQuorum: boolean;
  #heardAt = -Infinity;
  /** By question: whether it had to be refused each time that it came. */
  readonly #refusable = new Map<string, boolean>();

  constructor(leaseMs: number, checkQuorum: boolean) {
    this.#leaseMs = leaseMs;
    this.#checkQuorum = checkQuorum;
  }

  receiving(message: Message, { isLeader, term, now }: ReceiverState): void {
    if (message.type !== "pre-vote" && message.type !== "request-vote") return;
    const isFresh = isLeader || now < this.#heardAt + this.#leaseMs;
    // Whom the leader itself asked to take over may be helped (dissertation 3.10).
    const binds =
      message.type === "pre-vote" || (this.#checkQuorum && message.term > term && !message.transfer);
    const key = keyOf(message.type, message.from, message.term);
    this.#refusable.set(key, isFresh && binds && this.#refusable.get(key) !== false);
  }

  received(message: Message, { term, now }: ReceiverState): void {
    if (message.type === "append-entries" && message.term === term) this.#heardAt = now;
  }

  sending(to: NodeId, message: Message): void {
    let key: string | null = null;
    if (message.type === "pre-vote-reply" && message.granted)
      key = keyOf("pre-vote", to, message.requestTerm);
    if (message.type === "request-vote-reply" && message.granted)
      key = keyOf("request-vote", to, message.term);
    assertInvariant(
      key === null || this.#refusable.get(key) !== true,
      "STABLE",
      () => `${message.from} helps ${to} to depose a leader that it hears`,
    );
  }
}

function keyOf(type: string, from: NodeId, term: number): string {
  return `${type} ${from} ${String(term)}`;
}
