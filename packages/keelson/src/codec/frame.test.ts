import { crc32 } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DecodeError } from "../errors.ts";
import { INFO_BYTES_MAX } from "./frame-control-message.ts";
import { FrameReader } from "./frame-reader.ts";
import { RUNTIME_PAYLOAD_BYTES_MAX } from "./frame-runtime-message.ts";
import {
  encodeControlMessage,
  encodeMessage,
  type EncodedFrame,
  type Frame,
  FRAME_BYTES_MAX,
  FRAME_HEADER_BYTES,
} from "./frame.ts";
import { encodeRecord, EntryKind } from "./record.ts";
import { caseArb, configRecord, controlArb, type Case } from "./test/frame-arbitraries.ts";

function joined(chunks: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(chunks.reduce((bytes, chunk) => bytes + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

function framesOf(chunks: Iterable<Uint8Array>, reader = new FrameReader()): Frame[] {
  const frames: Frame[] = [];
  for (const chunk of chunks) {
    // A copy, which is overwritten below, because a connection's bytes are valid only during the call.
    const lent = chunk.slice();
    reader.feed(lent);
    for (let frame = reader.next(); frame !== null; frame = reader.next()) frames.push(frame);
    lent.fill(0xdd);
  }
  return frames;
}

function plain(frame: Frame): unknown {
  if (frame.type !== "message") return frame;
  return { ...frame, records: frame.records.map((record) => [...record]) };
}

function expected({ message, records }: Case, group = 0): unknown {
  return { type: "message", group, message, records: records.map((record) => [...record]) };
}

function encoded({ message, records }: Case, group = 0): Uint8Array {
  return joined(encodeMessage(message, records, group).chunks);
}

/** One frame of each kind that matters for splitting: with and without a tail, short and long. */
const sample: Case = {
  message: {
    type: "append-entries",
    from: "n1",
    term: 7,
    entries: {
      prev: { term: 6, index: 10 },
      lastIndex: 13,
      terms: [
        { index: 11, term: 6 },
        { index: 12, term: 7 },
      ],
      configs: [{ index: 12, config: { voters: ["n1", "n2"], outgoingVoters: [], learners: [] } }],
    },
    commit: 9,
    round: 4,
  },
  records: [
    encodeRecord(11, 6, EntryKind.command, Uint8Array.of(1, 2, 3)),
    configRecord(12, 7, { voters: ["n1", "n2"], outgoingVoters: [], learners: [] }),
    encodeRecord(13, 7, EntryKind.blank, new Uint8Array(0)),
  ],
};
const snapshotChunk = {
  type: "snapshot-chunk",
  from: "n1",
  id: "s1",
  size: 100,
  offset: 90,
  payload: Uint8Array.of(1, 2, 3),
} as const;
const chunk: Case = { message: snapshotChunk, records: [] };
const vote = {
  message: { type: "request-vote", from: "n2", term: 3, last: { term: 2, index: 5 }, transfer: false },
  records: [],
} as const satisfies Case;

describe("frames", () => {
  it("decode to the messages, records and groups that were encoded, however the stream is split", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(caseArb, fc.nat(0xffff_ffff)), { minLength: 1, maxLength: 4 }),
        fc.array(fc.nat(200), { maxLength: 10 }),
        (cases, lengths) => {
          const stream = joined(cases.map(([sample, group]) => encoded(sample, group)));
          expect(framesOf(cutInto(stream, lengths)).map(plain)).toEqual(
            cases.map(([sample, group]) => expected(sample, group)),
          );
        },
      ),
      { numRuns: 400 },
    );
  });

  it("decode to the control messages that were encoded", () => {
    fc.assert(
      fc.property(controlArb, (control) => {
        expect(framesOf([encodeControlMessage(control)])).toEqual([control]);
      }),
    );
  });

  it("contain the given records without a copy", () => {
    const { chunks, bytes } = encodeMessage(sample.message, sample.records);
    expect(chunks.slice(1)).toEqual(sample.records);
    expect(chunks.slice(1).every((chunk, at) => chunk === sample.records[at])).toBe(true);
    expect(bytes).toBe(joined(chunks).length);
  });

  it("cut off a reason that is too long", () => {
    const [frame] = framesOf([encodeControlMessage({ type: "goodbye", reason: "ü".repeat(5_000) })]);
    expect(frame?.type === "goodbye" && frame.reason).toMatch(/^ü{300,}\.\.\.$/);
  });

  it("fail an assertion for a message that could not be decoded", () => {
    const { message } = sample;
    if (message.type !== "append-entries") throw new Error("sample");
    const cases: [string, () => EncodedFrame | Uint8Array][] = [
      ["one record for each entry", () => encodeMessage(message, sample.records.slice(1))],
      ["in order", () => encodeMessage(message, sample.records.toReversed())],
      ["only AppendEntries carries", () => encodeMessage(vote.message, sample.records)],
      ["only AppendEntries carries", () => encodeMessage(chunk.message, sample.records)],
      [
        "keeps to its limit",
        () => encodeMessage({ ...snapshotChunk, payload: new Uint8Array(RUNTIME_PAYLOAD_BYTES_MAX + 1) }, []),
      ],
      ["safe integers", () => encodeMessage({ ...vote.message, term: 0.5 }, [])],
      ["safe integers", () => encodeMessage({ ...vote.message, term: -1 }, [])],
      ["1 to 64 characters", () => encodeMessage({ ...vote.message, from: "" }, [])],
      ["A-Z", () => encodeMessage({ ...vote.message, from: "ü" }, [])],
      [
        "its limit",
        () =>
          encodeControlMessage({
            type: "welcome",
            version: 1,
            clusterId: "c",
            from: {
              id: "a",
              storeId: "s",
              info: "x".repeat(INFO_BYTES_MAX + 1),
              address: "a:1",
              priority: 0,
            },
          }),
      ],
    ];
    for (const [reason, encode] of cases) expect(encode, reason).toThrow(reason);
  });
});

