import { describe, expect, it } from "vitest";
import { EntryKind, encodeRecord } from "../../codec/record.ts";
import { readUint32, writeUint32 } from "../../codec/little-endian.ts";
import { crc32 } from "node:zlib";
import {
  BATCH_HEADER_BYTES,
  BATCH_TRAILER_BYTES,
  batchBytes,
  decodeBatch,
  encodeBatch,
  itemBytes,
  readBatchHeader,
  SECTOR_BYTES,
  roundUpToSector,
  type BatchItem,
} from "./batch-format.ts";

const SALT = 0x1234_5678;
const SEQUENCE = 2 ** 32 + 7;
const base = { position: { index: 9, term: 3 }, config: Uint8Array.of(1, 2, 3) };

/** A batch whose payload has sectors of zeros between other sectors. */
function largeItems(): BatchItem[] {
  const payload = new Uint8Array(8 * SECTOR_BYTES);
  payload.fill(7, 0, SECTOR_BYTES);
  payload.fill(7, 5 * SECTOR_BYTES);
  return [{ type: "entries", records: [encodeRecord(1, 1, EntryKind.command, payload)] }];
}

const EVERY_KIND: readonly BatchItem[] = [
  { type: "hard-state", hardState: { term: 5, votedFor: "ä" } },
  { type: "hard-state", hardState: { term: 6, votedFor: null } },
  { type: "truncate", from: 2 ** 40 },
  { type: "cluster-id", clusterId: "cluster ü" },
  { type: "compact", base },
  { type: "reset", base: { position: { index: 11, term: 4 }, config: new Uint8Array(0) } },
  {
    type: "entries",
    records: [1, 2, 3].map((index) => encodeRecord(index, 1, EntryKind.command, new Uint8Array(index * 30))),
  },
];

/** The batch, encoded over bytes that are not zero; `after` is what follows its sectors. */
function encode(items: readonly BatchItem[], after = 0): Uint8Array {
  const length = batchBytes(items.reduce((sum, item) => sum + itemBytes(item), 0));
  const target = new Uint8Array(roundUpToSector(length) + after).fill(0xee);
  expect(encodeBatch(target, items, SEQUENCE, SALT)).toBe(roundUpToSector(length));
  return target;
}

function decode(bytes: Uint8Array, offset = 0) {
  return decodeBatch(bytes, offset, SEQUENCE, SALT);
}

/** Corrects the header's checksum after a deliberate change. */
function resign(bytes: Uint8Array): Uint8Array {
  writeUint32(bytes, 28, crc32(bytes.subarray(0, 28), SALT));
  return bytes;
}

describe("a batch", () => {
  it("is decoded to the items that were encoded, of every kind", () => {
    const bytes = encode(EVERY_KIND);
    const found = decode(bytes);
    expect(found).toMatchObject({ state: "whole", items: EVERY_KIND });
    const used = EVERY_KIND.reduce((sum, item) => sum + itemBytes(item), 0);
    expect(found).toHaveProperty("length", BATCH_HEADER_BYTES + used + BATCH_TRAILER_BYTES);
  });

  it("overwrites everything that was in its sectors", () => {
    const bytes = encode(EVERY_KIND);
    expect(readUint32(bytes, 24)).toBe(0);
    const end = batchBytes(EVERY_KIND.reduce((sum, item) => sum + itemBytes(item), 0));
    expect(bytes.subarray(end).every((byte) => byte === 0)).toBe(true);
    expect(end % SECTOR_BYTES).not.toBe(0);
  });

  it("changes nothing after its sectors", () => {
    const bytes = encode(EVERY_KIND, 100);
    expect(bytes.subarray(-100).every((byte) => byte === 0xee)).toBe(true);
  });

  it("is not encoded into a buffer that is too small", () => {
    const bytes = encode(largeItems());
    expect(() => encodeBatch(bytes.subarray(SECTOR_BYTES), largeItems(), 1, SALT)).toThrow();
    expect(() => encodeBatch(new Uint8Array(SECTOR_BYTES - 1), [], 1, SALT)).toThrow("fits the space");
  });

  it("counts its blank sectors between the first and the last", () => {
    expect(readUint32(encode(largeItems()), 16)).toBe(3);
    expect(readUint32(encode(EVERY_KIND), 16)).toBe(0);
    const zeros: BatchItem = { type: "entries", records: [new Uint8Array(4 * SECTOR_BYTES)] };
    expect(readUint32(encode([zeros]), 16)).toBe(3);
  });

  it("is decoded at any sector", () => {
    const batch = encode(largeItems());
    const bytes = new Uint8Array(3 * SECTOR_BYTES + batch.length);
    bytes.set(batch, 3 * SECTOR_BYTES);
    expect(decode(bytes, 3 * SECTOR_BYTES)).toMatchObject({ state: "whole", items: largeItems() });
    expect(decode(bytes, 0)).toEqual({ state: "unfinished" });
  });

  it("of another store has no valid header", () => {
    const bytes = encode(EVERY_KIND);
    expect(readBatchHeader(bytes, 0, SALT)).toMatchObject({ sequence: SEQUENCE });
    expect(readBatchHeader(bytes, 0, SALT + 1)).toBeNull();
    expect(decodeBatch(bytes, 0, SEQUENCE, SALT + 1)).toMatchObject({ state: "damaged" });
  });
});

