import type { RaftNode } from "../../core/node.ts";
import type { LogIndex, LogPosition } from "../../core/position.ts";
import type { Environment, Timer } from "../../environment/environment.ts";
import { CommandLostError, OutcomeUnknownError, OverloadedError, type RaftError } from "../../errors.ts";
import type { AppliedEntry } from "../calls/index.ts";
import type { RaftLimits } from "../options.ts";

/** Somebody who waits for an entry, or gave up waiting: the entry counts towards the limits all the same. */
export interface Waiting<Result> {
  /** The entry took effect. */
  applied(applied: AppliedEntry<Result>): void;
  reject(error: RaftError): void;
}

interface PendingWrite<Result> {
  readonly position: LogPosition;
  readonly bytes: number;
  readonly call: Waiting<Result>;
}

interface Orphan<Result> extends PendingWrite<Result> {
  /** When to stop waiting for its fate. */
  readonly until: number;
}

/**
 * The commands that this node proposed and whose fate is not settled. While it leads they are told
 * by index; when it stops leading they become orphans, told by index and term, because the same
 * index may be proposed again. An orphan waits a short while for certainty: its entry is applied
 * here (done), another was committed in its stead (lost), or neither (unknown).
 */
export class PendingProposals<Result> {
  readonly #core: RaftNode;
  readonly #environment: Environment;
  readonly #limits: RaftLimits;
  readonly #orphanMs: number;
  readonly #own = new Map<LogIndex, PendingWrite<Result>>();
  readonly #orphans = new Map<string, Orphan<Result>>();
  #bytes = 0;
  #timer: Timer | null = null;
  /** The term of the last committed entry when the orphans were last looked at. */
  #judgedTerm = 0;

  constructor(core: RaftNode, environment: Environment, limits: RaftLimits, orphanMs: number) {
    this.#core = core;
    this.#environment = environment;
    this.#limits = limits;
    this.#orphanMs = orphanMs;
  }

  /** Entries proposed here whose fate is not settled, whether their callers still wait or not. */
  get entries(): number {
    return this.#own.size + this.#orphans.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Whether one more entry of this size would be too much; null: there is room. */
  refusal(bytes: number): OverloadedError | null {
    const { pendingEntriesMax, pendingBytesMax } = this.#limits;
    if (this.entries >= pendingEntriesMax) {
      return new OverloadedError(
        `${String(this.entries)} commands are under way already (limits.pendingEntriesMax); wait for some to finish`,
      );
    }
    // A command that is allowed at all is allowed when it is alone.
    if (this.entries > 0 && this.#bytes + bytes > pendingBytesMax) {
      return new OverloadedError(
        `commands of ${String(this.#bytes)} bytes are under way already (limits.pendingBytesMax); wait for some to finish`,
      );
    }
    return null;
  }

  add(position: LogPosition, bytes: number, call: Waiting<Result>): void {
    this.#own.set(position.index, { position, bytes, call });
    this.#bytes += bytes;
  }

  /** These took effect here. */
  applied(batch: readonly AppliedEntry<Result>[]): void {
    if (this.entries === 0) return;
    for (const applied of batch) {
      this.#take(applied.position)?.call.applied(applied);
    }
  }

  /** The node stopped leading in the term in which the pending commands were proposed. */
  leadershipEnded(): void {
    if (this.#own.size === 0) return;
    const until = this.#environment.now() + this.#orphanMs;
    for (const write of this.#own.values()) this.#orphans.set(keyOf(write.position), { ...write, until });
    this.#own.clear();
    this.#judgedTerm = 0;
    this.#judge();
    this.#arm(this.#orphanMs);
  }

  /**
   * The state came from another node, as of the entry at `index`: whether a command before that took effect is not
   * told by it.
   */
  covered(index: LogIndex): void {
    for (const { position, call } of [...this.#own.values(), ...this.#orphans.values()]) {
      if (position.index > index) continue;
      this.#take(position);
      call.reject(
        new OutcomeUnknownError(
          `the state after the command at ${String(position.index)} came from another node as a whole; whether it took effect cannot be told`,
        ),
      );
    }
  }

  /** The commit index may have moved. */
  committed(): void {
    if (this.#orphans.size === 0) return;
    // Within one term nothing new is learnt: the first committed entry of a later term settles all.
    if (this.#core.log.termAt(this.#core.commitIndex) !== this.#judgedTerm) this.#judge();
  }

  /** Ends all of them, with the same kind of error. */
  endAll(error: () => RaftError): void {
    this.#timer?.cancel();
    this.#timer = null;
    const all = [...this.#own.values(), ...this.#orphans.values()];
    this.#own.clear();
    this.#orphans.clear();
    this.#bytes = 0;
    for (const { call } of all) call.reject(error());
  }

  #judge(): void {
    this.#judgedTerm = this.#core.log.termAt(this.#core.commitIndex) ?? 0;
    for (const { position, call } of [...this.#orphans.values()]) {
      if (this.#core.commitStatus(position) !== "rejected") continue;
      this.#take(position);
      call.reject(
        new CommandLostError(
          `another leader's entry was committed in place of the command at ${String(position.index)}; it never takes effect`,
        ),
      );
    }
  }

  #expire(): void {
    const now = this.#environment.now();
    let next = Infinity;
    for (const { position, call, until } of [...this.#orphans.values()]) {
      // It is sure to be applied here, so the caller's own time limit decides how long to wait.
      if (this.#core.commitStatus(position) === "committed") continue;
      if (until > now) {
        next = Math.min(next, until);
        continue;
      }
      this.#take(position);
      call.reject(
        new OutcomeUnknownError(
          `this node stopped leading before the command at ${String(position.index)} was committed; it may still take effect`,
        ),
      );
    }
    if (next < Infinity) this.#arm(next - now);
  }

  #arm(delayMs: number): void {
    this.#timer?.cancel();
    this.#timer = this.#environment.setTimer(delayMs, () => {
      this.#timer = null;
      this.#expire();
    });
  }

  /** Takes it off the books, and gives back what it counted for. */
  #take(position: LogPosition): PendingWrite<Result> | undefined {
    let write = this.#own.get(position.index);
    if (write?.position.term === position.term) {
      this.#own.delete(position.index);
    } else {
      if (this.#orphans.size === 0) return undefined;
      write = this.#orphans.get(keyOf(position));
      if (write === undefined) return undefined;
      this.#orphans.delete(keyOf(position));
    }
    this.#bytes -= write.bytes;
    return write;
  }
}

function keyOf({ index, term }: LogPosition): string {
  return `${String(index)}@${String(term)}`;
}
