// The entries that this node proposed and whose outcome is not known yet, with the calls that wait for them.
import type { RaftNode } from "../../core/node.ts";
import type { LogIndex, LogPosition, Term } from "../../core/position.ts";
import type { Environment, Timer } from "../../environment/environment.ts";
import { CommandLostError, OutcomeUnknownError, OverloadedError, type RaftError } from "../../errors.ts";
import type { AppliedEntry } from "../calls/index.ts";
import type { RaftLimits } from "../shared/index.ts";

/**
 * An entry that was proposed, and the call that waits for it. The call may have ended already, by its time
 * limit or its caller's signal: the entry counts towards the limits all the same, until its outcome is
 * known.
 */
export interface PendingProposal<Result> {
  readonly position: LogPosition;
  /** Of the entry's record. */
  readonly bytes: number;
  /** The entry was applied on this node: ends the call with what came of it. */
  applied(applied: AppliedEntry<Result>): void;
  /** Ends the call with an error. */
  reject(error: RaftError): void;
}

/** The proposals of a term that this node led before. */
interface LedTerm<Result> {
  /** When their calls end as "unknown", in milliseconds of the environment's clock. */
  readonly giveUpAt: number;
  /** By index. Never empty. */
  readonly proposals: Map<LogIndex, PendingProposal<Result>>;
}

/**
 * Calls that are rejected in one turn of the event loop; the rest follows in the next turns. Each makes an
 * error with its stack and wakes a caller, which takes ten microseconds or more, and up to
 * `limits.pendingEntriesMax` wait: all in one turn would delay an election (Z19).
 */
const REJECTIONS_PER_TURN = 128;

/**
 * Finds out, as far as possible, what became of the entries that this node proposed.
 *
 * While the node leads, an entry is either applied here (done) or still pending, and its index is enough to
 * find it.
 *
 * A step-down decides nothing: the entry may be on a majority of disks already, and then the next leader
 * commits it. If its call ended as "not done", the caller might write the command again, and it would take
 * effect twice (K4). So the call waits for a short while after the step-down:
 *
 * - The entry is applied here, with its index and term: done.
 * - The next leader's entries are committed, and one of them stands at its index or makes it impossible for
 *   the entry to be committed (`commitStatus`): lost, so certainly not done.
 * - Neither within the longest election timeout: unknown, unless the entry is known to be committed. Then the
 *   call waits until it is applied.
 * - A snapshot of another node covers the entry: unknown at once.
 *
 * From the step-down on, entries are found by index and term, because another may be proposed at the same
 * index.
 */
export class PendingProposals<Result> {
  readonly #core: RaftNode;
  readonly #environment: Environment;
  readonly #limits: RaftLimits;
  /** Milliseconds that a call waits for the outcome after a step-down: the longest election timeout. */
  readonly #outcomeWaitMs: number;
  /** Proposals of the term that this node leads, by index. Empty when it doesn't lead. */
  #whileLeading = new Map<LogIndex, PendingProposal<Result>>();
  /** Proposals of terms that this node led before, by term. */
  readonly #afterStepDown = new Map<Term, LedTerm<Result>>();
  /** Bytes of the records of all pending proposals. */
  #bytes = 0;
  /** Ends the wait of the proposals in `#afterStepDown`. */
  #timer: Timer | null = null;
  /** The term of the last committed entry when `#rejectLost` last ran; 0: it has to run again. */
  #checkedTerm = 0;

  constructor(core: RaftNode, environment: Environment, limits: RaftLimits, outcomeWaitMs: number) {
    this.#core = core;
    this.#environment = environment;
    this.#limits = limits;
    this.#outcomeWaitMs = outcomeWaitMs;
  }

