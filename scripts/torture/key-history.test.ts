import { describe, expect, it } from "vitest";

import { KeyHistory, CALLS_MAX, faultOfRead, UNKNOWN_MAX, type LastWord } from "./key-history.ts";

function wordOf(changes: Partial<LastWord> = {}): LastWord {
  return { key: "k", value: "a", version: 5, maybePut: new Set(), maybeDeleted: false, ...changes };
}

describe("the life of a key", () => {
  it("finds a read that missed an acknowledged write, with a picture and the whole history", () => {
    const keyHistory = new KeyHistory("k");
    keyHistory.invoke("c1", { type: "put", key: "k", value: "a" }).done({ version: 3 });
    keyHistory.invoke("c2", { type: "get", key: "k" }).done({ value: null });
    const verdict = keyHistory.check();
    expect(verdict).toMatchObject({ svg: expect.stringContaining("<svg") as string });
    expect(verdict).toMatchObject({ history: expect.stringContaining('"value":"a"') as string });
  });

  it("takes a write of unknown outcome as done or not, but not one that surely did nothing", () => {
    for (const value of ["a", null]) {
      const keyHistory = new KeyHistory("k");
      keyHistory.invoke("c1", { type: "put", key: "k", value: "a" }).unknown();
      keyHistory
        .invoke("c2", { type: "get", key: "k" })
        .done(value === null ? { value } : { value, version: 9 });
      expect(keyHistory.check()).toBeNull();
    }
    const keyHistory = new KeyHistory("k");
    keyHistory.invoke("c1", { type: "put", key: "k", value: "a" }).notDone();
    keyHistory.invoke("c2", { type: "get", key: "k" }).done({ value: "a", version: 9 });
    expect(keyHistory.check()).not.toBeNull();
  });

  it("is over after its share of calls, or of unknown outcomes", () => {
    const long = new KeyHistory("k");
    for (let call = 0; call < CALLS_MAX; call++) {
      expect(long.isFull).toBe(false);
      long.invoke("c", { type: "get", key: "k" }).done({ value: null });
    }
    expect(long.isFull).toBe(true);
    const vague = new KeyHistory("k");
    for (let call = 0; call < UNKNOWN_MAX; call++) vague.invoke("c", { type: "delete", key: "k" }).unknown();
    expect(vague.isFull).toBe(true);
  });

  it("remembers of unknown changes those that nobody has seen yet", () => {
    const keyHistory = new KeyHistory("k");
    for (const value of ["seen", "not seen"])
      keyHistory.invoke("c", { type: "put", key: "k", value }).unknown();
    keyHistory.invoke("c", { type: "get", key: "k" }).done({ value: "seen", version: 4 });
    const word = keyHistory.lastWord({ value: "seen", version: 4 });
    expect(word).toEqual(wordOf({ value: "seen", version: 4, maybePut: new Set(["not seen"]) }));
  });
});

describe("a key that is read again after its life", () => {
  it("must be what it was, to the version", () => {
    expect(faultOfRead(wordOf(), { value: "a", version: 5 })).toBeNull();
    expect(faultOfRead(wordOf(), { value: "a", version: 6 })).toContain("which nobody can have put since");
    expect(faultOfRead(wordOf(), null)).toContain("it is gone");
    expect(faultOfRead(wordOf({ value: null, version: null }), null)).toBeNull();
    expect(faultOfRead(wordOf({ value: null, version: null }), { value: "a", version: 6 })).not.toBeNull();
  });

  it("may show a change of unknown outcome, once, and later than what was there", () => {
    const word = wordOf({ maybePut: new Set(["b", "c"]) });
    expect(faultOfRead(word, { value: "b", version: 4 })).not.toBeNull();
    expect(faultOfRead(word, { value: "c", version: 8 })).toBeNull();
    expect(faultOfRead(word, { value: "a", version: 5 })).not.toBeNull();
    expect(faultOfRead(word, { value: "c", version: 9 })).not.toBeNull();
  });

  it("may be gone by a delete of unknown outcome", () => {
    const word = wordOf({ maybeDeleted: true });
    expect(faultOfRead(word, null)).toBeNull();
    expect(faultOfRead(word, { value: "a", version: 5 })).not.toBeNull();
  });
});
