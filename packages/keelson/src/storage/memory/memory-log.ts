import type { LogIndex } from "../../core/position.ts";
import type { Environment } from "../../environment/environment.ts";
import { ClosedError, DirectoryLockedError, InvalidOptionError, WrongIdentityError } from "../../errors.ts";
import { LogOutline } from "../log-outline.ts";
import type { LogBase, LogIdentity, LogStore, LogWrite, StoredLog } from "../log-store.ts";

/**
 * A log in memory, for tests, and for groups that may lose everything when their processes end. Here
 * "durable" means that a write survives `close`: the same object can be opened again and holds everything.
 *
 * **A node that restarts with a new object has lost its vote and its acknowledged entries.** Under its old id
 * it could vote twice in a term, so it must be removed and added again under a new id.
 *
 * @example
 * const log = memoryLog();
 */
export function memoryLog(): LogStore {
  return new MemoryLog();
}

class MemoryLog implements LogStore {
  readonly #outline = new LogOutline();
  /** The records of the entries after the base, in order: `#records[0]` is entry `base.index + 1`. */
  #records: Uint8Array[] = [];
  /**
   * Running totals: `#starts[i]` is the number of bytes before `#records[i]`, and the last element is the
   * total. One longer than `#records`. The first element isn't 0 after a compaction; only differences matter.
   */
  #starts: number[] = [0];
  /** Set by the first `open`; null before. */
  #nodeId: string | null = null;
  /** Set by the first `open`, at random; empty before. */
  #storeId = "";
  #isOpen = false;

  async open(identity: LogIdentity, environment: Environment): Promise<StoredLog> {
    if (this.#isOpen) throw new DirectoryLockedError("this log is open already");
    if (identity.nodeId.length === 0) throw new InvalidOptionError("a node's id is not empty");
    if (this.#nodeId !== null && this.#nodeId !== identity.nodeId) {
      throw new WrongIdentityError(`this is the log of node ${this.#nodeId}, not of ${identity.nodeId}`);
    }
    const { clusterId } = this.#outline;
    if (clusterId !== null && identity.clusterId !== null && clusterId !== identity.clusterId) {
      throw new WrongIdentityError(`this log belongs to cluster ${clusterId}, not to ${identity.clusterId}`);
    }
    if (this.#nodeId === null) {
      this.#nodeId = identity.nodeId;
      const digits = Array.from({ length: 32 }, () => Math.floor(environment.random() * 16).toString(16));
      this.#storeId = digits.join("");
    }
    this.#outline.clusterId ??= identity.clusterId;
    this.#isOpen = true;
    return this.#outline.toStoredLog(this.#storeId);
  }

  async append(write: LogWrite): Promise<void> {
    this.#mustBeOpen();
    this.#outline.checkWrite(write);
    this.#outline.write(write);
    if (write.truncateFrom !== null) {
      const count = this.#at(write.truncateFrom);
      this.#records.length = count;
      this.#starts.length = count + 1;
    }
    for (const record of write.records) {
      this.#records.push(record);
      this.#starts.push((this.#starts.at(-1) ?? 0) + record.length);
    }
  }

  async read(from: LogIndex, to: LogIndex, bytesMax: number): Promise<Uint8Array[]> {
    this.#mustBeOpen();
    const { base, lastIndex } = this.#outline;
    if (from <= base.index || to > lastIndex + 1 || from > to) {
      throw new InvalidOptionError(
        `entries [${String(from)}, ${String(to)}) are not in the log, which holds ` +
          `[${String(base.index + 1)}, ${String(lastIndex + 1)})`,
      );
    }
    let end = Math.min(from + 1, to);
    while (end < to && this.bytesBetween(from, end + 1) <= bytesMax) end += 1;
    return this.#records.slice(this.#at(from), this.#at(end));
  }

  bytesBetween(from: LogIndex, to: LogIndex): number {
    this.#mustBeOpen();
    return (this.#starts[this.#at(to)] ?? NaN) - (this.#starts[this.#at(from)] ?? NaN);
  }

  async compact(base: LogBase): Promise<void> {
    this.#mustBeOpen();
    if (base.position.index <= this.#outline.base.index) return;
    this.#outline.checkCompact(base);
    const count = this.#at(base.position.index + 1);
    this.#outline.compact(base);
    this.#records.splice(0, count);
    this.#starts.splice(0, count);
  }

  async reset(base: LogBase): Promise<void> {
    this.#mustBeOpen();
    this.#outline.checkReset(base);
    this.#outline.reset(base);
    this.#records = [];
    this.#starts = [0];
  }

  async setClusterId(clusterId: string): Promise<void> {
    this.#mustBeOpen();
    const stored = this.#outline.clusterId;
    if (stored !== null && stored !== clusterId) {
      throw new WrongIdentityError(
        `this log belongs to cluster ${stored} and cannot be given to ${clusterId}`,
      );
    }
    this.#outline.clusterId = clusterId;
  }

  async close(): Promise<void> {
    this.#isOpen = false;
  }

  /** Where the entry's record is in `#records`. */
  #at(index: LogIndex): number {
    return index - this.#outline.base.index - 1;
  }

  #mustBeOpen(): void {
    if (!this.#isOpen) throw new ClosedError();
  }
}
