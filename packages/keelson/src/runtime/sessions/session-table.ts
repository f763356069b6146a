import type { SessionCommandId } from "../../codec/session-entry.ts";
import { assert } from "../../core/assert.ts";
import type { LogIndex } from "../../core/position.ts";
import { DecodeError } from "../../errors.ts";
import {
  answerName,
  decodeAnswer,
  decodeRecords,
  decodeSession,
  decodeTime,
  encodeAnswer,
  encodeRecords,
  encodeSession,
  encodeTime,
  parseName,
  sessionName,
  TIME_NAME,
  type Answer,
} from "./session-records.ts";
import type { SessionChanges, SessionRecords } from "../state-machine.ts";

/** How much the sessions of a cluster may take. */
export interface SessionLimits {
  /** Sessions open at once; one more ends the one that was used least recently. */
  readonly sessionsMax: number;
  /** Commands of one session from the lowest unanswered on; more are refused until the client has said that it has answers. */
  readonly windowMax: number;
  /** Bytes of answers kept for one session; over it, the oldest are known to have taken effect, and their results forgotten. */
  readonly answerBytesMax: number;
  /** Bytes of the whole table; over it, the sessions that were used least recently end. */
  readonly bytesMax: number;
}

/**
 * What every node goes by. It decides what commands do, so it is a part of the format of the log
 * and not an option: nodes that differed in it would come to differ in their states.
 */
export const SESSION_LIMITS: SessionLimits = {
  sessionsMax: 10_000,
  windowMax: 1024,
  answerBytesMax: 1024 * 1024,
  bytesMax: 32 * 1024 * 1024,
};

/** What a session, and an answer, count for beside the bytes of their results. */
const SESSION_OVERHEAD_BYTES = 256;
const ANSWER_OVERHEAD_BYTES = 128;

/** What to do with a command in a session. */
export type CommandVerdict =
  | { readonly type: "apply" }
  /** It took effect already: this is what came of it. */
  | { readonly type: "duplicate"; readonly answer: Answer }
  /** The session has ended, or never was. */
  | { readonly type: "expired" }
  /** Below what the client called answered. */
  | { readonly type: "answer-discarded" }
  /** Too far above the lowest unanswered. */
  | { readonly type: "window-exceeded"; readonly windowMax: number };

interface Session {
  readonly id: LogIndex;
  readonly ttlMs: number;
  lastUsedMs: number;
  lastUsedIndex: LogIndex;
  lowestUnanswered: number;
  /** In the order in which they took effect. */
  readonly answers: Map<number, Answer>;
  bytes: number;
}

/**
 * Which sessions there are, and what their commands were answered (§8; dissertation 6.3). It is a
 * part of the replicated state: every node makes the same changes at the same entries. So it goes
 * by nothing but the entries: its time is the greatest clock that an entry has carried so far.
 */
export class SessionTable {
  readonly #limits: SessionLimits;
  #isKnown = true;
  /** Least recently used first. */
  readonly #sessions = new Map<LogIndex, Session>();
  #timeMs = 0;
  #bytes = 0;
  /** No session ends of idleness before this time. */
  #nextExpiryMs = Infinity;
  /** Names of records that changed since they were last taken. */
  #changedRecords = new Set<string>();

  constructor(limits: SessionLimits = SESSION_LIMITS) {
    const { windowMax, answerBytesMax, bytesMax } = limits;
    assert(
      SESSION_OVERHEAD_BYTES + windowMax * ANSWER_OVERHEAD_BYTES + answerBytesMax <= bytesMax,
      "the table has room for one session",
    );
    this.#limits = limits;
  }

  /** @throws DecodeError */
  static fromRecords(records: SessionRecords, limits?: SessionLimits): SessionTable {
    const table = new SessionTable(limits);
    table.restore(records);
    return table;
  }

  /** A table of which nothing is known. */
  static unknown(): SessionTable {
    const table = new SessionTable();
    table.#isKnown = false;
    return table;
  }

