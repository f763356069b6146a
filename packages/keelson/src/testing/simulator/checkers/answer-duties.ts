/**
 * DUTY: a node answers what it is asked, in the turn in which it can.
 *
 * - A question gets an answer: a pre-vote, a request for a vote, a read that was passed on to a node that
 *   doesn't lead.
 * - A deposed leader is told the later term.
 * - A follower acknowledges each heartbeat round, and whatever of its log is durable and equals the
 *   leader's.
 * - A refusal skips the entries that can't be the leader's.
 * - A follower hands a snapshot that its leader offers on to its runtime, which fetches it, if the snapshot
 *   reaches beyond its commit index.
 * - A read that a client of this node asked for is answered once: at the latest after the longest election
 *   timeout, or when the leader of that time is gone.
 */
import type { Actions, AddressedMessage } from "../../../core/action.ts";
import type { AppendEntries, Message } from "../../../core/message.ts";
import type { RaftNode } from "../../../core/node.ts";
import { TERM_JUMP_MAX, type LogPosition } from "../../../core/position.ts";
import type { Input } from "../../model/index.ts";
import { duty, sentTo, type CoreBefore, type DutySettings } from "./duty.ts";

/** An answer that the node owes because of an input in `term`. It isn't owed any more in a later term. */
interface Owed {
  readonly term: number;
  readonly to: string;
  readonly type: "append-entries-reply" | "pre-vote-reply" | "request-vote-reply" | "read-index-reply";
  /** The round of a pre-vote, or the number of a read; null: any answer of the type will do. */
  readonly number: number | null;
}

interface OwnRead {
  readonly term: number;
  readonly leader: string | null;
  readonly expiresAt: number;
}

/** See the file's header. */
export class AnswerDuties {
  readonly #core: RaftNode;
  readonly #settings: DutySettings;
  #owed: Owed[] = [];
  readonly #reads = new Map<number, OwnRead>();
  /** When `handleTimeout` was called last. */
  #timeoutAt = -Infinity;

  // What the node did as a follower in its present term.
  /** Up to here the log equals the leader's, by what the leader has sent. */
  #matched = 0;
  /** The highest index acknowledged to the leader. */
  #acknowledged = 0;
  #roundHeard = 0;
  #roundAnswered = 0;
  /**
   * The positions before the first entries of the AppendEntries messages that came since actions were last
   * taken: term by index. A refusal is about one of them.
   */
  readonly #asked = new Map<number, number>();
  /**
   * The index of the last entry of a snapshot that the leader has offered since actions were last taken, and
   * that this node needs; 0: there is none.
   */
  #offered = 0;

  // Of the disk.
  /** The batch that saves the present term and vote. */
  #hardStateId = 0;
  #persistedId = 0;

  constructor(core: RaftNode, settings: DutySettings) {
    this.#core = core;
    this.#settings = settings;
  }

  stepped(input: Input, before: CoreBefore, now: number): void {
    const core = this.#core;
    if (core.term !== before.term) this.#enterTerm();
    switch (input.type) {
      case "message":
        this.#received(input.message, before);
        break;
      case "installed":
        this.#matched = Math.max(this.#matched, input.position.index);
        break;
      case "persisted":
        this.#persistedId = Math.max(this.#persistedId, input.persistId);
        break;
      case "timeout":
        this.#timeoutAt = now;
        break;
      case "read": {
        const expiresAt = now + this.#settings.electionTimeoutMaxMs;
        this.#reads.set(input.id, { term: core.term, leader: core.leader, expiresAt });
        break;
      }
      default:
    }
  }

