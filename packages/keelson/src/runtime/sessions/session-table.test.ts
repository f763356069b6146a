import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DecodeError } from "../../errors.ts";
import {
  decodeRecords,
  encodePieces,
  encodeRecords,
  PIECE_BYTES,
  RecordsDecoder,
  type Answer,
} from "./session-records.ts";
import { SESSION_LIMITS, SessionTable, type SessionLimits } from "./session-table.ts";

/** Where the clocks of these tests start, which is less than a step from 0. */
const NOON = 5_000;
const SECOND = 1000;

/** Drives a table as the applier does, with an entry counter and a leader's clock. */
class Bench {
  readonly table: SessionTable;
  index = 0;
  clock = NOON;

  constructor(
    limits: Partial<SessionLimits> = {},
    table = new SessionTable({ ...SESSION_LIMITS, ...limits }),
  ) {
    this.table = table;
  }

  open(ttlMs = 60 * SECOND): number {
    this.table.open(++this.index, this.clock, ttlMs);
    return this.index;
  }

  close(id: number): boolean {
    this.index += 1;
    return this.table.close(this.clock, id);
  }

  /** Applies a command, and returns the verdict. An applied command's result is its own number, repeated. */
  write(id: number, sequence: number, lowestUnanswered = 1, bytes = 1): string {
    this.index += 1;
    const verdict = this.table.beginCommand(this.index, this.clock, { id, sequence, lowestUnanswered });
    if (verdict.type === "duplicate") return `${verdict.answer.type} at ${String(verdict.answer.index)}`;
    if (verdict.type === "apply") this.table.recordAnswer(id, sequence, this.answer(sequence, bytes));
    return verdict.type;
  }

  answer(sequence: number, bytes: number): Answer {
    return { index: this.index, type: "done", bytes: new Uint8Array(bytes).fill(sequence) };
  }
}

/** The whole table as bytes. */
function bytesOf(table: SessionTable): Uint8Array {
  const view = table.openView();
  const bytes = encodeRecords(view.records());
  view.close();
  return bytes;
}

/** The table that `bytesOf` turned into these bytes. */
function tableOf(bytes: Uint8Array, limits?: SessionLimits): SessionTable {
  return SessionTable.fromRecords(decodeRecords(bytes), limits);
}

describe("a session", () => {
  it("applies a command once, and answers its retries like the first attempt", () => {
    const bench = new Bench();
    const id = bench.open();
    expect([bench.write(id, 1), bench.write(id, 2)]).toEqual(["apply", "apply"]);
    expect([bench.write(id, 1), bench.write(id, 2), bench.write(id, 1)]).toEqual([
      "done at 2",
      "done at 3",
      "done at 2",
    ]);
  });

  it("accepts commands in any order, so none of a reordered pipeline is lost", () => {
    const bench = new Bench();
    const id = bench.open();
    expect([3, 1, 2].map((sequence) => bench.write(id, sequence))).toEqual(["apply", "apply", "apply"]);
  });

  it("keeps the answers of two sessions apart", () => {
    const bench = new Bench();
    const [one, other] = [bench.open(), bench.open()];
    expect([bench.write(one, 1), bench.write(other, 1)]).toEqual(["apply", "apply"]);
  });

  it("discards the answers below the lowest unanswered, and never applies those commands again", () => {
    const bench = new Bench();
    const id = bench.open();
    for (const sequence of [1, 2, 3]) bench.write(id, sequence);
    const before = bench.table.bytes;
    bench.write(id, 4, 3);
    expect(bench.table.bytes).toBeLessThan(before);
    expect([bench.write(id, 1), bench.write(id, 2), bench.write(id, 3)]).toEqual([
      "answer-discarded",
      "answer-discarded",
      "done at 4",
    ]);
    // A delayed command that names a lower number doesn't lower it again.
    expect(bench.write(id, 2, 1)).toBe("answer-discarded");
  });

  it("refuses a command that the client gave up on before it arrived", () => {
    const bench = new Bench();
    const id = bench.open();
    bench.write(id, 2, 2);
    expect(bench.write(id, 1, 1)).toBe("answer-discarded");
  });

  it("refuses commands beyond the window, and accepts them once the lowest unanswered has risen", () => {
    const bench = new Bench({ windowMax: 3 });
    const id = bench.open();
    expect([bench.write(id, 3), bench.write(id, 4)]).toEqual(["apply", "window-exceeded"]);
    expect(bench.write(id, 4, 2)).toBe("apply");
  });

  it("that never existed, or was closed, refuses commands as expired", () => {
    const bench = new Bench();
    const id = bench.open();
    expect(bench.write(id + 1, 1)).toBe("expired");
    expect([bench.close(id), bench.close(id)]).toEqual([true, false]);
    expect(bench.write(id, 1)).toBe("expired");
    expect([bench.table.size, bench.table.bytes]).toEqual([0, 0]);
  });
});

