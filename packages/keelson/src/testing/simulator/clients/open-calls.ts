/**
 * The calls under way in a run, and how they must end.
 *
 * - KNOWN: each call to a live process ends in bounded time: by its time limit, and a write on a node that
 *   stopped leading sooner (K3). A node that stops or closes ends all its calls first.
 *
 * A call to a process that died ends as unknown, as its client's connection would break.
 */
import { Violation } from "../checkers/violation.ts";
import type { Call, ClientFigures, ClientsParts, Outcome } from "./client-calls.ts";
import type { SimProcess } from "../world/sim-process.ts";

/** How much later than its time limit a call may end: clocks drift, timers are late, processes are paused. */
const CALL_GRACE_MS = 1_000;

/** How much longer than an election timeout a write may stay open on a node that stopped leading. */
const STEP_DOWN_GRACE_MS = 300;

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
  readonly acknowledged = new Set<string>();
  /** Names of the commands that were reported as not done. Grows with the run. */
  readonly notDone = new Set<string>();
  readonly #parts: Pick<ClientsParts, "plan" | "clock" | "trace" | "checker">;
  /** In the order in which they were made. */
  readonly #calls = new Set<Call>();

  constructor(parts: Pick<ClientsParts, "plan" | "clock" | "trace" | "checker">) {
    this.#parts = parts;
  }

  get size(): number {
    return this.#calls.size;
  }

  begin(call: Omit<Call, "calledAt" | "notLeadingSince">): Call {
    const begun = { ...call, calledAt: this.#parts.clock.now(), notLeadingSince: null };
    this.#calls.add(begun);
    this.#parts.checker.chains.used();
    return begun;
  }

  /** The call's promise settled, or its process died. Of the two only the first counts. */
  end(call: Call, outcome: Outcome, why: string, output?: unknown): void {
    if (!this.#calls.delete(call)) return;
    this.#parts.checker.chains.used();
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

  /** A process died. Its calls will never be answered. */
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

  /** KNOWN: no call has been under way for too long. */
  checkBounds(): void {
    const now = this.#parts.clock.now();
    for (const call of this.#calls)
      if (call.isWrite && call.endsByTimeLimit !== true) this.#checkAfterStepDown(call, now);
    for (const { process, op, calledAt, timeoutMs } of this.#calls) {
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
   * A node that stepped down ends its writes after about an election timeout, however long their time limits.
   */
  #checkAfterStepDown(call: Call, now: number): void {
    const { plan } = this.#parts;
    const { process, op } = call;
    const { clockConditions, resumedAt, raft } = process;
    // The announced role lags behind where the plan's readers of changes are slow.
    const role = plan.usage.listeners === null ? process.announced.role : raft?.metrics().role;
    const isExcused = process.isPaused || process.timersAreLate || role === "leader";
    call.notLeadingSince = isExcused ? null : Math.max(call.notLeadingSince ?? now, resumedAt);
    if (call.notLeadingSince === null) return;
    const waitedMs = now - call.notLeadingSince;
    if (waitedMs <= plan.electionTimeoutMs.max / clockConditions.rate + STEP_DOWN_GRACE_MS) return;
    const metrics = raft?.metrics();
    // A write whose entry is committed is answered when the entry is applied, however long that takes.
    if (metrics === undefined || metrics.appliedIndex < metrics.commitIndex) return;
    throw new Violation(
      "KNOWN",
      `${process.id} has not led for ${String(Math.round(waitedMs))} ms, and ${op} has not ended`,
    );
  }
}
