/**
 * The calls under way in a run, and how they must end.
 *
 * - KNOWN: each call to a live process ends in bounded time: by its time limit, and a write on a node that
 *   stopped leading, or knows that another node leads, sooner (K3). A node that stops or closes ends all its
 *   calls first.
 *
 * A call to a process that died ends as unknown, as its client's connection would break.
 */
import { Violation } from "../checkers/violation.ts";
import type { Call, ClientFigures, ClientsParts, Outcome } from "./client-calls.ts";
import type { SimProcess } from "../world/sim-process.ts";

/** How much later than its time limit a call may end: clocks drift, timers are late, processes are paused. */
const CALL_GRACE_MS = 1_000;

/** How much longer than the longest election timeout a write may stay open on a node that stopped leading. */
const STEP_DOWN_GRACE_MS = 300;

/** The writes under way on one node. */
interface NodeWrites {
  readonly calls: Set<Call>;
  /**
   * Numbers the node's spells without leadership: rises at the end of each turn in which the node leads, or
   * is excused. What calls noted in an earlier spell counts no more.
   */
  spell: number;
}

/** See the file's header. */
export class OpenCalls {
  readonly figures: ClientFigures = {
    writes: 0,
    writesDone: 0,
    writesNotDone: 0,
    writesUnknown: 0,
    reads: 0,
    readsDone: 0,
  };
  /** Names of the commands that were acknowledged. Grows with the run. */
  readonly acknowledged: Set<string> = new Set<string>();
  /** Names of the commands that were reported as not done. Grows with the run. */
  readonly notDone: Set<string> = new Set<string>();
  readonly #parts: Pick<ClientsParts, "plan" | "clock" | "trace" | "checker">;
  /** The calls under way, in the order in which they were made. */
  readonly #calls = new Set<Call>();
  /** The writes among them that end when their node stops leading, by node. */
  readonly #writes = new Map<SimProcess, NodeWrites>();
  /** Before this time no call can have passed its time limit, so `checkBounds` needn't look at the calls. */
  #overdueFrom = Infinity;

  constructor(parts: Pick<ClientsParts, "plan" | "clock" | "trace" | "checker">) {
    this.#parts = parts;
  }

  get size(): number {
    return this.#calls.size;
  }

  begin(call: Omit<Call, "calledAt" | "notLeadingSince" | "spell">): Call {
    const begun = { ...call, calledAt: this.#parts.clock.now(), notLeadingSince: null, spell: -1 };
    this.#calls.add(begun);
    this.#parts.checker.chains.used();
    if (begun.isWrite && begun.endsByTimeLimit !== true) {
      const writes = this.#writes.get(begun.process) ?? { calls: new Set(), spell: 0 };
      this.#writes.set(begun.process, writes);
      writes.calls.add(begun);
    }
    this.#overdueFrom = Math.min(this.#overdueFrom, begun.calledAt + begun.timeoutMs + CALL_GRACE_MS);
    return begun;
  }

  /** Ends a call, as its promise settled or its process died. Of the two only the first counts. */
  end(call: Call, outcome: Outcome, why: string, output?: unknown): void {
    if (!this.#calls.delete(call)) return;
    this.#parts.checker.chains.used();
    this.#writes.get(call.process)?.calls.delete(call);
    this.#parts.trace(`${call.op} ${outcome}${why === "" ? "" : ` (${why})`}`);
    if (outcome === "done") call.open?.done(output);
    else if (outcome === "not-done") call.open?.notDone();
    else call.open?.unknown();
    if (call.isAttempt !== true) this.count(call, outcome);
    call.ended(outcome, why);
  }

  /** Adds a call that has ended to the figures, and a write to those whose effects are checked at the end. */
  count({ name, isWrite }: Pick<Call, "name" | "isWrite">, outcome: Outcome): void {
    if (!isWrite) {
      if (outcome === "done") this.figures.readsDone += 1;
      return;
    }
    if (outcome === "done") {
      this.figures.writesDone += 1;
      if (name !== null) this.acknowledged.add(name);
    } else if (outcome === "not-done") {
      this.figures.writesNotDone += 1;
      if (name !== null) this.notDone.add(name);
    } else {
      this.figures.writesUnknown += 1;
    }
  }

  /** A process died: ends its calls as unknown, since they will never be answered. */
  died(process: SimProcess): void {
    for (const call of [...this.#calls]) {
      if (call.process === process) this.end(call, "unknown", "its node died");
    }
  }

  /** KNOWN: a node that stopped by itself or closed has ended all its calls. */
  stopped(process: SimProcess): void {
    for (const call of this.#calls) {
      if (call.process !== process) continue;
      throw new Violation("KNOWN", `${process.id} stopped and left ${call.op} without an answer`);
    }
  }

  /**
   * KNOWN: throws if a call has passed its time limit, or a write stays open after its node stopped leading.
   */
  checkBounds(): void {
    const now = this.#parts.clock.now();
    for (const [process, writes] of this.#writes) {
      if (writes.calls.size > 0) this.#checkAfterStepDown(process, writes, now);
    }
    if (now <= this.#overdueFrom) return;
    this.#overdueFrom = Infinity;
    for (const { process, op, calledAt, timeoutMs } of this.#calls) {
      this.#overdueFrom = Math.min(this.#overdueFrom, calledAt + timeoutMs + CALL_GRACE_MS);
      const limitMs = timeoutMs / Math.min(1, process.clockConditions.rate) + CALL_GRACE_MS;
      if (now - calledAt <= limitMs) continue;
      if (process.isPaused || now - process.resumedAt <= CALL_GRACE_MS) continue;
      throw new Violation(
        "KNOWN",
        `${op} at ${process.id} has not ended ${String(Math.round(now - calledAt))} ms after the call`,
      );
    }
  }

  /**
   * A node that stepped down ends its writes after about an election timeout, however long their time limits;
   * and a node that doesn't forward ends the writes that it held for want of a leader, once it knows one.
   */
  #checkAfterStepDown(process: SimProcess, writes: NodeWrites, now: number): void {
    const { plan } = this.#parts;
    const { clockConditions, resumedAt } = process;
    // Goes by the role that was read from the node's change stream. Where the plan's readers of that stream
    // are slow, what they have read lags behind, so there the node's own role counts.
    const leads = plan.usage.listeners === null ? process.announced.role === "leader" : process.leads;
    if (leads || process.isPaused || process.timersAreLate) {
      writes.spell += 1;
      return;
    }
    const limitMs = plan.electionTimeoutMs.max / clockConditions.rate + STEP_DOWN_GRACE_MS;
    for (const call of writes.calls) {
      // A call that was made while the node didn't lead is held until the node knows a leader, and then made
      // or refused. Whether it was made while the node led in between can't be seen from here.
      const isHeld = call.waitsForLeader === true && (process.core?.leader ?? null) === null;
      const before = call.spell === writes.spell && !isHeld ? call.notLeadingSince : null;
      call.spell = writes.spell;
      call.notLeadingSince = Math.max(before ?? now, resumedAt);
      const waitedMs = now - call.notLeadingSince;
      if (waitedMs <= limitMs) continue;
      const state = process.state();
      // A write whose entry is committed is answered when the entry is applied, however long that takes. If a
      // snapshot takes its place, many calls end at once, and a node ends only so many in a turn: the wait
      // begins anew.
      if (state === null || state.appliedIndex < state.commitIndex) {
        writes.spell += 1;
        return;
      }
      throw new Violation(
        "KNOWN",
        `${process.id} has not led for ${String(Math.round(waitedMs))} ms, and ${call.op} has not ended`,
      );
    }
  }
}
