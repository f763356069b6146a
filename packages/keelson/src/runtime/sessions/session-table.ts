// The session table: the open sessions, and the kept answers to their commands (§8; dissertation 6.3).
//
// The table is replicated state, like the state machine's: every node makes the same changes at the same
// entries. So it depends on the entries and nothing else, and in particular on no node's clock, memory size
// or options. It always matches the last applied entry: a batch's changes to the table are stored with that
// batch's effects (`flush`), and a snapshot holds the table as of its own last entry. Otherwise a retry could
// be applied twice after a restart.
//
// Expiry uses log time, which entries move forward. Every node computes the same log time at the same entry,
// so a session expires at the same entry everywhere. Log time starts at 0 and never goes back; one entry
// moves it by a limited step; and while sessions are open, the leader's entries let it follow the leader's
// monotonic clock.
//
// No step of the table takes more than a few milliseconds, because a longer one would delay heartbeats (Z19).
// A snapshot's view shares the sessions with the table and copies none in advance; a table is loaded in
// steps; and one entry removes a limited number of records (`expiryRecordsMax`).
//
// Kept for each session: its time to live, its last use, the lowest unanswered sequence number, and the
// answers from that number on. An answer holds the encoded result, so a retry gets the same result as the
// first attempt. All of it is limited by `SESSION_LIMITS`.

import { LOG_TIME_STEP_MS_MAX, type SessionCommandId } from "../../codec/session-entry.ts";
import { assert } from "../../core/assert.ts";
import type { LogIndex } from "../../core/position.ts";
import { DecodeError } from "../../errors.ts";
import {
  answerName,
  decodeAnswer,
  decodeSession,
  decodeTime,
  encodeAnswer,
  encodeSession,
  encodeTime,
  isKnownTable,
  parseName,
  sessionName,
  TIME_NAME,
  type Answer,
  type SessionState,
} from "./session-records.ts";
import { inOneTurn, type SessionChanges, type SessionRecords, type Steps } from "../shared/index.ts";

/** How much the sessions of a cluster may hold. */
export interface SessionLimits {
  /** Sessions open at once. Opening one more ends the least recently used one. */
  readonly sessionsMax: number;
  /**
   * Sequence numbers in use in one session, from the lowest unanswered on. A command beyond them is refused
   * until the client has received older answers.
   */
  readonly windowMax: number;
  /**
   * Bytes of results kept for one session. Beyond it the oldest results are forgotten; that their commands
   * took effect is still known, so they aren't applied again.
   */
  readonly answerBytesMax: number;
  /** Bytes of memory that the whole table holds. Beyond it the least recently used sessions end. */
  readonly bytesMax: number;
  /**
   * Records that one entry removes because their sessions have expired; the last session may exceed it. The
   * rest is removed at the next entries. If one entry could remove all, the turn of the event loop that
   * applies it would last for hundreds of milliseconds.
   */
  readonly expiryRecordsMax: number;
}

/**
 * The limits of every node. They decide whether a command is applied, so they are part of the
 * log's format and not an option: nodes with different limits would apply different commands,
 * and their states would diverge.
 */
export const SESSION_LIMITS: SessionLimits = {
  sessionsMax: 10_000,
  windowMax: 1024,
  answerBytesMax: 1024 * 1024,
  bytesMax: 32 * 1024 * 1024,
  expiryRecordsMax: 2048,
};

/**
 * What a session, and an answer, count towards the limits beyond the bytes of results: the memory that their
 * objects hold, measured on Node 24 (session-memory.test.ts). Part of the format, like the limits.
 */
export const SESSION_OVERHEAD_BYTES = 512;
export const ANSWER_OVERHEAD_BYTES = 320;

/** Records that one step of `load` takes: a few milliseconds. */
const LOAD_STEP_RECORDS = 1024;

/** What the table decides about a command in a session. */
export type CommandVerdict =
  /** Not seen before: apply it, then call `recordAnswer`. */
  | { readonly type: "apply" }
  /** It took effect already, with this answer: don't apply it again. */
  | { readonly type: "duplicate"; readonly answer: Answer }
  /** The session has ended, or never existed. */
  | { readonly type: "expired" }
  /** The client has said that it received this command's answer, so the answer was discarded. */
  | { readonly type: "answer-discarded" }
  /** The sequence number is `windowMax` or more above the lowest unanswered one. */
  | { readonly type: "window-exceeded"; readonly windowMax: number };