function* cutInto(stream: Uint8Array, lengths: readonly number[]): Generator<Uint8Array> {
  let at = 0;
  for (const length of lengths) {
    yield stream.subarray(at, at + length);
    at = Math.min(stream.length, at + length);
  }
  yield stream.subarray(at);
}

describe("FrameReader", () => {
  const stream = joined([
    encoded(vote),
    encoded(sample),
    encoded(chunk),
    encodeControlMessage({ type: "ping" }),
    encoded(vote),
  ]);
  const all = [expected(vote), expected(sample), expected(chunk), { type: "ping" }, expected(vote)];

  it("finds frames in a stream that is split into two or three chunks anywhere", () => {
    for (let first = 0; first <= stream.length; first++) {
      expect(framesOf([stream.subarray(0, first), stream.subarray(first)]).map(plain)).toEqual(all);
      const second = Math.min(stream.length, first + 30);
      const pieces = [stream.subarray(0, first), stream.subarray(first, second), stream.subarray(second)];
      expect(framesOf(pieces).map(plain)).toEqual(all);
    }
  });

  it("finds frames that arrive one byte at a time [W3]", () => {
    const bytes = Array.from(stream, (byte) => Uint8Array.of(byte));
    expect(framesOf(bytes).map(plain)).toEqual(all);
  });

  it("returns nothing for a frame that is cut off anywhere", () => {
    const whole = encoded(sample);
    for (let length = 0; length < whole.length; length++) {
      expect(framesOf([whole.subarray(0, length)])).toEqual([]);
    }
  });

  it("never decodes a frame with one flipped bit", () => {
    for (const whole of [
      encoded(sample),
      encoded(chunk),
      encoded(vote),
      encodeControlMessage({ type: "ping" }),
    ]) {
      for (let bit = 0; bit < whole.length * 8; bit++) {
        const damaged = whole.slice();
        damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        let frames: Frame[] = [];
        try {
          frames = framesOf([damaged]);
        } catch (error) {
          expect(error).toBeInstanceOf(DecodeError);
        }
        // If the flipped bit made the length larger, the reader waits for more bytes.
        expect(frames).toEqual([]);
      }
    }
  });

  it("returns nothing or throws DecodeError for random bytes, alone and after a valid header", () => {
    const attempt = (bytes: Uint8Array): void => {
      try {
        framesOf([bytes]);
      } catch (error) {
        expect(error).toBeInstanceOf(DecodeError);
      }
    };
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        attempt(bytes);
        const behind = encoded(sample).slice();
        behind.set(bytes.subarray(0, behind.length - FRAME_HEADER_BYTES), FRAME_HEADER_BYTES);
        attempt(behind);
      }),
    );
  });

  it("refuses a header that announces too much before it sets memory aside [W3]", () => {
    for (const length of [FRAME_BYTES_MAX + 1, 2 ** 31, 2 ** 32 - 1]) {
      const header = encoded(vote).slice(0, FRAME_HEADER_BYTES);
      new DataView(header.buffer).setUint32(8, length, true);
      const reader = new FrameReader();
      expect(() => framesOf([header], reader)).toThrow(
        `announces ${String(length)} bytes; the limit is ${String(FRAME_BYTES_MAX)}`,
      );
      expect(reader.reservedBytes).toBeLessThanOrEqual(FRAME_HEADER_BYTES);
    }
  });

  it("refuses a frame above a lowered limit", () => {
    const whole = encoded(sample);
    expect(() => framesOf([whole], new FrameReader(whole.length - 1))).toThrow("the limit is");
    expect(framesOf([whole], new FrameReader(whole.length))).toHaveLength(1);
  });

  it.each([
    ["another protocol", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "another protocol"],
    ["a later version", "KLS\u0002" + "x".repeat(40), "version 2"],
  ])("refuses %s with the reason", (_name, text, reason) => {
    expect(() => framesOf([new TextEncoder().encode(text)])).toThrow(reason);
  });

  it("names the type when only that is unknown", () => {
    for (const type of [0, 11, 31, 40, 63, 71, 255, 256]) {
      const frame = encoded(vote).slice();
      new DataView(frame.buffer).setUint32(20, type, true);
      expect(() => framesOf([frame])).toThrow(`unknown type ${String(type)}`);
    }
  });

  it("sets aside at most twice the bytes that arrived, whatever the header announces", () => {
    const payload = new Uint8Array(4 * 1024 * 1024);
    const big = encoded({
      message: {
        type: "append-entries",
        from: "n1",
        term: 1,
        entries: { prev: { term: 0, index: 0 }, lastIndex: 1, terms: [{ index: 1, term: 1 }], configs: [] },
        commit: 0,
        round: 0,
      },
      records: [encodeRecord(1, 1, EntryKind.command, payload)],
    });
    const reader = new FrameReader();
    for (const fed of [10, 24, 100, 70_000, 200_000, 1_000_000]) {
      const partial = new FrameReader();
      partial.feed(big.slice(0, fed));
      expect(partial.next()).toBeNull();
      expect(partial.reservedBytes).toBeLessThanOrEqual(Math.max(2 * fed, 64 * 1024));
    }
    // The time is linear in the number of chunks. If each chunk copied what is held, this would take minutes.
    const pieces: Uint8Array[] = [];
    for (let at = 0; at < big.length; at += 100) pieces.push(big.subarray(at, at + 100));
    expect(framesOf(pieces, reader)).toHaveLength(1);
    expect(reader.reservedBytes).toBe(0);
  });
});