  /** The table that `encode` made these bytes of. @throws DecodeError */
  static decode(bytes: Uint8Array, limits?: SessionLimits): SessionTable {
    return bytes.length === 0
      ? SessionTable.unknown()
      : SessionTable.fromRecords(decodeRecords(bytes), limits);
  }

  /** False: there may be sessions, and nobody told us which. */
  get isKnown(): boolean {
    return this.#isKnown;
  }

  /** The time of the log, in milliseconds since 1970 as leaders had it. */
  get timeMs(): number {
    return this.#timeMs;
  }

  /** Sessions that are open. */
  get size(): number {
    return this.#sessions.size;
  }

  /** What the table counts as, in bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The entry at `index` opens a session, whose id is that index. */
  open(index: LogIndex, clock: number, ttlMs: number): void {
    this.#advanceTime(clock);
    const session: Session = {
      id: index,
      ttlMs,
      lastUsedMs: this.#timeMs,
      lastUsedIndex: index,
      lowestUnanswered: 1,
      answers: new Map(),
      bytes: SESSION_OVERHEAD_BYTES,
    };
    this.#addSession(session);
    this.#changedRecords.add(sessionName(index));
    this.#nextExpiryMs = Math.min(this.#nextExpiryMs, this.#timeMs + ttlMs);
    this.#evictSessions();
  }

  /** The entry at `index` ends a session; false: there was none. */
  close(clock: number, id: LogIndex): boolean {
    this.#advanceTime(clock);
    const session = this.#sessions.get(id);
    if (session === undefined) return false;
    this.#removeSession(session);
    return true;
  }

  /** The entry at `index` carries a command. After the verdict `apply`, `answered` follows. */
  beginCommand(index: LogIndex, clock: number, command: SessionCommandId): CommandVerdict {
    this.#advanceTime(clock);
    const session = this.#sessions.get(command.id);
    if (session === undefined) return { type: "expired" };
    this.#recordUse(session, index, command.lowestUnanswered);
    const { sequence } = command;
    if (sequence < session.lowestUnanswered) return { type: "answer-discarded" };
    const answer = session.answers.get(sequence);
    if (answer !== undefined) return { type: "duplicate", answer };
    const { windowMax } = this.#limits;
    if (sequence - session.lowestUnanswered >= windowMax) return { type: "window-exceeded", windowMax };
    return { type: "apply" };
  }

  /** The command took effect: a retry gets this. */
  recordAnswer(id: LogIndex, sequence: number, answer: Answer): void {
    const session = this.#sessions.get(id);
    assert(
      session !== undefined && !session.answers.has(sequence),
      "a command of a session is answered once",
    );
    const isKept = answer.bytes.length <= this.#limits.answerBytesMax;
    this.#setAnswer(session, sequence, isKept ? answer : withoutResult(answer));
    this.#forgetOldestResults(session);
    this.#evictSessions();
  }