/** What the table knows of an open session, for a client that continues it. */
export interface SessionProgress {
  readonly ttlMs: number;
  /** No command with this number or a higher one has been applied in the session. */
  readonly nextSequence: number;
}

/** One open session. */
interface Session {
  /** The index of the entry that opened it. */
  readonly id: LogIndex;
  /** How long it may stay unused, in ms of log time. */
  readonly ttlMs: number;
  /** Log time of its last use. */
  lastUsedMs: number;
  /** The entry that used it last. Orders the sessions by use, the same on every node. */
  lastUsedIndex: LogIndex;
  /** The lowest sequence number whose answer the client may still lack. Only rises. */
  lowestUnanswered: number;
  /**
   * The kept answers by sequence number, in the order in which the commands
   * took effect. None below `lowestUnanswered`.
   */
  readonly answers: Map<number, Answer>;
  /** What the session counts towards `bytesMax`: the overheads, and the bytes of its results. */
  bytes: number;
  /** How many views had been opened when this object was made. Views that were opened later may share it. */
  readonly viewsBefore: number;
}

/**
 * The table as it was at one entry, for a snapshot. Costs little to open: it shares the sessions with the
 * table.
 */
export interface SessionTableView {
  /** All records, made one by one. Equal, order included, on all nodes that have applied the same entries. */
  records(): Generator<readonly [name: string, value: Uint8Array], void, undefined>;
  /** Once no view is open, the table changes its sessions in place again. Idempotent. */
  close(): void;
}

/** The open sessions and their kept answers. Changed only by applying entries, or restoring a snapshot. */
export class SessionTable {
  readonly #limits: SessionLimits;
  /** See `isKnown`. Set when the table is made, and by `become`. */
  #isKnown = true;
  /** The open sessions by id, least recently used first. */
  #sessions = new Map<LogIndex, Session>();
  /** Log time, in ms. Moved forward by session entries; never goes back. */
  #logTimeMs = 0;
  /** What all sessions count towards `bytesMax`: the sum of their `bytes`. */
  #bytes = 0;
  /**
   * No session expires before this log time. A lower bound, so that most entries need
   * not look at every session.
   */
  #nextExpiryMs = Infinity;
  /**
   * The names of the records that changed since `takeChanges` or `discardChanges`. A new table has its record
   * of log time to store, which says that the table is known: see `isKnownTable`.
   */
  #changedRecords = new Set<string>([TIME_NAME]);
  /** Views that were opened, since the table was made. */
  #viewsOpened = 0;
  /**
   * Views that are open. While there are any, a session that one may share is copied before it is changed.
   */
  #viewsOpen = 0;

  constructor(limits: SessionLimits = SESSION_LIMITS) {
    const { windowMax, answerBytesMax, bytesMax } = limits;
    assert(
      SESSION_OVERHEAD_BYTES + windowMax * ANSWER_OVERHEAD_BYTES + answerBytesMax <= bytesMax,
      "the table has room for one session",
    );
    this.#limits = limits;
  }

