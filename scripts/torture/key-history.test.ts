import { describe, expect, it } from "vitest";

import { KeyHistory, CALLS_MAX, faultOfRead, UNKNOWN_MAX, type FinalState } from "./key-history.ts";

function finalStateOf(changes: Partial<FinalState> = {}): FinalState {
  return { key: "k", value: "a", version: 5, maybePut: new Set(), maybeDeleted: false, ...changes };
}

describe("the history of a key", () => {
  it("finds a read that missed an acknowledged write, with a picture and the whole history", () => {
    const keyHistory = new KeyHistory("k");
    keyHistory.invoke("c1", { type: "put", key: "k", value: "a" }).done({ version: 3 });
    keyHistory.invoke("c2", { type: "get", key: "k" }).done({ value: null });
    const verdict = keyHistory.check();
    expect(verdict).toMatchObject({ svg: expect.stringContaining("<svg") as string });
    expect(verdict).toMatchObject({ history: expect.stringContaining('"value":"a"') as string });
  });

  it("accepts that a write of unknown outcome took effect or not, but not that one took effect that was reported as not done", () => {
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

  it("is complete after its maximum of calls, or of unknown outcomes", () => {
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

  it("remembers the changes of unknown outcome that no read has seen yet", () => {
    const keyHistory = new KeyHistory("k");
    for (const value of ["seen", "not seen"])
      keyHistory.invoke("c", { type: "put", key: "k", value }).unknown();
    keyHistory.invoke("c", { type: "get", key: "k" }).done({ value: "seen", version: 4 });
    const state = keyHistory.finalState({ value: "seen", version: 4 });
    expect(state).toEqual(finalStateOf({ value: "seen", version: 4, maybePut: new Set(["not seen"]) }));
  });
});

describe("a key that is read again after its history is complete", () => {
  it("must have the same value and version", () => {
    expect(faultOfRead(finalStateOf(), { value: "a", version: 5 })).toBeNull();
    expect(faultOfRead(finalStateOf(), { value: "a", version: 6 })).toContain(
      "which nobody can have put since",
    );
    expect(faultOfRead(finalStateOf(), null)).toContain("it is gone");
    expect(faultOfRead(finalStateOf({ value: null, version: null }), null)).toBeNull();
    expect(
      faultOfRead(finalStateOf({ value: null, version: null }), { value: "a", version: 6 }),
    ).not.toBeNull();
  });

  it("may show a change of unknown outcome, once, and with a later version", () => {
    const state = finalStateOf({ maybePut: new Set(["b", "c"]) });
    expect(faultOfRead(state, { value: "b", version: 4 })).not.toBeNull();
    expect(faultOfRead(state, { value: "c", version: 8 })).toBeNull();
    expect(faultOfRead(state, { value: "a", version: 5 })).not.toBeNull();
    expect(faultOfRead(state, { value: "c", version: 9 })).not.toBeNull();
  });

  it("may have been deleted by a delete of unknown outcome", () => {
    const state = finalStateOf({ maybeDeleted: true });
    expect(faultOfRead(state, null)).toBeNull();
    expect(faultOfRead(state, { value: "a", version: 5 })).not.toBeNull();
  });
});