  /** What changed since the last call. */
  takeChanges(): SessionChanges {
    if (this.#changedRecords.size === 0) return NO_CHANGES;
    const changes = new Map<string, Uint8Array | null>();
    for (const name of this.#changedRecords) changes.set(name, this.#recordNamed(name));
    this.#changedRecords = new Set();
    return changes;
  }

  /** Nobody wants to know what changed: the state is kept in memory, and so is this. */
  discardChanges(): void {
    if (this.#changedRecords.size > 0) this.#changedRecords.clear();
  }

  /** The whole table. The same on every node that has applied the same entries, in the same order. */
  records(): SessionRecords {
    const records = new Map<string, Uint8Array>([[TIME_NAME, encodeTime(this.#timeMs)]]);
    for (const session of this.#sessions.values()) {
      records.set(sessionName(session.id), encodeSession(session));
      for (const [sequence, answer] of session.answers) {
        records.set(answerName(session.id, sequence), encodeAnswer(answer));
      }
    }
    return records;
  }

  /** The whole table as one piece of bytes, for a snapshot; none if it is not known. */
  encode(): Uint8Array {
    return this.#isKnown ? encodeRecords(this.records()) : NOTHING;
  }

  /**
   * Becomes the table that these records are of; what it was before is gone. null: nobody knows which there are.
   *
   * @throws DecodeError
   */
  restore(known: SessionRecords | null): void {
    const records = known ?? NO_RECORDS;
    this.#isKnown = known !== null;
    const sessions: Session[] = [];
    const answers: { readonly id: LogIndex; readonly sequence: number; readonly answer: Answer }[] = [];
    let timeMs = 0;
    for (const [text, bytes] of records) {
      const name = parseName(text);
      if (name.type === "time") timeMs = decodeTime(bytes);
      else if (name.type === "answer") answers.push({ ...name, answer: decodeAnswer(bytes) });
      else {
        sessions.push({
          id: name.id,
          ...decodeSession(bytes),
          answers: new Map(),
          bytes: SESSION_OVERHEAD_BYTES,
        });
      }
    }
    // Whatever order they were stored in, the table is in the order of the log.
    sessions.sort((a, b) => a.lastUsedIndex - b.lastUsedIndex);
    answers.sort((a, b) => a.answer.index - b.answer.index);
    this.#sessions.clear();
    this.#bytes = 0;
    this.#timeMs = timeMs;
    for (const session of sessions) this.#addSession(session);
    for (const { id, sequence, answer } of answers) {
      const session = this.#sessions.get(id);
      if (session === undefined)
        throw new DecodeError(`an answer is of session ${String(id)}, which is not there`);
      this.#setAnswer(session, sequence, answer);
    }
    this.#nextExpiryMs = 0;
    this.#changedRecords.clear();
  }

  #advanceTime(clock: number): void {
    if (clock > this.#timeMs) {
      this.#timeMs = clock;
      this.#changedRecords.add(TIME_NAME);
    }
    if (this.#timeMs <= this.#nextExpiryMs) return;
    this.#nextExpiryMs = Infinity;
    for (const session of [...this.#sessions.values()]) {
      const expiryMs = session.lastUsedMs + session.ttlMs;
      if (this.#timeMs > expiryMs) this.#removeSession(session);
      else this.#nextExpiryMs = Math.min(this.#nextExpiryMs, expiryMs);
    }
  }

  #recordUse(session: Session, index: LogIndex, lowestUnanswered: number): void {
    session.lastUsedMs = this.#timeMs;
    session.lastUsedIndex = index;
    // To the end of the order.
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

  /** The results of one session are bounded. That a command took effect is not forgotten with its result. */
  #forgetOldestResults(session: Session): void {
    const { answerBytesMax } = this.#limits;
    const bytesMax = SESSION_OVERHEAD_BYTES + session.answers.size * ANSWER_OVERHEAD_BYTES + answerBytesMax;
    for (const [sequence, answer] of session.answers) {
      if (session.bytes <= bytesMax) return;
      if (answer.bytes.length > 0) this.#setAnswer(session, sequence, withoutResult(answer));
    }
  }

  /** Too many sessions, or too large: those go that were used least recently, so never the one in use. */
  #evictSessions(): void {
    const { sessionsMax, bytesMax } = this.#limits;
    for (const session of this.#sessions.values()) {
      if (this.#sessions.size <= sessionsMax && this.#bytes <= bytesMax) return;
      this.#removeSession(session);
    }
  }

  #addBytes(session: Session, bytes: number): void {
    session.bytes += bytes;
    this.#bytes += bytes;
  }

  #recordNamed(text: string): Uint8Array | null {
    const name = parseName(text);
    if (name.type === "time") return encodeTime(this.#timeMs);
    const session = this.#sessions.get(name.id);
    if (session === undefined) return null;
    if (name.type === "session") return encodeSession(session);
    const answer = session.answers.get(name.sequence);
    return answer === undefined ? null : encodeAnswer(answer);
  }
}

/** No changes: most batches have none. */
const NO_CHANGES: SessionChanges = new Map();

function withoutResult({ index }: Answer): Answer {
  return { index, type: "forgotten", bytes: NOTHING };
}

const NOTHING = new Uint8Array(0);
const NO_RECORDS: SessionRecords = new Map();