  /**
   * The table that these records describe; `isKnownTable` says whether they describe one. In steps of a few
   * milliseconds.
   *
   * A state machine may store and return the records in any order. The order in the table is that of the log:
   * it decides which session is evicted, and which result forgotten, first.
   *
   * @throws DecodeError
   */
  static *load(records: SessionRecords, limits?: SessionLimits): Steps<SessionTable> {
    const table = new SessionTable(limits);
    table.#isKnown = isKnownTable(records);
    if (!table.#isKnown && records.size > 0)
      throw new DecodeError("the records of the sessions lack the time of the log");
    const sessions: Session[] = [];
    const answers = new Map<LogIndex, (readonly [sequence: number, answer: Answer])[]>();
    let taken = 0;
    for (const [text, bytes] of records) {
      const name = parseName(text);
      if (name.type === "time") table.#logTimeMs = decodeTime(bytes);
      else if (name.type === "session") sessions.push(newSession(name.id, decodeSession(bytes), 0));
      else {
        const answer = [name.sequence, decodeAnswer(bytes)] as const;
        const others = answers.get(name.id);
        if (others === undefined) answers.set(name.id, [answer]);
        else others.push(answer);
      }
      if (++taken % LOAD_STEP_RECORDS === 0) yield;
    }
    sessions.sort((a, b) => a.lastUsedIndex - b.lastUsedIndex);
    yield;
    for (const session of sessions) {
      table.#addSession(session);
      const own = answers.get(session.id) ?? [];
      answers.delete(session.id);
      own.sort(([, a], [, b]) => a.index - b.index);
      for (const [sequence, answer] of own) table.#setAnswer(session, sequence, answer);
      const before = taken;
      taken += 1 + own.length;
      if (Math.floor(taken / LOAD_STEP_RECORDS) > Math.floor(before / LOAD_STEP_RECORDS)) yield;
    }
    const [missing] = answers.keys();
    if (missing !== undefined)
      throw new DecodeError(`an answer is of session ${String(missing)}, which is not there`);
    table.#nextExpiryMs = 0;
    table.#changedRecords = new Set();
    return table;
  }

  /**
   * The table that these records describe, made in one turn of the event loop.
   *
   * @throws DecodeError
   */
  static fromRecords(records: SessionRecords, limits?: SessionLimits): SessionTable {
    return inOneTurn(SessionTable.load(records, limits));
  }

  /**
   * Whether the table holds all sessions. False if a state machine on disk holds entries, but didn't
   * store the sessions with them: any command could then be a retry of one that it holds. The node stops
   * at the first session entry. A snapshot that it takes says the same of itself.
   */
  get isKnown(): boolean {
    return this.#isKnown;
  }

  /** How much the table may hold. A table that takes its place has the same limits. */
  get limits(): SessionLimits {
    return this.#limits;
  }

  /** Log time, in ms. */
  get logTimeMs(): number {
    return this.#logTimeMs;
  }

  /** How many sessions are open. */
  get size(): number {
    return this.#sessions.size;
  }

  /** What the table counts towards `bytesMax`. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Records that changed since `takeChanges` or `discardChanges`. */
  get changes(): number {
    return this.#changedRecords.size;
  }

  /** What is known of a session; null: it has ended, or never existed. */
  progressOf(id: LogIndex): SessionProgress | null {
    const session = this.#sessions.get(id);
    // One that has expired may be in the table a little longer: see `#advanceTime`.
    if (session === undefined || this.#isExpired(session)) return null;
    const highest = Math.max(session.lowestUnanswered - 1, ...session.answers.keys());
    return { ttlMs: session.ttlMs, nextSequence: highest + 1 };
  }

  /** Applies an entry that opens a session. Its index is the session's id. */
  open(index: LogIndex, clock: number, ttlMs: number): void {
    this.#advanceTime(clock);
    const state = { ttlMs, lastUsedMs: this.#logTimeMs, lastUsedIndex: index, lowestUnanswered: 1 };
    this.#addSession(newSession(index, state, this.#viewsOpened));
    this.#changedRecords.add(sessionName(index));
    this.#nextExpiryMs = Math.min(this.#nextExpiryMs, this.#logTimeMs + ttlMs);
    this.#evictSessions();
  }

  /** Applies an entry that closes a session. Returns false if the session had ended already. */
  close(clock: number, id: LogIndex): boolean {
    this.#advanceTime(clock);
    const session = this.#unexpired(id);
    if (session === undefined) return false;
    this.#removeSession(session);
    return true;
  }

  /** Applies an entry that moves log time forward, and does nothing else. */
  passTime(clock: number): void {
    this.#advanceTime(clock);
  }

  /**
   * Applies an entry that carries a command, up to the decision whether the command itself is to be applied.
   */
  beginCommand(index: LogIndex, clock: number, command: SessionCommandId): CommandVerdict {
    this.#advanceTime(clock);
    const found = this.#unexpired(command.id);
    if (found === undefined) return { type: "expired" };
    const session = this.#writable(found);
    this.#recordUse(session, index, command.lowestUnanswered);
    const { sequence } = command;
    if (sequence < session.lowestUnanswered) return { type: "answer-discarded" };
    const answer = session.answers.get(sequence);
    if (answer !== undefined) return { type: "duplicate", answer };
    const { windowMax } = this.#limits;
    if (sequence - session.lowestUnanswered >= windowMax) return { type: "window-exceeded", windowMax };
    return { type: "apply" };
  }

  /** Keeps the answer of a command that was just applied, for its retries. */
  recordAnswer(id: LogIndex, sequence: number, answer: Answer): void {
    const found = this.#sessions.get(id);
    assert(found !== undefined && !found.answers.has(sequence), "a command of a session is answered once");
    const session = this.#writable(found);
    const isKept = answer.bytes.length <= this.#limits.answerBytesMax;
    this.#setAnswer(session, sequence, isKept ? answer : withoutResult(answer));
    this.#forgetOldestResults(session);
    this.#evictSessions();
  }

  /**
   * The records that changed since the last call: for a state machine on disk, which stores
   * them with a batch's effects.
   */
  takeChanges(): SessionChanges {
    if (this.#changedRecords.size === 0) return NO_CHANGES;
    const changes = new Map<string, Uint8Array | null>();
    for (const name of this.#changedRecords) changes.set(name, this.#recordNamed(name));
    this.#changedRecords = new Set();
    return changes;
  }

  /**
   * Forgets what changed: for a state machine in memory, whose sessions are rebuilt from
   * the log like its state.
   */
  discardChanges(): void {
    if (this.#changedRecords.size > 0) this.#changedRecords.clear();
  }

  /** The table as it is now. The caller closes the view when it has read what it needs. */
  openView(): SessionTableView {
    this.#viewsOpened += 1;
    this.#viewsOpen += 1;
    const sessions = [...this.#sessions.values()];
    const logTimeMs = this.#isKnown ? this.#logTimeMs : null;
    let isOpen = true;
    return {
      records: () => recordsOf(logTimeMs, sessions),
      close: () => {
        if (isOpen) this.#viewsOpen -= 1;
        isOpen = false;
      },
    };
  }

  /** Takes over the contents of another table, which must not be used any more. For a restored snapshot. */
  become(other: SessionTable): void {
    this.#isKnown = other.#isKnown;
    this.#sessions = other.#sessions;
    this.#logTimeMs = other.#logTimeMs;
    this.#bytes = other.#bytes;
    this.#nextExpiryMs = other.#nextExpiryMs;
    this.#changedRecords = other.#changedRecords;
  }

  /**
   * Moves log time forward to an entry's clock reading, if it is later, and ends the sessions
   * that have expired by then.
   */
  #advanceTime(clock: number): void {
    if (clock > this.#logTimeMs) {
      // By one step at most: a single entry with a wrong clock reading then ends only sessions that had no
      // more than a step left to live (Z13).
      this.#logTimeMs = Math.min(clock, this.#logTimeMs + LOG_TIME_STEP_MS_MAX);
      this.#changedRecords.add(TIME_NAME);
    }
    if (this.#logTimeMs <= this.#nextExpiryMs) return;
    this.#nextExpiryMs = Infinity;
    let removed = 0;
    // Least recently used first, an order that is the same on every node. Removing from a map while reading
    // it is safe.
    for (const session of this.#sessions.values()) {
      if (this.#isExpired(session)) {
        if (removed >= this.#limits.expiryRecordsMax) {
          // The next entry continues.
          this.#nextExpiryMs = -1;
          return;
        }
        removed += 1 + session.answers.size;
        this.#removeSession(session);
      } else this.#nextExpiryMs = Math.min(this.#nextExpiryMs, session.lastUsedMs + session.ttlMs);
    }
  }

  #isExpired({ lastUsedMs, ttlMs }: Session): boolean {
    return this.#logTimeMs > lastUsedMs + ttlMs;
  }

  /**
   * The session, unless it has ended. One that has expired and is still in the table, because `#advanceTime`
   * removes a limited number, is removed here: else its commands would be applied for a few entries more.
   */
  #unexpired(id: LogIndex): Session | undefined {
    const session = this.#sessions.get(id);
    if (session === undefined || !this.#isExpired(session)) return session;
    this.#removeSession(session);
    return undefined;
  }

  /**
   * The session, to be changed. If an open view may share it, a copy takes its place in the table, so that
   * the view stays as it is. A session is copied once for each view at most.
   */
  #writable(session: Session): Session {
    if (this.#viewsOpen === 0 || session.viewsBefore === this.#viewsOpened) return session;
    const copy = { ...session, answers: new Map(session.answers), viewsBefore: this.#viewsOpened };
    // Replacing a value in a map keeps its place in the order.
    this.#sessions.set(session.id, copy);
    return copy;
  }

  /** Notes a use, and drops the answers that the client says it has received. */
  #recordUse(session: Session, index: LogIndex, lowestUnanswered: number): void {
    session.lastUsedMs = this.#logTimeMs;
    session.lastUsedIndex = index;
    // Move it to the end of the map: it is now the most recently used.
    this.#sessions.delete(session.id);
    this.#sessions.set(session.id, session);
    this.#changedRecords.add(sessionName(session.id));
    if (lowestUnanswered <= session.lowestUnanswered) return;
    session.lowestUnanswered = lowestUnanswered;
    for (const sequence of [...session.answers.keys()]) {
      if (sequence < lowestUnanswered) this.#dropAnswer(session, sequence);
    }
  }

  #addSession(session: Session): void {
    assert(!this.#sessions.has(session.id), "a session is opened once");
    this.#sessions.set(session.id, session);
    this.#bytes += session.bytes;
  }

  #removeSession(session: Session): void {
    this.#sessions.delete(session.id);
    this.#bytes -= session.bytes;
    this.#changedRecords.add(sessionName(session.id));
    for (const sequence of session.answers.keys()) this.#changedRecords.add(answerName(session.id, sequence));
  }

  /** Keeps an answer, in place of the one kept before, if any. */
  #setAnswer(session: Session, sequence: number, answer: Answer): void {
    const before = session.answers.get(sequence);
    const bytes = answer.bytes.length - (before === undefined ? -ANSWER_OVERHEAD_BYTES : before.bytes.length);
    session.answers.set(sequence, answer);
    this.#addBytes(session, bytes);
    this.#changedRecords.add(answerName(session.id, sequence));
  }

  #dropAnswer(session: Session, sequence: number): void {
    const answer = session.answers.get(sequence);
    if (answer === undefined) return;
    session.answers.delete(sequence);
    this.#addBytes(session, -(answer.bytes.length + ANSWER_OVERHEAD_BYTES));
    this.#changedRecords.add(answerName(session.id, sequence));
  }

  /**
   * Forgets a session's oldest results while they exceed `answerBytesMax`. The
   * answers stay, without their results.
   */
  #forgetOldestResults(session: Session): void {
    const { answerBytesMax } = this.#limits;
    const bytesMax = SESSION_OVERHEAD_BYTES + session.answers.size * ANSWER_OVERHEAD_BYTES + answerBytesMax;
    for (const [sequence, answer] of session.answers) {
      if (session.bytes <= bytesMax) return;
      if (answer.bytes.length > 0) this.#setAnswer(session, sequence, withoutResult(answer));
    }
  }

  /**
   * Ends the least recently used sessions while a limit is exceeded. Never ends the session of the entry that
   * is being applied: it was used last, and the constructor asserts that the limits leave room for one.
   */
  #evictSessions(): void {
    const { sessionsMax, bytesMax } = this.#limits;
    for (const session of this.#sessions.values()) {
      if (this.#sessions.size <= sessionsMax && this.#bytes <= bytesMax) return;
      this.#removeSession(session);
    }
  }

  /** Counts bytes (negative: fewer) for the session and for the table. */
  #addBytes(session: Session, bytes: number): void {
    session.bytes += bytes;
    this.#bytes += bytes;
  }

  /** The current value of a record; null: it no longer exists. */
  #recordNamed(text: string): Uint8Array | null {
    const name = parseName(text);
    if (name.type === "time") return encodeTime(this.#logTimeMs);
    const session = this.#sessions.get(name.id);
    if (session === undefined) return null;
    if (name.type === "session") return encodeSession(session);
    const answer = session.answers.get(name.sequence);
    return answer === undefined ? null : encodeAnswer(answer);
  }
}

/** A session without answers. */
function newSession(id: LogIndex, state: SessionState, viewsBefore: number): Session {
  return { id, ...state, answers: new Map(), bytes: SESSION_OVERHEAD_BYTES, viewsBefore };
}

/** The records of a table. `logTimeMs` null: the table doesn't know its sessions, and so has no records. */
function* recordsOf(
  logTimeMs: number | null,
  sessions: readonly Session[],
): Generator<readonly [string, Uint8Array], void, undefined> {
  if (logTimeMs === null) return;
  yield [TIME_NAME, encodeTime(logTimeMs)];
  for (const session of sessions) {
    yield [sessionName(session.id), encodeSession(session)];
    for (const [sequence, answer] of session.answers)
      yield [answerName(session.id, sequence), encodeAnswer(answer)];
  }
}

/** An answer that says only that the command took effect, without its result. */
function withoutResult({ index }: Answer): Answer {
  return { index, type: "forgotten", bytes: NO_BYTES };
}

/** Shared by the many batches that change no session. */
const NO_CHANGES: SessionChanges = new Map();

const NO_BYTES = new Uint8Array(0);