describe("a torn batch", () => {
  it("is unfinished, whichever of its sectors were not written", () => {
    const whole = encode(largeItems());
    const sectors = whole.length / SECTOR_BYTES;
    for (let missing = 0; missing < sectors; missing++) {
      const bytes = whole.slice();
      const at = missing * SECTOR_BYTES;
      if (bytes.subarray(at, at + SECTOR_BYTES).every((byte) => byte === 0)) continue;
      bytes.fill(0, at, at + SECTOR_BYTES);
      expect([missing, decode(bytes).state]).toEqual([missing, "unfinished"]);
    }
  });

  it("is unfinished, wherever in its first sector the write stopped", () => {
    const whole = encode(largeItems());
    for (let end = 0; end < BATCH_HEADER_BYTES; end++) {
      const bytes = new Uint8Array(whole.length);
      bytes.set(whole.subarray(0, end));
      expect([end, decode(bytes).state]).toEqual([end, "unfinished"]);
    }
  });

  it("is unfinished if the header was not written, whatever else was", () => {
    const bytes = encode(largeItems()).fill(0, 0, BATCH_HEADER_BYTES);
    expect(decode(bytes)).toEqual({ state: "unfinished" });
  });
});

describe("a batch that was changed after it was written", () => {
  it("is damaged if its header doesn't match its checksum and items follow", () => {
    for (let at = 0; at < BATCH_HEADER_BYTES; at++) {
      const bytes = encode(largeItems());
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      expect([at, readBatchHeader(bytes, 0, SALT)]).toEqual([at, null]);
      expect(decode(bytes)).toEqual({ state: "damaged", why: "the header of a batch is damaged" });
    }
  });

  it("is damaged if any byte after its header differs", () => {
    const whole = encode(EVERY_KIND);
    const end = batchBytes(EVERY_KIND.reduce((sum, item) => sum + itemBytes(item), 0));
    for (let at = BATCH_HEADER_BYTES; at < end; at++) {
      const bytes = whole.slice();
      bytes[at] = (bytes[at] ?? 0) ^ 0x10;
      expect([at, decode(bytes)]).toEqual([
        at,
        { state: "damaged", why: "a batch does not match its checksum" },
      ]);
    }
  });

  it("is damaged if it has another sequence number than expected", () => {
    const bytes = encode(EVERY_KIND);
    expect(decodeBatch(bytes, 0, SEQUENCE + 1, SALT)).toEqual({
      state: "damaged",
      why: `batch ${String(SEQUENCE)} stands where ${String(SEQUENCE + 1)} belongs`,
    });
  });

  it("is damaged if it reaches past the end of the segment, and not if it ends there", () => {
    const items: BatchItem[] = [{ type: "entries", records: [new Uint8Array(SECTOR_BYTES - 48).fill(3)] }];
    const bytes = new Uint8Array(3 * SECTOR_BYTES);
    expect(encodeBatch(bytes.subarray(SECTOR_BYTES), items, SEQUENCE, SALT)).toBe(SECTOR_BYTES);
    expect(readUint32(bytes, SECTOR_BYTES + 4)).toBe(SECTOR_BYTES);
    const why = `a batch of ${String(SECTOR_BYTES)} bytes reaches past the end of the segment`;
    // It's in bounds, so its items are decoded, and the error is the codec's: its bytes are no record.
    expect(() => decode(bytes.subarray(0, 2 * SECTOR_BYTES), SECTOR_BYTES)).toThrow("record");
    expect(decode(bytes.subarray(0, 2 * SECTOR_BYTES - 4), SECTOR_BYTES)).toEqual({ state: "damaged", why });
  });

  it("is damaged if its length is less than that of an empty batch", () => {
    const empty = new Uint8Array(SECTOR_BYTES);
    encodeBatch(empty, [], SEQUENCE, SALT);
    expect(decode(empty)).toEqual({ state: "whole", length: batchBytes(0), items: [] });
    writeUint32(empty, 4, batchBytes(0) - 1);
    const why = `a batch of ${String(batchBytes(0) - 1)} bytes reaches past the end of the segment`;
    expect(decode(resign(empty))).toEqual({ state: "damaged", why });
  });
});

describe("a batch with right checksums and wrong items", () => {
  /** A batch of one truncate item, changed by `change`, with right checksums. */
  function forged(change: (bytes: Uint8Array) => void): Uint8Array {
    const bytes = encode([{ type: "truncate", from: 3 }]);
    change(bytes);
    writeUint32(bytes, 20, crc32(bytes.subarray(BATCH_HEADER_BYTES, BATCH_HEADER_BYTES + 16), SALT));
    return resign(bytes);
  }

  it("is refused if an item is longer than the rest of the batch", () => {
    expect(decode(forged(() => undefined))).toMatchObject({ state: "whole" });
    const bytes = forged((target) => {
      writeUint32(target, BATCH_HEADER_BYTES + 4, 9);
    });
    expect(() => decode(bytes)).toThrow("an item reaches past the end of its batch");
  });

  it("is refused if it has an item of an unknown kind", () => {
    const bytes = forged((target) => {
      writeUint32(target, BATCH_HEADER_BYTES, 99);
    });
    expect(() => decode(bytes)).toThrow("an item of unknown type 99");
  });
});