describe("log time", () => {
  it("expires a session at the first entry whose clock shows that it was idle too long (K5)", () => {
    const bench = new Bench();
    const [idle, used] = [bench.open(9 * SECOND), bench.open()];
    bench.clock += 9 * SECOND;
    bench.write(used, 1);
    expect(bench.table.size).toBe(2);
    bench.clock += 1;
    expect(bench.write(used, 2)).toBe("apply");
    expect(bench.table.size).toBe(1);
    expect(bench.write(idle, 1)).toBe("expired");
  });

  it("survives one entry whose clock is ten years ahead, and then expires when it is idle for its time to live (Z13)", () => {
    const bench = new Bench();
    const [used, idle] = [bench.open(20 * SECOND), bench.open(15 * SECOND)];
    const { clock } = bench;
    bench.clock += 10 * 365 * 86_400 * SECOND;
    expect(bench.write(used, 1)).toBe("apply");
    expect(bench.table.logTimeMs).toBe(clock + 10 * SECOND);
    expect(bench.table.size).toBe(2);
    // The next leader counts on from the log's time.
    bench.clock = bench.table.logTimeMs + 5 * SECOND + 1;
    expect(bench.write(used, 2)).toBe("apply");
    expect(bench.write(idle, 1)).toBe("expired");
  });

  it("expires by entries that tell the time alone (Z13)", () => {
    const bench = new Bench();
    const idle = bench.open(15 * SECOND);
    for (let at = 0; at < 4; at++) bench.table.passTime((bench.clock += 5 * SECOND));
    expect(bench.table.size).toBe(0);
    expect(bench.write(idle, 1)).toBe("expired");
  });

  it("expires a session only when its time to live is exceeded (K5)", () => {
    const bench = new Bench();
    const [short, long] = [bench.open(SECOND), bench.open(2 * SECOND)];
    bench.clock += 2 * SECOND;
    expect([bench.write(long, 1), bench.write(short, 1)]).toEqual(["apply", "expired"]);
  });

  it("expires a session at its own late command (K5)", () => {
    const bench = new Bench();
    const id = bench.open(SECOND);
    bench.clock += SECOND + 1;
    expect(bench.write(id, 1)).toBe("expired");
  });

  it("never goes back, even if a new leader's clock is behind (K5)", () => {
    const bench = new Bench();
    const id = bench.open(10 * SECOND);
    bench.clock += 8 * SECOND;
    const other = bench.open(10 * SECOND);
    bench.clock -= 3600 * SECOND;
    expect(bench.write(other, 1)).toBe("apply");
    expect(bench.table.logTimeMs).toBe(NOON + 8 * SECOND);
    bench.clock = NOON + 11 * SECOND;
    expect([bench.write(id, 1), bench.write(other, 2)]).toEqual(["expired", "apply"]);
  });

  it("advances only with session entries", () => {
    const bench = new Bench();
    const id = bench.open(SECOND);
    bench.clock += SECOND;
    expect(bench.write(id, 1)).toBe("apply");
    expect(bench.table.logTimeMs).toBe(NOON + SECOND);
  });
});

describe("the progress of a session", () => {
  it("is the highest number that the table knows of, also where it kept no answer", () => {
    const { table } = new Bench();
    table.open(1, NOON, 60 * SECOND);
    expect(table.progressOf(1)).toEqual({ ttlMs: 60 * SECOND, nextSequence: 1 });
    table.beginCommand(2, NOON, { id: 1, sequence: 7, lowestUnanswered: 3 });
    table.recordAnswer(1, 7, { index: 2, type: "done", bytes: new Uint8Array(0) });
    expect(table.progressOf(1)?.nextSequence).toBe(8);
    // Refused, and it tells the table that the client has all answers below 900.
    table.beginCommand(3, NOON, { id: 1, sequence: 5_000, lowestUnanswered: 900 });
    expect(table.progressOf(1)?.nextSequence).toBe(900);
  });

  it("is null once the session has ended, also if it is still in the table", () => {
    const { table } = new Bench({ expiryRecordsMax: 1 });
    for (const id of [1, 2, 3]) table.open(id, NOON, SECOND);
    table.passTime(NOON + 2 * SECOND);
    expect(table.size).toBe(2);
    expect([1, 2, 3, 4].map((id) => table.progressOf(id))).toEqual([null, null, null, null]);
  });
});

