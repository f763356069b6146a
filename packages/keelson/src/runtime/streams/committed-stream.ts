// Behind `raft.committed()`: reads the commands that this node has applied, in log order, from any index on.
import { decodeRecord, EntryKind } from "../../codec/record.ts";
import { decodeSessionCommand } from "../../codec/session-entry.ts";
import type { LogView } from "../../core/log.ts";
import type { LogIndex, Term } from "../../core/position.ts";
import { InvalidOptionError, LogCompactedError, type RaftError } from "../../errors.ts";
import { checkRecords, type LogRecords } from "../loop/index.ts";

/** Bytes of records that a cursor reads from the log at once, and keeps in memory for its reader. */
const READ_BYTES_MAX = 1024 * 1024;

/** A command that is committed, and applied on this node. */
export interface CommittedCommand<Command> {
  readonly index: LogIndex;
  readonly term: Term;
  readonly command: Command;
  /**
   * The command's session and its sequence number there; null: it belongs to no session. Each attempt of a
   * command in a session is an entry of its own, and all of them are here. At most one took effect: a retry,
   * which has the same session and number, had none, nor had a command whose session had ended by then or
   * whose number was beyond the session's window (`SESSION_LIMITS.windowMax`).
   */
  readonly session: { readonly id: LogIndex; readonly sequence: number } | null;
}

export interface CommittedStreamParts<Command> {
  readonly logRecords: LogRecords;
  readonly log: LogView;
  /** The state machine's codec. */
  readonly decode: (payload: Uint8Array) => Command;
  readonly appliedIndex: () => LogIndex;
}

/**
 * Hands out cursors over the applied part of the log, and wakes those that wait for more.
 *
 * Commands are read from the log when a reader asks for them. So a slow reader loses nothing and nothing is
 * queued for it; it fails only when the log has been compacted past its place.
 */
export class CommittedStream<Command> {
  readonly #parts: CommittedStreamParts<Command>;
  readonly #cursors = new Set<CommittedCursor<Command>>();
  /** How the node stopped; null: it runs. A cursor that is opened later gets the same end. */
  #ended: { readonly error: RaftError | null } | null = null;

  constructor(parts: CommittedStreamParts<Command>) {
    this.#parts = parts;
  }

  /** `from`: the index of the first entry to read; undefined: where the log begins. */
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

  /** More entries were applied, or a snapshot was installed. */
  applied(): void {
    for (const cursor of this.#cursors) cursor.wake();
  }

  /** The node stopped: it was closed (null), or failed with an error, which every reader gets. */
  stop(error: RaftError | null): void {
    this.#ended = { error };
    for (const cursor of this.#cursors) cursor.end(error);
    this.#cursors.clear();
  }
}

/** One reader's place in the log. */
class CommittedCursor<Command> implements AsyncIterableIterator<CommittedCommand<Command>> {
  readonly #parts: CommittedStreamParts<Command>;
  readonly #onReturn: () => void;
  /** The next entry to read from the log. Every command before it was returned, or is in `#buffered`. */
  #next: LogIndex;
  /** Read and not returned yet, the last one first, so that `pop` takes them in log order. */
  #buffered: CommittedCommand<Command>[] = [];
  /** Resolves after the last call of `next`: calls that overlap take their turn, and get one command each. */
  #tail: Promise<unknown> = Promise.resolve();
  /** Ends the wait for more applied entries; null: no call of `next` waits. */
  #wake: (() => void) | null = null;
  /** Ends the wait for a read from the store; null: none is under way. */
  #stopReading: (() => void) | null = null;
  /** How the stream ended; null: it goes on. */
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
    this.#buffered = [];
    this.wake();
    this.#stopReading?.();
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
        // An error is thrown once. After that `next` only says that the iteration is done, as the language's
        // own iterators do.
        this.#ended = { error: null };
        if (error !== null) throw error;
        return { done: true, value: undefined };
      }
      const value = this.#buffered.pop();
      if (value !== undefined) return { done: false, value };
      if (this.#next <= this.#parts.appliedIndex()) await this.#readMore();
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  async #readMore(): Promise<void> {
    const { logRecords, log, decode, appliedIndex } = this.#parts;
    const from = this.#next;
    this.#checkNotCompacted(from);
    const to = appliedIndex() + 1;
    let records: readonly Uint8Array[];
    try {
      records =
        logRecords.buffer.slice(from, to, READ_BYTES_MAX) ??
        (await this.#orEnd(logRecords.readFromStore(from, to, READ_BYTES_MAX)));
    } catch (error) {
      // A node that stopped meanwhile has closed its store. The reader gets the reason of the stop, not this
      // error.
      if (this.#hasEnded()) return;
      this.#checkNotCompacted(from);
      throw error;
    }
    if (this.#hasEnded()) return;
    this.#checkNotCompacted(from);
    checkRecords(records, from, (index) => log.termAt(index));
    this.#next = from + records.length;
    for (const record of records) {
      const { index, term, kind, payload } = decodeRecord(record);
      if (kind === EntryKind.command) {
        this.#buffered.push({ index, term, command: decode(payload), session: null });
      } else if (kind === EntryKind.sessionCommand) {
        const { id, sequence, command } = decodeSessionCommand(payload);
        this.#buffered.push({ index, term, command: decode(command), session: { id, sequence } });
      }
    }
    this.#buffered.reverse();
  }

  /**
   * The records that are read; none if the stream ends first, so that a disk that hangs doesn't keep its
   * reader waiting.
   */
  #orEnd(read: Promise<readonly Uint8Array[]>): Promise<readonly Uint8Array[]> {
    return new Promise((resolve, reject) => {
      this.#stopReading = () => {
        resolve([]);
      };
      read.then(resolve, reject);
    });
  }

  /**
   * Throws `LogCompactedError` if the log no longer holds this entry. A slow reader may be overtaken by
   * compaction at any time, also during a read from the store: skipping the missing entries would hide them
   * from the reader (S11).
   */
  #checkNotCompacted(index: LogIndex): void {
    const first = this.#parts.log.base.index + 1;
    if (index < first) throw new LogCompactedError(index, first);
  }

  /** Checked again after each wait: the node may have stopped during it. */
  #hasEnded(): boolean {
    return this.#ended !== null;
  }
}
