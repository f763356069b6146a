/**
 * DUTY: a leader tells removed members that they were removed, and then leaves them alone. One that doesn't
 * know would go on standing for election.
 *
 * - It sends to a removed member until that has answered a message that told it that its removal is
 *   committed, needs a snapshot, or hasn't answered by the end of `NOTICE_TIMEOUTS`.
 * - It sends nothing to it one election timeout after that.
 */
import type { AddressedMessage } from "../../../core/action.ts";
import { membersOf } from "../../../core/config.ts";
import type { RaftNode } from "../../../core/node.ts";
import type { NodeId } from "../../../core/position.ts";
import { duty, sentTo, type DutySettings } from "./duty.ts";

/**
 * For how many of the longest election timeouts a leader tries to tell a removed member: the core's own
 * constant.
 */
const NOTICE_TIMEOUTS = 4;

interface Removed {
  /** The configuration entry that removed it. */
  readonly index: number;
  readonly at: number;
  /** The first round whose messages told it that the entry is committed; null: none did. */
  toldIn: number | null;
  /** It was waiting for a snapshot when actions were last taken. */
  needsSnapshot: boolean;
}

/** See the file's header. Made anew for each term that the node leads. */
export class RemovalDuties {
  readonly #core: RaftNode;
  readonly #settings: DutySettings;
  #members: ReadonlySet<NodeId>;
  #configIndex: number;
  readonly #removed = new Map<NodeId, Removed>();
  /** The members that were waiting for a snapshot when actions were last taken. */
  #waiting: ReadonlySet<NodeId> = new Set();
  /** The latest round that each node has answered. */
  readonly #answered = new Map<NodeId, number>();

  constructor(core: RaftNode, settings: DutySettings) {
    this.#core = core;
    this.#settings = settings;
    this.#members = new Set(membersOf(core.config));
    this.#configIndex = core.log.configAt(core.log.last.index).index;
  }

  answered(from: NodeId, round: number): void {
    this.#answered.set(from, Math.max(this.#answered.get(from) ?? 0, round));
  }

  taken(messages: readonly AddressedMessage[], now: number): void {
    this.#followConfig(now);
    this.#waiting = new Set([...this.#members].filter((member) => this.#isWaiting(member)));
    const { id } = this.#core;
    for (const [removed, notice] of this.#removed) {
      const isOver = now >= notice.at + NOTICE_TIMEOUTS * this.#settings.electionTimeoutMaxMs;
      const sent = sentTo(messages, "append-entries", removed);
      // The leader notices only at a heartbeat that the time is over, so allow it one election timeout more.
      const isLate = now >= notice.at + (NOTICE_TIMEOUTS + 1) * this.#settings.electionTimeoutMaxMs;
      duty(
        sent.length === 0 || !isLate,
        () => `${id} still sends to ${removed}, which is no member since ${String(notice.at)} ms`,
      );
      const progress = this.#core.progress(removed);
      const knows = notice.toldIn !== null && (this.#answered.get(removed) ?? 0) >= notice.toldIn;
      duty(
        progress !== undefined || knows || isOver || notice.needsSnapshot,
        () => `${id} no longer sends to ${removed}, which doesn't know that its removal is committed`,
      );
      if (progress === undefined) continue;
      notice.needsSnapshot = progress.state === "snapshot";
      for (const { commit, round } of sent)
        if (commit >= notice.index && progress.match >= notice.index) notice.toldIn ??= round;
    }
  }

  #isWaiting(member: NodeId): boolean {
    return this.#core.progress(member)?.state === "snapshot";
  }

  #followConfig(now: number): void {
    const { log, config } = this.#core;
    const { index } = log.configAt(log.last.index);
    if (index === this.#configIndex) return;
    this.#configIndex = index;
    const members = new Set(membersOf(config));
    for (const id of members) this.#removed.delete(id);
    for (const id of this.#members)
      if (!members.has(id) && id !== this.#core.id)
        this.#removed.set(id, { index, at: now, toldIn: null, needsSnapshot: this.#waiting.has(id) });
    this.#members = members;
  }
}
