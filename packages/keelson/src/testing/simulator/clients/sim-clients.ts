import { CommandRejectedError, RaftError } from "../../../errors.ts";
import { History } from "../../linearizability/index.ts";
import type { OpenOperation } from "../../linearizability/index.ts";
import { Chance } from "../plan/chance.ts";
import type { SimProcess } from "../world/sim-process.ts";
import type { StateMachine } from "../../../runtime/shared/index.ts";
import type { CallContext, WriteCall } from "../subject/subject.ts";
import { LibrarySessions } from "./library-sessions.ts";
import type {
  AttemptResult,
  CallMaker,
  ClientFigures,
  ClientsParts,
  Outcome,
  SessionClients,
} from "./client-calls.ts";
import { SimSessions } from "./sim-sessions.ts";
import { assertInvariant, Violation } from "../checkers/violation.ts";

/** Clocks drift, timers come late and processes pause; beyond this a call has no excuse for not having ended. */
const CALL_GRACE_MS = 1_000;

/** The pause of a client that asks again and again. */
const REPEATED_READ_PAUSE_MS = 50;

/** After how long a caller gives up that is in a hurry; and how many of them do before they call. */
const ABORT_AFTER_MS = 60;
const ALREADY_ABORTED_SHARE = 0.1;

/** Beyond the time that a node waits for a command's fate when it has stopped leading. */
const STEP_DOWN_GRACE_MS = 300;

/** Of a command or a query, in the trace. */
const DESCRIPTION_CHARACTERS_MAX = 120;

type AnyWrite = WriteCall<unknown, unknown, unknown, unknown>;

/** Told what became of a call, and of an error its code. */
export type OnEnd = (outcome: Outcome, why: string) => void;

interface Call {
  readonly process: SimProcess;
  /** In the trace. */
  readonly op: string;
  readonly isWrite: boolean;
  /** What the subject calls the command; null: it has no name, or it is a read. */
  readonly name: string | null;
  readonly open: OpenOperation<unknown> | null;
  readonly calledAt: number;
  readonly timeoutMs: number;
  /** Nothing but its time limit ends it: it is passed on, or repeated, for as long as that. */
  readonly endsByTimeLimit?: boolean;
  readonly ended: OnEnd;
  /** Counted by whoever makes several of them. */
  readonly isAttempt?: boolean;
  /** Since when its node has not led; null: it leads. */
  notLeadingSince: number | null;
}

/**
 * The clients: each makes one call at a time, to the node that it takes for the leader or to any,
 * and writes down what it was told. Their history is checked for linearizability at the end.
 */
export class SimClients implements CallMaker {
  readonly history: History<unknown, unknown>;
  readonly figures: ClientFigures = {
    writes: 0,
    writesDone: 0,
    writesNotDone: 0,
    writesUnknown: 0,
    reads: 0,
    readsDone: 0,
  };
  /** Names of the writes that were acknowledged, and of those that surely were not done. */
  readonly acknowledged = new Set<string>();
  readonly notDone = new Set<string>();
  /** Whom nobody asks but those who are told to. */
  avoided: SimProcess | null = null;
  readonly #parts: ClientsParts;
  readonly #chance: Chance;
  readonly #calls = new Set<Call>();
  /** null: no client uses any. */
  readonly #sessions: SessionClients | null;
  /** Decides how reads are made; runs in which all are linearizable stay what they were. */
  readonly #consistencyChance: Chance;
  /** Decides which calls are given up. */
  readonly #abortChance: Chance;
  /** By entry: the state after it, as some node showed it first. */
  readonly #states = new Map<number, string>();
  #numbers = 0;
  #bursts = 0;
  #quiet = false;
  #stopped = false;

  constructor(host: ClientsParts, chance: Chance) {
    this.#parts = host;
    this.#chance = chance;
    this.history = new History(() => host.clock.now());
    this.#consistencyChance = new Chance(host.plan.seed ^ 0x57a1e);
    this.#abortChance = new Chance(host.plan.seed ^ 0xab_047);
    const { sessions } = host.plan;
    // Its chance is its own: runs without sessions stay what they were.
    const own = new Chance(host.plan.seed ^ 0x5e55);
    if (sessions === null) this.#sessions = null;
    else if (host.plan.usage.librarySessions)
      this.#sessions = new LibrarySessions(host, this, own, sessions.ttlMs);
    else this.#sessions = new SimSessions(host, this, own, sessions.ttlMs);
  }

