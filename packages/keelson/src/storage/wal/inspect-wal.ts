import type { HardState } from "../../core/action.ts";
import { ORIGIN, type LogIndex, type LogPosition, type NodeId, type Term } from "../../core/position.ts";
import { decodeMembership, type Membership } from "../../codec/config.ts";
import {
  EntryKind,
  recordIndex,
  recordIsIntact,
  recordKind,
  recordPayload,
  recordTerm,
} from "../../codec/record.ts";
import type { Environment, FileSystem } from "../../environment/environment.ts";
import { nodeEnvironment } from "../../environment/node/node-environment.ts";
import { CorruptLogError, InvalidOptionError, RaftError, StorageFailedError } from "../../errors.ts";
import {
  decodeBatch,
  readBatchHeader,
  SECTOR_BYTES,
  roundUpToSector,
  type BatchItem,
} from "./batch-format.ts";
import { corruptLogError } from "./corrupt-log-error.ts";
import { Recovery, type Recovered, type RecoveryObserver } from "./recovery.ts";
import { saltOf, type SegmentHeader } from "./segment-header.ts";
import { segmentName, Segments, segmentSequences, type Segment } from "./segments.ts";

/** A membership that the log holds, and the entry that holds it. */
export interface MembershipEntry {
  readonly index: LogIndex;
  readonly term: Term;
  readonly membership: Membership;
}

/** Entries of one kind: how many, and the bytes of their records. */
export interface EntryTally {
  readonly count: number;
  readonly bytes: number;
}

/** A file of the log. */
export interface SegmentSummary {
  readonly file: string;
  /** The size of the file. */
  readonly bytes: number;
  readonly batches: number;
  /** The entries that were written to it, overwritten ones included; null: none. */
  readonly entries: { readonly first: LogIndex; readonly last: LogIndex } | null;
}

/** What is wrong with a log, and what it means. */
export interface WalDamage {
  readonly file: string;
  readonly offset: number;
  /** The first entry that may be affected; null: not known. */
  readonly index: LogIndex | null;
  /** All of it in words. */
  readonly message: string;
  /**
   * Batches after the damage that can still be read, and the entries in them: what a repair by hand could
   * save.
   */
  readonly readableBatches: number;
  readonly readableEntries: { readonly first: LogIndex; readonly last: LogIndex } | null;
}

/** What a log on disk holds. If it is damaged: up to the damage. */
export interface WalInspection {
  readonly directory: string;
  /** null: not known, because the first header is damaged. */
  readonly nodeId: NodeId | null;
  /** null: the node belongs to no cluster yet. */
  readonly clusterId: string | null;
  readonly storeId: string | null;
  readonly hardState: HardState;
  /** The last entry that is no longer in the log, because a snapshot covers it; `ORIGIN`: none. */
  readonly base: LogPosition;
  readonly last: LogPosition;
  /** The entries in the log, by the names of `EntryKind`. */
  readonly entries: Readonly<Record<keyof typeof EntryKind, EntryTally>>;
  /** Ascending; the first is that of the base, if there is a base. */
  readonly memberships: readonly MembershipEntry[];
  readonly segments: readonly SegmentSummary[];
  /**
   * What is left of a write that was interrupted, and never acknowledged; or, while the node runs, of one
   * under way.
   */
  readonly torn: { readonly file: string; readonly offset: number } | null;
  /** null: every checksum was right. */
  readonly damage: WalDamage | null;
  /** The records that were asked for, as far as the log holds them. */
  readonly records: readonly Uint8Array[];
}

/** Options of `inspectWal`. */
export interface InspectOptions {
  /** Entries whose records to return: `[from, to)`. Default: none. */
  readonly from?: LogIndex;
  readonly to?: LogIndex;
  /** Default: Node's disk. */
  readonly environment?: Environment;
}

/** Entries that are returned at once: all of them are in memory. */
export const INSPECT_ENTRIES_MAX = 10_000;

/** While the node runs, its log may change as it is read; then it is read again, at most this often. */
const ATTEMPTS_MAX = 10;

/**
 * Reads a log on disk and checks all of it, as a node does that starts, but changes nothing: it takes
 * no lock, so it works while the node runs, and it does not stop at damage.
 *
 * @throws InvalidOptionError there is no log in the directory; StorageFailedError it cannot be read
 */
export async function inspectWal(directory: string, options: InspectOptions = {}): Promise<WalInspection> {
  const { from = 1, to = from, environment = nodeEnvironment() } = options;
  if (!(Number.isSafeInteger(from) && Number.isSafeInteger(to) && from >= 1 && to >= from)) {
    throw new InvalidOptionError(`entries from ${String(from)} up to ${String(to)} are no range of a log`);
  }
  if (to - from > INSPECT_ENTRIES_MAX) {
    throw new InvalidOptionError(
      `${String(to - from)} entries are asked for; at most ${String(INSPECT_ENTRIES_MAX)} are read at once`,
    );
  }
  let before: string | null = null;
  for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
    const inspection = await new Inspector(environment.files, directory, { from, to }).run();
    // Damage that is somewhere else each time is a log that is being written: real damage stays.
    const found = inspection?.damage?.message ?? null;
    if (inspection !== null && (found === null || found === before)) return inspection;
    before = found;
  }
  throw new StorageFailedError(
    `the log in ${directory} changes while it is read; try again when the node has less to do`,
    "not-done",
  );
}

