import { describe, expect, it } from "vitest";
import { MemoryBudget } from "../shared/memory-budget.ts";
import { AnswerReader, AnswerWriter, type Answer, type CallError } from "./answers.ts";
import { CallReader, CallWriter, type Call } from "./calls.ts";
import { readGoodbye, readHello, readPing, readWelcome } from "./control.ts";
import { checkVersion, FrameReader, isOpening, type Frame } from "./frame-reader.ts";
import { checksumOf } from "./frame-writer.ts";
import {
  FRAME_BYTES_MAX,
  FRAME_CALLS_MAX,
  FRAME_HEADER_BYTES,
  FRAMES,
  OPENING_BYTES,
  PAYLOAD_HEADER_BYTES,
  ProtocolError,
} from "./wire.ts";

const KEY = Buffer.from("ship");
const VALUE = Buffer.from("Argo");
const SESSION = { id: 2 ** 40 + 1, sequence: 7, lowestUnanswered: 5 };

describe("calls", () => {
  it("come out as they went in, in one frame", () => {
    const writer = new CallWriter();
    writer.put(1, KEY, VALUE, null, null);
    writer.put(2, KEY, VALUE, { type: "version", versions: [3, 2 ** 45] }, SESSION, 250);
    writer.delete(3, KEY, { type: "exists" }, null);
    writer.delete(4, KEY, { type: "absent" }, SESSION);
    writer.get(5, KEY, "lease", { type: "version", versions: [9] });
    writer.list(6, KEY, Buffer.from("a"), 10, "stale");
    writer.openSession(7, 60_000);
    writer.endSession(8, 12);
    const frames = framesIn(writer.take());
    expect(frames.map(({ type }) => type)).toEqual([FRAMES.calls]);
    expect(callsIn(frames)).toEqual([
      { ...of(1), type: "put", key: KEY, value: VALUE, condition: null, session: null },
      {
        ...{ type: "put", id: 2, deadlineMs: 250, key: KEY, value: VALUE, session: SESSION },
        condition: { type: "version", versions: [3, 2 ** 45] },
      },
      { ...of(3), type: "delete", key: KEY, condition: { type: "exists" }, session: null },
      { ...of(4), type: "delete", key: KEY, condition: { type: "absent" }, session: SESSION },
      {
        ...of(5),
        ...{ type: "get", key: KEY, consistency: "lease" },
        unless: { type: "version", versions: [9] },
      },
      { ...of(6), type: "list", prefix: KEY, after: Buffer.from("a"), limit: 10, consistency: "stale" },
      { ...of(7), type: "open-session", ttlMs: 60_000 },
      { ...of(8), type: "end-session", session: 12 },
    ]);
  });

  it("of an operation that this version doesn't know are told apart, and don't hide the next call", () => {
    const bytes = oneGet();
    bytes.writeUInt8(99, FRAME_HEADER_BYTES + PAYLOAD_HEADER_BYTES + 12);
    const [frame] = framesIn(repaired(bytes));
    const reader = new CallReader(frame?.payload ?? Buffer.alloc(0));
    expect(reader.next()).toEqual({ ...of(5), type: "unknown", operation: 99 });
    expect(reader.next()).toBeNull();
  });

  it.each([
    ["a length beyond the frame", 0, 0xffff_ffff],
    ["a length below the header's", 0, 4],
    ["a key beyond the call", 16, 0xffff],
    ["a key shorter than the call", 16, 1],
    ["a condition that isn't one", 12, 3 | (9 << 8)],
    ["a condition with versions that it doesn't use", 12, 3 | (1 << 8) | (1 << 16)],
    ["a consistency that isn't one", 12, 3 | (7 << 24)],
    ["a write with a mode that isn't one", 12, 2 | (7 << 24)],
  ])("are refused as a whole with %s", (_what, at, value) => {
    const bytes = oneGet();
    const field = FRAME_HEADER_BYTES + PAYLOAD_HEADER_BYTES + at;
    if (at === 16) bytes.writeUInt16LE(value, field);
    else bytes.writeUInt32LE(value, field);
    expect(() => callsIn(framesIn(repaired(bytes)))).toThrow(ProtocolError);
  });

  it("are spread over several frames, none with more calls or bytes than the limit", () => {
    const writer = new CallWriter();
    for (let id = 0; id < 2 * FRAME_CALLS_MAX + 1; id++) writer.get(id, KEY, "stale", null);
    const many = framesIn(writer.take());
    expect(many).toHaveLength(3);
    expect(callsIn(many).map(({ id }) => id)).toEqual([...Array(2 * FRAME_CALLS_MAX + 1).keys()]);
    const value = Buffer.alloc(900_000);
    for (let id = 0; id < 5; id++) writer.put(id, KEY, value, null, null);
    const large = framesIn(writer.take());
    expect(large).toHaveLength(3);
    writer.ping(1);
    expect(writer.itemFrames).toBe(6);
    expect(framesIn(writer.take()).map(({ type }) => type)).toEqual([FRAMES.ping]);
    for (const { payload } of large) expect(payload.length).toBeLessThanOrEqual(FRAME_BYTES_MAX);
    expect(() => writer.put(1, KEY, Buffer.alloc(FRAME_BYTES_MAX), null, null)).toThrow(RangeError);
  });

  it("are refused if a frame holds more of them than the limit", () => {
    const writer = new CallWriter();
    for (let id = 0; id < FRAME_CALLS_MAX; id++) writer.get(id, KEY, "stale", null);
    const frame = writer.take();
    const call = oneGet().subarray(FRAME_HEADER_BYTES + PAYLOAD_HEADER_BYTES);
    const tooMany = Buffer.concat([frame, call]);
    tooMany.writeUInt32LE(tooMany.length - FRAME_HEADER_BYTES, 0);
    expect(() => callsIn(framesIn(repaired(tooMany)))).toThrow(/more than 4096/);
  });
});

