import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DecodeError, UnknownKindError } from "../errors.ts";
import {
  decodeRecord,
  encodeRecord,
  EntryKind,
  RECORD_BYTES_MAX,
  RECORD_HEADER_BYTES,
  RECORD_PAYLOAD_BYTES_MAX,
  recordIndex,
  recordIsIntact,
  recordKind,
  recordLength,
  recordPayload,
  recordTerm,
} from "./record.ts";

const position = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
const anyRecord = fc.record({
  index: position,
  term: position,
  kind: fc.constantFrom(...Object.values(EntryKind)),
  payload: fc.uint8Array({ maxLength: 300 }),
});

describe("a record", () => {
  it("decodes to what was encoded, at any offset", () => {
    fc.assert(
      fc.property(anyRecord, fc.nat(40), ({ index, term, kind, payload }, offset) => {
        const record = encodeRecord(index, term, kind, payload);
        const bytes = new Uint8Array(offset + record.length + 5).fill(7);
        bytes.set(record, offset);
        const decoded = decodeRecord(bytes, offset);
        expect({ ...decoded, payload: [...decoded.payload] }).toEqual({
          index,
          term,
          kind,
          payload: [...payload],
          length: RECORD_HEADER_BYTES + payload.length,
        });
        expect([recordLength(bytes, offset), recordIndex(bytes, offset)]).toEqual([record.length, index]);
        expect([recordTerm(bytes, offset), recordKind(bytes, offset)]).toEqual([term, kind]);
        expect([...recordPayload(record)]).toEqual([...payload]);
        expect(recordIsIntact(bytes, offset)).toBe(true);
      }),
    );
  });

  it("has the bytes that the table in record.ts describes", () => {
    const record = encodeRecord(2 ** 40 + 3, 5, EntryKind.config, Uint8Array.of(9, 8));
    expect(Buffer.from(record).toString("hex")).toBe(
      `1e000000${Buffer.from(record.subarray(4, 8)).toString("hex")}` +
        "0300000000010000" +
        "0500000000000000" +
        "03000000" +
        "0908",
    );
  });

  it.each([4, 5, 6, 7, 8, 9, 10])("is refused with the former kind %i of sessions' entries [W7]", (kind) => {
    const record = encodeRecord(1, 1, kind as EntryKind, new Uint8Array(0));
    const error = errorOf(() => decodeRecord(record));
    expect(error).toBeInstanceOf(UnknownKindError);
    expect(error).toMatchObject({ isOld: true });
    expect(error.message).toBe(
      `a record of kind ${String(kind)}, an entry of a session as an earlier version wrote it, which this one can't read`,
    );
  });

  it.each([0, 15, 255])("is refused with the unknown kind %i [W7]", (kind) => {
    const error = errorOf(() => decodeRecord(encodeRecord(1, 1, kind as EntryKind, new Uint8Array(0))));
    expect(error).toBeInstanceOf(UnknownKindError);
    expect(error).toMatchObject({ isOld: false, message: `a record of unknown kind ${String(kind)}` });
  });

  it("contains a copy of its payload", () => {
    const payload = Uint8Array.of(1, 2, 3);
    const record = encodeRecord(1, 1, EntryKind.command, payload);
    payload[0] = 99;
    expect([...recordPayload(record)]).toEqual([1, 2, 3]);
  });

  it("is refused with any bit flipped", () => {
    const record = encodeRecord(70_000, 3, EntryKind.command, Buffer.from("a payload"));
    for (let bit = 0; bit < record.length * 8; bit++) {
      const damaged = Uint8Array.from(record);
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      expect(() => decodeRecord(damaged), `bit ${String(bit)}`).toThrow(DecodeError);
    }
  });

  it("is refused with any bit flipped also when other bytes follow it", () => {
    const record = encodeRecord(70_000, 3, EntryKind.command, Buffer.from("a payload"));
    for (let bit = 0; bit < record.length * 8; bit++) {
      const bytes = new Uint8Array(1000);
      bytes.set(record);
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      expect(() => decodeRecord(bytes), `bit ${String(bit)}`).toThrow(DecodeError);
    }
  });

  it("is refused when it is cut short to any length", () => {
    const record = encodeRecord(1, 1, EntryKind.command, Buffer.from("a payload"));
    for (let length = 0; length < record.length; length++) {
      expect(() => decodeRecord(record.subarray(0, length))).toThrow(DecodeError);
    }
  });

  it("is refused when it consists of random bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(() => decodeRecord(bytes)).toThrow(DecodeError);
      }),
    );
  });

  it("is refused when its length is above the limit, before any memory is set aside", () => {
    const bytes = Uint8Array.from(encodeRecord(1, 1, EntryKind.command, new Uint8Array(0)));
    Buffer.from(bytes.buffer).writeUInt32LE(RECORD_BYTES_MAX + 1, 0);
    expect(() => decodeRecord(bytes)).toThrow(/from 28 to 16777244 are possible/);
  });

  it("fails an assertion for an invalid position or too large a payload", () => {
    const nothing = new Uint8Array(0);
    for (const bad of [0, -1, 1.5, NaN, 2 ** 53]) {
      expect(() => encodeRecord(bad, 1, EntryKind.command, nothing)).toThrow();
      expect(() => encodeRecord(1, bad, EntryKind.command, nothing)).toThrow();
    }
    expect(() =>
      encodeRecord(1, 1, EntryKind.command, new Uint8Array(RECORD_PAYLOAD_BYTES_MAX + 1)),
    ).toThrow();
    expect(encodeRecord(1, 1, EntryKind.command, new Uint8Array(RECORD_PAYLOAD_BYTES_MAX)).length).toBe(
      RECORD_BYTES_MAX,
    );
  });
});

function errorOf(run: () => unknown): Error {
  try {
    run();
  } catch (error) {
    return error as Error;
  }
  throw new Error("it was taken");
}
