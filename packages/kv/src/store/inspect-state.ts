/**
 * Reads the state of a node that does not run, and verifies every checksum in it, without opening the
 * database: LevelDB changes its files when it opens them.
 */
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import type { LogPosition, StateIdentity } from "keelson";
import { ByteCursor, MalformedError, uint32At, uint64At } from "../leveldb/byte-cursor.ts";
import { readLogRecords } from "../leveldb/log-records.ts";
import { readManifest, type Manifest } from "../leveldb/manifest.ts";
import { entriesOf, readBlock, readTableBlocks } from "../leveldb/table.ts";
import { isMissing, TableReader } from "../leveldb/verify-tables.ts";
import { DatabaseOpenError } from "./database.ts";
import { readMark } from "./state-directory.ts";
import {
  decodeBatchNumber,
  decodeIdentity,
  decodePosition,
  IDENTITY_KEY,
  isDataKey,
  isRingKey,
  isSessionKey,
  POSITION_KEY,
  RESTORING_RECORD,
  StateDamagedError,
  verified,
  type PositionRecord,
} from "./state-layout.ts";
import { lostBatch } from "./state-machine.ts";

/** What a node's state directory holds, and whether it is damaged. */
export interface StateInspection {
  readonly directory: string;
  /** The entry that the state is up to date with. null: not known, or a snapshot was being restored. */
  readonly applied: LogPosition | null;
  /** Whether a crash interrupted the restoring of a snapshot. The node does it again at its start. */
  readonly isRestoring: boolean;
  readonly identity: StateIdentity | null;
  readonly tables: number;
  readonly bytes: number;
  /** Values whose checksums were verified; more than there are keys, because old values are removed later. */
  readonly values: number;
  /** What is damaged, for people. The node rebuilds a damaged state from snapshot and log. */
  readonly damage: readonly string[];
  /** What could not be read and may be sound, for people. */
  readonly notRead: readonly string[];
}

/** The most places of damage that are listed. */
const DAMAGE_MAX = 20;
/** LevelDB's kind of an entry with a value; the other kind is a deletion. */
const HAS_VALUE = 1;
/** After a key in a table: its sequence number and kind, as one number of 8 bytes. */
const KEY_TRAILER_BYTES = 8;
const BATCH_HEADER_BYTES = 12;

/** @returns null if there is no state yet */
export async function inspectState(directory: string): Promise<StateInspection | null> {
  const names = await readdir(directory).catch((error: unknown) => {
    if (isMissing(error)) return null;
    throw error;
  });
  if (names === null) return null;
  const contents = new StateContents();
  const mark = await readMark(directory);
  if (mark !== null) contents.damaged(`an earlier run found it damaged: ${mark}`);
  let tables = 0;
  let bytes = 0;
  try {
    const manifest = await readManifest(directory);
    tables = manifest.tables.length;
    bytes = manifest.tables.reduce((sum, table) => sum + table.bytes, 0);
    await readTables(directory, manifest, contents);
    await readLogs(directory, names, manifest, contents);
  } catch (error) {
    // An empty directory is a state before its first start.
    if (names.length === 0) return null;
    if (!(error instanceof MalformedError) && !isMissing(error)) throw error;
    contents.damaged(error instanceof Error ? error.message : String(error));
  }
  return { directory, tables, bytes, ...contents.summary() };
}

async function readTables(directory: string, { tables }: Manifest, contents: StateContents): Promise<void> {
  const reader = new TableReader(directory);
  for (const table of tables) {
    await contents.guard(table.name, async () => {
      const file = await reader.read(table);
      if (file === null) {
        contents.damaged(`${table.name} is missing`);
        return;
      }
      for (const handle of readTableBlocks(file).data) {
        // One damaged block doesn't keep the others from being read.
        await contents.guard(table.name, () => {
          for (const { key, value } of entriesOf(readBlock(file, handle))) {
            const end = key.length - KEY_TRAILER_BYTES;
            const sequence = uint64At(key, end);
            contents.entry(key.subarray(0, end), (key[end] ?? 0) === HAS_VALUE ? value : null, sequence);
          }
        });
      }
    });
  }
}

/** Reads the log files that hold what is in no table yet. */
async function readLogs(
  directory: string,
  names: readonly string[],
  { logNumber, previousLog }: Manifest,
  contents: StateContents,
): Promise<void> {
  for (const name of names.filter((one) => /^\d+\.log$/.test(one)).sort()) {
    const number = parseInt(name, 10);
    if (number < logNumber && number !== previousLog) continue;
    const { records, incompleteBytes, damagedAt } = readLogRecords(
      await readFile(path.join(directory, name)),
    );
    for (const record of records)
      await contents.guard(name, () => {
        readBatch(record, contents);
      });
    // LevelDB skips the damaged rest when it opens the database. The node then finds out whether a batch is
    // missing.
    if (damagedAt !== null)
      contents.notRead(
        `${name} from offset ${damagedAt} on: it does not match its checksum, as after a power cut`,
      );
    else if (incompleteBytes > 0)
      contents.notRead(`the last ${incompleteBytes} bytes of ${name}: a write that was interrupted`);
  }
}