describe("the table's limits", () => {
  it("end the least recently used session when there are too many", () => {
    const bench = new Bench({ sessionsMax: 2 });
    const [first, second] = [bench.open(), bench.open()];
    bench.write(first, 1);
    const third = bench.open();
    expect([bench.write(first, 2), bench.write(third, 1), bench.write(second, 1)]).toEqual([
      "apply",
      "apply",
      "expired",
    ]);
  });

  it("count a refused command as a use of its session", () => {
    const bench = new Bench({ sessionsMax: 2, windowMax: 1 });
    const [first, second] = [bench.open(), bench.open()];
    expect(bench.write(first, 9)).toBe("window-exceeded");
    bench.open();
    expect([bench.write(first, 1), bench.write(second, 1)]).toEqual(["apply", "expired"]);
  });

  it("discard a session's oldest results, but not the fact that the commands took effect", () => {
    const bench = new Bench({ answerBytesMax: 100 });
    const id = bench.open();
    for (const sequence of [1, 2, 3]) bench.write(id, sequence, 1, 40);
    expect([1, 2, 3].map((sequence) => bench.write(id, sequence))).toEqual([
      "forgotten at 2",
      "done at 3",
      "done at 4",
    ]);
  });

  it("keep no result that exceeds the limit by itself, and still don't apply its command again", () => {
    const bench = new Bench({ answerBytesMax: 100 });
    const id = bench.open();
    bench.write(id, 1, 1, 10);
    bench.write(id, 2, 1, 101);
    expect([bench.write(id, 1), bench.write(id, 2)]).toEqual(["done at 2", "forgotten at 3"]);
  });

  it("end the least recently used sessions when the table is too large, never the one in use", () => {
    const bench = new Bench({ bytesMax: 4000, answerBytesMax: 2000, windowMax: 4 });
    const [first, second] = [bench.open(), bench.open()];
    bench.write(first, 1, 1, 500);
    bench.write(second, 1, 1, 500);
    bench.write(first, 2, 1, 1500);
    expect(bench.table.bytes).toBeLessThanOrEqual(4000);
    expect([bench.write(first, 1), bench.write(second, 1)]).toEqual(["done at 3", "expired"]);
  });

  it("hold for any sequence of commands", () => {
    const limits = { sessionsMax: 20, windowMax: 8, answerBytesMax: 500, bytesMax: 20_000 };
    const bench = new Bench(limits);
    for (let round = 0; round < 2000; round++) {
      const id = round % 3 === 0 ? bench.open() : Math.max(1, bench.index - (round % 41));
      for (let sequence = 1; sequence < 12; sequence++)
        bench.write(id, sequence, 1 + (round % 5), (round * 7) % 300);
      expect(bench.table.size).toBeLessThanOrEqual(limits.sessionsMax);
      expect(bench.table.bytes).toBeLessThanOrEqual(limits.bytesMax);
    }
  });
});

type Step =
  | { readonly type: "open"; readonly ttlMs: number }
  | { readonly type: "close"; readonly id: number }
  | {
      readonly type: "write";
      readonly id: number;
      readonly sequence: number;
      readonly lowest: number;
      readonly bytes: number;
    };

/** Ids 1 to 3 are open sessions at first; the others may become some. */
const anyId = fc.integer({ min: 1, max: 6 });
const OPENED = 3;
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 2, arbitrary: fc.record({ type: fc.constant("open"), ttlMs: fc.integer({ min: 1, max: 80 }) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("close"), id: anyId }) },
  {
    weight: 8,
    arbitrary: fc.record({
      type: fc.constant("write"),
      id: anyId,
      sequence: fc.integer({ min: 1, max: 8 }),
      lowest: fc.integer({ min: 1, max: 4 }),
      bytes: fc.nat(60),
    }),
  },
);
const anySteps = fc.array(fc.tuple(anyStep, fc.integer({ min: -5, max: 8 })), { maxLength: 60 });
const SMALL = { sessionsMax: 4, windowMax: 5, answerBytesMax: 100, bytesMax: 4500, expiryRecordsMax: 3 };

function benchWithSessions(): Bench {
  const bench = new Bench(SMALL);
  for (let at = 0; at < OPENED; at++) bench.open(80);
  return bench;
}

function take(bench: Bench, [step, later]: readonly [Step, number]): unknown {
  bench.clock += later;
  switch (step.type) {
    case "open":
      return bench.open(step.ttlMs);
    case "close":
      return bench.close(step.id);
    case "write":
      return bench.write(step.id, step.sequence, Math.min(step.lowest, step.sequence), step.bytes);
  }
}

