import { describe, expect, it } from "vitest";
import type { Message } from "../../../core/message.ts";
import type { TransportMessage } from "../../../transport/transport.ts";
import { MessageReplayer } from "./message-replayer.ts";

function acknowledgement(from: string, term: number): TransportMessage {
  const outcome = { accepted: true, match: 7 } as const;
  const message: Message = { type: "append-entries-reply", from, term, round: 1, outcome };
  return { message, records: [] };
}

function refusal(from: string, term: number): TransportMessage {
  const outcome = { accepted: false, refused: 7, hint: { term: 1, index: 6 } } as const;
  const message: Message = { type: "append-entries-reply", from, term, round: 1, outcome };
  return { message, records: [] };
}

describe("MessageReplayer", () => {
  it("delivers each kept acknowledgement once, before the first message to a leader of a later term (R7)", () => {
    let leads: number | null = 1;
    let term = 1;
    const replayer = new MessageReplayer(() => ({ term: leads ?? term, leads: leads !== null }));
    const [ofB, ofC, later] = [acknowledgement("b", 1), acknowledgement("c", 1), acknowledgement("b", 3)];
    expect(replayer.dueBefore(ofB)).toEqual([]);
    expect(replayer.dueBefore(ofC)).toEqual([]);
    leads = null;
    term = 2;
    expect(replayer.dueBefore(refusal("b", 2))).toEqual([]);
    leads = 3;
    expect(replayer.dueBefore(later)).toEqual([ofB, ofC]);
    expect(replayer.dueBefore(refusal("c", 3))).toEqual([]);
    leads = 5;
    expect(replayer.dueBefore(refusal("c", 5))).toEqual([later]);
  });

  it("delivers each other message once, when its receiver has entered a later term", () => {
    let term = 4;
    const replayer = new MessageReplayer(() => ({ term, leads: false }));
    const told: TransportMessage = { message: { type: "timeout-now", from: "b", term: 4 }, records: [] };
    expect(replayer.dueBefore(told)).toEqual([]);
    expect(replayer.dueBefore(acknowledgement("b", 4))).toEqual([]);
    term = 5;
    expect(replayer.dueBefore(refusal("c", 5))).toEqual([told]);
    expect(replayer.dueBefore(refusal("c", 5))).toEqual([]);
  });
});
