/**
 * Clients that continue their sessions after a restart, and at other nodes (`ResumableSession`). Each keeps
 * the state of its session as a program would on its disk, and loses everything else now and then.
 *
 * - ONCE: a command that is written again by a resumed session takes effect once, and gets its first answer;
 *   a state that was kept by the rules is never older than its session.
 * - KNOWN: an error's outcome covers the attempts of the programs before, too. It is checked with the
 *   outcomes of all other calls at the end of the run; here, that a session which has ended doesn't say "not
 *   done" of commands that may have been sent.
 */
import { RaftError } from "../../../errors.ts";
import type { ResumableSession, SessionState } from "../../../runtime/sessions/index.ts";
import type { Chance } from "../plan/chance.ts";
import type { SimProcess } from "../world/sim-process.ts";
import { assertInvariant } from "../checkers/violation.ts";
import {
  tookEffectWithoutResult,
  type CallMaker,
  type ClientsParts,
  type Outcome,
  type SessionClients,
} from "./client-calls.ts";

/** How often a client writes one command before it gives up, at most. */
const ATTEMPTS_MAX = 6;

/** The mean pause before the next attempt, in milliseconds. */
const PAUSE_MS = 40;

/** Before this share of the attempts, the client loses its session object, and resumes the session. */
const RESTART_SHARE = 0.3;

/** What a program has in memory of a session. It is lost with the process. */
interface LiveSession {
  readonly session: ResumableSession<unknown, unknown>;
  readonly process: SimProcess;
  readonly raft: SimProcess["raft"];
}

/** One client. */
interface Client {
  readonly name: string;
  /** What it has on its disk; null: no session. */
  kept: SessionState | null;
  live: LiveSession | null;
  /** The last command that was answered, if its number is still pending in `kept`. */
  answered: { readonly sequence: number; readonly command: unknown; readonly answer: string } | null;
}

/** What a write was answered. */
type Answer =
  | { readonly type: "result"; readonly result: unknown }
  | { readonly type: "rejected"; readonly error: RaftError };

/** See the file's header. */
export class ResumedSessions implements SessionClients {
  readonly #parts: ClientsParts;
  readonly #clients: CallMaker;
  readonly #chance: Chance;
  readonly #ttlMs: number;
  /** By name. Each client has a session of its own: one program at a time continues a session. */
  readonly #byName = new Map<string, Client>();
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

