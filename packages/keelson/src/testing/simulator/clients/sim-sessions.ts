/**
 * Clients with sessions that number and repeat their commands themselves, as a client outside of the process
 * would.
 *
 * - ONCE: a command takes effect once however often it is sent; every repetition gets the same answer (K1,
 *   K5); a session isn't expired before its time to live is over (Z13).
 * - KNOWN: a command that took effect is never reported as not done because its session ended (Z6).
 */
import { RaftError, ResultUnavailableError } from "../../../errors.ts";
import { SESSION_LIMITS } from "../../../runtime/sessions/index.ts";
import type { OpenOperation } from "../../linearizability/index.ts";
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

/** How often a client sends one command before it gives up, at most. */
const ATTEMPTS_MAX = 8;

/** The mean pause before the next attempt, in milliseconds. */
const PAUSE_MS = 40;

/** The share of answered commands that are sent once more, to compare the answers. */
const ASK_AGAIN_SHARE = 0.3;

/** Of the other answered commands, the share that are sent once more after their session was closed. */
const ASK_AFTER_END_SHARE = 0.05;

/**
 * A session lives at least this share of its time to live, in true time: clocks run at most a tenth too fast,
 * and the rest is a margin.
 */
const EARLIEST_EXPIRY = 0.85;

/** What the clients that share a session know of it. */
interface SimSession {
  readonly id: number;
  /** The sequence number of the next command. */
  next: number;
  /** The sequence numbers of commands whose answers no client has, ascending. */
  readonly unanswered: Set<number>;
  /**
   * When the last call was made that certainly used the session, in true time; Infinity: a client closed it.
   */
  usedAt: number;
}

/** A command and its place in its session: the same for each attempt. */
interface SessionCommand {
  readonly op: string;
  readonly command: unknown;
  readonly session: SimSession;
  readonly sequence: number;
}

/** How one attempt ended. */
interface Attempt {
  readonly outcome: Outcome;
  readonly why: string;
  /**
   * The result, or the error for a command that took effect without one; null: the attempt ended without
   * either.
   */
  readonly reply: Reply | null;
}

type Reply =
  | { readonly type: "result"; readonly result: unknown }
  | { readonly type: "rejected"; readonly error: RaftError };

/**
 * Sends each command, to any node, until it is answered, and some answered commands again. See the file's
 * header.
 */
export class SimSessions implements SessionClients {
  readonly #parts: ClientsParts;
  readonly #clients: CallMaker;
  readonly #chance: Chance;
  readonly #ttlMs: number;
  /** The session that each group of clients shares. */
  readonly #sessions = new Map<string, SimSession>();
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
    const session = this.#sessions.get(group) ?? (await this.#open(client, group));
    if (session === null) return;
    const { subject, trace } = this.#parts;
    const { history, figures } = this.#clients;
    const context = this.#clients.context(key);
    const write = subject.write(context);
    const { command, input } = write;
    const sending = { op: `s${String(context.number)}`, command, session, sequence: session.next++ };
    session.unanswered.add(sending.sequence);
    figures.writes += 1;
    trace(`${client} ${sending.op} ${subject.describe(command)} in session ${String(session.id)}`);
    const open = input === null ? null : history.invoke(client, input);
    const { outcome, reply } = await this.#send(sending, group);
    this.#clients.settled(subject.nameOf?.(command) ?? null, outcome);
    trace(`${sending.op} ${outcome} at last`);
    if (reply === null) {
      if (outcome === "not-done") open?.notDone();
      else open?.unknown();
    } else {
      recordReply(open, write, reply);
      if (this.#chance.happens(ASK_AGAIN_SHARE)) await this.#askAgain(sending, reply);
      else if (this.#chance.happens(ASK_AFTER_END_SHARE)) {
        // As if the first answer had been lost, and the session had ended before the command was sent again.
        await this.#close(session, group);
        await this.#askAgain(sending, reply);
      }
    }
    // Also if the client gave up. Its next command then tells the cluster that this answer needn't be kept.
    session.unanswered.delete(sending.sequence);
    const { closeShare } = this.#parts.plan.usage;
    if (closeShare > 0 && this.#chance.happens(closeShare)) await this.#close(session, group);
  }

  /** Closes the group's session. The other clients of the group notice when their next command is refused. */
  async #close(session: SimSession, group: string): Promise<void> {
    if (this.#sessions.get(group) === session) this.#sessions.delete(group);
    session.usedAt = Infinity;
    const process = this.#clients.choose();
    if (process === null || this.#stopped) return;
    const timeoutMs = this.#parts.plan.callTimeoutMs;
    await this.#clients.attempt(`close session ${String(session.id)}`, process, false, async () => {
      await process.raft?.endSession(session.id, { timeoutMs });
    });
  }

