import { crc32 } from "node:zlib";

import type { Environment } from "keelson";
import type { Database, DatabaseOperation } from "keelson-kv";

/** What a disk writes as a whole or not at all; each batch begins at a multiple of it, so that losing one damages no other. */
const SECTOR_BYTES = 512;

// A batch in the file, all numbers little-endian, filled up to whole sectors:
//   0  u32  MAGIC
//   4  u32  CRC-32 of all that follows
//   8  u32  number of the batch
//  12  u32  bytes of the operations
//  16       for each operation: u8 kind, u16 bytes of the key, u32 bytes of the value, key, value
const MAGIC = 0x42_41_54_43;
const HEADER_BYTES = 16;
const OPERATION_BYTES = 7;
const DELETE = 0;
const PUT = 1;

type Files = Environment["files"];
type File = Awaited<ReturnType<Files["open"]>>;

/**
 * An ordered map as LevelDB is one, on a simulated disk, with LevelDB's weakness: a batch that is not synced may be
 * gone after a power cut while a later one is there, and what is damaged is left out without a word. It has
 * LevelDB's promises, and none besides: batches are atomic, and a synced one is there with all before it.
 */
export class LossyDatabase implements Database {
  /** Places, as found on opening, where a batch follows that is not the next: something between them is lost, or out of place. */
  readonly holes: number;
  readonly #file: File;
  #end: number;
  #number: number;
  readonly #entries: Map<string, Uint8Array>;

  private constructor(file: File, { entries, end, number, holes }: Recovered) {
    this.#file = file;
    this.#entries = entries;
    this.#end = end;
    this.#number = number;
    this.holes = holes;
  }

  static async open(files: Files, directory: string): Promise<LossyDatabase> {
    const file = await openFile(files, directory);
    const bytes = new Uint8Array(await file.size());
    await file.read(bytes, 0);
    return new LossyDatabase(file, recover(bytes));
  }

  /** Throws the contents of a closed database away. */
  static async remove(files: Files, directory: string): Promise<void> {
    await files.remove(pathOf(directory));
    await files.syncDirectory(directory);
  }

  get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return Promise.resolve(this.#entries.get(textOf(key)));
  }

  async batch(operations: DatabaseOperation[], { sync }: { readonly sync: boolean }): Promise<void> {
    this.#number += 1;
    const bytes = encodeBatch(this.#number, operations);
    const at = this.#end;
    this.#end += bytes.length;
    await this.#file.write([bytes], at);
    if (sync) await this.#file.dataSync();
    for (const operation of operations) applyTo(this.#entries, operation);
  }

  async *entries(from: Uint8Array, to: Uint8Array): AsyncGenerator<readonly [Uint8Array, Uint8Array]> {
    const [first, end] = [textOf(from), textOf(to)];
    const found = [...this.#entries].filter(([key]) => key >= first && key < end);
    // One string a key, with a character for each byte: their order is that of the bytes.
    for (const [key, value] of found.sort(([a], [b]) => (a < b ? -1 : 1))) {
      yield [Buffer.from(key, "latin1"), value];
    }
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

interface Recovered {
  readonly entries: Map<string, Uint8Array>;
  readonly end: number;
  /** Of the last batch. */
  readonly number: number;
  readonly holes: number;
}

function recover(bytes: Uint8Array): Recovered {
  const entries = new Map<string, Uint8Array>();
  let [number, holes, at] = [0, 0, 0];
  while (at < bytes.length) {
    const batch = decodeBatch(bytes.subarray(at));
    if (batch === null) {
      at += SECTOR_BYTES;
      continue;
    }
    if (batch.number !== number + 1) holes += 1;
    number = batch.number;
    for (const operation of batch.operations) applyTo(entries, operation);
    at += batch.bytes;
  }
  return { entries, end: at, number, holes };
}

async function openFile(files: Files, directory: string): Promise<File> {
  await files.makeDirectory(directory);
  try {
    return await files.open(pathOf(directory), "write");
  } catch (error) {
    if ((error as { readonly code?: unknown }).code !== "ENOENT") throw error;
  }
  const file = await files.open(pathOf(directory), "create");
  await files.syncDirectory(directory);
  return file;
}

function pathOf(directory: string): string {
  return `${directory}/batches`;
}

function applyTo(entries: Map<string, Uint8Array>, operation: DatabaseOperation): void {
  if (operation.type === "del") entries.delete(textOf(operation.key));
  else entries.set(textOf(operation.key), operation.value);
}

function encodeBatch(number: number, operations: readonly DatabaseOperation[]): Buffer {
  const parts = operations.map((operation) => {
    const value = operation.type === "put" ? operation.value : new Uint8Array(0);
    const head = Buffer.alloc(OPERATION_BYTES);
    head[0] = operation.type === "put" ? PUT : DELETE;
    head.writeUInt16LE(operation.key.length, 1);
    head.writeUInt32LE(value.length, 3);
    return Buffer.concat([head, operation.key, value]);
  });
  const body = Buffer.concat(parts);
  const length = HEADER_BYTES + body.length;
  const bytes = Buffer.alloc(wholeSectors(length));
  bytes.writeUInt32LE(MAGIC, 0);
  bytes.writeUInt32LE(number, 8);
  bytes.writeUInt32LE(body.length, 12);
  bytes.set(body, HEADER_BYTES);
  bytes.writeUInt32LE(crc32(bytes.subarray(8, length)), 4);
  return bytes;
}

interface Batch {
  readonly number: number;
  readonly operations: readonly DatabaseOperation[];
  /** In the file. */
  readonly bytes: number;
}

/** The batch at the beginning of these bytes; null: none that is whole. */
function decodeBatch(bytes: Uint8Array): Batch | null {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.length < HEADER_BYTES || view.readUInt32LE(0) !== MAGIC) return null;
  const end = HEADER_BYTES + view.readUInt32LE(12);
  if (end > view.length || crc32(view.subarray(8, end)) !== view.readUInt32LE(4)) return null;
  const operations: DatabaseOperation[] = [];
  for (let at = HEADER_BYTES; at < end;) {
    const keyAt = at + OPERATION_BYTES;
    const valueAt = keyAt + view.readUInt16LE(at + 1);
    const next = valueAt + view.readUInt32LE(at + 3);
    const key = view.subarray(keyAt, valueAt);
    operations.push(
      view[at] === PUT ? { type: "put", key, value: view.subarray(valueAt, next) } : { type: "del", key },
    );
    at = next;
  }
  return { number: view.readUInt32LE(8), operations, bytes: wholeSectors(end) };
}

function wholeSectors(length: number): number {
  return Math.ceil(length / SECTOR_BYTES) * SECTOR_BYTES;
}

function textOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString("latin1");
}