  start(): void {
    for (let client = 0; client < this.#parts.plan.clients; client++) this.#later(client);
  }

  set quiet(quiet: boolean) {
    this.#quiet = quiet;
  }

  stop(): void {
    this.#stopped = true;
    this.#sessions?.stop();
  }

  get underWay(): number {
    return this.#calls.size;
  }

  /** A process died: nobody will ever hear of what it was asked. */
  died(process: SimProcess): void {
    for (const call of [...this.#calls]) {
      if (call.process === process) this.#end(call, "unknown", "its node died");
    }
  }

  /** A node stopped by itself: what was asked of it has ended, one way or another (KNOWN). */
  stopped(process: SimProcess): void {
    for (const call of this.#calls) {
      if (call.process !== process) continue;
      throw new Violation("KNOWN", `${process.id} stopped and left ${call.op} without an answer`);
    }
  }

  /** Each call to a process that runs ends in bounded time (KNOWN). */
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

  /** A node that stopped leading waits for a command's fate for an election timeout, and not as long as a caller may. */
  #checkAfterStepDown(call: Call, now: number): void {
    const { process, op } = call;
    const { clockConditions, resumedAt, raft } = process;
    // Where those who listen are slow, what they were told is old.
    const role = this.#parts.plan.usage.listeners === null ? process.announced.role : raft?.metrics().role;
    const excused = process.isPaused || process.timersAreLate || role === "leader";
    call.notLeadingSince = excused ? null : Math.max(call.notLeadingSince ?? now, resumedAt);
    if (call.notLeadingSince === null) return;
    const waitedMs = now - call.notLeadingSince;
    if (waitedMs <= this.#parts.plan.electionTimeoutMs.max / clockConditions.rate + STEP_DOWN_GRACE_MS)
      return;
    const metrics = raft?.metrics();
    // What is committed is waited for until it is applied.
    if (metrics === undefined || metrics.appliedIndex < metrics.commitIndex) return;
    throw new Violation(
      "KNOWN",
      `${process.id} has not led for ${String(Math.round(waitedMs))} ms, and ${op} has not ended`,
    );
  }

  /** So many writes at once, each of a key of its own: they make the log longer, and the history no harder to judge. */
  burst(process: SimProcess, writes: number): void {
    for (let n = 0; n < writes && !this.#stopped; n++) {
      const key = `b${String(++this.#bursts)}`;
      this.write(key, process, key, () => undefined);
    }
  }

  /** A client that asks this process and no other, for all keys at once, until the function that is returned is called. */
  readRepeatedly(process: SimProcess, afterMs: number): () => void {
    let goesOn = true;
    const readAll = (): void => {
      if (!goesOn || this.#stopped || !process.isUp) return;
      for (let n = 1; n <= this.#parts.plan.keys; n++) {
        this.read(`stubborn ${String(n)}`, process, `k${String(n)}`, () => undefined);
      }
      this.#parts.clock.setTimer(this.#chance.time(REPEATED_READ_PAUSE_MS), readAll);
    };
    this.#parts.clock.setTimer(afterMs, readAll);
    return () => {
      goesOn = false;
    };
  }

  #later(client: number): void {
    if (this.#stopped) return;
    this.#parts.clock.setTimer(this.#chance.time(this.#parts.plan.thinkMs), () => {
      this.#act(client);
    });
  }

  #act(client: number): void {
    if (this.#stopped) return;
    const process = this.choose();
    if (process === null) {
      this.#later(client);
      return;
    }
    const key = `k${String(this.#chance.whole(1, this.#parts.plan.keys))}`;
    const name = `c${String(client)}`;
    const ended = (): void => {
      this.#later(client);
    };
    const { staleShare } = this.#parts.plan;
    if (staleShare > 0 && this.#consistencyChance.happens(staleShare)) this.#readStale(name, process, ended);
    else if (this.#chance.happens(this.#parts.plan.readShare)) this.read(name, process, key, ended);
    else if (this.#sessions !== null && client < (this.#parts.plan.sessions?.clients ?? 0)) {
      // Two clients share a session, so that it has several commands under way.
      void this.#sessions.write(name, `g${String(client >> 1)}`, key).then(ended, this.#parts.report);
    } else this.write(name, process, key, ended);
  }

  /**
   * Mostly the leader, if a node says that it is; sometimes anyone, because clients are often wrong. null: nobody
   * is there, or it is quiet.
   */
  choose(): SimProcess | null {
    const up = this.#parts.processes.filter((process) => process.isUp && process !== this.avoided);
    if (this.#quiet || up.length === 0) return null;
    const leaders = up.filter((process) => process.raft?.metrics().role === "leader");
    // Where any node will do, more of them are asked.
    return leaders.length > 0 && this.#chance.happens(this.#parts.plan.usage.forward ? 0.4 : 0.8)
      ? this.#chance.pick(leaders)
      : this.#chance.pick(up);
  }

  /** One write, as the subject makes it up. */
  write(
    client: string,
    process: SimProcess,
    key: string,
    ended: OnEnd,
    timeoutMs = this.#parts.plan.callTimeoutMs,
  ): void {
    const { subject, trace } = this.#parts;
    const context = this.context(key);
    const write = subject.write(context);
    const { command, input } = write;
    const op = `w${String(context.number)}`;
    const name = subject.nameOf?.(command) ?? null;
    const open = input === null ? null : this.history.invoke(client, input);
    const endsByTimeLimit = this.forwards(process);
    const call = this.#begin({ process, op, isWrite: true, endsByTimeLimit, name, open, timeoutMs, ended });
    this.figures.writes += 1;
    trace(`${client} ${op} ${clipped(subject.describe(command))} at ${process.id}`);
    const options = { timeoutMs, ...this.abortOptions() };
    const writing =
      process.raft?.write(command, options) ?? Promise.reject(new Error(`${process.id} is down`));
    writing.then(
      (result) => {
        this.#done(call, () => write.output(result));
      },
      (error: unknown) => {
        if (error instanceof CommandRejectedError) this.#rejected(call, write, error);
        else this.#end(call, outcomeOf(error), codeOf(error));
      },
    );
  }

  /** One linearizable read, as the subject makes it up. */
  read(
    client: string,
    process: SimProcess,
    key: string,
    ended: OnEnd,
    timeoutMs = this.#parts.plan.callTimeoutMs,
  ): void {
    const { subject, trace } = this.#parts;
    const context = this.context(key);
    const read = subject.read(context);
    const op = `r${String(context.number)}`;
    const open = this.history.invoke(client, read.input);
    const call = this.#begin({ process, op, isWrite: false, name: null, open, timeoutMs, ended });
    this.figures.reads += 1;
    trace(`${client} ${op} ${clipped(subject.model.describe(read.input))} at ${process.id}`);
    const { raft, machine } = process;
    const { leaseShare } = this.#parts.plan;
    const consistency =
      leaseShare > 0 && this.#consistencyChance.happens(leaseShare) ? "lease" : "linearizable";
    const reading =
      raft === null || machine === null
        ? Promise.reject(new Error(`${process.id} is down`))
        : raft.read(
            this.#queryOf(process, () => {
              this.#checkNoHalfCommand(process);
              return read.query(machine);
            }),
            {
              ...{ timeoutMs, consistency },
              ...this.abortOptions(),
            },
          );
    reading.then(
      (output) => {
        this.#done(call, () => output);
      },
      (error: unknown) => {
        this.#end(call, "not-done", codeOf(error));
      },
    );
  }

  /** SMS: no query runs while a command is applied, whatever its consistency (Z14). */
  #checkNoHalfCommand({ id, machineConditions }: SimProcess): void {
    this.watch(() => {
      assertInvariant(!machineConditions.isApplying, "SMS", () => `a query runs at ${id} within a command`);
    });
  }

  /** As the plan has it, it takes a while after it has seen what it wanted. */
  #queryOf<T>(process: SimProcess, query: () => T | Promise<T>): () => T | Promise<T> {
    const { queryMs } = this.#parts.plan.usage;
    if (queryMs === 0) return query;
    return async () => {
      const seen = query();
      await process.wait(queryMs);
      return seen;
    };
  }

