import { describe, expect, it } from "vitest";
import type { Message } from "../core/message.ts";
import { INDEX_MAX, ROUND_MAX, TERM_MAX } from "../core/position.ts";
import { FrameReader } from "./frame-reader.ts";
import type { RuntimeMessage } from "./frame-runtime-message.ts";
import { encodeMessage, type Frame } from "./frame.ts";

function decoded(message: Message | RuntimeMessage): Frame | null {
  const reader = new FrameReader();
  for (const chunk of encodeMessage(message, []).chunks) reader.feed(chunk);
  return reader.next();
}

describe("a decoded message", () => {
  it.each<[string, Message | RuntimeMessage, number]>([
    ["a term", { type: "request-vote-reply", from: "a", term: 0, granted: false }, TERM_MAX],
    [
      "the term of a position",
      { type: "pre-vote", from: "a", term: TERM_MAX, round: 1, last: { term: 1, index: 1 } },
      TERM_MAX,
    ],
    ["an index", { type: "read-index-reply", from: "a", term: 0, id: 0, index: 0 }, INDEX_MAX],
    ["a round", { type: "read-index", from: "a", term: 0, id: 0 }, ROUND_MAX],
  ])("has %s up to its limit, and is refused above it with a reason [Z17]", (_name, message, max) => {
    const changed = (value: number): Message | RuntimeMessage => {
      if (message.type === "pre-vote") return { ...message, last: { term: value, index: 1 } };
      if (message.type === "read-index-reply") return { ...message, index: value };
      return message.type === "read-index"
        ? { ...message, id: value }
        : ({ ...message, term: value } as Message);
    };
    expect(decoded(changed(max))).toMatchObject({ message: changed(max) });
    for (const value of [max + 1, Number.MAX_SAFE_INTEGER]) {
      expect(() => decoded(changed(value))).toThrow(`is above the limit of ${String(max)}`);
    }
  });
});