  async #open(client: string, group: string): Promise<SimSession | null> {
    const process = this.#clients.choose();
    if (process === null) return null;
    let id = 0;
    const ttlMs = this.#ttlMs;
    const timeoutMs = this.#parts.plan.callTimeoutMs;
    const askedAt = this.#parts.clock.now();
    const opening = async (): Promise<void> => {
      const session = await process.raft?.openSession({ ttlMs, timeoutMs, ...this.#clients.abortOptions() });
      id = session?.id ?? 0;
    };
    const { outcome } = await this.#clients.attempt(`${client} opens`, process, false, opening);
    const other = this.#sessions.get(group);
    // If another client of the group opened one meanwhile, that one is used.
    if (outcome !== "done" || id === 0 || other !== undefined) return other ?? null;
    this.#parts.trace(`${group} has session ${String(id)}`);
    const session = { id, next: 1, unanswered: new Set<number>(), usedAt: askedAt };
    this.#sessions.set(group, session);
    return session;
  }

  /** Sends a command until it is answered or its session has expired, or its client gives up. */
  async #send(sending: SessionCommand, group: string): Promise<Attempt> {
    let outcome: "not-done" | "unknown" = "not-done";
    const attempts = this.#chance.whole(1, ATTEMPTS_MAX);
    for (let attempt = 0; attempt < attempts && !this.#stopped; attempt++) {
      const process = this.#clients.choose();
      if (process !== null) {
        const result = await this.#attempt(sending, process);
        if (result.reply !== null) return result;
        if (result.outcome !== "not-done") outcome = "unknown";
        if (result.why === "SESSION_EXPIRED") {
          // This outcome covers the earlier attempts too: by it the node says that none of them took effect
          // (Z6).
          if (result.outcome === "not-done") outcome = "not-done";
          if (this.#sessions.get(group) === sending.session) this.#sessions.delete(group);
          break;
        }
      }
      await this.#pause();
    }
    return { outcome, why: "", reply: null };
  }

  /** ONCE: a command that was answered gets the same answer again, from any node. */
  async #askAgain(sending: SessionCommand, reply: Reply): Promise<void> {
    await this.#pause();
    const process = this.#clients.choose();
    if (process === null || this.#stopped) return;
    const { op, session, sequence } = sending;
    const again = await this.#attempt(sending, process);
    const name = `command ${String(sequence)} of session ${String(session.id)} (${op})`;
    const isForgotten = again.why === "ANSWER_FORGOTTEN";
    this.#clients.watch(() => {
      assertInvariant(
        again.why !== "SESSION_EXPIRED" || again.outcome !== "not-done",
        "KNOWN",
        () => `${name} took effect, and at ${process.id} it is said that it did not`,
      );
      assertInvariant(
        !isForgotten || this.#mayForgetResults,
        "ONCE",
        () => `${process.id} forgot the answer to ${name}, which is wanted`,
      );
      assertInvariant(
        again.reply === null || textOf(again.reply) === textOf(reply),
        "ONCE",
        () =>
          `${name} was answered ${textOf(reply)}, and at ${process.id} ${String(again.reply && textOf(again.reply))}`,
      );
    });
  }

  async #attempt({ op, command, session, sequence }: SessionCommand, process: SimProcess): Promise<Attempt> {
    const [lowestUnanswered = sequence] = session.unanswered;
    const timeoutMs = this.#parts.plan.callTimeoutMs;
    const { id } = session;
    let reply: Reply | null = null;
    const writing = async (): Promise<void> => {
      try {
        const { raft } = process;
        if (raft === null) throw new Error(`${process.id} is down`);
        const result = await raft.write(command, { timeoutMs, session: { id, sequence, lowestUnanswered } });
        reply = { type: "result", result };
      } catch (error) {
        if (!tookEffectWithoutResult(error)) {
          if (process.raft !== null) this.#checkReadable(op, error);
          throw error;
        }
        reply = { type: "rejected", error };
      }
    };
    const askedAt = this.#parts.clock.now();
    const ended = await this.#clients.attempt(op, process, true, writing);
    if (ended.outcome === "done") session.usedAt = Math.max(session.usedAt, askedAt);
    else if (ended.why === "SESSION_EXPIRED") this.#checkExpired(session, process);
    return { ...ended, reply: ended.outcome === "done" ? reply : null };
  }

  /** Whether the results of one session may be more than the table keeps of it. */
  get #mayForgetResults(): boolean {
    const { answerBytesMax = Infinity } = this.#parts.plan.sessionLimits ?? {};
    return answerBytesMax < SESSION_LIMITS.answerBytesMax;
  }

  /** Whether there may be more sessions than the table has room for, so that one ends before its time. */
  get #mayBePushedOut(): boolean {
    const { sessionsMax = Infinity, bytesMax = Infinity } = this.#parts.plan.sessionLimits ?? {};
    return sessionsMax < SESSION_LIMITS.sessionsMax || bytesMax < SESSION_LIMITS.bytesMax;
  }

  /** ONCE: a session lives for its time to live after its last use, by the clock of any leader (Z13). */
  #checkExpired({ id, usedAt }: SimSession, process: SimProcess): void {
    const unusedMs = this.#parts.clock.now() - usedAt;
    this.#clients.watch(() => {
      assertInvariant(
        usedAt === Infinity || this.#mayBePushedOut || unusedMs > this.#ttlMs * EARLIEST_EXPIRY,
        "ONCE",
        () => `session ${String(id)} is expired for ${process.id}, ${String(unusedMs)} ms after it was used`,
      );
    });
  }

  /**
   * ONCE: the kept answer can be decoded, so it is what was encoded (Z11). An error that isn't the library's
   * comes from the codec, too.
   */
  #checkReadable(op: string, error: unknown): void {
    this.#clients.watch(() => {
      assertInvariant(
        error instanceof RaftError && !(error instanceof ResultUnavailableError),
        "ONCE",
        () => `the answer to ${op} can't be decoded: ${String(error)}`,
      );
    });
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.#parts.clock.setTimer(this.#chance.time(PAUSE_MS), resolve);
    });
  }
}

function recordReply(
  open: OpenOperation<unknown> | null,
  write: WriteCall<unknown, unknown, unknown, unknown>,
  reply: Reply,
): void {
  if (reply.type === "result") open?.done(write.output(reply.result));
  else open?.done(write.rejected?.(reply.error.cause));
}

function textOf(reply: Reply): string {
  return reply.type === "result" ? JSON.stringify(reply.result) : reply.error.message;
}
