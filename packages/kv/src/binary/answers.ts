/** Answers to calls, which servers send, as bytes. docs/design/client-protocol.md has the table of bytes. */
import type { Outcome, Staleness } from "keelson";
import { ControlWriter } from "./control.ts";
import {
  ANSWER_HEADER_BYTES,
  ANSWERS,
  EXISTED,
  FLAG_STALENESS,
  FRAMES,
  getU64,
  NEVER_HEARD,
  OUTCOMES,
  PAYLOAD_HEADER_BYTES,
  ProtocolError,
  setU64,
  STALENESS_BYTES,
} from "./wire.ts";

/** A key in a listing. */
export interface AnsweredKey {
  readonly key: Uint8Array;
  readonly version: number;
  /** Bytes of the key's value. */
  readonly bytes: number;
}

/** Why a call failed: what the HTTP interface says in status, headers and body. */
export interface CallError {
  /** As the HTTP interface answers it. */
  readonly status: number;
  /** Stable, for programs. */
  readonly code: string;
  /** For people. */
  readonly message: string;
  readonly outcome: Outcome;
  /**
   * With NOT_LEADER: where the leader answers, "http://host:port" or "https://host:port". null: not known.
   */
  readonly leader: string | null;
  /** With CONDITION_FAILED: the key's version. null: it has no value. With any other code: null. */
  readonly version: number | null;
  /** After how many milliseconds another attempt makes sense. 0: the server doesn't say. */
  readonly retryAfterMs: number;
}

/** What came of a call. */
export type Answer =
  | { readonly type: "put"; readonly id: number; readonly index: number; readonly version: number }
  | {
      readonly type: "deleted";
      readonly id: number;
      readonly index: number;
      readonly existed: boolean | null;
    }
  | {
      readonly type: "value";
      readonly id: number;
      readonly version: number;
      /** A copy, which the caller may keep. */
      readonly value: Uint8Array;
      /** With a stale read only. */
      readonly staleness: Staleness | null;
    }
  | {
      readonly type: "unchanged";
      readonly id: number;
      readonly version: number;
      readonly staleness: Staleness | null;
    }
  | {
      readonly type: "keys";
      readonly id: number;
      readonly keys: readonly AnsweredKey[];
      /** There are more after the last one. */
      readonly more: boolean;
      readonly staleness: Staleness | null;
    }
  | { readonly type: "session"; readonly id: number; readonly session: number; readonly ttlMs: number }
  | { readonly type: "ended"; readonly id: number }
  | {
      readonly type: "error";
      readonly id: number;
      readonly error: CallError;
      /** With a stale read of a key that has no value. */
      readonly staleness: Staleness | null;
    };

/** Writes answers one after another, all of a turn into one frame. */
export class AnswerWriter extends ControlWriter {
  put(id: number, index: number, version: number): void {
    const at = this.#answer(ANSWERS.put, id, 16, null);
    setU64(this.view, at, index);
    setU64(this.view, at + 8, version);
  }

  deleted(id: number, index: number, existed: boolean | null): void {
    const at = this.#answer(ANSWERS.deleted, id, 9, null);
    setU64(this.view, at, index);
    this.view.setUint8(at + 8, EXISTED.indexOf(existed));
  }

  value(id: number, version: number, value: Uint8Array, staleness: Staleness | null): void {
    const at = this.#answer(ANSWERS.value, id, 8 + value.length, staleness);
    setU64(this.view, at, version);
    this.copy(value, at + 8);
  }

  unchanged(id: number, version: number, staleness: Staleness | null): void {
    const at = this.#answer(ANSWERS.unchanged, id, 8, staleness);
    setU64(this.view, at, version);
  }

  keys(id: number, keys: readonly AnsweredKey[], more: boolean, staleness: Staleness | null): void {
    let at = this.#answer(ANSWERS.keys, id, bytesOfKeys(keys), staleness);
    this.view.setUint32(at, keys.length, true);
    this.view.setUint8(at + 4, more ? 1 : 0);
    at += 5;
    for (const { key, version, bytes } of keys) {
      this.view.setUint16(at, key.length, true);
      setU64(this.view, at + 2, version);
      this.view.setUint32(at + 10, bytes, true);
      this.copy(key, at + 14);
      at += 14 + key.length;
    }
  }