  async write(name: string, _group: string, key: string): Promise<void> {
    const client = this.#byName.get(name) ?? { name, kept: null, live: null, answered: null };
    this.#byName.set(name, client);
    const first = await this.#liveSession(client);
    if (first === null || this.#stopped) return;
    const { subject, trace } = this.#parts;
    const { history, figures } = this.#clients;
    const context = this.#clients.context(key);
    const write = subject.write(context);
    const { command, input } = write;
    const op = `s${String(context.number)}`;
    const sequence = first.session.reserve();
    keep(client, first.session);
    figures.writes += 1;
    trace(`${name} ${op} ${subject.describe(command)} as ${nameOf(first.session.id, sequence)}`);
    const open = input === null ? null : history.invoke(name, input);
    const { outcome, answer } = await this.#send(client, op, sequence, command);
    this.#clients.settled(subject.nameOf?.(command) ?? null, outcome);
    trace(`${op} ${outcome} at last`);
    if (answer === null) {
      if (outcome === "not-done") open?.notDone();
      else open?.unknown();
      // The client gives the command up.
      this.#release(client, sequence);
      return;
    }
    if (answer.type === "result") open?.done(write.output(answer.result));
    else open?.done(write.rejected?.(answer.error.cause));
    // In half of the cases the program dies before it has noted the answer.
    if (this.#chance.happens(0.5)) client.answered = { sequence, command, answer: textOf(answer) };
    else if (client.live !== null) keep(client, client.live.session);
  }

  /** Writes a command until it is answered, or its session has ended, or the client gives up. */
  async #send(
    client: Client,
    op: string,
    sequence: number,
    command: unknown,
  ): Promise<{ readonly outcome: Outcome; readonly answer: Answer | null }> {
    let outcome: Outcome = "not-done";
    const attempts = this.#chance.whole(1, ATTEMPTS_MAX);
    for (let attempt = 0; attempt < attempts && !this.#stopped; attempt++) {
      if (attempt > 0 && this.#chance.happens(RESTART_SHARE)) client.live = null;
      const live = await this.#liveSession(client);
      // The session has ended, and what it says of its pending commands is "unknown".
      if (client.kept === null) return { outcome: attempt === 0 ? outcome : "unknown", answer: null };
      if (live !== null && !this.#hasStopped()) {
        const ended = await this.#attempt(op, live, sequence, command);
        // It covers all attempts of this session object, and of those before it.
        outcome = ended.outcome;
        if (ended.answer !== null) return ended;
        if (ended.why === "SESSION_EXPIRED") {
          client.kept = null;
          client.live = null;
          break;
        }
      }
      await this.#pause();
    }
    return { outcome, answer: null };
  }

  async #attempt(
    op: string,
    { session, process }: LiveSession,
    sequence: number,
    command: unknown,
  ): Promise<{ readonly outcome: Outcome; readonly why: string; readonly answer: Answer | null }> {
    const timeoutMs = this.#parts.plan.callTimeoutMs;
    let answer: Answer | null = null;
    const writing = async (): Promise<void> => {
      try {
        const options = { timeoutMs, ...this.#clients.abortOptions() };
        answer = { type: "result", result: await session.write(sequence, command, options) };
      } catch (error) {
        if (!tookEffectWithoutResult(error)) throw error;
        answer = { type: "rejected", error };
      }
    };
    const ended = await this.#clients.attempt(op, process, true, writing, timeoutMs, true);
    return { ...ended, answer: ended.outcome === "done" ? answer : null };
  }

  /** The client's session, opened or resumed if its process has died; null: that failed. */
  async #liveSession(client: Client): Promise<LiveSession | null> {
    const { live } = client;
    if (live !== null && live.process.raft === live.raft) return live;
    client.live = null;
    const process = this.#clients.choose();
    if (process === null) return null;
    const { raft } = process;
    const { kept, name } = client;
    const timeoutMs = this.#parts.plan.callTimeoutMs;
    const opened: ResumableSession<unknown, unknown>[] = [];
    let failure: unknown = null;
    const opening = async (): Promise<void> => {
      try {
        const session =
          kept === null
            ? await raft?.openResumableSession({ ttlMs: this.#ttlMs, timeoutMs })
            : await raft?.resumeSession(kept, { timeoutMs });
        if (session !== undefined) opened.push(session);
      } catch (error) {
        failure = error;
        throw error;
      }
    };
    await this.#clients.attempt(`${name} ${kept === null ? "opens" : "resumes"}`, process, false, opening);
    if (kept !== null) this.#checkRefusal(client, kept, failure);
    const [session] = opened;
    if (session === undefined || process.raft !== raft) return null;
    client.live = { session, process, raft };
    if (kept === null) {
      keep(client, session);
      // It belongs to a session that has ended, and its number to another command now.
      client.answered = null;
    } else await this.#askAgain(client, client.live);
    return client.live;
  }

  #checkRefusal(client: Client, { id, pending }: SessionState, failure: unknown): void {
    if (!(failure instanceof RaftError)) return;
    const { code, outcome, message } = failure;
    this.#clients.watch(() => {
      assertInvariant(
        code !== "INVALID_OPTION",
        "ONCE",
        () => `session ${String(id)} can't be resumed from a state that was kept by the rules: ${message}`,
      );
      assertInvariant(
        code !== "SESSION_EXPIRED" || pending.length === 0 || outcome === "unknown",
        "KNOWN",
        () => `session ${String(id)} has ended, and commands that may have been sent are called ${outcome}`,
      );
    });
    if (code !== "SESSION_EXPIRED") return;
    client.kept = null;
    client.answered = null;
  }

  /** ONCE: the last answered command, whose number is still pending, gets the same answer. */
  async #askAgain(client: Client, live: LiveSession): Promise<void> {
    const { answered } = client;
    client.answered = null;
    if (answered === null || !live.session.state.pending.includes(answered.sequence)) return;
    const { sequence, command } = answered;
    const name = nameOf(live.session.id, sequence);
    const { answer, outcome } = await this.#attempt(`again ${name}`, live, sequence, command);
    this.#clients.watch(() => {
      assertInvariant(
        outcome !== "not-done",
        "KNOWN",
        () => `${name} took effect, and is said to be not done`,
      );
      assertInvariant(
        answer === null || textOf(answer) === answered.answer,
        "ONCE",
        () => `${name} was answered ${answered.answer}, and by the resumed session ${textOf(answer)}`,
      );
    });
    if (answer === null) this.#release(client, sequence);
    else keep(client, live.session);
  }

  #release(client: Client, sequence: number): void {
    const { live } = client;
    // With the process, the write may have died before its end. The number then stays pending.
    if (live === null || live.process.raft !== live.raft) return;
    if (!live.session.state.pending.includes(sequence)) return;
    live.session.release(sequence);
    keep(client, live.session);
  }

  /** A method, because TypeScript would otherwise assume that the field is unchanged after an `await`. */
  #hasStopped(): boolean {
    return this.#stopped;
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.#parts.clock.setTimer(this.#chance.time(PAUSE_MS), resolve);
    });
  }
}

/** Keeps the state as a program would: as text, on its disk. */
function keep(client: Client, { state }: ResumableSession<unknown, unknown>): void {
  client.kept = JSON.parse(JSON.stringify(state)) as SessionState;
}

function nameOf(id: number, sequence: number): string {
  return `command ${String(sequence)} of session ${String(id)}`;
}

function textOf(answer: Answer | null): string {
  if (answer === null) return "nothing";
  return answer.type === "result" ? JSON.stringify(answer.result) : answer.error.message;
}