describe("answers", () => {
  it("come out as they went in, in one frame, as copies", () => {
    const writer = new AnswerWriter();
    const staleness = { appliedIndex: 2 ** 41, commitIndex: 2 ** 41 + 1, leaderHeardMsAgo: 3 };
    const error: CallError = {
      ...{ status: 307, code: "NOT_LEADER", message: "another node leads – «n2»" },
      ...{ outcome: "not-done", leader: "https://node-2:9001", version: 6, retryAfterMs: 1000 },
    };
    const answers: Answer[] = [
      { type: "put", id: 1, index: 2 ** 50, version: 3 },
      { type: "deleted", id: 2, index: 1, existed: true },
      { type: "deleted", id: 3, index: 1, existed: null },
      { type: "value", id: 4, version: 3, value: new Uint8Array(VALUE), staleness: null },
      { type: "unchanged", id: 5, version: 3, staleness },
      { type: "session", id: 7, session: 2 ** 40, ttlMs: 60_000 },
      { type: "ended", id: 0xffff_ffff },
      { type: "error", id: 8, error, staleness: null },
      {
        ...{ type: "error", id: 9 },
        error: { ...error, outcome: "unknown", leader: null, version: null },
        staleness: { ...staleness, leaderHeardMsAgo: null },
      },
      {
        ...{ type: "keys", id: 10, more: true, staleness: null },
        keys: [
          { key: new Uint8Array(KEY), version: 1, bytes: 4 },
          { key: new Uint8Array(1), version: 2 ** 33, bytes: 0 },
        ],
      },
    ];
    for (const answer of answers) write(writer, answer);
    const bytes = writer.take();
    const frames = framesIn(bytes);
    expect(frames.map(({ type }) => type)).toEqual([FRAMES.answers]);
    const read = answersIn(frames);
    bytes.fill(0xff);
    expect(read).toEqual(answers);
  });

  it("with an error text that is too long have its beginning", () => {
    const writer = new AnswerWriter();
    const message = "ü".repeat(100_000);
    const rest = { status: 500, code: "INTERNAL", outcome: "unknown", leader: null, version: null } as const;
    writer.error(1, { ...rest, message, retryAfterMs: 0 });
    const [answer] = answersIn(framesIn(writer.take()));
    expect(answer?.type === "error" && answer.error.message).toBe("ü".repeat(4096));
  });
});

