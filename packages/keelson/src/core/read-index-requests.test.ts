import { describe, expect, it } from "vitest";

import { withDefaults } from "./options.ts";
import { ReadIndexRequests } from "./read-index-requests.ts";
import { NodeState } from "./state.ts";

describe("the unanswered reads", () => {
  const state = (): NodeState =>
    new NodeState(withDefaults({ id: "a", random: () => 0 }), { term: 0, votedFor: null });

  it("have consecutive ids, from a random number on", () => {
    const reads = new ReadIndexRequests(10, () => 0.25);
    expect([reads.nextId(), reads.nextId()]).toEqual([2 ** 46 + 1, 2 ** 46 + 2]);
    expect(Number.isSafeInteger(new ReadIndexRequests(10, () => 1 / 3).nextId())).toBe(true);
  });

  it("are limited in number, pending and forwarded ones together", () => {
    const reads = new ReadIndexRequests(2, () => 0);
    expect(reads.isFull).toBe(false);
    reads.add({ id: 1, from: null, expiresAt: 10 });
    expect(reads.isFull).toBe(false);
    reads.addForwarded({ id: 2, expiresAt: 10 });
    expect(reads.isFull).toBe(true);
    expect([reads.takeForwarded(1), reads.isFull]).toEqual([false, true]);
    expect([reads.takeForwarded(2), reads.isFull]).toEqual([true, false]);
  });

  it("know when the next of them expires", () => {
    const reads = new ReadIndexRequests(10, () => 0);
    expect(reads.nextExpiry).toBe(Infinity);
    reads.addForwarded({ id: 1, expiresAt: 20 });
    expect(reads.nextExpiry).toBe(20);
    reads.add({ id: 2, from: null, expiresAt: 10 });
    expect(reads.nextExpiry).toBe(10);
    reads.takeForwarded(1);
    expect(reads.nextExpiry).toBe(10);
  });

  it("are taken by a predicate, and the rest keep their order", () => {
    const reads = new ReadIndexRequests(10, () => 0);
    for (const id of [1, 2, 3, 4]) reads.add({ id, from: null, expiresAt: id });
    expect(reads.takeWhere(({ id }) => id % 2 === 0).map(({ id }) => id)).toEqual([2, 4]);
    expect(reads.pending.map(({ id }) => id)).toEqual([1, 3]);
    expect(reads.takeWhere(() => false)).toEqual([]);
    expect(reads.pending).toHaveLength(2);
  });

  it("fail when their time is over, each answered to the node that asked", () => {
    const owner = state();
    const { reads } = owner;
    reads.add({ id: 1, from: null, expiresAt: 10 });
    reads.add({ id: 2, from: "b", expiresAt: 10 });
    reads.add({ id: 3, from: null, expiresAt: 11 });
    reads.addForwarded({ id: 4, expiresAt: 10 });
    reads.addForwarded({ id: 5, expiresAt: 11 });
    owner.expireReads(9);
    expect(owner.pendingActions.capture().reads).toEqual([]);
    owner.expireReads(10);
    const { reads: answered, messages } = owner.pendingActions.take(null);
    expect(answered).toEqual([
      { id: 1, index: null },
      { id: 4, index: null },
    ]);
    expect(messages).toEqual([
      { to: "b", message: { type: "read-index-reply", from: "a", term: 0, id: 2, index: null } },
    ]);
    expect(reads.capture()).toMatchObject({ pending: [{ id: 3 }], forwarded: [{ id: 5 }] });
    owner.failReads();
    expect(owner.pendingActions.take(null).reads).toEqual([
      { id: 3, index: null },
      { id: 5, index: null },
    ]);
    expect(reads.capture()).toMatchObject({ pending: [], forwarded: [] });
  });
});
