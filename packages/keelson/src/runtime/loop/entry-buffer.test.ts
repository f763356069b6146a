import { describe, expect, it } from "vitest";
import { encodeRecord, EntryKind, recordIndex, recordTerm } from "../../codec/record.ts";
import { seededRandom } from "../../environment/simulated/simulated-clock.ts";
import { EntryBuffer } from "./entry-buffer.ts";
import { RECORD_OVERHEAD_BYTES } from "./record-memory.ts";

function record(index: number, term = 1, bytes = 10): Uint8Array {
  return encodeRecord(index, term, EntryKind.command, new Uint8Array(bytes));
}

describe("EntryBuffer", () => {
  it("keeps every record that wasn't submitted to the store, and drops the oldest submitted ones over its limit", () => {
    const buffer = new EntryBuffer(2 * (38 + RECORD_OVERHEAD_BYTES), 1);
    for (let index = 1; index <= 10; index++) buffer.append(record(index));
    expect([buffer.first, buffer.end, buffer.bytes]).toEqual([1, 11, 380]);
    buffer.markSubmitted(6);
    expect([buffer.first, buffer.end]).toEqual([6, 11]);
    buffer.markSubmitted(11);
    expect([buffer.first, buffer.end, buffer.bytes]).toEqual([9, 11, 76]);
    expect(buffer.retainedBytes).toBe(2 * (38 + RECORD_OVERHEAD_BYTES));
    expect(buffer.slice(8, 10)).toBeNull();
    expect(buffer.slice(9, 11)?.map((bytes) => recordIndex(bytes))).toEqual([9, 10]);
  });

  it("returns at least one record, and otherwise no more than fit", () => {
    const buffer = new EntryBuffer(1000, 1);
    for (let index = 1; index <= 5; index++) buffer.append(record(index));
    const count = (bytesMax: number): number | undefined => buffer.slice(2, 6, bytesMax)?.length;
    expect([count(0), count(38), count(75), count(76), count(77), count(1000)]).toEqual([1, 1, 1, 2, 2, 4]);
    expect(buffer.slice(3, 3)).toEqual([]);
    expect(buffer.slice(5, 7)).toBeNull();
  });

  it("refuses a record that would leave a gap", () => {
    const buffer = new EntryBuffer(1000, 4);
    expect(() => {
      buffer.append(record(5));
    }).toThrow("without a gap");
    expect(() => {
      buffer.replaceFrom(5, []);
    }).toThrow("within itself");
  });

  it("always equals the end of the log, through truncations and drops (R20)", () => {
    const random = seededRandom(7);
    for (let run = 0; run < 10; run++) {
      // The larger one lets records share chunks.
      const buffer = new EntryBuffer(run % 2 === 0 ? 8_000 : 40_000, 1);
      const log: Uint8Array[] = [];
      for (let step = 1; step <= 400; step++) {
        const dice = random();
        if (dice < 0.6) {
          const entry = record(log.length + 1, step, Math.floor(random() * 60));
          log.push(entry);
          buffer.append(entry);
        } else if (dice < 0.7) {
          const from = Math.max(1, log.length + 1 - Math.floor(random() ** 2 * 80));
          const entries = Array.from({ length: Math.floor(random() * 4) }, (_, at) =>
            record(from + at, step),
          );
          log.splice(from - 1, Infinity, ...entries);
          buffer.replaceFrom(from, entries);
          expect(buffer.submittedEnd).toBeLessThanOrEqual(from);
        } else {
          buffer.markSubmitted(
            buffer.submittedEnd + Math.floor(random() * (buffer.end - buffer.submittedEnd + 1)),
          );
        }
        expect(buffer.end).toBe(log.length + 1);
        expect(buffer.retainedBytes).toBeGreaterThanOrEqual(
          buffer.bytes + (buffer.end - buffer.first) * RECORD_OVERHEAD_BYTES,
        );
        expect(buffer.first).toBeLessThanOrEqual(buffer.submittedEnd);
        const from = buffer.first + Math.floor(random() * (buffer.end - buffer.first + 1));
        const expected = log.slice(from - 1);
        expect(buffer.slice(from, buffer.end)?.map((bytes) => recordTerm(bytes))).toEqual(
          expected.map((bytes) => recordTerm(bytes)),
        );
        expect(buffer.bytesBetween(from, buffer.end)).toBe(
          expected.reduce((sum, { length }) => sum + length, 0),
        );
      }
    }
  });

  it("returns the same bytes for older records as for the newest, also after truncations (R20)", () => {
    const buffer = new EntryBuffer(10_000_000, 1);
    const log: Uint8Array[] = [];
    const add = (term: number, count: number): void => {
      for (let at = 0; at < count; at++) {
        const index = log.length + 1;
        // Some have memory of their own.
        const payload = new Uint8Array(index % 500 === 0 ? 40_000 : index % 70).fill(index);
        log.push(encodeRecord(index, term, EntryKind.command, payload));
        if (index % 2 === 0) buffer.encode(term, EntryKind.command, payload);
        else buffer.append(log.at(-1) ?? payload);
      }
    };
    const check = (): void => {
      expect(buffer.slice(buffer.first, buffer.end)).toEqual(log.slice(buffer.first - 1));
      for (const index of [buffer.first, buffer.first + 700, buffer.end - 2])
        expect(buffer.slice(index, index + 1)).toEqual([log[index - 1]]);
    };
    add(1, 3000);
    check();
    buffer.replaceFrom(1000, []);
    log.length = 999;
    add(2, 2500);
    check();
    buffer.markSubmitted(buffer.end);
    buffer.discardThrough(1500, buffer.end);
    check();
  });

  it("frees the memory of dropped records", () => {
    const buffer = new EntryBuffer(3000, 1);
    for (let index = 1; index <= 5000; index++) {
      buffer.append(record(index));
      buffer.markSubmitted(index + 1);
      expect(buffer.retainedBytes).toBeLessThanOrEqual(3000);
    }
    expect(buffer.slice(4990, 5001)?.map((bytes) => recordIndex(bytes))).toEqual(
      Array.from({ length: 11 }, (_, at) => 4990 + at),
    );
  });
});
