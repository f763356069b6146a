/**
 * The simulated clients. Each makes one call at a time, mostly to the node that says it leads, and records
 * what it was told. The history of all calls is checked for linearizability at the end of the run.
 */
import type { RaftError } from "../../../errors.ts";
import type { StateMachine } from "../../../runtime/shared/index.ts";
import { Violation } from "../checkers/violation.ts";
import { History } from "../../linearizability/index.ts";
import { Chance } from "../plan/chance.ts";
import type { CallContext, WriteCall } from "../subject/subject.ts";
import type { SimProcess } from "../world/sim-process.ts";
import {
  codeOf,
  outcomeOf,
  tookEffectWithoutResult,
  type AttemptResult,
  type Call,
  type CallMaker,
  type ClientFigures,
  type ClientsParts,
  type OnEnd,
  type Outcome,
  type SessionClients,
} from "./client-calls.ts";
import { LibrarySessions } from "./library-sessions.ts";
import { ResumedSessions } from "./resumed-sessions.ts";
import { OpenCalls } from "./open-calls.ts";
import { SimSessions } from "./sim-sessions.ts";
import { StaleReads } from "./stale-reads.ts";

/** The mean pause of a client that reads from one node again and again, in milliseconds. */
const REPEATED_READ_PAUSE_MS = 50;

/**
 * The mean time after which an aborted call is aborted, in milliseconds; and the share of the aborted calls
 * whose signal is aborted before the call is made.
 */
const ABORT_AFTER_MS = 60;
const ALREADY_ABORTED_SHARE = 0.1;

/** How many sessions two clients take turns with where the session table is small. */
const SESSIONS_IN_TURN = 3;

/** Longer descriptions of commands and queries are cut to this length in the trace, which stays readable. */
const DESCRIPTION_CHARACTERS_MAX = 120;

type AnyWrite = WriteCall<unknown, unknown, unknown, unknown>;

/** See the file's header. */
export class SimClients implements CallMaker {
  readonly history: History<unknown, unknown>;
  /**
   * `choose` never picks this node, so only the calls that faults make reach it; null: there is no such node.
   * Written by faults.
   */
  avoided: SimProcess | null = null;
  readonly #parts: ClientsParts;
  readonly #calls: OpenCalls;
  readonly #staleReads: StaleReads;
  /** null: no client uses sessions. */
  readonly #sessions: SessionClients | null;
  // A random source for each purpose, so that runs without a new purpose stay as they were before it was
  // added.
  readonly #chance: Chance;
  readonly #consistencyChance: Chance;
  readonly #abortChance: Chance;
  readonly #groupChance: Chance;
  /** How many calls were made up. */
  #numbers = 0;
  /** How many writes of bursts were made. */
  #bursts = 0;
  #quiet = false;
  #stopped = false;

  constructor(parts: ClientsParts, chance: Chance) {
    const { seed, sessions, usage } = parts.plan;
    this.#parts = parts;
    this.#chance = chance;
    this.history = new History(() => parts.clock.now());
    this.#calls = new OpenCalls(parts);
    this.#staleReads = new StaleReads(parts, this);
    this.#consistencyChance = new Chance(seed ^ 0x57a1e);
    this.#abortChance = new Chance(seed ^ 0xab_047);
    this.#groupChance = new Chance(seed ^ 0x96_0e9);
    const sessionChance = new Chance(seed ^ 0x5e55);
    if (sessions === null) this.#sessions = null;
    else {
      const ofLibrary = usage.resumesSessions ? ResumedSessions : LibrarySessions;
      const Sessions = usage.librarySessions ? ofLibrary : SimSessions;
      this.#sessions = new Sessions(parts, this, sessionChance, sessions.ttlMs);
    }
  }

  get figures(): ClientFigures {
    return this.#calls.figures;
  }

  /** Names of the commands that were acknowledged. */
  get acknowledged(): ReadonlySet<string> {
    return this.#calls.acknowledged;
  }

  /** Names of the commands that were reported as not done. */
  get notDone(): ReadonlySet<string> {
    return this.#calls.notDone;
  }

  /** How many calls haven't ended. */
  get underWay(): number {
    return this.#calls.size;
  }

  /** While true, clients make no new calls. Written by faults. */
  set quiet(quiet: boolean) {
    this.#quiet = quiet;
  }