describe("frames", () => {
  it("about the connection come out as they went in", () => {
    const writer = new CallWriter();
    writer.hello({ features: 5, token: "a-token" });
    writer.welcome({ features: 1, frameBytesMax: 2, callsMax: 3, idleMs: 4 });
    writer.ping(2 ** 52);
    writer.goodbye({ code: "BAD_FRAME", message: "naïve", framesTaken: 2 ** 33 });
    const [hello, welcome, ping, goodbye] = framesIn(writer.take()).map(({ payload }) => payload);
    expect(readHello(hello ?? NONE)).toEqual({ features: 5, token: "a-token" });
    expect(readWelcome(welcome ?? NONE)).toEqual({
      ...{ features: 1, frameBytesMax: 2, callsMax: 3, idleMs: 4 },
    });
    expect(readPing(ping ?? NONE)).toBe(2 ** 52);
    expect(readGoodbye(goodbye ?? NONE)).toEqual({
      ...{ code: "BAD_FRAME", message: "naïve", framesTaken: 2 ** 33 },
    });
    expect(() => readWelcome(hello ?? NONE)).toThrow(ProtocolError);
  });

  it("are the same however the bytes are cut", () => {
    const writer = new CallWriter();
    writer.opening();
    writer.hello({ features: 0, token: null });
    writer.put(1, KEY, Buffer.alloc(3000, 7), null, SESSION);
    writer.ping(1);
    const bytes = writer.take();
    const whole = framesIn(bytes, true).map(({ type, payload }) => [type, Buffer.from(payload)]);
    expect(whole.map(([type]) => type)).toEqual([FRAMES.hello, FRAMES.calls, FRAMES.ping]);
    for (const size of [1, 2, 7, 8, 100, 3000]) {
      const reader = new FrameReader();
      const found: [number, Buffer][] = [];
      let version: number | "incomplete" = "incomplete";
      for (let at = 0; at < bytes.length; at += size) {
        reader.push(bytes.subarray(at, at + size));
        if (version === "incomplete") version = reader.opening();
        if (version === "incomplete") continue;
        for (const { type, payload } of all(reader)) found.push([type, Buffer.from(payload)]);
      }
      expect(found).toEqual(whole);
      expect(version).toBe(1);
      expect(reader.isInside).toBe(false);
    }
  });

  it("with a changed byte are refused, wherever it is", () => {
    const bytes = oneGet();
    for (let at = 0; at < bytes.length; at++) {
      for (const bit of [1, 0x80]) {
        const changed = Buffer.from(bytes);
        changed[at] = (changed[at] ?? 0) ^ bit;
        const reader = new FrameReader();
        reader.push(changed);
        const read = (): unknown => reader.next(FRAME_BYTES_MAX);
        // A greater length makes the reader wait for the rest.
        let outcome: unknown;
        try {
          outcome = read();
        } catch (error) {
          outcome = error;
        }
        expect(outcome === "incomplete" || outcome instanceof ProtocolError).toBe(true);
      }
    }
  });

  it("take memory for what has come, not for what their header announces", () => {
    const budget = new MemoryBudget(100_000);
    const reader = new FrameReader(budget.open());
    const header = Buffer.alloc(FRAME_HEADER_BYTES);
    header.writeUInt32LE(FRAME_BYTES_MAX, 0);
    reader.push(header);
    expect(reader.next(FRAME_BYTES_MAX)).toBe("incomplete");
    expect(budget.bytes).toBe(0);
    reader.push(Buffer.alloc(1000));
    expect(reader.next(FRAME_BYTES_MAX)).toBe("incomplete");
    expect(budget.bytes).toBe(1024);
    reader.push(Buffer.alloc(100_000));
    expect(reader.next(FRAME_BYTES_MAX)).toBe("no-room");
    reader.close();
    expect(budget.bytes).toBe(0);
  });

  it("longer than the reader takes are refused by their header", () => {
    const reader = new FrameReader();
    const header = Buffer.alloc(FRAME_HEADER_BYTES);
    header.writeUInt32LE(101, 0);
    reader.push(header);
    expect(() => reader.next(100)).toThrow(/101 bytes; at most 100/);
  });

  it("give their memory back once they are complete", () => {
    const budget = new MemoryBudget(100_000);
    const reader = new FrameReader(budget.open());
    const bytes = oneGet();
    reader.push(bytes.subarray(0, 12));
    expect(reader.next(FRAME_BYTES_MAX)).toBe("incomplete");
    reader.push(bytes.subarray(12));
    const frame = reader.next(FRAME_BYTES_MAX);
    expect(typeof frame === "object" && frame.heldBytes).toBe(bytes.length - FRAME_HEADER_BYTES);
    expect(budget.bytes).toBe(0);
  });
});

