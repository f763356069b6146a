import { describe, expect, it } from "vitest";

import { EMPTY_LOG, Log } from "./log.ts";

describe("a log whose entries are all compacted", () => {
  it("continues in the term of its base", () => {
    const log = new Log(EMPTY_LOG);
    log.extend(2, 5);
    log.compact(5);
    log.extend(2, 1);
    expect(log.last).toEqual({ term: 2, index: 6 });
    expect(log.termAt(6)).toBe(2);
    expect(log.slice(5, 6).terms).toEqual([{ index: 6, term: 2 }]);
  });
});
