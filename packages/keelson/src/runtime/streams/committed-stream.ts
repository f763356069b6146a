import { decodeRecord, EntryKind } from "../../codec/record.ts";
import { decodeSessionCommand } from "../../codec/session-entry.ts";
import type { LogView } from "../../core/log.ts";
import type { LogIndex, Term } from "../../core/position.ts";
import { InvalidOptionError, LogCompactedError, type RaftError } from "../../errors.ts";
import { checkRecords, type LogRecords } from "../loop/log-records.ts";

/** Bytes of records that a cursor fetches at once: its reader pulls, so there is no need to hurry ahead. */
const FETCH_BYTES_MAX = 1024 * 1024;

/** A command that was committed, and applied on this node. */
export interface CommittedCommand<Command> {
  readonly index: LogIndex;
  readonly term: Term;
  readonly command: Command;
  /**
   * The session it belongs to, and its number there; null: none. A retry is an entry of its own that
   * shows the same command again, under the same session and number, and had no effect.
   */
  readonly session: { readonly id: LogIndex; readonly sequence: number } | null;
}

export interface CommittedStreamParts<Command> {
  readonly logRecords: LogRecords;
  readonly log: LogView;
  readonly decode: (payload: Uint8Array) => Command;
  readonly appliedIndex: () => LogIndex;
}

/** Hands out cursors over the applied part of the log, and wakes them when it grows. */
export class CommittedStream<Command> {
  readonly #parts: CommittedStreamParts<Command>;
  readonly #cursors = new Set<CommittedCursor<Command>>();
  #ended: { readonly error: RaftError | null } | null = null;

  constructor(parts: CommittedStreamParts<Command>) {
    this.#parts = parts;
  }

  open(from: LogIndex | undefined): AsyncIterableIterator<CommittedCommand<Command>> {
    const first = this.#parts.log.base.index + 1;
    if (from !== undefined && (!Number.isSafeInteger(from) || from < first)) {
      throw new InvalidOptionError(
        `from is ${String(from)}; it should be a whole number from ${String(first)} on, where the log begins: snapshots cover what came before`,
      );
    }
    const cursor = new CommittedCursor(this.#parts, from ?? first, () => {
      this.#cursors.delete(cursor);
    });
    this.#cursors.add(cursor);
    if (this.#ended !== null) cursor.end(this.#ended.error);
    return cursor;
  }

  /** More is applied. */
  grew(): void {
    for (const cursor of this.#cursors) cursor.wake();
  }

  /** The node stopped: well (null), or with an error that the readers get too. */
  end(error: RaftError | null): void {
    this.#ended = { error };
    for (const cursor of this.#cursors) cursor.end(error);
    this.#cursors.clear();
  }
}

/** One reader's place in the log. It reads when asked, so a slow reader costs nothing and loses nothing. */
class CommittedCursor<Command> implements AsyncIterableIterator<CommittedCommand<Command>> {
  readonly #parts: CommittedStreamParts<Command>;
  readonly #onReturn: () => void;
  #next: LogIndex;
  /** Fetched and not handed out yet; the last one first. */
  #fetched: CommittedCommand<Command>[] = [];
  /** Calls of `next` are answered one after another. */
  #tail: Promise<unknown> = Promise.resolve();
  #wake: (() => void) | null = null;
  #ended: { readonly error: RaftError | null } | null = null;

  constructor(parts: CommittedStreamParts<Command>, from: LogIndex, onReturn: () => void) {
    this.#parts = parts;
    this.#next = from;
    this.#onReturn = onReturn;
  }

  wake(): void {
    const wake = this.#wake;
    this.#wake = null;
    wake?.();
  }

  end(error: RaftError | null): void {
    this.#ended ??= { error };
    this.#fetched = [];
    this.wake();
  }

  next(): Promise<IteratorResult<CommittedCommand<Command>>> {
    const result = this.#tail.then(() => this.#pull());
    this.#tail = result.catch(() => undefined);
    return result;
  }

  return(): Promise<IteratorResult<CommittedCommand<Command>>> {
    this.end(null);
    this.#onReturn();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async #pull(): Promise<IteratorResult<CommittedCommand<Command>>> {
    for (;;) {
      if (this.#ended !== null) {
        const { error } = this.#ended;
        // Told once; after that the stream is simply over.
        this.#ended = { error: null };
        if (error !== null) throw error;
        return { done: true, value: undefined };
      }
      const value = this.#fetched.pop();
      if (value !== undefined) return { done: false, value };
      if (this.#next <= this.#parts.appliedIndex()) await this.#fetch();
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  async #fetch(): Promise<void> {
    const { logRecords, log, decode, appliedIndex } = this.#parts;
    const from = this.#next;
    this.#checkIsThere(from);
    const to = appliedIndex() + 1;
    let records: readonly Uint8Array[];
    try {
      records =
        logRecords.buffer.slice(from, to, FETCH_BYTES_MAX) ??
        (await logRecords.readFromStore(from, to, FETCH_BYTES_MAX));
    } catch (error) {
      // The store of a node that stopped meanwhile is closed: the reader is told about the end, not about that.
      if (this.#isOver()) return;
      this.#checkIsThere(from);
      throw error;
    }
    if (this.#isOver()) return;
    this.#checkIsThere(from);
    checkRecords(records, from, (index) => log.termAt(index));
    this.#next = from + records.length;
    for (const record of records) {
      const { index, term, kind, payload } = decodeRecord(record);
      if (kind === EntryKind.command) {
        this.#fetched.push({ index, term, command: decode(payload), session: null });
      } else if (kind === EntryKind.sessionCommand) {
        const { id, sequence, command } = decodeSessionCommand(payload);
        this.#fetched.push({ index, term, command: decode(command), session: { id, sequence } });
      }
    }
    this.#fetched.reverse();
  }

  /** A reader that is too slow may find that the log was compacted past its place (S11). */
  #checkIsThere(index: LogIndex): void {
    const first = this.#parts.log.base.index + 1;
    if (index < first) throw new LogCompactedError(index, first);
  }

  /** Asked anew after each wait, during which the node may have stopped. */
  #isOver(): boolean {
    return this.#ended !== null;
  }
}