interface SeenSegment {
  readonly segment: Segment;
  batches: number;
  first: LogIndex;
  last: LogIndex;
}

class Inspector implements RecoveryObserver {
  readonly #files: FileSystem;
  readonly #directory: string;
  readonly #range: { readonly from: LogIndex; readonly to: LogIndex };
  #header: SegmentHeader | null = null;
  #segments: SeenSegment[] = [];
  #memberships: MembershipEntry[] = [];
  /** By index. */
  #records = new Map<LogIndex, Uint8Array>();
  /** By index; the first is that of entry `#kindsFirst`. */
  #kinds: number[] = [];
  #kindsFirst: LogIndex = 1;
  #nextBatch = 0;

  constructor(
    files: FileSystem,
    directory: string,
    range: { readonly from: LogIndex; readonly to: LogIndex },
  ) {
    this.#files = files;
    this.#directory = directory;
    this.#range = range;
  }

  /** null: a file went away meanwhile. */
  async run(): Promise<WalInspection | null> {
    const sequences = segmentSequences(await this.#list());
    if (sequences.length === 0) {
      throw new InvalidOptionError(
        `there is no log in ${this.#directory}: no file with a name such as ${segmentName(1)}`,
      );
    }
    try {
      return await this.#read(sequences);
    } catch (error) {
      if (codeOf(error) === "ENOENT") return null;
      if (codeOf(error) === null) throw error;
      throw new StorageFailedError(
        `the log in ${this.#directory} could not be read: ${error instanceof Error ? error.message : String(error)}`,
        "not-done",
        { cause: error },
      );
    }
  }

  onSegment(segment: Segment, header: SegmentHeader): void {
    if (this.#header === null) {
      this.#header = header;
      this.#kindsFirst = header.last.index + 1;
    }
    this.#segments.push({ segment, batches: 0, first: 0, last: 0 });
    this.#nextBatch = header.firstBatch;
  }

  onBatch(offset: number, items: readonly BatchItem[]): void {
    const seen = this.#segments.at(-1);
    if (seen === undefined) return;
    seen.batches += 1;
    this.#nextBatch += 1;
    for (const item of items) {
      if (item.type === "entries") for (const record of item.records) this.#onRecord(seen, offset, record);
      else if (item.type === "truncate") this.#onTruncate(item.from);
      else if (item.type === "compact" || item.type === "reset") this.#onBase(item.type, item.base);
    }
  }

  #onRecord(seen: SeenSegment, offset: number, record: Uint8Array): void {
    const index = recordIndex(record);
    // The batch is as it was written; a record that is not was damaged before that.
    if (!recordIsIntact(record)) {
      const why = `the record of entry ${String(index)}, in the batch that begins here, does not match its checksum`;
      throw corruptLogError(seen.segment.path, offset, index, why);
    }
    if (seen.first === 0) seen.first = index;
    seen.last = Math.max(seen.last, index);
    this.#kinds.push(recordKind(record));
    if (recordKind(record) === EntryKind.config) {
      const membership = decodeMembership(recordPayload(record));
      this.#memberships.push({ index, term: recordTerm(record), membership });
    }
    if (index >= this.#range.from && index < this.#range.to) this.#records.set(index, record.slice());
  }

  #onTruncate(from: LogIndex): void {
    this.#kinds.length = Math.max(0, from - this.#kindsFirst);
    this.#kindsFirst = Math.min(this.#kindsFirst, from);
    this.#memberships = this.#memberships.filter(({ index }) => index < from);
    for (const index of this.#records.keys()) if (index >= from) this.#records.delete(index);
  }

  #onBase(type: "compact" | "reset", { position: { index } }: { readonly position: LogPosition }): void {
    const isForgotten = (at: LogIndex): boolean => type === "reset" || at <= index;
    this.#memberships = this.#memberships.filter((entry) => !isForgotten(entry.index));
    for (const at of this.#records.keys()) if (isForgotten(at)) this.#records.delete(at);
    if (type === "reset") {
      this.#kinds = [];
      this.#kindsFirst = index + 1;
    }
  }

  async #read(sequences: readonly number[]): Promise<WalInspection> {
    let segments = this.#newSegments();
    let recovery = new Recovery(this.#files, segments, this);
    try {
      const recovered = await recovery.run(sequences, null);
      return this.#result(recovery, recovered, null);
    } catch (error) {
      if (!(error instanceof CorruptLogError)) throw error;
      await segments.close();
      const at = sequences.findIndex((sequence) => error.file.endsWith(`/${segmentName(sequence)}`));
      // All headers are read before anything else; if one is damaged, what comes before it still tells
      // something.
      if (this.#segments.length === 0 && at > 0) {
        segments = this.#newSegments();
        recovery = new Recovery(this.#files, segments, this);
        await recovery.run(sequences.slice(0, at), null).catch((second: unknown) => {
          if (!(second instanceof CorruptLogError)) throw second;
        });
      }
      const { file, offset, index, message } = error;
      const readable = await this.#readableAfter(sequences.slice(Math.max(0, at)), file, offset);
      return this.#result(recovery, null, { file, offset, index, message, ...readable });
    } finally {
      await segments.close();
    }
  }

  #result(recovery: Recovery, recovered: Recovered | null, damage: WalDamage | null): WalInspection {
    const { outline } = recovery;
    const header = this.#header;
    return {
      directory: this.#directory,
      nodeId: header?.nodeId ?? null,
      clusterId: outline.clusterId,
      storeId: header?.storeId ?? null,
      hardState: outline.hardState,
      base: outline.base,
      last: outline.last,
      entries: this.#tally(recovery),
      memberships: [...baseMembership(recovery), ...this.#memberships],
      segments: this.#segments.map(({ segment, batches, first, last }) => ({
        file: segment.path,
        bytes: segment.bytes,
        batches,
        entries: first === 0 ? null : { first, last },
      })),
      torn: recovered?.torn ?? null,
      damage,
      records: [...this.#records].sort(([a], [b]) => a - b).map(([, record]) => record),
    };
  }