/** One atomic batch (`db/write_batch.cc`): its first sequence number and the count, then the operations. */
function readBatch(record: Uint8Array, contents: StateContents): void {
  let sequence = uint64At(record, 0);
  let count = uint32At(record, 8);
  const cursor = new ByteCursor(record, BATCH_HEADER_BYTES);
  for (; count > 0; count--, sequence++) {
    const hasValue = cursor.byte() === HAS_VALUE;
    const key = cursor.string();
    contents.entry(key, hasValue ? cursor.string() : null, sequence * 256 + Number(hasValue));
  }
}

/** Collects what was read of the state, and notes what is damaged. */
class StateContents {
  readonly #damage: string[] = [];
  readonly #notRead: string[] = [];
  #damages = 0;
  #values = 0;
  /**
   * The newest record of the position, of the identity and of each ring slot, by key, and its sequence
   * number.
   */
  readonly #newest = new Map<string, { readonly value: Uint8Array | null; readonly sequence: number }>();
  readonly #ring = new Set<string>();

  damaged(text: string): void {
    this.#damages += 1;
    if (this.#damages <= DAMAGE_MAX) this.#damage.push(text);
  }

  notRead(text: string): void {
    this.#notRead.push(text);
  }

  /** Runs `read`. If it throws because something is damaged, notes that instead of throwing. */
  async guard(file: string, read: () => void | Promise<void>): Promise<void> {
    try {
      await read();
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.damaged(`${file}: ${error.message}`);
    }
  }

  /** Takes in one entry of a table or log. `value` null: a deletion. `sequence`: the larger, the newer. */
  entry(key: Uint8Array, value: Uint8Array | null, sequence: number): void {
    if (value !== null && (isDataKey(key) || isSessionKey(key))) {
      this.#values += 1;
      this.#check(() => verified(key, value));
    }
    const isRing = isRingKey(key);
    if (!isRing && Buffer.compare(key, POSITION_KEY) !== 0 && Buffer.compare(key, IDENTITY_KEY) !== 0) return;
    const name = nameOf(key);
    if (isRing) this.#ring.add(name);
    if (sequence < (this.#newest.get(name)?.sequence ?? 0)) return;
    this.#newest.set(name, { value: value === null ? null : Uint8Array.from(value), sequence });
  }

  summary(): Omit<StateInspection, "directory" | "tables" | "bytes"> {
    const position = this.#newest.get(nameOf(POSITION_KEY))?.value ?? null;
    const isRestoring = position !== null && Buffer.compare(position, RESTORING_RECORD) === 0;
    const identityBytes = this.#newest.get(nameOf(IDENTITY_KEY))?.value ?? null;
    const identity = identityBytes === null ? null : this.#check(() => decodeIdentity(identityBytes));
    const record = position === null || isRestoring ? null : this.#check(() => decodePosition(position));
    if (record !== null) this.#checkRing(record);
    else if (position === null && this.#values > 0) this.damaged("there are values, and no position record");
    if (record !== null && record.restored !== null)
      this.notRead(
        "whether all keys of the snapshot that was restored are there: the node checks that at its start",
      );
    if (this.#damages > DAMAGE_MAX) this.#damage.push(`and ${this.#damages - DAMAGE_MAX} more`);
    return {
      applied: record?.applied ?? null,
      isRestoring,
      identity,
      values: this.#values,
      damage: this.#damage,
      notRead: this.#notRead,
    };
  }

  #checkRing({ batches }: PositionRecord): void {
    const found = new Set<number>();
    for (const name of this.#ring) {
      const value = this.#newest.get(name)?.value ?? null;
      if (value !== null) found.add(decodeBatchNumber(value));
    }
    const lost = lostBatch(found, batches);
    if (lost !== null) this.damaged(lost);
  }

  /** Runs `decode` and returns its result. null: what it reads is damaged, which is noted. */
  #check<T>(decode: () => T): T | null {
    try {
      return decode();
    } catch (error) {
      if (!(error instanceof StateDamagedError) && !(error instanceof DatabaseOpenError)) throw error;
      this.damaged(error.message);
      return null;
    }
  }
}

function nameOf(key: Uint8Array): string {
  return Buffer.from(key).toString("latin1");
}
