import * as fc from "fast-check";
import { describe, expect, it } from "vitest";

import { Outbox, type OutboxImage } from "./outbox.ts";
import type { AppendAction } from "./action.ts";
import type { Message } from "./message.ts";
import { ABC } from "./test/script.ts";

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

describe("a write that nobody took yet", () => {
  function pending(...steps: ((outbox: Outbox) => void)[]): AppendAction | null {
    const outbox = new Outbox();
    for (const step of steps) step(outbox);
    return outbox.take(null).append;
  }

  it("grows with what is appended after it, and keeps what it removes first", () => {
    expect(pending((box) => box.append(3, 5))).toEqual({ truncateFrom: null, from: 3, to: 5 });
    expect(
      pending(
        (box) => box.append(3, 5),
        (box) => box.append(5, 9),
      ),
    ).toEqual({ truncateFrom: null, from: 3, to: 9 });
    expect(
      pending(
        (box) => box.truncate(3),
        (box) => box.append(3, 9),
      ),
    ).toEqual({ truncateFrom: 3, from: 3, to: 9 });
  });

  it("shrinks with a truncation, and removes what was stored before it if that goes further", () => {
    expect(
      pending(
        (box) => box.append(3, 9),
        (box) => box.truncate(5),
      ),
    ).toEqual({ truncateFrom: null, from: 3, to: 5 });
    expect(
      pending(
        (box) => box.append(3, 5),
        (box) => box.truncate(7),
      ),
    ).toEqual({ truncateFrom: null, from: 3, to: 5 });
    expect(
      pending(
        (box) => box.append(3, 9),
        (box) => box.truncate(3),
      ),
    ).toEqual({ truncateFrom: 3, from: 3, to: 3 });
    expect(
      pending(
        (box) => box.truncate(4),
        (box) => box.append(4, 6),
        (box) => box.truncate(2),
      ),
    ).toEqual({ truncateFrom: 2, from: 2, to: 2 });
  });

  it("lacks what a snapshot covers, and is none if that is all", () => {
    const write = (box: Outbox): void => box.append(3, 9);
    // What begins later is as it was, and still removes what it was to remove.
    expect(pending(write, (box) => box.cover(1))).toEqual({ truncateFrom: null, from: 3, to: 9 });
    expect(
      pending(
        (box) => box.truncate(3),
        (box) => box.append(3, 9),
        (box) => box.cover(1),
      ),
    ).toEqual({ truncateFrom: 3, from: 3, to: 9 });
    expect(pending(write, (box) => box.cover(2))).toEqual({ truncateFrom: null, from: 3, to: 9 });
    expect(pending(write, (box) => box.cover(3))).toEqual({ truncateFrom: null, from: 4, to: 9 });
    expect(pending(write, (box) => box.cover(7))).toEqual({ truncateFrom: null, from: 8, to: 9 });
    expect(pending(write, (box) => box.cover(8))).toBe(null);
    expect(pending(write, (box) => box.cover(20))).toBe(null);
    expect(pending((box) => box.cover(20))).toBe(null);
    // The log is empty then, so there is nothing to remove from it either.
    expect(
      pending(
        (box) => box.truncate(3),
        (box) => box.append(3, 9),
        (box) => box.cover(5),
      ),
    ).toEqual({ truncateFrom: null, from: 6, to: 9 });
  });

  it("is none once the log was replaced as a whole", () => {
    expect(
      pending(
        (box) => box.append(3, 9),
        (box) => box.forgetAppend(),
      ),
    ).toBe(null);
  });
});