  #tally({ outline, index }: Recovery): Record<keyof typeof EntryKind, EntryTally> {
    const tallies = new Map(Object.values(EntryKind).map((kind) => [kind as number, { count: 0, bytes: 0 }]));
    const first = Math.max(outline.base.index + 1, this.#kindsFirst);
    for (let at = first; at <= outline.lastIndex; at++) {
      const tally = tallies.get(this.#kinds[at - this.#kindsFirst] ?? 0);
      if (tally === undefined) continue;
      tally.count += 1;
      tally.bytes += index.bytesBetween(at, at + 1);
    }
    const named = Object.entries(EntryKind).map(([name, kind]) => [name, tallies.get(kind)] as const);
    return Object.fromEntries(named) as Record<keyof typeof EntryKind, EntryTally>;
  }

  /** Looks for batches that can be read behind the damage at `offset` of `file`. */
  async #readableAfter(
    sequences: readonly number[],
    file: string,
    offset: number,
  ): Promise<Pick<WalDamage, "readableBatches" | "readableEntries">> {
    let readableBatches = 0;
    let first = 0;
    let last = 0;
    const salt = saltOf(this.#header?.storeId ?? "");
    for (const sequence of sequences) {
      const path = this.#pathOf(segmentName(sequence));
      const bytes = await this.#readFile(path);
      const start = path === file ? roundUpToSector(offset + 1) : 0;
      for (let at = start; at + SECTOR_BYTES <= bytes.length; at += SECTOR_BYTES) {
        const header = readBatchHeader(bytes, at, salt);
        if (header === null || header.sequence < this.#nextBatch) continue;
        const items = wholeBatchAt(bytes, at, header.sequence, salt);
        if (items === null) continue;
        readableBatches += 1;
        for (const record of items.flatMap((item) => (item.type === "entries" ? item.records : []))) {
          first = first === 0 ? recordIndex(record) : Math.min(first, recordIndex(record));
          last = Math.max(last, recordIndex(record));
        }
      }
    }
    return { readableBatches, readableEntries: first === 0 ? null : { first, last } };
  }

  async #readFile(path: string): Promise<Uint8Array> {
    const handle = await this.#files.open(path, "read");
    try {
      // Whole words: that is how batches are looked at.
      const bytes = new Uint8Array(roundUpToSector(await handle.size()));
      await handle.read(bytes, 0);
      return bytes;
    } finally {
      await handle.close();
    }
  }

  async #list(): Promise<string[]> {
    try {
      return await this.#files.list(this.#directory);
    } catch (error) {
      if (codeOf(error) === "ENOENT")
        throw new InvalidOptionError(`there is no directory ${this.#directory}`);
      if (codeOf(error) === "ENOTDIR") throw new InvalidOptionError(`${this.#directory} is not a directory`);
      throw error;
    }
  }

  #newSegments(): Segments {
    return new Segments(this.#files, this.#directory, SECTOR_BYTES);
  }

  #pathOf(name: string): string {
    return `${this.#directory}/${name}`;
  }
}

/** The membership that a snapshot's position had; none for a log that begins at its beginning. */
function baseMembership({ outline }: Recovery): MembershipEntry[] {
  const { base, basePayload } = outline;
  if (base.index === ORIGIN.index) return [];
  return [{ index: base.index, term: base.term, membership: decodeMembership(basePayload) }];
}

function wholeBatchAt(
  bytes: Uint8Array,
  at: number,
  sequence: number,
  salt: number,
): readonly BatchItem[] | null {
  try {
    const found = decodeBatch(bytes, at, sequence, salt);
    return found.state === "whole" ? found.items : null;
  } catch {
    // Whole, and of a kind that this program does not know: nothing to count.
    return null;
  }
}

/** The code of an error of the file system; null: it is none. */
function codeOf(error: unknown): string | null {
  if (error instanceof RaftError || !(error instanceof Error && "code" in error)) return null;
  return String(error.code);
}
