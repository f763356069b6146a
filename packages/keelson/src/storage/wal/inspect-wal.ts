import { ORIGIN, type LogIndex, type LogPosition } from "../../core/position.ts";
import { decodeMembership } from "../../codec/config.ts";
import {
  EntryKind,
  recordIndex,
  recordIsIntact,
  recordKind,
  recordPayload,
  recordTerm,
} from "../../codec/record.ts";
import type { Environment, FileSystem } from "../../environment/environment.ts";
import { nodeEnvironment } from "#node-environment";
import {
  CorruptLogError,
  InvalidOptionError,
  RaftError,
  StorageFailedError,
  textOfThrown,
} from "../../errors.ts";
import {
  decodeBatch,
  readBatchHeader,
  SECTOR_BYTES,
  roundUpToSector,
  type BatchItem,
} from "./batch-format.ts";
import { whileShared } from "../lock-store.ts";
import { corruptLogError } from "./corrupt-log-error.ts";
import { Recovery, type Recovered, type RecoveryObserver } from "./recovery.ts";
import { saltOf, type SegmentHeader } from "./segment-header.ts";
import type { MembershipEntry, EntryTally, WalDamage, WalInspection } from "./wal-inspection.ts";
import { segmentName, Segments, segmentSequences, type Segment } from "./segments.ts";

/*
 * `inspectWal`: reads and checks a log on disk without opening it as a node does. It changes nothing and
 * doesn't stop at damage, so `keelson inspect` can be used on a broken node, and, if asked, on a running one.
 * The reading itself is done by `Recovery`, by the same rules as when a node starts; this file adds what
 * people want to know.
 */

/** Options of `inspectWal`. */
export interface InspectOptions {
  /** The first entry whose record is returned. Default 1. */
  readonly from?: LogIndex | undefined;
  /**
   * The entry after the last one whose record is returned. Default: `from`, so that no records are returned.
   */
  readonly to?: LogIndex | undefined;
  /**
   * Whether to read without the directory's lock, which a running node holds. What the node writes meanwhile
   * may then look like a torn write. If the node removes a file meanwhile, everything is read again. Default:
   * false.
   */
  readonly running?: boolean | undefined;
  /** Default: Node's. */
  readonly environment?: Environment | undefined;
}

/** The limit on `to - from`, because all records that are returned are in memory at once. */
export const INSPECT_ENTRIES_MAX = 10_000;

/** How often the log is read before giving up, if a running node changes it meanwhile. */
const ATTEMPTS_MAX = 10;

/**
 * Reads a log on disk and checks all of it, as a node does when it starts, but changes nothing. It reports
 * damage instead of failing.
 *
 * @throws InvalidOptionError there is no log in the directory, or the range is wrong or too large;
 *   DirectoryLockedError a node runs, and `running` isn't given; StorageFailedError it can't be read, or
 *   changes too fast to be read consistently
 */
export async function inspectWal(directory: string, options: InspectOptions = {}): Promise<WalInspection> {
  const { running = false, environment = nodeEnvironment() } = options;
  const inspect = (): Promise<WalInspection> => inspectUnlocked(directory, { ...options, environment });
  return running ? await inspect() : await whileShared(environment.files, directory, inspect);
}

/** As `inspectWal`, for a caller that holds the lock of the directory, or does without. */
export async function inspectUnlocked(
  directory: string,
  { from = 1, to = from, environment = nodeEnvironment() }: InspectOptions,
): Promise<WalInspection> {
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
    // A batch that is being written while it's read looks damaged. Believe in damage only if a second reading
    // finds the same.
    const found = inspection?.damage?.message ?? null;
    if (inspection !== null && (found === null || found === before)) return inspection;
    before = found;
  }
  throw new StorageFailedError(
    `the log in ${directory} changes while it is read; try again when the node has less to do`,
    "not-done",
  );
}

/** What was seen of one segment. `first` and `last` are indexes of entries; 0: none. */
interface SeenSegment {
  readonly segment: Segment;
  batches: number;
  first: LogIndex;
  last: LogIndex;
}

/** One reading of a log: observes its recovery, and gathers what `Recovery` doesn't keep. */
class Inspector implements RecoveryObserver {
  readonly #files: FileSystem;
  readonly #directory: string;
  /** The entries whose records are returned. */
  readonly #range: { readonly from: LogIndex; readonly to: LogIndex };
  /** The oldest segment's header; null: not read. */
  #header: SegmentHeader | null = null;
  /** The segments read so far, ascending. */
  #segments: SeenSegment[] = [];
  /** The configuration entries in the log so far, ascending; the base's is left out. */
  #memberships: MembershipEntry[] = [];
  /** Copies of the records in `#range`, by index. */
  #records = new Map<LogIndex, Uint8Array>();
  /** The kinds of the entries in the log so far: `#kinds[0]` is that of entry `#kindsFirst`. */
  #kinds: number[] = [];
  #kindsFirst: LogIndex = 1;
  /**
   * The number after that of the last batch read: batches from here on are behind the damage, if there is
   * any.
   */
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

  /** Reads everything. null: a file went away meanwhile, because the running node removed a segment. */
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
        `the log in ${this.#directory} could not be read: ${textOfThrown(error)}`,
        "not-done",
        { cause: error },
      );
    }
  }

  /** For `Recovery`. */
  onSegment(segment: Segment, header: SegmentHeader): void {
    if (this.#header === null) {
      this.#header = header;
      this.#kindsFirst = header.last.index + 1;
    }
    this.#segments.push({ segment, batches: 0, first: 0, last: 0 });
    this.#nextBatch = header.firstBatch;
  }

  /** For `Recovery`. */
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
    // The batch matches its checksum, so the record was damaged before it was written.
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

  /** Runs a recovery; after damage, gathers what is known before and behind it. */
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
      // Recovery reads all headers first. If one of them is damaged, recover the segments before it
      // separately.
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
      terms: outline.terms,
      damage,
      records: [...this.#records].sort(([a], [b]) => a - b).map(([, record]) => record),
    };
  }

  /** Counts the entries by kind. */
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

  /**
   * Looks for complete batches behind the damage at `offset` of `file`, in this and the following segments.
   */
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
      // Rounded up, because batches are read in whole sectors.
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

/** The membership at the base; none if the base is `ORIGIN`. */
function baseMembership({ outline }: Recovery): MembershipEntry[] {
  const { base, basePayload } = outline;
  if (base.index === ORIGIN.index) return [];
  return [{ index: base.index, term: base.term, membership: decodeMembership(basePayload) }];
}

/** The items of a batch that can be read; null: it can't. */
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
    // Its checksum is right, and it has items that this program doesn't know.
    return null;
  }
}

/** The code of a file system's error; null: it's another kind of error. */
function codeOf(error: unknown): string | null {
  if (error instanceof RaftError || !(error instanceof Error && "code" in error)) return null;
  return String(error.code);
}