  /** Entries proposed here whose outcome is not known, whether their callers still wait or not. */
  get entries(): number {
    let entries = this.#whileLeading.size;
    for (const { proposals } of this.#afterStepDown.values()) entries += proposals.size;
    return entries;
  }

  /** Bytes of those entries' records. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Why no entry of this size may be proposed now; null: there is room. Checked before each proposal. */
  refusal(bytes: number): OverloadedError | null {
    const { pendingEntriesMax, pendingBytesMax } = this.#limits;
    if (this.entries >= pendingEntriesMax) {
      return new OverloadedError(
        `${String(this.entries)} commands are under way already (limits.pendingEntriesMax); wait for some to finish`,
      );
    }
    // An entry that alone exceeds the limit is taken when nothing else is pending: else it could never be
    // written.
    if (this.entries > 0 && this.#bytes + bytes > pendingBytesMax) {
      return new OverloadedError(
        `commands of ${String(this.#bytes)} bytes are under way already (limits.pendingBytesMax); wait for some to finish`,
      );
    }
    return null;
  }

  /** This entry was just proposed. */
  add(proposal: PendingProposal<Result>): void {
    this.#whileLeading.set(proposal.position.index, proposal);
    this.#bytes += proposal.bytes;
  }

  /** Whether this node proposed the entry, and its outcome isn't known yet. */
  has({ index, term }: LogPosition): boolean {
    if (this.#whileLeading.get(index)?.position.term === term) return true;
    return this.#afterStepDown.get(term)?.proposals.has(index) ?? false;
  }

  /** These entries were applied on this node, whichever node proposed them. */
  applied(batch: readonly AppliedEntry<Result>[]): void {
    if (this.entries === 0) return;
    for (const applied of batch) {
      this.#remove(applied.position)?.applied(applied);
    }
  }

  /** The node no longer leads the term in which the pending entries were proposed. */
  leadershipEnded(): void {
    const [first] = this.#whileLeading.values();
    if (first === undefined) return;
    const giveUpAt = this.#environment.now() + this.#outcomeWaitMs;
    // All of them are of the one term that this node led.
    this.#afterStepDown.set(first.position.term, { giveUpAt, proposals: this.#whileLeading });
    this.#whileLeading = new Map();
    this.#checkedTerm = 0;
    this.#rejectLost();
    this.#armTimer(this.#outcomeWaitMs);
  }

  /**
   * A snapshot of the entries up to `index` was installed. The state holds the effects of some of the pending
   * entries, or of others in their place, and doesn't tell which. Entries that are never applied here would
   * keep their calls waiting (S13), so those end as "unknown".
   */
  settleInstalled(index: LogIndex): void {
    const led = [...this.#afterStepDown.values()].map(({ proposals }) => proposals);
    this.#rejectSome(
      [this.#whileLeading, ...led],
      ({ position }) => position.index <= index,
      ({ position }) =>
        new OutcomeUnknownError(
          `the state after the command at ${String(position.index)} came from another node as a whole; whether it took effect cannot be told`,
        ),
      () => {
        this.settleInstalled(index);
      },
    );
  }

  /** The commit index may have moved. */
  committed(): void {
    if (this.#afterStepDown.size === 0) return;
    // More entries of the same term settle nothing new: its first committed entry has decided about all
    // entries of earlier terms.
    if (this.#core.log.termAt(this.#core.commitIndex) !== this.#checkedTerm) this.#rejectLost();
  }

  /** The node stops. The registry of calls has ended the calls. */
  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
    this.#whileLeading.clear();
    this.#afterStepDown.clear();
    this.#bytes = 0;
  }

  /** Ends the calls whose entries can't be committed any more. */
  #rejectLost(): void {
    this.#checkedTerm = this.#core.log.termAt(this.#core.commitIndex) ?? 0;
    this.#rejectSome(
      [...this.#afterStepDown.values()].map(({ proposals }) => proposals),
      ({ position }) => this.#core.commitStatus(position) === "rejected",
      ({ position }) =>
        new CommandLostError(
          `another leader's entry was committed in place of the command at ${String(position.index)}; it never takes effect`,
        ),
      () => {
        this.#rejectLost();
      },
    );
  }

  /** Ends the calls that have waited long enough. */
  #giveUp(): void {
    const now = this.#environment.now();
    const led = [...this.#afterStepDown.values()];
    this.#rejectSome(
      led.filter(({ giveUpAt }) => giveUpAt <= now).map(({ proposals }) => proposals),
      // A committed entry will be applied here. Its call waits for that, as long as its own time limit
      // allows.
      ({ position }) => this.#core.commitStatus(position) !== "committed",
      ({ position }) =>
        new OutcomeUnknownError(
          `this node stopped leading before the command at ${String(position.index)} was committed; it may still take effect`,
        ),
      () => {
        this.#giveUp();
      },
    );
    const next = Math.min(...led.map(({ giveUpAt }) => (giveUpAt > now ? giveUpAt : Infinity)));
    if (next < Infinity) this.#armTimer(next - now);
  }

  /**
   * Rejects those of `groups` that `isEnded` holds for, at most `REJECTIONS_PER_TURN`. If more are left, it
   * calls `again` in the next turn of the event loop, unless nothing is pending by then.
   */
  #rejectSome(
    groups: readonly ReadonlyMap<LogIndex, PendingProposal<Result>>[],
    isEnded: (proposal: PendingProposal<Result>) => boolean,
    errorOf: (proposal: PendingProposal<Result>) => RaftError,
    again: () => void,
  ): void {
    let left = REJECTIONS_PER_TURN;
    for (const proposals of groups) {
      for (const proposal of proposals.values()) {
        if (!isEnded(proposal)) continue;
        if (left-- === 0) {
          this.#environment.defer(() => {
            if (this.entries > 0) again();
          });
          return;
        }
        this.#remove(proposal.position);
        proposal.reject(errorOf(proposal));
      }
    }
  }

  #armTimer(delayMs: number): void {
    this.#timer?.cancel();
    this.#timer = this.#environment.setTimer(delayMs, () => {
      this.#timer = null;
      this.#giveUp();
    });
  }

  /**
   * Takes the entry at `position` out of the count. undefined: it is not pending, or another entry is at its
   * index.
   */
  #remove(position: LogPosition): PendingProposal<Result> | undefined {
    let proposal = this.#whileLeading.get(position.index);
    if (proposal?.position.term === position.term) {
      this.#whileLeading.delete(position.index);
    } else {
      const proposals = this.#afterStepDown.get(position.term)?.proposals;
      proposal = proposals?.get(position.index);
      if (proposals === undefined || proposal === undefined) return undefined;
      proposals.delete(position.index);
      if (proposals.size === 0) this.#afterStepDown.delete(position.term);
    }
    this.#bytes -= proposal.bytes;
    return proposal;
  }
}
