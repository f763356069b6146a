import { describe, expect, it } from "vitest";
import type { Message } from "../../../core/message.ts";
import type { TransportMessage } from "../../../transport/transport.ts";
import { Echoes } from "./observed.ts";

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

describe("echoes", () => {
  it("come once, before the first that a leader of a later term hears", () => {
    let leads: number | null = 1;
    const echoes = new Echoes(() => leads);
    const [ofB, ofC, later] = [acknowledgement("b", 1), acknowledgement("c", 1), acknowledgement("b", 3)];
    expect(echoes.before(ofB)).toEqual([]);
    expect(echoes.before(ofC)).toEqual([]);
    leads = null;
    expect(echoes.before(refusal("b", 2))).toEqual([]);
    leads = 3;
    expect(echoes.before(later)).toEqual([ofB, ofC]);
    expect(echoes.before(refusal("c", 3))).toEqual([]);
    leads = 5;
    expect(echoes.before(refusal("c", 5))).toEqual([later]);
  });
});
