// Compares what sessions and answers count towards the table's limit with the memory that they hold.
import { describe, expect, it } from "vitest";
import { memoryHeld } from "../../test/memory-held.ts";
import { SESSION_LIMITS, SessionTable } from "./session-table.ts";

describe("a full session table", () => {
  it.each([
    ["of many sessions with few answers", 8, 30],
    ["of sessions with as many answers as may be", SESSION_LIMITS.windowMax, 30],
    ["of larger answers", 100, 2000],
  ])("holds about the memory that it counts: %s (Z11)", (_what, answers, bytes) => {
    const before = memoryHeld();
    const table = new SessionTable();
    // Indexes of a log that is not new: V8 keeps numbers above 2^31 outside of the objects.
    let index = 2 ** 33;
    while (table.bytes < 0.95 * SESSION_LIMITS.bytesMax && table.size < SESSION_LIMITS.sessionsMax) {
      const id = ++index;
      table.open(id, 1, 60_000);
      for (let sequence = 1; sequence <= answers; sequence++) {
        table.beginCommand(++index, 1, { id, sequence, lowestUnanswered: 1 });
        table.recordAnswer(id, sequence, { index, type: "done", bytes: new Uint8Array(bytes) });
      }
      table.discardChanges();
    }
    const held = memoryHeld() - before;
    expect(held).toBeLessThan(1.15 * SESSION_LIMITS.bytesMax);
    expect(table.bytes).toBeGreaterThan(0.9 * SESSION_LIMITS.bytesMax);
  });
});
