/**
 * DUTY: what a node of Raft owes the others, it does at once. Raft leaves open when a node answers, sends,
 * commits, steps down or stands for election, and the reference model allows each of these to be late, or
 * never to happen. A duty that is forgotten does no harm to safety, and in most runs a later message makes
 * up for it: a heartbeat for a lost entry, an election timeout for an answer that wasn't given. So this
 * checker goes by what ought to happen in the same turn, not by what has gone wrong in the end.
 *
 * It watches one core: each input that it is given, and each batch of actions that is taken of it. It reads
 * the core's state (its term, role, log, configuration, and what it believes of its followers), but works out
 * for itself what is due, and when. Times are on the node's own clock.
 *
 * - answers: `AnswerDuties`
 * - elections: `ElectionDuties`
 * - a node with a part that has stalled: `checkStalled`
 * - a leader's work: `LeaderDuties`, `TransferDuties`, `RemovalDuties`, `LeaseDuties`
 */
import type { Actions, AddressedMessage } from "../../../core/action.ts";
import type { RaftNode } from "../../../core/node.ts";
import type { Input } from "../../model/index.ts";
import { AnswerDuties } from "./answer-duties.ts";
import { duty, type CoreBefore, type DutySettings } from "./duty.ts";
import { ElectionDuties } from "./election-duties.ts";
import { LeaderDuties, type HandOver } from "./leader-duties.ts";
import { checkStalled } from "./stall-duties.ts";

/** See the file's header. Made anew for each process of a node. */
export class NodeDuties {
  readonly #core: RaftNode;
  readonly #settings: DutySettings;
  readonly #answers: AnswerDuties;
  readonly #elections: ElectionDuties;
  /** The duties of the node as the leader of the present term; null: the node doesn't lead. */
  #leading: LeaderDuties | null = null;
  /**
   * The node has just stopped leading this term: what its next actions must do about it. null: it has not.
   */
  #handOver: (HandOver & { readonly term: number }) | null = null;
  #before: CoreBefore;
  /** The runtime reported that a part of the node has stalled. */
  #isServiceStalled = false;

  constructor(core: RaftNode, settings: DutySettings, now: number) {
    this.#core = core;
    this.#settings = settings;
    this.#answers = new AnswerDuties(core, settings);
    this.#elections = new ElectionDuties(core, settings, now);
    this.#before = this.#look(now);
  }

  /**
   * Checks the step that the core made at this input. Throws the violation if it owed something and didn't do
   * it.
   */
  stepped(input: Input): void {
    const before = this.#before;
    const now = input.type === "take" ? before.now : Math.max(before.now, input.now);
    this.#before = this.#look(now);
    if (input.type === "stall") this.#isServiceStalled = input.isStalled;
    checkStalled(this.#core, input, before, this.#isStalled(now));
    this.#followRole(input, before, now);
    this.#answers.stepped(input, before, now);
    this.#elections.stepped(input, before, now, this.#isStalled(now));
    this.#leading?.stepped(input, now);
    if (input.type === "take") this.#taken(input.actions, now);
  }

  #taken(actions: Actions, now: number): void {
    const messages = [...actions.messages, ...actions.messagesAfterPersist];
    this.#answers.taken(actions, messages, now);
    this.#elections.taken(actions, messages, now);
    this.#leading?.taken(actions, messages, now);
    this.#checkHandOver(messages);
  }

  /** A leader that steps down asks one of the voters that can take over, and no other. */
  #checkHandOver(messages: readonly AddressedMessage[]): void {
    const { id, term } = this.#core;
    const handOver = this.#handOver;
    this.#handOver = null;
    if (handOver?.term !== term) return;
    const { isDue, successors } = handOver;
    const asked = messages.filter(({ message: { type } }) => type === "timeout-now").map(({ to }) => to);
    duty(!isDue || asked.length > 0, () => `${id} steps down, and asks no one to take over`);
    for (const to of asked)
      duty(
        successors.has(to),
        () => `${id} steps down, and asks ${to} to take over, which doesn't answer or can't win`,
      );
  }

  /** Notes that the node begins or ceases to lead. */
  #followRole(input: Input, before: CoreBefore, now: number): void {
    const core = this.#core;
    const isLeader = core.role === "leader";
    const wasLeader = this.#leading !== null;
    if (this.#leading !== null && !isLeader && core.term === before.term)
      this.#handOver = { term: core.term, ...this.#leading.resigned(input, now, this.#isStalled(now)) };
    if (!isLeader) this.#leading = null;
    else if (!wasLeader || core.term !== before.term)
      this.#leading = new LeaderDuties(core, this.#settings, now);
  }

  /** Whether the node may refuse to lead, because a part of it is stuck. */
  #isStalled(now: number): boolean {
    const { oldestWriteAt } = this.#core;
    const isDiskStalled = oldestWriteAt !== null && now >= oldestWriteAt + this.#settings.storageStallMs;
    return this.#isServiceStalled || isDiskStalled;
  }

  #look(now: number): CoreBefore {
    const { term, votedFor, role, leader } = this.#core;
    return { term, votedFor, role, leader, now };
  }
}
