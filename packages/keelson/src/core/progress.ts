// What a leader knows about one node that it replicates to: where their logs agree, what is under way, and
// what is due.
import type { LogIndex, LogPosition } from "./position.ts";

/**
 * How the leader feeds a follower.
 * - `probe`: it doesn't know where the logs agree. It sends one message per heartbeat round until an answer
 *   tells.
 * - `replicate`: it knows, and sends entries ahead of the answers, within a window.
 * - `snapshot`: its log no longer holds what the follower lacks. It sends no entries until a snapshot is
 *   installed.
 */
export type ProgressState = "probe" | "replicate" | "snapshot";

/** A message with entries that was sent and not acknowledged. */
interface InFlight {
  /** The index of its last entry. */
  readonly last: LogIndex;
  /** The bytes of its entries' records. */
  readonly bytes: number;
}

/**
 * The leader's effort to tell a removed member about its removal. A member that doesn't know about it would
 * start elections when it stops hearing the leader. It knows once it has the configuration entry, and has
 * received a commit index that covers that entry.
 */
export interface RemovalNotice {
  /** The configuration entry that removed it. */
  readonly index: LogIndex;
  /** Time in milliseconds at which the leader gives up. */
  readonly until: number;
  /**
   * The first heartbeat round that tells the member that the entry is committed; null: no round does yet,
   * because the member doesn't hold the entry, or it isn't committed.
   */
  readonly round: number | null;
}

/** A `Progress` as plain values. */
export interface ProgressImage {
  readonly state: ProgressState;
  readonly match: LogIndex;
  readonly next: LogIndex;
  readonly inFlight: readonly InFlight[];
  readonly inFlightBytes: number;
  readonly probeSent: boolean;
  readonly matchedInRound: number;
  readonly lostAfter: LogPosition | null;
  readonly acknowledgedRound: number;
  readonly activeAt: number;
  readonly heartbeatDue: boolean;
  readonly timeoutNowSentInRound: number;
  readonly removalNotice: RemovalNotice | null;
}

/**
 * What the leader knows about one follower (§5.3).
 *
 * Invariant: 0 <= match < next. `match` never falls while the same leader leads.
 */
export class Progress {
  #state: ProgressState = "probe";
  /**
   * The last entry known to be equal on both sides and durable on the follower. Raised by acknowledgements.
   */
  #match: LogIndex = 0;
  /** The first entry to send next. In `replicate` it runs ahead of `match`; a refusal takes it back. */
  #next: LogIndex;
  /**
   * In `replicate`, oldest first; otherwise empty. An acknowledgement removes the messages that it covers.
   */
  #inFlight: InFlight[] = [];
  /** The sum of the bytes in `#inFlight`. */
  #inFlightBytes = 0;
  /** In `probe`: a probe was sent, and the next one waits for an answer or a heartbeat. Otherwise false. */
  #probeSent = false;
  /**
   * The leader's heartbeat round at the time when `match` last rose. An answer to a later round was given
   * after the acknowledgement that raised it.
   */
  #matchedInRound = 0;
  /** See `lostAfter`. */
  #lostAfter: LogPosition | null = null;
  /**
   * The latest heartbeat round that an answer of the follower named; 0: none. Falls only when the follower
   * proves that it lost entries: then to 0, for good. Written by `replication.ts`.
   */
  acknowledgedRound = 0;
  /**
   * Time in milliseconds of the follower's last answer; at first, when the leader began to replicate to it;
   * -Infinity once it has lost entries, so that it never counts as active again. Written by `replication.ts`.
   */
  activeAt: number;
  /**
   * Whether the current heartbeat round still has to be sent to the follower. Set by each new round; cleared
   * by the next AppendEntries, with or without entries.
   */
  heartbeatDue = false;
  /**
   * The heartbeat round in which a transfer of leadership last sent TimeoutNow to it; 0: never. At most once
   * per round. Written by `transfer.ts`.
   */
  timeoutNowSentInRound = 0;
  /**
   * Set while the follower is no longer a member and may not know it; null: it is a member. Written by
   * `leadership.ts`.
   */
  removalNotice: RemovalNotice | null = null;

  constructor(next: LogIndex, now: number) {
    this.#next = next;
    this.activeAt = now;
  }

  static revive(image: ProgressImage): Progress {
    const progress = new Progress(image.next, image.activeAt);
    progress.#state = image.state;
    progress.#match = image.match;
    progress.#inFlight = [...image.inFlight];
    progress.#inFlightBytes = image.inFlightBytes;
    progress.#probeSent = image.probeSent;
    progress.#matchedInRound = image.matchedInRound;
    progress.#lostAfter = image.lostAfter;
    progress.acknowledgedRound = image.acknowledgedRound;
    progress.heartbeatDue = image.heartbeatDue;
    progress.timeoutNowSentInRound = image.timeoutNowSentInRound;
    progress.removalNotice = image.removalNotice;
    return progress;
  }