  /** Some callers give up before the time, or have given up already; none of those who ask after the run healed. */
  abortOptions(): { readonly signal?: AbortSignal } {
    const { abortShare } = this.#parts.plan.usage;
    if (abortShare === 0 || this.#stopped || !this.#abortChance.happens(abortShare)) return {};
    const controller = new AbortController();
    if (this.#abortChance.happens(ALREADY_ABORTED_SHARE)) controller.abort();
    else {
      this.#parts.clock.setTimer(this.#abortChance.time(ABORT_AFTER_MS), () => {
        controller.abort();
      });
    }
    return { signal: controller.signal };
  }

  /** Whether this process passes on what only a leader does: then its fate is not known where it waits. */
  forwards({ raft }: SimProcess): boolean {
    return this.#parts.plan.usage.forward && raft?.metrics().role !== "leader";
  }

  /** A read of some past state: whichever it is, every node that ever held the state after that entry held the same. */
  #readStale(client: string, process: SimProcess, ended: OnEnd): void {
    const { raft, machine } = process;
    const { checker, subject } = this.#parts;
    const look = (): void => {
      if (raft === null || machine === null) throw new Error(`${process.id} is down`);
      this.#checkNoHalfCommand(process);
      const index = checker.history.node(process.id).applied;
      const state = subject.digest(machine);
      // One that takes its time tells of no single moment.
      if (typeof state !== "string") return;
      this.watch(() => {
        const { appliedIndex, commitIndex } = raft.staleness();
        assertInvariant(
          appliedIndex <= commitIndex,
          "ORD",
          () => `${process.id} says it applied what is not committed`,
        );
        const known = this.#states.get(index) ?? state;
        assertInvariant(
          known === state,
          "SMS",
          () => `${process.id} shows ${state} after ${String(index)}; it was ${known}`,
        );
        this.#states.set(index, known);
      });
    };
    const reading = async (): Promise<void> => {
      await (raft?.read(look, { consistency: "stale" }) ?? Promise.reject(new Error("down")));
    };
    void this.attempt(`${client} looks`, process, false, reading).then(({ outcome, why }) => {
      ended(outcome, why);
    });
  }

  attempt(
    op: string,
    process: SimProcess,
    isWrite: boolean,
    ask: () => Promise<void>,
    timeoutMs = this.#parts.plan.callTimeoutMs,
    endsByTimeLimit = this.forwards(process),
  ): Promise<AttemptResult> {
    return new Promise((resolve) => {
      const ended: OnEnd = (outcome, why) => {
        resolve({ outcome, why });
      };
      const call = this.#begin({
        process,
        op,
        isWrite,
        endsByTimeLimit,
        name: null,
        open: null,
        timeoutMs,
        ended,
        isAttempt: true,
      });
      this.#parts.trace(`${op} at ${process.id}`);
      ask().then(
        () => {
          this.#end(call, "done", "");
        },
        (error: unknown) => {
          this.#end(call, outcomeOf(error), codeOf(error));
        },
      );
    });
  }

  settled(name: string | null, outcome: Outcome): void {
    this.#count({ name, isWrite: true }, outcome);
  }

  watch(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.#parts.report(error);
    }
  }

  context(key: string): CallContext<StateMachine<unknown, unknown>> {
    const machines = this.#parts.processes.map(({ machine }) => machine);
    return { chance: this.#chance, number: ++this.#numbers, key, machines };
  }

  #begin(call: Omit<Call, "calledAt" | "notLeadingSince">): Call {
    const begun = { ...call, calledAt: this.#parts.clock.now(), notLeadingSince: null };
    this.#calls.add(begun);
    return begun;
  }

  #rejected(call: Call, write: AnyWrite, error: CommandRejectedError): void {
    if (write.rejected === undefined) {
      const text = `the subject did not expect that ${call.op} is rejected: ${error.message}`;
      this.#parts.report(new Violation("REJECT", text));
    }
    this.#done(call, () => write.rejected?.(error.cause), error.code);
  }

  #done(call: Call, output: () => unknown, why = ""): void {
    try {
      this.#end(call, "done", why, output());
    } catch (error) {
      // The subject itself failed: nothing it says can be believed.
      this.#parts.report(error);
    }
  }

  #end(call: Call, outcome: Outcome, why: string, output?: unknown): void {
    if (!this.#calls.delete(call)) return;
    this.#parts.trace(`${call.op} ${outcome}${why === "" ? "" : ` (${why})`}`);
    if (outcome === "done") call.open?.done(output);
    else if (outcome === "not-done") call.open?.notDone();
    else call.open?.unknown();
    if (call.isAttempt !== true) this.#count(call, outcome);
    call.ended(outcome, why);
  }

  #count({ name, isWrite }: Pick<Call, "name" | "isWrite">, outcome: Outcome): void {
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
}

/** Commands with long values shall not fill the trace. */
function clipped(text: string): string {
  return text.length <= DESCRIPTION_CHARACTERS_MAX ? text : `${text.slice(0, DESCRIPTION_CHARACTERS_MAX)}...`;
}

function codeOf(error: unknown): string {
  return error instanceof RaftError ? error.code : String(error);
}

/** What the error says of the write; an error that says nothing leaves it unknown. */
function outcomeOf(error: unknown): "not-done" | "unknown" {
  return error instanceof RaftError && error.outcome === "not-done" ? "not-done" : "unknown";
}