describe("the opening", () => {
  it("can't be the beginning of a request that a browser sends", () => {
    // Methods of HTTP, the preface of HTTP/2, a record of TLS, STUN, and an empty line before a request.
    const others = [
      "GET / HTTP/1.1",
      "POST /",
      "OPTIONS *",
      "PRI * HTTP/2.0",
      "\x16\x03\x01",
      "\0\x01",
      "\r\n",
    ];
    for (const text of others) expect(isOpening(Buffer.from(text, "latin1"))).toBe(false);
    // A token (RFC 9110, 5.6.2) is of ASCII, and 0xfe occurs in no UTF-8 at all.
    for (let first = 0; first < 0xfe; first++) expect(isOpening(Uint8Array.of(first))).toBe(false);
    const writer = new CallWriter();
    writer.opening();
    expect(isOpening(writer.take())).toBe(true);
  });

  it("is refused as soon as one byte is wrong", () => {
    const reader = new FrameReader();
    reader.push(Uint8Array.of(0xfe, 0x4b, 0x45));
    expect(reader.opening()).toBe("incomplete");
    reader.push(Uint8Array.of(0x46));
    expect(() => reader.opening()).toThrow(ProtocolError);
  });

  it("of another version is told apart", () => {
    const writer = new CallWriter();
    writer.opening();
    const bytes = writer.take();
    bytes[OPENING_BYTES - 1] = 2;
    const reader = new FrameReader();
    reader.push(bytes);
    const version = reader.opening();
    expect(version).toBe(2);
    expect(() => {
      checkVersion(version as number);
    }).toThrow(/version 2/);
  });
});

const NONE = new Uint8Array(0);

function of(id: number): { readonly id: number; readonly deadlineMs: number } {
  return { id, deadlineMs: 0 };
}

function oneGet(): Buffer {
  const writer = new CallWriter();
  writer.get(5, KEY, "linearizable", null);
  return writer.take();
}

/** Corrects the checksum of the only frame. */
function repaired(bytes: Buffer): Buffer {
  bytes.writeUInt32LE(checksumOf(bytes.subarray(FRAME_HEADER_BYTES)), 4);
  return bytes;
}

function* all(reader: FrameReader): Generator<Frame> {
  for (;;) {
    const frame = reader.next(FRAME_BYTES_MAX);
    if (typeof frame !== "object") return;
    yield frame;
  }
}

function framesIn(bytes: Uint8Array, hasOpening = false): Frame[] {
  const reader = new FrameReader();
  reader.push(bytes);
  if (hasOpening) expect(reader.opening()).toBe(1);
  return [...all(reader)];
}

function callsIn(frames: readonly Frame[]): Call[] {
  return frames.flatMap(({ payload }) => {
    const reader = new CallReader(payload);
    const calls: Call[] = [];
    for (let call = reader.next(); call !== null; call = reader.next()) calls.push(call);
    return calls;
  });
}

function answersIn(frames: readonly Frame[]): Answer[] {
  return frames.flatMap(({ payload }) => {
    const reader = new AnswerReader(payload);
    const answers: Answer[] = [];
    for (let answer = reader.next(); answer !== null; answer = reader.next()) answers.push(answer);
    return answers;
  });
}

function write(writer: AnswerWriter, answer: Answer): void {
  switch (answer.type) {
    case "put":
      writer.put(answer.id, answer.index, answer.version);
      break;
    case "deleted":
      writer.deleted(answer.id, answer.index, answer.existed);
      break;
    case "value":
      writer.value(answer.id, answer.version, answer.value, answer.staleness);
      break;
    case "unchanged":
      writer.unchanged(answer.id, answer.version, answer.staleness);
      break;
    case "keys":
      writer.keys(answer.id, answer.keys, answer.more, answer.staleness);
      break;
    case "session":
      writer.session(answer.id, answer.session, answer.ttlMs);
      break;
    case "ended":
      writer.ended(answer.id);
      break;
    case "error":
      writer.error(answer.id, answer.error, answer.staleness);
  }
}
