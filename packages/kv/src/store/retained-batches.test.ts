/** Compares the limit on what one batch of the state machine applies with the memory that it really holds. */
import { describe, expect, it } from "vitest";
import { decodeCommand, encodeCommand } from "./commands.ts";
import type { Database } from "./database.ts";
import { KvStateMachine } from "./state-machine.ts";
import { memoryHeld } from "../test/memory-held.ts";

const MIB = 1024 * 1024;

/** The default of `limits.applyBatchBytesMax`, which the library keeps to. */
const BATCH_BYTES_MAX = 4 * MIB;
/** The default of `limits.applyBatchEntriesMax`. */
const BATCH_ENTRIES_MAX = 1024;
/** What the library's buffer of records lends memory of, and what a frame of the network brings. */
const CHUNK_BYTES = 64 * 1024;

/** Objects of a command and of its operation in the batch. */
const ENTRY_BYTES = 2048;
/** What may come from other parts of the process. */
const NOISE_BYTES = 2 * MIB;

/** A database that keeps nothing, and writes when it is told to. */
function slowDatabase(): { database: Database; write: () => void } {
  let write = (): void => undefined;
  const database: Database = {
    get: () => Promise.resolve(undefined),
    batch: () =>
      new Promise((resolve) => {
        write = resolve;
      }),
    async *entries() {
      // Empty.
    },
    close: () => Promise.resolve(),
  };
  return {
    database,
    write: () => {
      write();
    },
  };
}

describe("a batch of the state machine", () => {
  it.each([
    ["small values", 200],
    ["values of a few KiB", 4000],
    ["values of 100 KiB", 100_000],
  ])(
    "holds its limit and a copy while it is written, and nothing after that: %s (Z11)",
    async (_what, bytes) => {
      const { database, write } = slowDatabase();
      const store = new KvStateMachine(() => Promise.resolve(database));
      await store.open();
      const applyAndFlush = (round: number): { count: number; flushed: Promise<void> } => {
        let count = 0;
        let chunk = new Uint8Array(0);
        let at = 0;
        for (let total = 0; count < BATCH_ENTRIES_MAX && total + bytes <= BATCH_BYTES_MAX; total += bytes) {
          const key = Buffer.from(`key-${round}-${count}`);
          const command = encodeCommand({ type: "put", key, value: new Uint8Array(bytes), condition: null });
          if (at + command.length > chunk.length) {
            chunk = new Uint8Array(Math.max(CHUNK_BYTES, command.length));
            at = 0;
          }
          chunk.set(command, at);
          const position = { index: ++count, term: 1 };
          void store.apply(decodeCommand(chunk.subarray(at, at + command.length)), position);
          at += command.length;
        }
        return { count, flushed: store.flush({ index: count, term: 1 }) };
      };
      const warmUp = applyAndFlush(0);
      write();
      await warmUp.flushed;
      const before = memoryHeld();
      const { count, flushed } = applyAndFlush(1);
      const bytesOfBatch = count * bytes;
      const during = memoryHeld() - before;
      expect(during).toBeGreaterThan(bytesOfBatch);
      expect(during).toBeLessThan(2 * (bytesOfBatch + 2 * CHUNK_BYTES) + count * ENTRY_BYTES + NOISE_BYTES);
      write();
      await flushed;
      expect(memoryHeld() - before).toBeLessThan(NOISE_BYTES);
    },
  );
});
