import { describe, expect, it } from "vitest";
import { readUint32, writeUint32 } from "../../codec/little-endian.ts";
import {
  decodeSegmentHeader,
  encodeSegmentHeader,
  FORMAT_VERSION,
  HEADER_PREFIX_BYTES,
  SEGMENT_HEADER_BYTES_MAX,
  segmentHeaderBytes,
  segmentVersion,
  type SegmentHeader,
} from "./segment-header.ts";

const HEADER: SegmentHeader = {
  nodeId: "node ä",
  clusterId: "cluster",
  storeId: "00112233445566778899aabbccddeeff",
  segment: 2 ** 33,
  firstBatch: 2 ** 34 + 1,
  bytes: 4096,
  hardState: { term: 2 ** 35 + 2, votedFor: "vote" },
  last: { index: 2 ** 36 + 3, term: 2 ** 37 + 4 },
  base: { index: 2 ** 38 + 5, term: 2 ** 39 + 6 },
  basePayload: Uint8Array.of(9, 8, 7),
};

describe("a segment's header", () => {
  it.each([
    ["a cluster and a vote", HEADER],
    ["no cluster", { ...HEADER, clusterId: null }],
    ["no vote", { ...HEADER, hardState: { term: 1, votedFor: null } }],
    [
      "neither, and no configuration",
      {
        ...HEADER,
        clusterId: null,
        hardState: { term: 1, votedFor: null },
        basePayload: new Uint8Array(0),
      },
    ],
    ["a cluster with an empty name, which is not the same as none", { ...HEADER, clusterId: "" }],
  ] as const)("is read back as it was written, with %s", (_, header) => {
    const bytes = encodeSegmentHeader(header);
    expect(segmentVersion(bytes)).toBe(FORMAT_VERSION);
    expect(decodeSegmentHeader(bytes)).toEqual(header);
  });

  it("states its length, and is padded with zeros to whole sectors", () => {
    const bytes = encodeSegmentHeader(HEADER);
    const length = segmentHeaderBytes(bytes) ?? 0;
    expect(length).toBe(HEADER_PREFIX_BYTES + 7 + 7 + 4 + 3);
    expect(segmentHeaderBytes(bytes.subarray(0, HEADER_PREFIX_BYTES))).toBe(length);
    expect(bytes.length).toBe(512);
    expect(bytes.subarray(length).every((byte) => byte === 0)).toBe(true);
  });

  it("is not recognized if it is shorter than any header", () => {
    const bytes = encodeSegmentHeader(HEADER);
    expect(segmentHeaderBytes(bytes.subarray(0, HEADER_PREFIX_BYTES - 1))).toBeNull();
    expect(segmentVersion(bytes.subarray(0, HEADER_PREFIX_BYTES))).toBeNull();
  });

  it("is damaged if any of its bytes differs", () => {
    const whole = encodeSegmentHeader(HEADER);
    for (let at = 0; at < (segmentHeaderBytes(whole) ?? 0); at++) {
      const bytes = whole.slice();
      bytes[at] = (bytes[at] ?? 0) ^ 4;
      expect([at, segmentVersion(bytes)]).toEqual([at, null]);
    }
    for (let at = 0; at < 8; at++) {
      const bytes = whole.slice();
      bytes[at] = (bytes[at] ?? 0) ^ 4;
      expect([at, segmentHeaderBytes(bytes)]).toEqual([at, null]);
    }
  });

  it("is not recognized if its length is out of range", () => {
    const bytes = encodeSegmentHeader(HEADER);
    const stated = (length: number) => {
      writeUint32(bytes, 8, length);
      return segmentHeaderBytes(bytes);
    };
    expect(stated(HEADER_PREFIX_BYTES)).toBe(HEADER_PREFIX_BYTES);
    expect(stated(HEADER_PREFIX_BYTES - 1)).toBeNull();
    expect(stated(SEGMENT_HEADER_BYTES_MAX)).toBe(SEGMENT_HEADER_BYTES_MAX);
    expect(stated(SEGMENT_HEADER_BYTES_MAX + 1)).toBeNull();
  });

  it("is refused if its parts exceed its length", () => {
    const bytes = encodeSegmentHeader(HEADER);
    writeUint32(bytes, 104 + 12, readUint32(bytes, 104 + 12) + 512);
    expect(() => decodeSegmentHeader(bytes)).toThrow("longer than it is");
  });
});
