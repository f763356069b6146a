// Compares the limits on memory with the memory that the process really holds after a garbage collection.
import { describe, expect, it } from "vitest";
import { encodeRecord, EntryKind } from "../../codec/record.ts";
import { usageAfterCollection } from "../../test/memory-held.ts";
import { EntryBuffer } from "./entry-buffer.ts";

const MIB = 1024 * 1024;

/** What may come from other parts of the process. */
const NOISE_BYTES = 2 * MIB;

/** Bytes outside of the heap that buffers hold. */
function arrayBuffers(): number {
  return usageAfterCollection().arrayBuffers;
}

describe("the entry buffer", () => {
  it.each([
    ["small commands, with other use of Node's shared pool in between", 256, 3000],
    ["commands of a few KiB", 5000, 0],
    ["large commands", 300_000, 0],
  ])("holds no more memory than its limit: %s (Z11)", (_what, bytes, others) => {
    const before = arrayBuffers();
    const buffer = new EntryBuffer(4 * MIB, 1);
    const payload = new Uint8Array(bytes);
    for (let index = 1; index * bytes < 12 * MIB; index++) {
      buffer.append(encodeRecord(index, 1, EntryKind.command, payload));
      buffer.markSubmitted(index + 1);
      Buffer.allocUnsafe(others);
    }
    const held = arrayBuffers() - before;
    expect(buffer.bytes).toBeGreaterThan(2 * MIB);
    expect(buffer.retainedBytes).toBeLessThanOrEqual(4 * MIB);
    expect(held).toBeLessThan(buffer.retainedBytes + NOISE_BYTES);
  });

  it("keeps few objects alive, however many small records it holds", () => {
    const payload = new Uint8Array(100);
    const before = usageAfterCollection().heapUsed;
    const buffer = new EntryBuffer(16 * MIB, 1);
    for (let index = 1; index <= 60_000; index++) buffer.encode(1, EntryKind.command, payload);
    const held = usageAfterCollection().heapUsed - before;
    // Four flat arrays of eight bytes for each record, which may have grown by half more than is used. An
    // object for each record would take another 6 MB at the least.
    expect(held).toBeLessThan(60_000 * 48 + NOISE_BYTES);
    expect(buffer.end).toBe(60_001);
  });

  it("keeps no message alive from which it took a part of the records (Z11)", () => {
    const before = arrayBuffers();
    const buffer = new EntryBuffer(4 * MIB, 1);
    for (let index = 1; index <= 100; index++) {
      const record = encodeRecord(index, 1, EntryKind.command, new Uint8Array(100));
      const message = new Uint8Array(MIB);
      message.set(record, 1000);
      buffer.replaceFrom(index, [message.subarray(1000, 1000 + record.length)]);
    }
    expect(arrayBuffers() - before).toBeLessThan(buffer.retainedBytes + NOISE_BYTES);
  });

  it("gives back the memory of records that were truncated, and of all after a reset", () => {
    const before = arrayBuffers();
    const buffer = new EntryBuffer(4 * MIB, 1);
    for (let index = 1; index <= 8; index++)
      buffer.append(encodeRecord(index, 1, EntryKind.command, new Uint8Array(MIB)));
    buffer.replaceFrom(3, []);
    expect(buffer.retainedBytes).toBeLessThan(3 * MIB);
    buffer.discardThrough(8, 9);
    expect(buffer.retainedBytes).toBe(0);
    expect(arrayBuffers() - before).toBeLessThan(NOISE_BYTES);
  });
});
