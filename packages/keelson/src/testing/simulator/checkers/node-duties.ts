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
 * - a leader's work: `LeaderDuties`, `TransferDuties`, `RemovalDuties`, `LeaseDuties`
 */
import type { Actions } from "../../../core/action.ts";
import type { RaftNode } from "../../../core/node.ts";
import type { Input } from "../../model/index.ts";
import { AnswerDuties } from "./answer-duties.ts";
import { duty, type CoreBefore, type DutySettings } from "./duty.ts";
import { ElectionDuties } from "./election-duties.ts";
import { LeaderDuties } from "./leader-duties.ts";

/** See the file's header. Made anew for each process of a node. */
export class NodeDuties {
  readonly #core: RaftNode;
  readonly #settings: DutySettings;
  readonly #answers: AnswerDuties;
  readonly #elections: ElectionDuties;
  /** The duties of the node as the leader of the present term; null: the node doesn't lead. */
  #leading: LeaderDuties | null = null;
  /**
   * The term that the node has just stopped leading, if its next actions must ask another node to take over.
   * null: they need not.
   */
  #mustHandOverIn: number | null = null;
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
    this.#followRole(before, now);
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
    const mustHandOver = this.#mustHandOverIn === this.#core.term;
    this.#mustHandOverIn = null;
    duty(
      !mustHandOver || messages.some(({ message }) => message.type === "timeout-now"),
      () => `${this.#core.id} steps down, and asks no one to take over`,
    );
  }

  /** Notes that the node begins or ceases to lead. */
  #followRole(before: CoreBefore, now: number): void {
    const core = this.#core;
    const isLeader = core.role === "leader";
    const wasLeader = this.#leading !== null;
    if (wasLeader && !isLeader && core.term === before.term)
      this.#mustHandOverIn = this.#leading?.resigned(now, this.#isStalled(now)) === true ? core.term : null;
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