  #enterTerm(): void {
    this.#matched = 0;
    this.#acknowledged = 0;
    this.#roundHeard = 0;
    this.#roundAnswered = 0;
    this.#offered = 0;
  }

  #received(message: Message, before: CoreBefore): void {
    const core = this.#core;
    const { term } = core;
    const { from: to } = message;
    // The core drops a message whose term is very far ahead (`TERM_JUMP_MAX`), and doesn't enter that term.
    if (message.term > term && message.type !== "pre-vote" && message.type !== "request-vote") return;
    switch (message.type) {
      case "pre-vote":
        if (message.term <= before.term + TERM_JUMP_MAX)
          this.#owed.push({ term, to, type: "pre-vote-reply", number: message.round });
        return;
      case "request-vote":
        if (message.term <= before.term + TERM_JUMP_MAX)
          this.#owed.push({ term, to, type: "request-vote-reply", number: null });
        return;
      case "read-index":
        if (core.role !== "leader")
          this.#owed.push({ term, to, type: "read-index-reply", number: message.id });
        return;
      case "append-entries":
        if (message.term < term) this.#owed.push({ term, to, type: "append-entries-reply", number: null });
        else this.#followed(message);
        return;
      case "install-snapshot":
        if (message.term < term) this.#owed.push({ term, to, type: "append-entries-reply", number: null });
        else if (message.last.index > core.commitIndex) this.#offered = message.last.index;
        return;
      default:
    }
  }

  #followed({ entries, round }: AppendEntries): void {
    this.#roundHeard = Math.max(this.#roundHeard, round);
    const { prev, lastIndex, terms } = entries;
    this.#asked.set(prev.index, prev.term);
    const last = { index: lastIndex, term: terms.at(-1)?.term ?? prev.term };
    if (this.#core.log.contains(last)) this.#matched = Math.max(this.#matched, lastIndex);
  }

  taken(actions: Actions, messages: readonly AddressedMessage[], now: number): void {
    const isSaved = actions.hardState === null && this.#hardStateId <= this.#persistedId;
    if (actions.hardState !== null) this.#hardStateId = actions.persistId;
    this.#checkOwed(messages);
    this.#checkFollower(messages, isSaved);
    this.#checkReads(actions, now);
    const offered = this.#offered;
    this.#offered = 0;
    const isInstalled = offered <= this.#core.commitIndex || this.#core.leader === null;
    duty(
      isInstalled || actions.installSnapshot !== null,
      () => `${this.#core.id} needs the snapshot up to ${String(offered)}, and lets it go`,
    );
  }

  #checkOwed(messages: readonly AddressedMessage[]): void {
    const owed = this.#owed;
    this.#owed = [];
    for (const { term, to, type, number } of owed) {
      if (term !== this.#core.term) continue;
      const answers = sentTo(messages, type, to);
      const isGiven =
        number === null ? answers.length > 0 : answers.some((answer) => numberOf(answer) === number);
      duty(isGiven, () => `${this.#core.id} owes ${to} a ${type}, and doesn't send it`);
    }
  }

  /**
   * Notes what the node acknowledges to its leader, and checks that no acknowledgement that is due is
   * missing.
   */
  #checkFollower(messages: readonly AddressedMessage[], isSaved: boolean): void {
    const core = this.#core;
    const { id, leader } = core;
    if (leader === null || leader === id) return;
    for (const { outcome, round } of sentTo(messages, "append-entries-reply", leader)) {
      this.#roundAnswered = Math.max(this.#roundAnswered, round);
      if (outcome.accepted) this.#acknowledged = Math.max(this.#acknowledged, outcome.match);
      else this.#checkHint(outcome.refused, outcome.hint);
    }
    this.#asked.clear();
    if (!isSaved) return;
    duty(
      this.#roundAnswered >= this.#roundHeard,
      () => `${id} doesn't answer round ${String(this.#roundHeard)} of its leader ${leader}`,
    );
    const due = Math.min(this.#matched, core.durableIndex);
    duty(
      this.#acknowledged >= due,
      () =>
        `${id} holds up to ${String(due)} of its leader's log, and acknowledges ${String(this.#acknowledged)}`,
    );
  }

  /**
   * §5.3: the follower's entries of later terms than that of the entry which it refused can't be the
   * leader's. The hint must skip them all at once.
   */
  #checkHint(refused: number, hint: LogPosition): void {
    const { id, commitIndex } = this.#core;
    const term = this.#asked.get(refused) ?? Infinity;
    duty(
      hint.index <= commitIndex || (hint.index <= refused && hint.term <= term),
      () =>
        `${id} refuses ${String(refused)}@${String(term)}, and hints at ${String(hint.index)}@${String(hint.term)}`,
    );
  }

  #checkReads({ reads, timer }: Actions, now: number): void {
    const core = this.#core;
    for (const { id } of reads) {
      const isOpen = this.#reads.delete(id);
      duty(isOpen, () => `${core.id} answers read ${String(id)} twice, or wasn't asked it`);
    }
    for (const [id, { term, leader, expiresAt }] of this.#reads) {
      // If the same other node leads again in a later term, it has told this one that the read failed, or
      // will answer it. If this node led itself, its reads fail when that term ends.
      const isSameLeader = leader === core.leader && (leader !== core.id || term === core.term);
      duty(
        isSameLeader,
        () =>
          `${core.id} keeps read ${String(id)} open, and ${String(leader)} of term ${String(term)} is gone`,
      );
      duty(
        timer !== null && timer <= Math.max(expiresAt, now) && this.#timeoutAt < expiresAt,
        () => `${core.id} lets read ${String(id)} wait beyond ${String(expiresAt)}`,
      );
    }
  }
}

function numberOf(message: Message): number | null {
  if (message.type === "pre-vote-reply") return message.round;
  return message.type === "read-index-reply" ? message.id : null;
}