describe("expiry", () => {
  it("removes a limited number of records at each entry, and treats the rest as expired at once (Z19)", () => {
    const bench = new Bench({ expiryRecordsMax: 6 });
    const ids = Array.from({ length: 6 }, () => bench.open(SECOND));
    for (const id of ids) for (const sequence of [1, 2]) bench.write(id, sequence);
    const last = bench.open(60 * SECOND);
    bench.clock += 2 * SECOND;
    const sizes: number[] = [];
    for (let entry = 0; entry < 4; entry++) {
      bench.table.passTime(bench.clock);
      sizes.push(bench.table.size);
    }
    expect(sizes).toEqual([5, 3, 1, 1]);
    expect(bench.write(last, 1)).toBe("apply");
  });

  it("ends a session at the first entry that shows it, though its records are removed later (K5)", () => {
    const bench = new Bench({ expiryRecordsMax: 1 });
    const [, second, third] = [bench.open(SECOND), bench.open(SECOND), bench.open(SECOND)] as const;
    bench.clock += 2 * SECOND;
    // The first is removed by the limit, the second because the command names it.
    expect(bench.write(second, 1)).toBe("expired");
    expect(bench.table.size).toBe(1);
    expect(bench.close(third)).toBe(false);
    expect(bench.table.size).toBe(0);
  });
});

describe("a view of the table", () => {
  it("stays as it was while entries change, end and add sessions (Z19)", () => {
    fc.assert(
      fc.property(anySteps, anySteps, anySteps, (before, between, after) => {
        const bench = benchWithSessions();
        for (const step of before) take(bench, step);
        const view = bench.table.openView();
        const bytes = encodeRecords(view.records());
        for (const step of between) take(bench, step);
        expect(encodeRecords(view.records())).toEqual(bytes);
        const later = bench.table.openView();
        const laterBytes = encodeRecords(later.records());
        expect(laterBytes).toEqual(bytesOf(bench.table));
        view.close();
        for (const step of after) take(bench, step);
        expect(encodeRecords(later.records())).toEqual(laterBytes);
        later.close();
      }),
      { numRuns: 200 },
    );
  });

  it("does not change what the table decides, compared with a table without views", () => {
    fc.assert(
      fc.property(anySteps, anySteps, (before, after) => {
        const [viewed, plain] = [benchWithSessions(), benchWithSessions()];
        for (const step of before) expect(take(viewed, step)).toEqual(take(plain, step));
        const view = viewed.table.openView();
        const bytes = encodeRecords(view.records());
        for (const step of after) expect(take(viewed, step)).toEqual(take(plain, step));
        expect(encodeRecords(view.records())).toEqual(bytes);
        expect(bytesOf(viewed.table)).toEqual(bytesOf(plain.table));
        expect(viewed.table.bytes).toBe(plain.table.bytes);
        view.close();
      }),
      { numRuns: 200 },
    );
  });
});

describe("an encoded table", () => {
  it("is the same in pieces, wherever they are cut (Z19)", () => {
    const bench = new Bench();
    for (let count = 0; count < 20; count++) {
      const id = bench.open();
      for (let sequence = 1; sequence <= 40; sequence++) bench.write(id, sequence, 1, sequence * 20);
    }
    const large = bench.open();
    bench.write(large, 1, 1, 300_000);
    const view = bench.table.openView();
    const sizes = [...encodePieces(view.records())].map(({ length }) => length);
    expect(sizes.length).toBeGreaterThan(5);
    // Only the record that is larger than a piece makes a larger one.
    expect(sizes.filter((size) => size > PIECE_BYTES).length).toBe(1);
    const whole = encodeRecords(view.records());
    for (const cut of [1, 7, 4096, 100_000, whole.length]) {
      const decoder = new RecordsDecoder();
      for (let at = 0; at < whole.length; at += cut) decoder.push(whole.subarray(at, at + cut));
      expect([...decoder.finish()]).toEqual([...view.records()]);
    }
  });
});