describe("AppendEntries from a faulty sender", () => {
  const { message } = sample;
  if (message.type !== "append-entries") throw new Error("sample");
  const command = (index: number, term: number): Uint8Array =>
    encodeRecord(index, term, EntryKind.command, Uint8Array.of(9));

  /** Encodes valid records, then replaces them by others of the same length that have right checksums too. */
  function withRecords(
    good: readonly Uint8Array[],
    bad: readonly Uint8Array[],
    prev = { term: 6, index: 10 },
  ): Uint8Array {
    if (message.type !== "append-entries") throw new Error("sample");
    const entries = { ...message.entries, prev, lastIndex: prev.index + good.length };
    const frame = encodeMessage({ ...message, entries }, good);
    return joined([frame.chunks[0] ?? new Uint8Array(0), ...bad]);
  }

  it.each([
    ["a gap", [command(11, 7), command(13, 7)], "entry 13 is where that of 12 belongs"],
    ["the wrong first index", [command(12, 7), command(13, 7)], "entry 12 is where that of 11 belongs"],
    ["a term that falls", [command(11, 7), command(12, 6)], "term 6 follows term 7"],
    ["a term below that of prev", [command(11, 5), command(12, 7)], "term 5 follows term 6"],
    ["a term above the sender's", [command(11, 7), command(12, 8)], "term 8 follows term 7"],
  ])("is refused with %s", (_name, bad, reason) => {
    const good = [command(11, 7), command(12, 7)];
    expect(() => framesOf([withRecords(good, bad)])).toThrow(reason);
  });

  it("is refused with fewer or more records than announced", () => {
    const good = [command(11, 7), command(12, 7)];
    const whole = withRecords(good, good);
    const view = new DataView(whole.buffer);
    view.setUint32(8, whole.length - command(12, 7).length, true);
    expect(() => framesOf([whole])).toThrow(DecodeError);
    const three = withRecords(
      [...good, command(13, 7)],
      [command(11, 7), encodeRecord(12, 7, EntryKind.command, new Uint8Array(30))],
    );
    expect(() => framesOf([three])).toThrow(DecodeError);
  });

  it("is refused with a configuration that cannot be decoded", () => {
    const bad = encodeRecord(11, 7, EntryKind.config, Uint8Array.of(1, 2));
    expect(() =>
      framesOf([withRecords([encodeRecord(11, 7, EntryKind.command, Uint8Array.of(1, 2))], [bad])]),
    ).toThrow("cluster configuration");
  });
});