describe("the effects of a term that was left before they were taken", () => {
  const votes: readonly Message[] = [
    { type: "pre-vote", from: "a", term: 1, last: { term: 1, index: 1 } },
    { type: "pre-vote-reply", from: "a", term: 1, granted: true, requestTerm: 1 },
    { type: "request-vote", from: "a", term: 1, last: { term: 1, index: 1 }, transfer: false },
    vote,
  ];

  it("lack all that asked for votes or gave them, and nothing else", () => {
    for (const message of votes) {
      const outbox = new Outbox();
      outbox.saveHardState({ term: 1, votedFor: null });
      outbox.send("b", message);
      outbox.send("b", heartbeat);
      outbox.saveHardState({ term: 2, votedFor: null });
      expect(outbox.take(null).messages.map(({ message: { type } }) => type)).toEqual(["read-index"]);
    }
  });

  it("are all there if the term was entered after they were taken, or is the same", () => {
    const outbox = new Outbox();
    outbox.send("b", vote);
    outbox.sendAfterPersist("b", vote);
    // The first term or vote to be saved: what was said before it was durable already.
    outbox.saveHardState({ term: 2, votedFor: null });
    outbox.saveHardState({ term: 2, votedFor: "b" });
    const taken = outbox.take(null);
    expect([taken.messages.length, taken.messagesAfterPersist.length]).toEqual([1, 1]);
  });
});

describe("a batch of effects", () => {
  it("must be durable before something is said if it has a term, entries, or something to say then", () => {
    for (const [step, needsPersist] of [
      [(box) => box.saveHardState({ term: 1, votedFor: null }), true],
      [(box) => box.append(1, 2), true],
      [(box) => box.sendAfterPersist("b", vote), true],
      [(box) => box.send("b", vote), false],
      [(box) => box.commit({ term: 1, index: 1 }), false],
      [(box) => box.read(1, null), false],
    ] as readonly (readonly [(box: Outbox) => void, boolean])[]) {
      const outbox = new Outbox();
      step(outbox);
      expect(outbox.take(null).needsPersist).toBe(needsPersist);
    }
  });

  it("is numbered from 1 on, and its number is known while it is gathered", () => {
    const outbox = new Outbox();
    expect(outbox.persistId).toBe(1);
    expect(outbox.take(null).persistId).toBe(1);
    expect(outbox.persistId).toBe(2);
  });

  it("offers each snapshot once, and none any more from who ceased to lead", () => {
    const outbox = new Outbox();
    outbox.sendSnapshot("b");
    outbox.sendSnapshot("c");
    outbox.sendSnapshot("b");
    expect(outbox.capture().snapshots).toEqual(["b", "c"]);
    outbox.forgetSnapshots();
    expect(outbox.take(null).snapshots).toEqual([]);
  });

  it("has the offer of a snapshot last, for whoever goes through it in order", () => {
    const outbox = new Outbox();
    const offer = {
      type: "install-snapshot",
      from: "b",
      term: 3,
      last: { term: 2, index: 9 },
      round: 1,
    } as const;
    outbox.installSnapshot({ ...offer, config: ABC });
    outbox.sendSnapshot("c");
    outbox.read(4, null);
    const taken = outbox.take(7);
    expect([...taken]).toEqual([
      { type: "set-timer", deadline: 7 },
      { type: "read", id: 4, index: null },
      { type: "send-snapshot", to: "c" },
      { type: "install-snapshot", offer: { ...offer, config: ABC } },
    ]);
    expect(taken.installSnapshot).toMatchObject(offer);
    expect(outbox.take(7).installSnapshot).toBe(null);
  });

  it("is captured whole, and revived whole", () => {
    const image: OutboxImage = {
      persistId: 5,
      hardState: { term: 3, votedFor: "a" },
      append: { truncateFrom: 2, from: 2, to: 4 },
      messages: [{ to: "b", message: heartbeat }],
      messagesAfterPersist: [{ to: "c", message: vote }],
      commit: { term: 2, index: 1 },
      reads: [{ id: 1, index: null }],
      snapshots: ["c"],
      installSnapshot: {
        type: "install-snapshot",
        from: "b",
        term: 3,
        last: { term: 2, index: 9 },
        round: 1,
        config: ABC,
      },
    };
    const outbox = new Outbox();
    outbox.restore(image);
    expect(outbox.capture()).toEqual(image);
    outbox.send("x", vote);
    expect(image.messages).toHaveLength(1);
  });
});