describe("the records of the table", () => {
  it("equal the sum of all changes taken so far, after every entry", () => {
    fc.assert(
      fc.property(anySteps, (steps) => {
        const bench = benchWithSessions();
        const stored = new Map<string, Uint8Array>([["time", new Uint8Array(8)]]);
        for (const step of steps) {
          take(bench, step);
          for (const [name, value] of bench.table.takeChanges()) {
            if (value === null) stored.delete(name);
            else stored.set(name, value);
          }
          const sorted = (records: Iterable<readonly [string, Uint8Array]>): unknown =>
            [...records].sort(byName);
          expect(sorted(stored)).toEqual(sorted(bench.table.openView().records()));
        }
      }),
      { numRuns: 100 },
    );
  });

  it("restore a table that then behaves exactly like the original (K5)", () => {
    fc.assert(
      fc.property(anySteps, anySteps, (before, after) => {
        const bench = benchWithSessions();
        for (const step of before) take(bench, step);
        const bytes = bytesOf(bench.table);
        const copy = new Bench({}, tableOf(bytes, SMALL));
        copy.index = bench.index;
        copy.clock = bench.clock;
        expect(bytesOf(copy.table)).toEqual(bytes);
        expect(copy.table.bytes).toBe(bench.table.bytes);
        for (const step of after) expect(take(copy, step)).toEqual(take(bench, step));
        expect(bytesOf(copy.table)).toEqual(bytesOf(bench.table));
      }),
      { numRuns: 200 },
    );
  });

  it("are reported as changed once, and not at all after discardChanges", () => {
    const { table } = new Bench();
    table.open(1, NOON, SECOND);
    expect([...table.takeChanges().keys()]).toEqual(["time", "session/1"]);
    expect(table.takeChanges().size).toBe(0);
    table.open(2, NOON, SECOND);
    table.discardChanges();
    expect(table.takeChanges().size).toBe(0);
  });

  it.each([
    ["an unknown name", { "sessions/1": new Uint8Array(32) }],
    ["a name without its number", { "session/": new Uint8Array(32) }],
    ["a name with an invalid number", { "answer/1/01": new Uint8Array(9) }],
    ["a session that is cut short", { "session/1": new Uint8Array(31) }],
    ["a number above the safe integers", { "session/1": new Uint8Array(32).fill(255) }],
    ["a time that is cut short", { time: new Uint8Array(7) }],
    [
      "an answer of an unknown type",
      { "session/1": new Uint8Array(32), "answer/1/1": Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 3) },
    ],
    ["an answer without its entry", { "session/1": new Uint8Array(32), "answer/1/1": new Uint8Array(9) }],
    ["an answer without its session", { "answer/1/1": Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 0) }],
  ])("are refused with %s", (_what, records) => {
    expect(() => SessionTable.fromRecords(new Map(Object.entries(records)))).toThrow(DecodeError);
  });

  it("are refused as bytes when they are cut short, of a later format, or hold a name twice", () => {
    const bench = new Bench();
    bench.write(bench.open(), 1);
    const bytes = bytesOf(bench.table);
    const lengths = new Set<number>([0]);
    for (let length = 0; length < bytes.length; length++) {
      try {
        tableOf(bytes.subarray(0, length));
      } catch (error) {
        expect(error).toBeInstanceOf(DecodeError);
        lengths.add(length);
      }
    }
    // Only a cut between two records isn't noticed; the snapshot that holds the bytes has a checksum.
    expect(lengths.size).toBeGreaterThanOrEqual(bytes.length - 4);
    expect(() => tableOf(Uint8Array.from([1, ...bytes.subarray(1)]))).toThrow("format 1");
    expect(() => tableOf(Uint8Array.from([...bytes, ...bytes.subarray(1)]))).toThrow("twice");
  });
});

describe("a table", () => {
  it("is known with the record of the log's time, and with no records at all it isn't (Z7)", () => {
    const time = new Uint8Array(8);
    expect(SessionTable.fromRecords(new Map([["time", time]])).isKnown).toBe(true);
    expect(SessionTable.fromRecords(new Map()).isKnown).toBe(false);
    const session = new Map([["session/1", new Uint8Array(32)]]);
    expect(() => SessionTable.fromRecords(session)).toThrow("lack the time");
  });

  it("has something to store from the start, so that a state machine on disk can tell it from an unknown one (Z7)", () => {
    expect([...new SessionTable().takeChanges().keys()]).toEqual(["time"]);
  });

  it("stays unknown in its bytes, which differ from those of a table without sessions (Z7)", () => {
    const unknown = SessionTable.fromRecords(new Map());
    expect(tableOf(bytesOf(unknown)).isKnown).toBe(false);
    expect(tableOf(bytesOf(new SessionTable())).isKnown).toBe(true);
    expect(() => tableOf(new Uint8Array(0))).toThrow(DecodeError);
  });
});

function byName([a]: readonly [string, Uint8Array], [b]: readonly [string, Uint8Array]): number {
  return a < b ? -1 : 1;
}