  capture(): ProgressImage {
    return {
      state: this.#state,
      match: this.#match,
      next: this.#next,
      inFlight: [...this.#inFlight],
      inFlightBytes: this.#inFlightBytes,
      probeSent: this.#probeSent,
      matchedInRound: this.#matchedInRound,
      lostAfter: this.#lostAfter,
      acknowledgedRound: this.acknowledgedRound,
      activeAt: this.activeAt,
      heartbeatDue: this.heartbeatDue,
      timeoutNowSentInRound: this.timeoutNowSentInRound,
      removalNotice: this.removalNotice,
    };
  }

  get state(): ProgressState {
    return this.#state;
  }

  get match(): LogIndex {
    return this.#match;
  }

  get next(): LogIndex {
    return this.#next;
  }

  get inFlightMessages(): number {
    return this.#inFlight.length;
  }

  get inFlightBytes(): number {
    return this.#inFlightBytes;
  }

  /**
   * The last entry that the follower had acknowledged as durable when it proved that it lost entries: its
   * directory was replaced by an older copy, or its disk forgot a write. It may have forgotten its vote too,
   * so nothing that it says counts any more (pitfall M11: a member that lost its disk). The term is 0 if the
   * leader's log no longer held that entry. null: no such proof. Never reset while the same leader leads.
   */
  get lostAfter(): LogPosition | null {
    return this.#lostAfter;
  }

  /** The last entry of which the follower's copy counts towards a quorum; 0 once it has lost entries. */
  get countedMatch(): LogIndex {
    return this.#lostAfter === null ? this.#match : 0;
  }

  /**
   * The follower proved that it lost entries: the leader counts nothing any more that it said or will say.
   */
  recordLoss(acknowledged: LogPosition): void {
    this.#lostAfter = acknowledged;
    this.acknowledgedRound = 0;
    this.activeAt = -Infinity;
    this.#become("probe");
    this.#next = this.#match + 1;
  }

  /**
   * Whether a refusal of `refused` in an answer to heartbeat round `round` proves that the follower lost
   * entries: it had acknowledged everything up to `match` before this leader started that round, so it gave
   * this answer later. In one term a follower that still has those entries never refuses them: the log of the
   * leader that it follows only grows. A refusal of an earlier round may have been delayed, or be a copy.
   */
  provesLoss(refused: LogIndex, round: number): boolean {
    return refused <= this.#match && round > this.#matchedInRound;
  }

  /** Whether another message with entries may be sent now. The last one may exceed `bytesMax`. */
  hasRoom(messagesMax: number, bytesMax: number): boolean {
    if (this.#state === "snapshot" || this.#lostAfter !== null) return false;
    if (this.#state === "probe") return !this.#probeSent;
    return this.#inFlight.length < messagesMax && this.#inFlightBytes < bytesMax;
  }

  /** A message was sent whose last entry is `last`, which is `next - 1` if the message has no entries. */
  recordSent(last: LogIndex, bytes: number): void {
    if (this.#state === "probe") {
      this.#probeSent = true;
      return;
    }
    if (last < this.#next) return;
    this.#next = last + 1;
    this.#inFlight.push({ last, bytes });
    this.#inFlightBytes += bytes;
  }

  /** A new heartbeat round: a probe without an answer counts as lost, so another may be sent. */
  allowNextProbe(): void {
    this.#probeSent = false;
  }

  /**
   * The follower acknowledged that its log equals the leader's up to `match`. Answers that arrive late or
   * twice change nothing. `base` is the last index before the leader's log, `round` its heartbeat round now.
   */
  recordAccepted(match: LogIndex, base: LogIndex, round: number): void {
    if (match > this.#match) this.#matchedInRound = round;
    this.#match = Math.max(this.#match, match);
    this.#next = Math.max(this.#next, this.#match + 1);
    for (let oldest = this.#inFlight[0]; oldest !== undefined; oldest = this.#inFlight[0]) {
      if (oldest.last > this.#match) break;
      this.#inFlightBytes -= oldest.bytes;
      this.#inFlight.shift();
    }
    if (this.#state === "probe" || (this.#state === "snapshot" && this.#match >= base)) {
      this.#become("replicate");
      this.#next = this.#match + 1;
    }
  }

  /**
   * Whether a refusal of `refused` (a message's `prev.index`) may answer a message that is under way now.
   * Other refusals have arrived late or twice, or the follower is waiting for a snapshot: they don't change
   * `next`.
   */
  isCurrentRefusal(refused: LogIndex): boolean {
    if (this.#state === "snapshot") return false;
    return this.#state === "probe" ? refused === this.#next - 1 : refused > this.#match;
  }

  /** The logs differ before `next`: probe from there, but never below what is known to match. */
  becomeProbe(next: LogIndex): void {
    this.#become("probe");
    this.#next = Math.max(next, this.#match + 1);
  }

  becomeSnapshot(): void {
    this.#become("snapshot");
  }

  #become(state: ProgressState): void {
    this.#state = state;
    this.#inFlight = [];
    this.#inFlightBytes = 0;
    this.#probeSent = false;
  }
}
