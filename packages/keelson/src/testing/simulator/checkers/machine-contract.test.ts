import { beforeEach, describe, expect, it } from "vitest";
import {
  answerName,
  encodeAnswer,
  encodeSession,
  sessionName,
} from "../../../runtime/sessions/session-records.ts";
import { MachineContract } from "./machine-contract.ts";

const at = (index: number): { term: number; index: number } => ({ term: 1, index });

describe("MachineContract", () => {
  let broken: string[] = [];
  let contract = new MachineContract("n1", () => undefined);

  beforeEach(() => {
    broken = [];
    contract = new MachineContract("n1", ({ message }) => broken.push(message));
  });

  function apply(index: number): void {
    contract.applying(at(index));
    contract.ended();
  }

  function flush(index: number, records = new Map<string, Uint8Array | null>()): void {
    contract.flushing(at(index), records);
    contract.ended();
  }

  it("allows snapshots between batches, and batches while they are read", () => {
    apply(1);
    flush(1);
    contract.snapshotBegan();
    apply(2);
    flush(3);
    contract.snapshotEnded();
    contract.restoring(at(9), new Map());
    contract.ended();
    expect(broken).toEqual([]);
  });

  it("forbids a snapshot that begins in the middle of a batch (S5)", () => {
    apply(1);
    contract.snapshotBegan();
    expect(broken).toEqual(["SMS: n1: a snapshot begins in a batch, after 1"]);
  });

  it("forbids calls that overlap", () => {
    contract.applying(at(1));
    contract.flushing(at(1), new Map());
    expect(broken).toEqual(["SMS: n1: flush is called during apply"]);
  });

  it("forbids closing it during a call that doesn't hang (X7)", () => {
    apply(1);
    contract.closing(0);
    contract.applying(at(2));
    contract.closing(500);
    expect(broken).toEqual([]);
    contract.closing(20);
    expect(broken).toEqual(["SMS: n1: it is closed during apply, which began 20 ms before"]);
  });

  it("forbids a restore while the state is read, or in a batch", () => {
    contract.snapshotBegan();
    contract.restoring(at(3), new Map());
    contract.ended();
    contract.snapshotEnded();
    apply(4);
    contract.restoring(at(5), new Map());
    expect(broken).toHaveLength(2);
  });

  it("forbids a flush that names an earlier entry than the last one applied", () => {
    apply(2);
    flush(1);
    expect(broken).toEqual(["SMS: n1: entry 2 is applied, and the flush says 1"]);
  });

  it("forbids sessions as later entries left them (Z19)", () => {
    const session = { ttlMs: 1_000, lastUsedMs: 5, lastUsedIndex: 7, lowestUnanswered: 1 };
    const answer = { index: 8, type: "done", bytes: new Uint8Array(1) } as const;
    const records = new Map([
      [sessionName(3), encodeSession(session)],
      [answerName(3, 1), encodeAnswer(answer)],
    ]);
    flush(8, records);
    expect(broken).toEqual([]);
    contract.restoring(at(6), records);
    expect(broken).toEqual([
      "SMS: n1: the snapshot of entry 6 holds session/3 as entry 7 left it",
      "SMS: n1: the snapshot of entry 6 holds answer/3/1 as entry 8 left it",
    ]);
  });

  it("forbids a session that was opened later", () => {
    const session = { ttlMs: 1_000, lastUsedMs: 5, lastUsedIndex: 3, lowestUnanswered: 1 };
    flush(3, new Map([[sessionName(4), encodeSession(session)]]));
    expect(broken).toHaveLength(1);
  });
});
