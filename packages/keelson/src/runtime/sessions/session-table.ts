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
  type SessionChanges,
  type SessionRecords,
} from "./session-records.ts";

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
const SESSION_BYTES = 256;
const ANSWER_BYTES = 128;

/** What to do with a command in a session. */
export type Verdict =
  | { readonly type: "apply" }
  /** It took effect already: this is what came of it. */
  | { readonly type: "answered"; readonly answer: Answer }
  /** The session has ended, or never was. */
  | { readonly type: "expired" }
  /** Below what the client called answered. */
  | { readonly type: "past" }
  /** Too far above the lowest unanswered. */
  | { readonly type: "too-far"; readonly windowMax: number };

interface Session {
  readonly id: LogIndex;
  readonly ttlMs: number;
  usedMs: number;
  usedIndex: LogIndex;
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
  #changed = new Set<string>();

  constructor(limits: SessionLimits = SESSION_LIMITS) {
    const { windowMax, answerBytesMax, bytesMax } = limits;
    assert(
      SESSION_BYTES + windowMax * ANSWER_BYTES + answerBytesMax <= bytesMax,
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
    this.#advance(clock);
    const session: Session = {
      id: index,
      ttlMs,
      usedMs: this.#timeMs,
      usedIndex: index,
      lowestUnanswered: 1,
      answers: new Map(),
      bytes: SESSION_BYTES,
    };
    this.#add(session);
    this.#changed.add(sessionName(index));
    this.#nextExpiryMs = Math.min(this.#nextExpiryMs, this.#timeMs + ttlMs);
    this.#evict();
  }

  /** The entry at `index` ends a session; false: there was none. */
  close(clock: number, id: LogIndex): boolean {
    this.#advance(clock);
    const session = this.#sessions.get(id);
    if (session === undefined) return false;
    this.#remove(session);
    return true;
  }

  /** The entry at `index` carries a command. After the verdict `apply`, `answered` follows. */
  begin(index: LogIndex, clock: number, command: SessionCommandId): Verdict {
    this.#advance(clock);
    const session = this.#sessions.get(command.id);
    if (session === undefined) return { type: "expired" };
    this.#use(session, index, command.lowestUnanswered);
    const { sequence } = command;
    if (sequence < session.lowestUnanswered) return { type: "past" };
    const answer = session.answers.get(sequence);
    if (answer !== undefined) return { type: "answered", answer };
    const { windowMax } = this.#limits;
    if (sequence - session.lowestUnanswered >= windowMax) return { type: "too-far", windowMax };
    return { type: "apply" };
  }

  /** The command took effect: a retry gets this. */
  answered(id: LogIndex, sequence: number, answer: Answer): void {
    const session = this.#sessions.get(id);
    assert(
      session !== undefined && !session.answers.has(sequence),
      "a command of a session is answered once",
    );
    const isKept = answer.bytes.length <= this.#limits.answerBytesMax;
    this.#setAnswer(session, sequence, isKept ? answer : forgotten(answer));
    this.#forgetOldest(session);
    this.#evict();
  }

  /** What changed since the last call. */
  takeChanges(): SessionChanges {
    if (this.#changed.size === 0) return NO_CHANGES;
    const changes = new Map<string, Uint8Array | null>();
    for (const name of this.#changed) changes.set(name, this.#record(name));
    this.#changed = new Set();
    return changes;
  }

  /** Nobody wants to know what changed: the state is kept in memory, and so is this. */
  discardChanges(): void {
    if (this.#changed.size > 0) this.#changed.clear();
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
        sessions.push({ id: name.id, ...decodeSession(bytes), answers: new Map(), bytes: SESSION_BYTES });
      }
    }
    // Whatever order they were stored in, the table is in the order of the log.
    sessions.sort((a, b) => a.usedIndex - b.usedIndex);
    answers.sort((a, b) => a.answer.index - b.answer.index);
    this.#sessions.clear();
    this.#bytes = 0;
    this.#timeMs = timeMs;
    for (const session of sessions) this.#add(session);
    for (const { id, sequence, answer } of answers) {
      const session = this.#sessions.get(id);
      if (session === undefined)
        throw new DecodeError(`an answer is of session ${String(id)}, which is not there`);
      this.#setAnswer(session, sequence, answer);
    }
    this.#nextExpiryMs = 0;
    this.#changed.clear();
  }

  #advance(clock: number): void {
    if (clock > this.#timeMs) {
      this.#timeMs = clock;
      this.#changed.add(TIME_NAME);
    }
    if (this.#timeMs <= this.#nextExpiryMs) return;
    this.#nextExpiryMs = Infinity;
    for (const session of [...this.#sessions.values()]) {
      const expiryMs = session.usedMs + session.ttlMs;
      if (this.#timeMs > expiryMs) this.#remove(session);
      else this.#nextExpiryMs = Math.min(this.#nextExpiryMs, expiryMs);
    }
  }

  #use(session: Session, index: LogIndex, lowestUnanswered: number): void {
    session.usedMs = this.#timeMs;
    session.usedIndex = index;
    // To the end of the order.
    this.#sessions.delete(session.id);
    this.#sessions.set(session.id, session);
    this.#changed.add(sessionName(session.id));
    if (lowestUnanswered <= session.lowestUnanswered) return;
    session.lowestUnanswered = lowestUnanswered;
    for (const sequence of [...session.answers.keys()]) {
      if (sequence < lowestUnanswered) this.#dropAnswer(session, sequence);
    }
  }

  #add(session: Session): void {
    assert(!this.#sessions.has(session.id), "a session is opened once");
    this.#sessions.set(session.id, session);
    this.#bytes += session.bytes;
  }

  #remove(session: Session): void {
    this.#sessions.delete(session.id);
    this.#bytes -= session.bytes;
    this.#changed.add(sessionName(session.id));
    for (const sequence of session.answers.keys()) this.#changed.add(answerName(session.id, sequence));
  }

  #setAnswer(session: Session, sequence: number, answer: Answer): void {
    const before = session.answers.get(sequence);
    const bytes = answer.bytes.length - (before === undefined ? -ANSWER_BYTES : before.bytes.length);
    session.answers.set(sequence, answer);
    this.#count(session, bytes);
    this.#changed.add(answerName(session.id, sequence));
  }

  #dropAnswer(session: Session, sequence: number): void {
    const answer = session.answers.get(sequence);
    if (answer === undefined) return;
    session.answers.delete(sequence);
    this.#count(session, -(answer.bytes.length + ANSWER_BYTES));
    this.#changed.add(answerName(session.id, sequence));
  }

  /** The results of one session are bounded. That a command took effect is not forgotten with its result. */
  #forgetOldest(session: Session): void {
    const { answerBytesMax } = this.#limits;
    const bytesMax = SESSION_BYTES + session.answers.size * ANSWER_BYTES + answerBytesMax;
    for (const [sequence, answer] of session.answers) {
      if (session.bytes <= bytesMax) return;
      if (answer.bytes.length > 0) this.#setAnswer(session, sequence, forgotten(answer));
    }
  }

  /** Too many sessions, or too large: those go that were used least recently, so never the one in use. */
  #evict(): void {
    const { sessionsMax, bytesMax } = this.#limits;
    for (const session of this.#sessions.values()) {
      if (this.#sessions.size <= sessionsMax && this.#bytes <= bytesMax) return;
      this.#remove(session);
    }
  }

  #count(session: Session, bytes: number): void {
    session.bytes += bytes;
    this.#bytes += bytes;
  }

  #record(text: string): Uint8Array | null {
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

function forgotten({ index }: Answer): Answer {
  return { index, type: "forgotten", bytes: NOTHING };
}

const NOTHING = new Uint8Array(0);
const NO_RECORDS: SessionRecords = new Map();