  session(id: number, session: number, ttlMs: number): void {
    const at = this.#answer(ANSWERS.session, id, 16, null);
    setU64(this.view, at, session);
    setU64(this.view, at + 8, ttlMs);
  }

  ended(id: number): void {
    this.#answer(ANSWERS.ended, id, 0, null);
  }

  error(id: number, error: CallError, staleness: Staleness | null = null): void {
    const { status, code, outcome, leader, version, retryAfterMs } = error;
    const message = cutText(error.message);
    const codeLength = Buffer.byteLength(code);
    const messageLength = Buffer.byteLength(message);
    const leaderLength = Buffer.byteLength(leader ?? "");
    const at = this.#answer(ANSWERS.error, id, 22 + codeLength + messageLength + leaderLength, staleness);
    const { view } = this;
    view.setUint16(at, status, true);
    view.setUint8(at + 2, OUTCOMES.indexOf(outcome));
    view.setUint8(at + 3, 0);
    view.setUint16(at + 4, codeLength, true);
    view.setUint16(at + 6, messageLength, true);
    view.setUint16(at + 8, leaderLength, true);
    view.setUint32(at + 10, retryAfterMs, true);
    setU64(view, at + 14, version ?? 0);
    this.text(code, at + 22);
    this.text(message, at + 22 + codeLength);
    this.text(leader ?? "", at + 22 + codeLength + messageLength);
  }

  /** The header of an answer. Returns where its body of `bytes` begins. */
  #answer(type: number, id: number, bytes: number, staleness: Staleness | null): number {
    const extra = staleness === null ? 0 : STALENESS_BYTES;
    const all = ANSWER_HEADER_BYTES + extra + bytes;
    const at = this.item(FRAMES.answers, all);
    const { view } = this;
    view.setUint32(at, all - 4, true);
    view.setUint32(at + 4, id, true);
    view.setUint32(at + 8, type | (staleness === null ? 0 : FLAG_STALENESS << 8), true);
    if (staleness === null) return at + ANSWER_HEADER_BYTES;
    const heard = staleness.leaderHeardMsAgo;
    setU64(view, at + 12, staleness.appliedIndex);
    setU64(view, at + 20, staleness.commitIndex);
    const heardMs = heard === null ? NEVER_HEARD : Math.min(Math.ceil(heard), NEVER_HEARD - 1);
    view.setUint32(at + 28, heardMs, true);
    return at + ANSWER_HEADER_BYTES + STALENESS_BYTES;
  }
}

/** Bytes that a page of keys takes in an answer. */
export function bytesOfKeys(keys: readonly AnsweredKey[]): number {
  return keys.reduce((sum, { key }) => sum + 14 + key.length, 5);
}

/** Reads the answers of a frame in turn. What it returns are copies, so the payload may be used again. */
export class AnswerReader {
  readonly #payload: Uint8Array;
  readonly #view: DataView;
  #at = PAYLOAD_HEADER_BYTES;