  start(): void {
    for (let client = 0; client < this.#parts.plan.clients; client++) this.#callLater(client);
  }

  /** No client makes another call by itself. Calls under way go on. */
  stop(): void {
    this.#stopped = true;
    this.#sessions?.stop();
  }

  /** A process died: its calls end as unknown. */
  died(process: SimProcess): void {
    this.#calls.died(process);
  }

  /** A node stopped or closed. Throws if it left a call without an answer. */
  stopped(process: SimProcess): void {
    this.#calls.stopped(process);
  }

  /**
   * Throws if a call to a live process should have ended by now: because its time limit is over, or, if it is
   * a write that is neither forwarded nor repeated, because its node hasn't led for an election timeout.
   * The exact bounds, which allow for slow clocks and pauses, are in open-calls.ts.
   */
  checkBounds(): void {
    this.#calls.checkBounds();
  }

  // --- What clients do ------------------------------------------------------------------------------

  #callLater(client: number): void {
    if (this.#stopped) return;
    this.#parts.clock.setTimer(this.#chance.time(this.#parts.plan.thinkMs), () => {
      this.#call(client);
    });
  }

  #call(client: number): void {
    if (this.#stopped) return;
    const process = this.choose();
    if (process === null) {
      this.#callLater(client);
      return;
    }
    const key = `k${String(this.#chance.whole(1, this.#parts.plan.keys))}`;
    const name = `c${String(client)}`;
    const ended = (): void => {
      this.#callLater(client);
    };
    const { staleShare, readShare, sessions } = this.#parts.plan;
    if (staleShare > 0 && this.#consistencyChance.happens(staleShare)) this.#readStale(name, process, ended);
    else if (this.#chance.happens(readShare)) this.read(name, process, key, ended);
    else if (this.#sessions !== null && client < (sessions?.clients ?? 0)) {
      void this.#sessions.write(name, this.#sessionGroupOf(client), key).then(ended, this.#parts.report);
    } else this.write(name, process, key, ended);
  }

  /**
   * Two clients share a session, so that it has several commands under way. Where the table is small they
   * take turns with several sessions, so that it is full, and the order of their last uses changes.
   */
  #sessionGroupOf(client: number): string {
    const pair = `g${String(client >> 1)}`;
    if (this.#parts.plan.sessionLimits === null) return pair;
    return `${pair}.${String(this.#groupChance.whole(1, SESSIONS_IN_TURN))}`;
  }

  choose(): SimProcess | null {
    const up = this.#parts.processes.filter((process) => process.isUp && process !== this.avoided);
    if (this.#quiet || up.length === 0) return null;
    const leaders = up.filter((process) => process.leads);
    // Clients are often wrong about who leads. Where nodes forward calls, more calls go to any node, so that
    // many are forwarded.
    const leaderShare = this.#parts.plan.usage.forward ? 0.4 : 0.8;
    return leaders.length > 0 && this.#chance.happens(leaderShare)
      ? this.#chance.pick(leaders)
      : this.#chance.pick(up);
  }

  /**
   * Makes so many writes at once, each of a key of its own: the log grows, and the history stays easy to
   * check.
   */
  burst(process: SimProcess, writes: number): void {
    for (let n = 0; n < writes && !this.#stopped; n++) {
      const key = `b${String(++this.#bursts)}`;
      this.write(key, process, key, () => undefined);
    }
  }

  /**
   * Makes so many writes and reads at once, all of one key that nobody else uses: the log grows, the state
   * doesn't, and they aren't in the history.
   */
  bulk(
    process: SimProcess,
    writes: number,
    reads = 0,
    timeoutMs: number = this.#parts.plan.callTimeoutMs,
  ): void {
    for (let n = 0; n < writes && !this.#stopped; n++)
      this.write("bulk", process, "bulk", () => undefined, timeoutMs, false);
    for (let n = 0; n < reads && !this.#stopped; n++)
      this.read("bulk", process, "bulk", () => undefined, timeoutMs, false);
  }

  /** One more client reads a key from this node, now. */
  readNow(process: SimProcess, key: string): void {
    this.read(`eager ${key}`, process, key, () => undefined);
  }

  /** A client that reads all keys from this node again and again, until the returned function is called. */
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

  // --- Calls ----------------------------------------------------------------------------------------

  /** One write, as the subject makes it up. `isRecorded` false: it isn't in the history. */
  write(
    client: string,
    process: SimProcess,
    key: string,
    ended: OnEnd,
    timeoutMs: number = this.#parts.plan.callTimeoutMs,
    isRecorded = true,
  ): void {
    const { subject, trace } = this.#parts;
    const context = this.context(key);
    const write = subject.write(context);
    const { command, input } = write;
    const op = `w${String(context.number)}`;
    const name = subject.nameOf?.(command) ?? null;
    const open = input === null || !isRecorded ? null : this.history.invoke(client, input);
    const endsByTimeLimit = this.forwards(process);
    const call = this.#calls.begin({
      process,
      op,
      isWrite: true,
      endsByTimeLimit,
      waitsForLeader: !process.leads,
      name,
      open,
      timeoutMs,
      ended,
    });
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
        this.#checkHint(process, error);
        if (tookEffectWithoutResult(error)) this.#rejected(call, write, error);
        else this.#calls.end(call, outcomeOf(error), codeOf(error));
      },
    );
  }

  /**
   * One linearizable or lease read, as the subject makes it up. `isRecorded` false: it isn't in the history.
   */
  read(
    client: string,
    process: SimProcess,
    key: string,
    ended: OnEnd,
    timeoutMs: number = this.#parts.plan.callTimeoutMs,
    isRecorded = true,
  ): void {
    const { subject, trace } = this.#parts;
    const context = this.context(key);
    const read = subject.read(context);
    const op = `r${String(context.number)}`;
    const open = isRecorded ? this.history.invoke(client, read.input) : null;
    const call = this.#calls.begin({ process, op, isWrite: false, name: null, open, timeoutMs, ended });
    this.figures.reads += 1;
    trace(`${client} ${op} ${clipped(subject.model.describe(read.input))} at ${process.id}`);
    this.#queryNode(process, (machine) => read.query(machine), timeoutMs).then(
      (output) => {
        this.#done(call, () => output);
      },
      (error: unknown) => {
        this.#checkHint(process, error);
        this.#calls.end(call, "not-done", codeOf(error));
      },
    );
  }

  #checkHint({ id, machine }: SimProcess, error: unknown): void {
    const { plan, checker } = this.#parts;
    // The same condition by which `openNode` decides whether the node forwards calls.
    const forwards = plan.usage.forward && machine?.codec?.encodeResult !== undefined;
    this.watch(() => {
      checker.hints.refused(id, error, forwards);
    });
  }

  /** Calls `Raft.read`, with lease reads and slow queries as the plan says. */
  #queryNode<T>(
    process: SimProcess,
    query: (machine: StateMachine<unknown, unknown>) => T | Promise<T>,
    timeoutMs: number,
  ): Promise<T> {
    const { raft, machine } = process;
    const { leaseShare, usage } = this.#parts.plan;
    const isLease = leaseShare > 0 && this.#consistencyChance.happens(leaseShare);
    const consistency = isLease ? "lease" : "linearizable";
    if (raft === null || machine === null) return Promise.reject(new Error(`${process.id} is down`));
    const checkedQuery = (): T | Promise<T> => {
      this.#staleReads.checkNoHalfCommand(process);
      return query(machine);
    };
    const slowQuery = async (): Promise<T> => {
      const seen = checkedQuery();
      await process.wait(usage.queryMs);
      return seen;
    };
    const options = { timeoutMs, consistency, ...this.abortOptions() } as const;
    const { reads } = this.#parts.checker;
    const askedAt = reads.asked();
    const confirmed = (): T | Promise<T> => {
      if (this.#parts.plan.checksModel)
        this.watch(() => {
          reads.answered(process.id, askedAt, isLease);
        });
      return usage.queryMs === 0 ? checkedQuery() : slowQuery();
    };
    return raft.read(confirmed, options);
  }

  #readStale(client: string, process: SimProcess, ended: OnEnd): void {
    const reading = (): Promise<void> => this.#staleReads.read(process);
    void this.attempt(`${client} looks`, process, false, reading).then(({ outcome, why }) => {
      ended(outcome, why);
    });
  }

  /** For a share of the calls a signal that aborts them. No call after healing is aborted. */
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

  /**
   * Whether this node would forward a write. Then only its time limit bounds the call: the node at which it
   * waits doesn't end it when a leader steps down.
   */
  forwards({ leads }: SimProcess): boolean {
    return this.#parts.plan.usage.forward && !leads;
  }

  attempt(
    op: string,
    process: SimProcess,
    isWrite: boolean,
    ask: () => Promise<void>,
    timeoutMs: number = this.#parts.plan.callTimeoutMs,
    endsByTimeLimit: boolean = this.forwards(process),
  ): Promise<AttemptResult> {
    return new Promise((resolve) => {
      const ended: OnEnd = (outcome, why) => {
        resolve({ outcome, why });
      };
      const call = this.#calls.begin({
        process,
        op,
        isWrite,
        endsByTimeLimit,
        waitsForLeader: !process.leads,
        name: null,
        open: null,
        timeoutMs,
        ended,
        isAttempt: true,
      });
      this.#parts.trace(`${op} at ${process.id}`);
      ask().then(
        () => {
          this.#calls.end(call, "done", "");
        },
        (error: unknown) => {
          this.#calls.end(call, outcomeOf(error), codeOf(error));
        },
      );
    });
  }

  settled(name: string | null, outcome: Outcome): void {
    this.#calls.count({ name, isWrite: true }, outcome);
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

  #rejected(call: Call, write: AnyWrite, error: RaftError): void {
    if (write.rejected === undefined) {
      const text = `the subject did not expect that ${call.op} is rejected: ${error.message}`;
      this.#parts.report(new Violation("REJECT", text));
    }
    this.#done(call, () => write.rejected?.(error.cause), error.code);
  }

  /** `output` is code of the subject. An error in it makes the whole run worthless, so it is reported. */
  #done(call: Call, output: () => unknown, why = ""): void {
    try {
      this.#calls.end(call, "done", why, output());
    } catch (error) {
      this.#parts.report(error);
    }
  }
}

function clipped(text: string): string {
  return text.length <= DESCRIPTION_CHARACTERS_MAX ? text : `${text.slice(0, DESCRIPTION_CHARACTERS_MAX)}...`;
}