describe("a frame from a faulty program", () => {
  const ascii = (text: string): number[] => [...new TextEncoder().encode(text)];
  const zeros = (count: number): number[] => Array.from({ length: count }, () => 0);
  const from = [2, ...ascii("n1")];
  const term = [1, ...zeros(7)];
  const tooLarge = [...zeros(6), 0x20, 0];
  const blank = [...encodeRecord(1, 1, EntryKind.blank, new Uint8Array(0))];
  /** The body of an AppendEntries from the beginning of the log that announces `count` records. */
  const appendBody = (count: number): number[] => [
    ...from,
    ...term,
    ...zeros(16),
    ...zeros(8),
    ...zeros(8),
    count,
    0,
    0,
    0,
  ];

  /** A frame with this body and tail, and a correct header. */
  function crafted(type: number, body: readonly number[], tail: readonly number[] = []): Uint8Array {
    const frame = Uint8Array.from([...ascii("KLS"), 1, ...zeros(20), ...body, ...tail]);
    const view = new DataView(frame.buffer);
    view.setUint32(8, frame.length, true);
    view.setUint32(16, body.length, true);
    view.setUint8(20, type);
    view.setUint32(4, crc32(frame.subarray(8, FRAME_HEADER_BYTES + body.length)), true);
    return frame;
  }

  /** A runtime message's body: the sender, the tail's checksum, then `rest`. */
  const runtimeBody = (rest: readonly number[], tail: readonly number[] = []): number[] => {
    const sum = new DataView(new ArrayBuffer(4));
    sum.setUint32(0, crc32(Uint8Array.from(tail)), true);
    return [...from, ...new Uint8Array(sum.buffer), ...rest];
  };
  const gone = [1, 1, 0, ...ascii("s")];
  const chunkOf = (size: number): number[] => [1, 0, ...ascii("s"), size, ...zeros(7), 4, ...zeros(7)];

  const number = (value: number): number[] => [value, ...zeros(7)];
  const one = [...number(1), ...number(1)];
  /** A list of ids of one character each. */
  const ids = (...names: readonly string[]): number[] => [
    names.length,
    0,
    ...names.flatMap((name) => [1, ...ascii(name)]),
  ];
  /** The offer of a snapshot up to this position, with this configuration. */
  const offer = (last: readonly number[], config: readonly (readonly number[])[]): Uint8Array =>
    crafted(7, [...from, ...term, ...last, ...zeros(8), ...config.flat()]);

  it("is decoded if its body is valid", () => {
    expect(framesOf([offer(one, [ids("a"), ids("b"), ids("c")])])).toMatchObject([
      { message: { config: { voters: ["a"], outgoingVoters: ["b"], learners: ["c"] } } },
    ]);
    expect(framesOf([crafted(34, runtimeBody(gone))])).toMatchObject([{ message: { id: "s" } }]);
    expect(framesOf([crafted(33, runtimeBody(chunkOf(6), [7, 8]), [7, 8])])).toMatchObject([
      { message: { size: 6, offset: 4, payload: Uint8Array.of(7, 8) } },
    ]);
    expect(framesOf([crafted(4, [...from, ...term, 1])])).toMatchObject([
      { message: { term: 1, granted: true } },
    ]);
    expect(framesOf([crafted(5, appendBody(1), blank)])).toMatchObject([
      { message: { entries: { lastIndex: 1 } } },
    ]);
    expect(framesOf([crafted(66, [2, 0, ...ascii("no")])])).toEqual([{ type: "goodbye", reason: "no" }]);
  });

  it.each([
    [
      "records behind a vote",
      crafted(4, [...from, ...term, 1], blank),
      "records follow a message that has none",
    ],
    ["records behind a ping", crafted(67, [], blank), "records follow a frame that has none"],
    ["a body that goes on", crafted(4, [...from, ...term, 1, 0]), "1 bytes too many in the body"],
    ["a ping with a body", crafted(67, [0]), "1 bytes too many in the body"],
    ["a body that ends in a number", crafted(4, [...from, ...term.slice(1)]), "ends too early"],
    ["a body that ends in an id", crafted(4, [9, ...ascii("n1")]), "ends too early"],
    ["an empty body", crafted(4, []), "ends too early"],
    ["a number of 2^53", crafted(4, [...from, ...tooLarge, 1]), "not below 2^53"],
    ["a yes that is 2", crafted(4, [...from, ...term, 2]), "neither 0 nor 1"],
    ["an empty id", crafted(4, [0, ...term, 1]), "an id has 0 bytes"],
    ["an id of 65 bytes", crafted(4, [65, ...ascii("n".repeat(65)), ...term, 1]), "an id has 65 bytes"],
    ["an id with a space", crafted(4, [2, ...ascii("n "), ...term, 1]), "the byte 32"],
    ["a text that is not UTF-8", crafted(66, [2, 0, 0xc3, 0x28]), "not UTF-8"],
    [
      "a text over its limit",
      crafted(66, [1, 4, ...zeros(1_025)]),
      "a text has 1025 bytes; the limit is 1024",
    ],
    ["more records than bytes", crafted(5, appendBody(2), blank), "2 records do not fit into 28 bytes"],
    ["fewer records than bytes", crafted(5, appendBody(0), blank), "28 bytes too many after the records"],
    [
      "a payload that its checksum does not fit",
      crafted(33, runtimeBody(chunkOf(6), [7, 8]), [7, 9]),
      "wrong checksum",
    ],
    [
      "a payload past the snapshot's end",
      crafted(33, runtimeBody(chunkOf(5), [7, 8]), [7, 8]),
      "are not part of",
    ],
    [
      "a payload where none belongs",
      crafted(34, runtimeBody(gone, [7]), [7]),
      "follow a message that has none",
    ],
    [
      "a request for too much at once",
      crafted(32, runtimeBody([0, ...zeros(16), 1, 0, 16, 0])),
      "asks for 1048577 bytes at once",
    ],
    ["a snapshot's id over its limit", crafted(34, runtimeBody([1, 65, 0, ...zeros(65)])), "the limit is 64"],
    [
      "a configuration of 257 members",
      crafted(7, [...from, ...term, ...term, ...number(5), ...zeros(8), 1, 1]),
      "257 members",
    ],
    [
      "an index without a term",
      crafted(3, [...from, ...term, ...zeros(8), ...number(5), 0]),
      "no log has index 5",
    ],
    [
      "a term without an index",
      crafted(3, [...from, ...term, ...term, ...zeros(8), 0]),
      "no log has index 0",
    ],
    ["a log ahead of its term", crafted(3, [...from, ...term, ...number(2), ...number(5), 0]), "of term 1"],
    [
      "a previous entry that no log has",
      crafted(5, [...from, ...term, ...zeros(8), ...number(5), ...zeros(20)]),
      "no log has index 5",
    ],
    [
      "a hint that no log has",
      crafted(6, [...from, ...term, ...zeros(8), 0, ...number(5), ...number(1), ...zeros(8)]),
      "no log has index 0",
    ],
    ["a snapshot of nothing", offer(zeros(16), [ids("a"), ids(), ids()]), "covers no entry"],
    ["a snapshot without voters", offer(one, [ids(), ids(), ids("a")]), "without voters"],
    ["a member that is named twice", offer(one, [ids("a", "a"), ids(), ids()]), "names a member twice"],
    ["a learner that votes", offer(one, [ids("a"), ids(), ids("a")]), "both voter and learner"],
  ])("is refused with %s", (_name, frame, reason) => {
    expect(() => framesOf([frame])).toThrow(DecodeError);
    expect(() => framesOf([frame])).toThrow(reason);
  });
});
