import * as fc from "fast-check";
import { describe, expect, it } from "vitest";

import { Outbox } from "./outbox.ts";
import type { AppendAction } from "./action.ts";
import type { Message } from "./message.ts";

/** A disk that holds one mark an entry, and does what an append says and nothing else. */
class NaiveDisk {
  entries: number[] = [];

  write({ truncateFrom, from }: AppendAction, marks: readonly number[]): void {
    if (truncateFrom !== null) this.entries.length = Math.min(this.entries.length, truncateFrom - 1);
    expect(from, "entries are written right after the last stored one").toBe(this.entries.length + 1);
    this.entries.push(...marks);
  }
}

const anyStep = fc.oneof(
  fc.record({ type: fc.constant("append" as const), count: fc.integer({ min: 1, max: 4 }) }),
  fc.record({ type: fc.constant("truncate" as const), count: fc.nat(5) }),
  fc.record({ type: fc.constant("take" as const), count: fc.constant(0) }),
);

const vote: Message = { type: "request-vote-reply", from: "a", term: 1, granted: true };
const heartbeat: Message = { type: "read-index", from: "a", term: 1, id: 7 };

describe("effects that nobody took yet", () => {
  it("merge, in any order of appending and truncating, to one write that makes the disk equal the log", () => {
    fc.assert(
      fc.property(fc.array(anyStep, { maxLength: 30 }), (steps) => {
        const outbox = new Outbox();
        const disk = new NaiveDisk();
        let log: number[] = [];
        let mark = 0;
        const take = (): void => {
          const { append } = outbox.take(null);
          if (append !== null) disk.write(append, log.slice(append.from - 1, append.to - 1));
          expect(disk.entries).toEqual(log);
        };
        for (const { type, count } of steps) {
          if (type === "append") {
            outbox.append(log.length + 1, log.length + 1 + count);
            for (let n = 0; n < count; n++) log.push((mark += 1));
          } else if (type === "truncate" && count > 0 && log.length > 0) {
            const index = Math.max(1, log.length + 1 - count);
            outbox.truncate(index);
            log = log.slice(0, index - 1);
          } else if (type === "take") take();
        }
        take();
      }),
      { numRuns: 1000 },
    );
  });

  it("name no entry to remove that was never written", () => {
    const outbox = new Outbox();
    outbox.append(1, 6);
    outbox.truncate(4);
    outbox.append(4, 9);
    expect(outbox.take(null).append).toEqual({ truncateFrom: null, from: 1, to: 9 });
  });

  it("need no write when there is none, and never give the same effect twice", () => {
    const outbox = new Outbox();
    outbox.saveHardState({ term: 1, votedFor: "a" });
    outbox.append(1, 2);
    outbox.send("b", heartbeat);
    outbox.sendAfterPersist("b", vote);
    outbox.commit({ term: 1, index: 1 });
    outbox.read(3, 1);
    outbox.sendSnapshot("c");
    outbox.sendSnapshot("c");
    const first = outbox.take(5);
    expect(first.needsPersist).toBe(true);
    expect([...first].map(({ type }) => type)).toEqual([
      "set-timer",
      "send",
      "save-hard-state",
      "append-entries",
      "send-after-persist",
      "commit",
      "read",
      "send-snapshot",
    ]);
    const second = outbox.take(5);
    expect(second.persistId).toBe(first.persistId + 1);
    expect(second.needsPersist).toBe(false);
    expect([...second]).toEqual([{ type: "set-timer", deadline: 5 }]);
  });

  it("are void when they promised something in a term that was left before they were taken", () => {
    const outbox = new Outbox();
    outbox.saveHardState({ term: 1, votedFor: "b" });
    outbox.sendAfterPersist("b", vote);
    outbox.send("b", heartbeat);
    outbox.saveHardState({ term: 1, votedFor: "b" });
    expect(outbox.capture().messagesAfterPersist).toHaveLength(1);
    outbox.saveHardState({ term: 2, votedFor: null });
    const taken = outbox.take(null);
    expect(taken.hardState).toEqual({ term: 2, votedFor: null });
    expect(taken.messagesAfterPersist).toEqual([]);
    expect(taken.messages).toHaveLength(1);
  });

  it("are kept by a capture, and forgotten by the box that was captured no more than by the one revived", () => {
    const outbox = new Outbox();
    outbox.append(3, 5);
    outbox.send("b", heartbeat);
    const twin = new Outbox();
    twin.restore(outbox.capture());
    expect(twin.take(9)).toStrictEqual(outbox.take(9));
  });
});
