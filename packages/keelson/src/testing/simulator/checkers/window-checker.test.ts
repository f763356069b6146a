import { expect, it } from "vitest";
import type { AppendEntries } from "../../../core/message.ts";
import type { FollowerProgress } from "../../../core/node.ts";
import { WindowChecker } from "./window-checker.ts";

const RECORDS = [new Uint8Array(60)];

function progress(match: number, state: FollowerProgress["state"] = "replicate"): FollowerProgress {
  return { state, match, next: 100, recentlyActive: true, lostAfter: null };
}

function entries(lastIndex: number): AppendEntries {
  const range = { prev: { term: 1, index: lastIndex - 1 }, lastIndex, terms: [], configs: [] };
  return { type: "append-entries", from: "a", term: 1, entries: range, commit: 0, round: 1 };
}

it("reports what a leader sends beyond its limits on messages and bytes (BOUND)", () => {
  const send = (checker: WindowChecker, lastIndex: number, match: number): (() => void) => {
    return () => {
      checker.sending("b", entries(lastIndex), RECORDS, progress(match));
    };
  };
  const byMessages = new WindowChecker("a", { inflightMessagesMax: 2, inflightBytesMax: 1_000 });
  for (const last of [1, 2]) expect(send(byMessages, last, 0)).not.toThrow();
  expect(send(byMessages, 3, 0)).toThrow("BOUND: a sends b more, and 2 messages of 120 bytes wait");
  expect(send(byMessages, 3, 1)).not.toThrow();
  const byBytes = new WindowChecker("a", { inflightMessagesMax: 9, inflightBytesMax: 100 });
  for (const last of [1, 2]) expect(send(byBytes, last, 0)).not.toThrow();
  expect(send(byBytes, 3, 0)).toThrow("BOUND");
});

it("counts nothing that was sent while the leader compared logs", () => {
  const checker = new WindowChecker("a", { inflightMessagesMax: 1, inflightBytesMax: 1_000 });
  checker.sending("b", entries(1), RECORDS, progress(0));
  checker.sending("b", entries(1), RECORDS, progress(0, "probe"));
  checker.sending("b", entries(2), RECORDS, progress(0));
});

it("counts nothing that was sent before a message that begins right after the acknowledged entries", () => {
  const checker = new WindowChecker("a", { inflightMessagesMax: 1, inflightBytesMax: 1_000 });
  checker.sending("b", entries(1), RECORDS, progress(0));
  const { entries: range, ...rest } = entries(2);
  const prev = { term: 0, index: 0 };
  checker.sending("b", { ...rest, entries: { ...range, prev } }, RECORDS, progress(0));
  expect(() => {
    checker.sending("b", entries(3), RECORDS, progress(0));
  }).toThrow("BOUND");
});
