/**
 * Checks each core message at the moment it leaves its node.
 *
 * - PBR: what the message asserts is durable: its term, the vote it gives or asks for, the entries it
 *   acknowledges.
 * - CQ: a follower acknowledges only entries that equal those of the leader of that term.
 * - CFG: an offered snapshot names the configuration that was in force at its index.
 *
 * The reference model goes by what was reported to the core as durable, this checker by what the store was
 * given and reported; and it compares a follower's log with its leader's.
 *
 * It doesn't check messages of an earlier term than the sender's durable one: what they assert was checked
 * when that term was current, and a receiver must ignore late copies, and other checkers notice what it does
 * if it doesn't.
 */
import type { Message } from "../../../core/message.ts";
import type { LogIndex, NodeId } from "../../../core/position.ts";
import type { ClusterHistory, NodeHistory } from "./cluster-history.ts";
import type { StoreChecker } from "./store-checker.ts";
import { assertInvariant } from "./violation.ts";

/** See the file's header. */
export class MessageChecker {
  readonly #history: ClusterHistory;
  readonly #stores: StoreChecker;

  constructor(history: ClusterHistory, stores: StoreChecker) {
    this.#history = history;
    this.#stores = stores;
  }

  /** Node `id` sends this message to `to`. */
  sending(id: NodeId, to: NodeId, message: Message): void {
    const node = this.#history.node(id);
    const { hardState } = node;
    assertInvariant(
      message.term <= hardState.term,
      "PBR",
      () => `${id} sends a ${message.type} of term ${String(message.term)} before that term is durable`,
    );
    if (message.type === "install-snapshot")
      this.#stores.checkConfigAt(id, message.last.index, message.config);
    if (message.term !== hardState.term) return;
    if (message.type === "request-vote") {
      assertInvariant(
        hardState.votedFor === id,
        "PBR",
        () => `${id} asks for votes before its own is durable`,
      );
    } else if (message.type === "request-vote-reply" && message.granted) {
      assertInvariant(
        hardState.votedFor === to,
        "PBR",
        () => `${id} grants ${to} a vote that is not durable`,
      );
    } else if (message.type === "append-entries-reply" && message.outcome.accepted) {
      this.#checkAcknowledgement(node, this.#history.node(to), message.outcome.match, message.term);
    }
  }

  #checkAcknowledgement(node: NodeHistory, leader: NodeHistory, match: LogIndex, term: number): void {
    assertInvariant(
      match <= node.durable.length,
      "PBR",
      () =>
        `${node.id} acknowledges ${String(match)}; only ${String(node.durable.length)} entries are durable there`,
    );
    // The log of a leader that has lost its disk or its leadership is no longer there to compare with.
    const isComparable = this.#history.leaders.get(term) === leader.id && leader.leaderTerm === term;
    if (match === 0 || !isComparable) return;
    assertInvariant(
      node.durable[match - 1]?.chain === leader.submitted[match - 1]?.chain,
      "CQ",
      () => `${node.id} acknowledges ${String(match)} to ${leader.id}, whose log differs there`,
    );
  }
}
