import type { LogIndex } from "./position.ts";

/**
 * How the leader feeds a follower. `probe`: it does not know where their logs agree, and asks with
 * one message at a time. `replicate`: it knows, and sends ahead without waiting, within a window.
 * `snapshot`: its own log no longer reaches back far enough; it waits for a snapshot to arrive.
 */
export type ProgressState = "probe" | "replicate" | "snapshot";

interface InFlight {
  readonly last: LogIndex;
  readonly bytes: number;
}

/** A `Progress` as plain values. */
export interface ProgressImage {
  readonly state: ProgressState;
  readonly match: LogIndex;
  readonly next: LogIndex;
  readonly inFlight: readonly InFlight[];
  readonly probeSent: boolean;
  readonly acknowledgedRound: number;
  readonly activeAt: number;
  readonly heartbeatDue: boolean;
  readonly timeoutNowSentInRound: number;
  readonly removalNotice: RemovalNotice | null;
}

/** A member that is being left behind is sent its own removal, so that it knows. */
export interface RemovalNotice {
  /** The entry without it. */
  readonly index: LogIndex;
  /** When to stop trying. */
  readonly until: number;
  /** The leadership check that told it that the entry is committed; null: none yet. */
  readonly round: number | null;
}

/**
 * What the leader knows about one follower (§5.3).
 *
 * Invariant: 0 <= match < next. `match` never falls while the same leader leads.
 */
export class Progress {
  #state: ProgressState = "probe";
  #match: LogIndex = 0;
  #next: LogIndex;
  #inFlight: InFlight[] = [];
  #inFlightBytes = 0;
  /** In `probe`: a message is on its way, and nothing more is sent until an answer or a heartbeat. */
  #probeSent = false;
  /** The latest leadership check that the follower has answered. */
  acknowledgedRound = 0;
  /** When the follower last answered. */
  activeAt: number;
  /** A heartbeat is owed, with or without entries. */
  heartbeatDue = false;
  /** The latest leadership check in which it was asked to take over the leadership. */
  timeoutNowSentInRound = 0;
  /** Set once the configuration names it no more. */
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
    progress.#inFlightBytes = image.inFlight.reduce((sum, { bytes }) => sum + bytes, 0);
    progress.#probeSent = image.probeSent;
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
      probeSent: this.#probeSent,
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

  /** The last entry known to be on the follower's durable log. */
  get match(): LogIndex {
    return this.#match;
  }

  /** The next entry to send. */
  get next(): LogIndex {
    return this.#next;
  }

  get inFlightMessages(): number {
    return this.#inFlight.length;
  }

  get inFlightBytes(): number {
    return this.#inFlightBytes;
  }

  /** Whether the window lets another message with entries go. */
  hasRoom(messagesMax: number, bytesMax: number): boolean {
    if (this.#state === "snapshot") return false;
    if (this.#state === "probe") return !this.#probeSent;
    return this.#inFlight.length < messagesMax && this.#inFlightBytes < bytesMax;
  }

  /** Entries up to `last` are on their way. */
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

  /** A probe that got no answer by the next heartbeat is lost: ask again. */
  allowNextProbe(): void {
    this.#probeSent = false;
  }

  /** The follower's log equals ours up to `match`. Late and doubled answers change nothing. */
  recordAccepted(match: LogIndex, base: LogIndex): void {
    this.#match = Math.max(this.#match, match);
    this.#next = Math.max(this.#next, this.#match + 1);
    let freed = 0;
    for (const message of this.#inFlight) {
      if (message.last > this.#match) break;
      this.#inFlightBytes -= message.bytes;
      freed += 1;
    }
    if (freed > 0) this.#inFlight.splice(0, freed);
    if (this.#state === "probe" || (this.#state === "snapshot" && this.#match >= base)) {
      this.#become("replicate");
      this.#next = this.#match + 1;
    }
  }

  /** Whether a refusal tells something new: it is about the message that is under way now. */
  isCurrentRefusal(refused: LogIndex): boolean {
    if (this.#state === "snapshot") return false;
    return this.#state === "probe" ? refused === this.#next - 1 : refused > this.#match;
  }

  /** Goes back to asking, from `next` on. */
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