  constructor(payload: Uint8Array) {
    this.#payload = payload;
    this.#view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  }

  /** The next answer. null: there is none. @throws ProtocolError */
  next(): Answer | null {
    const at = this.#at;
    if (at === this.#payload.length) return null;
    if (this.#payload.length - at < ANSWER_HEADER_BYTES) throw cutShort();
    const view = this.#view;
    const end = at + 4 + view.getUint32(at, true);
    if (end < at + ANSWER_HEADER_BYTES || end > this.#payload.length) throw cutShort();
    this.#at = end;
    const id = view.getUint32(at + 4, true);
    const type = view.getUint8(at + 8);
    const flags = view.getUint8(at + 9);
    if ((flags & ~FLAG_STALENESS) !== 0 || view.getUint16(at + 10, true) !== 0) throw unexpected("a flag");
    const isStale = (flags & FLAG_STALENESS) !== 0;
    const body = at + ANSWER_HEADER_BYTES + (isStale ? STALENESS_BYTES : 0);
    if (body > end) throw cutShort();
    const staleness = isStale ? this.#staleness(at + ANSWER_HEADER_BYTES) : null;
    switch (type) {
      case ANSWERS.put:
        checkBody(end - body, 16);
        return { type: "put", id, index: getU64(view, body), version: getU64(view, body + 8) };
      case ANSWERS.deleted: {
        checkBody(end - body, 9);
        const existed = EXISTED[view.getUint8(body + 8)];
        if (existed === undefined) throw unexpected("whether the key existed");
        return { type: "deleted", id, index: getU64(view, body), existed };
      }
      case ANSWERS.value: {
        if (end - body < 8) throw cutShort();
        const value = new Uint8Array(this.#payload.subarray(body + 8, end));
        return { type: "value", id, version: getU64(view, body), value, staleness };
      }
      case ANSWERS.unchanged:
        checkBody(end - body, 8);
        return { type: "unchanged", id, version: getU64(view, body), staleness };
      case ANSWERS.keys:
        return this.#keys(id, body, end, staleness);
      case ANSWERS.session:
        checkBody(end - body, 16);
        return { type: "session", id, session: getU64(view, body), ttlMs: getU64(view, body + 8) };
      case ANSWERS.ended:
        checkBody(end - body, 0);
        return { type: "ended", id };
      case ANSWERS.error:
        return { type: "error", id, error: this.#error(body, end), staleness };
      default:
        throw unexpected(`an answer of type ${type}`);
    }
  }

  #staleness(at: number): Staleness {
    const heard = this.#view.getUint32(at + 16, true);
    return {
      appliedIndex: getU64(this.#view, at),
      commitIndex: getU64(this.#view, at + 8),
      leaderHeardMsAgo: heard === NEVER_HEARD ? null : heard,
    };
  }

  #keys(id: number, body: number, end: number, staleness: Staleness | null): Answer {
    const view = this.#view;
    if (end - body < 5) throw cutShort();
    const count = view.getUint32(body, true);
    const more = view.getUint8(body + 4);
    if (more > 1) throw unexpected("whether there are more keys");
    const keys: AnsweredKey[] = [];
    let at = body + 5;
    for (let n = 0; n < count; n++) {
      if (end - at < 14) throw cutShort();
      const keyEnd = at + 14 + view.getUint16(at, true);
      if (keyEnd > end) throw cutShort();
      const key = new Uint8Array(this.#payload.subarray(at + 14, keyEnd));
      keys.push({ key, version: getU64(view, at + 2), bytes: view.getUint32(at + 10, true) });
      at = keyEnd;
    }
    if (at !== end) throw cutShort();
    return { type: "keys", id, keys, more: more === 1, staleness };
  }

  #error(body: number, end: number): CallError {
    const view = this.#view;
    if (end - body < 22) throw cutShort();
    const outcome = OUTCOMES[view.getUint8(body + 2)] ?? null;
    if (outcome === null || view.getUint8(body + 3) !== 0) throw unexpected("an outcome");
    const codeEnd = body + 22 + view.getUint16(body + 4, true);
    const messageEnd = codeEnd + view.getUint16(body + 6, true);
    if (messageEnd + view.getUint16(body + 8, true) !== end) throw cutShort();
    const version = getU64(view, body + 14);
    return {
      status: view.getUint16(body, true),
      code: this.#text(body + 22, codeEnd),
      message: this.#text(codeEnd, messageEnd),
      outcome,
      leader: messageEnd === end ? null : this.#text(messageEnd, end),
      version: version === 0 ? null : version,
      retryAfterMs: view.getUint32(body + 10, true),
    };
  }

  #text(from: number, to: number): string {
    return UTF8.decode(this.#payload.subarray(from, to));
  }
}

/** UTF-16 units of a message that is sent. In UTF-8 they have at most three times as many bytes. */
const MESSAGE_UNITS_MAX = 4096;
const UTF8 = new TextDecoder("utf-8", { ignoreBOM: true });

function cutText(text: string): string {
  return text.length <= MESSAGE_UNITS_MAX ? text : text.slice(0, MESSAGE_UNITS_MAX);
}

function checkBody(length: number, expected: number): void {
  if (length !== expected) throw cutShort();
}

function cutShort(): ProtocolError {
  return new ProtocolError("BAD_FRAME", "an answer whose length isn't that of its parts");
}

function unexpected(what: string): ProtocolError {
  return new ProtocolError("BAD_FRAME", `${what} that the protocol doesn't have`);
}
