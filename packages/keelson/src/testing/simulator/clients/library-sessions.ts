/**
 * Clients in a node's process that use the library's own sessions, which number and repeat commands for them.
 *
 * - ONCE: a command isn't applied in a session that was closed before.
 *
 * A session repeats a command by itself, so an outcome covers several attempts (K4). Whether it is right is
 * checked with the outcomes of all other calls at the end of the run.
 */
import type { RaftError } from "../../../errors.ts";
import type { OpenOperation } from "../../linearizability/index.ts";
import type { Session } from "../../../runtime/sessions/index.ts";
import type { Chance } from "../plan/chance.ts";
import {
  tookEffectWithoutResult,
  type CallMaker,
  type ClientsParts,
  type Outcome,
  type SessionClients,
} from "./client-calls.ts";
import type { SimProcess } from "../world/sim-process.ts";
import type { WriteCall } from "../subject/subject.ts";
import { assertInvariant } from "../checkers/violation.ts";

/** A session, and the process that it was opened in. It ends with that process. */
interface OpenedSession {
  readonly session: Session<unknown, unknown>;
  readonly process: SimProcess;
  readonly raft: SimProcess["raft"];
}

/** What a write was answered. */
interface Answer {
  readonly result: unknown;
  readonly rejected: RaftError | null;
}

/** See the file's header. */
export class LibrarySessions implements SessionClients {
  readonly #parts: ClientsParts;
  readonly #clients: CallMaker;
  readonly #chance: Chance;
  readonly #ttlMs: number;
  /** The session that each group of clients shares. */
  readonly #sessions = new Map<string, OpenedSession>();
  /** The ids of sessions whose closing was acknowledged. Grows with the run. */
  readonly #closed = new Set<number>();
  #stopped = false;

  constructor(host: ClientsParts, clients: CallMaker, chance: Chance, ttlMs: number) {
    this.#parts = host;
    this.#clients = clients;
    this.#chance = chance;
    this.#ttlMs = ttlMs;
  }

  stop(): void {
    this.#stopped = true;
  }

  async write(client: string, group: string, key: string): Promise<void> {
    const opened = this.#known(group) ?? (await this.#open(client, group));
    // The process may have died since.
    if (opened === null || opened.process.raft !== opened.raft || this.#stopped) return;
    const { subject, trace } = this.#parts;
    const { history, figures } = this.#clients;
    const context = this.#clients.context(key);
    const write = subject.write(context);
    const { command, input } = write;
    const op = `s${String(context.number)}`;
    figures.writes += 1;
    trace(`${client} ${op} ${subject.describe(command)} in session ${String(opened.session.id)}`);
    const open = input === null ? null : history.invoke(client, input);
    const wasClosed = this.#closed.has(opened.session.id);
    const { outcome, why, answer } = await this.#ask(op, opened, command);
    this.#clients.watch(() => {
      assertInvariant(
        !wasClosed || answer === null,
        "ONCE",
        () => `${op} took effect in session ${String(opened.session.id)}, which was closed before`,
      );
    });
    this.#clients.settled(subject.nameOf?.(command) ?? null, outcome);
    if (answer !== null) recordAnswer(open, write, answer);
    else if (outcome === "not-done") open?.notDone();
    else open?.unknown();
    const { closeShare } = this.#parts.plan.usage;
    if (why === "SESSION_EXPIRED") this.#forget(group, opened);
    else if (closeShare > 0 && this.#chance.happens(closeShare)) await this.#close(group, opened);
  }

  /** The session of the group, if its process still runs. */
  #known(group: string): OpenedSession | null {
    const opened = this.#sessions.get(group);
    if (opened === undefined) return null;
    if (opened.process.raft === opened.raft) return opened;
    this.#sessions.delete(group);
    return null;
  }

  async #open(client: string, group: string): Promise<OpenedSession | null> {
    const process = this.#clients.choose();
    if (process === null) return null;
    const { raft } = process;
    const timeoutMs = this.#parts.plan.callTimeoutMs;
    const opened: OpenedSession[] = [];
    const opening = async (): Promise<void> => {
      const session = await raft?.openSession({
        ttlMs: this.#ttlMs,
        timeoutMs,
        ...this.#clients.abortOptions(),
      });
      if (session !== undefined) opened.push({ session, process, raft });
    };
    await this.#clients.attempt(`${client} opens`, process, false, opening);
    const [own] = opened;
    const other = this.#known(group);
    // If another client of the group opened one meanwhile, that one is used.
    if (other !== null || own === undefined) return other;
    this.#sessions.set(group, own);
    return own;
  }

  async #ask(
    op: string,
    { session, process }: OpenedSession,
    command: unknown,
  ): Promise<{ readonly outcome: Outcome; readonly why: string; readonly answer: Answer | null }> {
    const timeoutMs = this.#parts.plan.callTimeoutMs;
    let answer: Answer | null = null;
    const writing = async (): Promise<void> => {
      try {
        const result = await session.write(command, { timeoutMs, ...this.#clients.abortOptions() });
        answer = { result, rejected: null };
      } catch (error) {
        if (!tookEffectWithoutResult(error)) throw error;
        answer = { result: undefined, rejected: error };
      }
    };
    // The session repeats the command until its time limit.
    const ended = await this.#clients.attempt(op, process, true, writing, timeoutMs, true);
    return { ...ended, answer: ended.outcome === "done" ? answer : null };
  }

  async #close(group: string, opened: OpenedSession): Promise<void> {
    // In half of the cases the group goes on with the closed session, and its next write must be refused by
    // the cluster.
    if (this.#chance.happens(0.5)) this.#forget(group, opened);
    const { session, process } = opened;
    if (process.raft !== opened.raft) return;
    const timeoutMs = this.#parts.plan.callTimeoutMs;
    const closing = (): Promise<void> => session.close({ timeoutMs });
    const op = `close session ${String(session.id)}`;
    const { outcome } = await this.#clients.attempt(op, process, false, closing);
    if (outcome === "done") this.#closed.add(session.id);
  }

  #forget(group: string, opened: OpenedSession): void {
    if (this.#sessions.get(group) === opened) this.#sessions.delete(group);
  }
}

function recordAnswer(
  open: OpenOperation<unknown> | null,
  write: WriteCall<unknown, unknown, unknown, unknown>,
  { result, rejected }: Answer,
): void {
  if (rejected === null) open?.done(write.output(result));
  else open?.done(write.rejected?.(rejected.cause));
}
