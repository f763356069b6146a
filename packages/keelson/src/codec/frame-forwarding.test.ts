// The encoding of forwarded calls about members, and what a hostile or faulty node can send in forwarded
// calls. The other messages are tested in frame.test.ts.
import { crc32 } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type ForwardedCall,
  PROGRESS_IDS_MAX,
  type RuntimeMessage,
  RuntimeMessageType,
} from "./frame-runtime-message.ts";
import { FrameReader } from "./frame-reader.ts";
import { encodeMessage, FRAME_HEADER_BYTES } from "./frame.ts";
import { idArb } from "./test/frame-arbitraries.ts";

const zeros = (count: number): number[] => new Array<number>(count).fill(0);
const ascii = (text: string): number[] => [...new TextEncoder().encode(text)];
const from = [2, ...ascii("n1")];

/** A frame of this type with this body, after the sender, and this tail; its checksums are right. */
function crafted(
  type: keyof typeof RuntimeMessageType,
  rest: readonly number[],
  tail: readonly number[] = [],
): Uint8Array {
  const sum = new DataView(new ArrayBuffer(4));
  sum.setUint32(0, crc32(Uint8Array.from(tail)), true);
  const body = [...from, ...new Uint8Array(sum.buffer), ...rest];
  const frame = Uint8Array.from([...ascii("KLS"), 1, ...zeros(20), ...body, ...tail]);
  const view = new DataView(frame.buffer);
  view.setUint32(8, frame.length, true);
  view.setUint32(16, body.length, true);
  view.setUint8(20, RuntimeMessageType[type]);
  view.setUint32(4, crc32(frame.subarray(8, FRAME_HEADER_BYTES + body.length)), true);
  return frame;
}

/** A forward-request whose call is encoded so, in its incarnation, id, term 1 and waitMs. */
function request(call: readonly number[], tail: readonly number[] = []): Uint8Array {
  return crafted("forward-request", [...zeros(16), 1, ...zeros(7), ...zeros(4), ...call], tail);
}

function decode(frame: Uint8Array): unknown {
  const reader = new FrameReader();
  reader.feed(frame);
  return reader.next();
}

const idsArb = fc.uniqueArray(idArb, { maxLength: 5 });
const addressArb = fc.string({ unit: "grapheme", maxLength: 10 });
const addressesArb = fc.dictionary(idArb, addressArb, { maxKeys: 5, noNullPrototype: true });
const callArb: fc.Arbitrary<ForwardedCall> = fc.oneof(
  fc.record({ type: fc.constant("add-learner" as const), id: idArb, address: addressArb }),
  fc.record({
    type: fc.constant("change-membership" as const),
    change: fc.record({
      ...{ add: addressesArb, remove: idsArb, promote: idsArb, demote: idsArb, addresses: addressesArb },
    }),
  }),
  fc.record({ type: fc.constant("transfer-leadership" as const), to: fc.option(idArb) }),
);
const messageArb: fc.Arbitrary<RuntimeMessage> = fc.oneof(
  callArb.map((call) => ({
    ...{ type: "forward-request" as const, from: "a", incarnation: 1, id: 2, term: 3, waitMs: 4 },
    ...{ call, payload: new Uint8Array(0) },
  })),
  fc.record({
    type: fc.constant("forward-progress" as const),
    ...{ from: idArb, incarnation: fc.maxSafeNat(), ids: fc.array(fc.maxSafeNat(), { maxLength: 20 }) },
  }),
);

describe("a forwarded call", () => {
  it("about members, or a report of progress, is the same after its way", () => {
    fc.assert(
      fc.property(messageArb, (message) => {
        const [frame = new Uint8Array(0)] = encodeMessage(message, []).chunks;
        expect(decode(frame)).toMatchObject({ message });
      }),
    );
  });

  it("is decoded if its body is valid", () => {
    expect(decode(request([6, 1, ...from]))).toMatchObject({
      message: { call: { type: "transfer-leadership", to: "n1" } },
    });
    // The only part that isn't empty is `remove`.
    expect(decode(request([5, ...zeros(2), 1, 0, ...from, ...zeros(6)]))).toMatchObject({
      message: { call: { change: { add: {}, remove: ["n1"], promote: [], demote: [], addresses: {} } } },
    });
    expect(decode(crafted("forward-progress", [...zeros(8), 1, 0, 7, ...zeros(7)]))).toMatchObject({
      message: { incarnation: 0, ids: [7] },
    });
  });

  it.each([
    [
      "a progress with too many ids",
      crafted("forward-progress", [...zeros(8), 1, 0x20]),
      `a list has ${String(PROGRESS_IDS_MAX + 1)} elements; the limit is 8192`,
    ],
    [
      "a progress with fewer ids than it says",
      crafted("forward-progress", [...zeros(8), 2, 0, ...zeros(8)]),
      "the body ends too early",
    ],
    [
      "a change of too many members",
      request([5, ...zeros(2), 1, 1]),
      "a list has 257 elements; the limit is 256",
    ],
    [
      "a change that removes a member twice",
      request([5, ...zeros(2), 2, 0, ...from, ...from, ...zeros(6)]),
      "names one twice",
    ],
    [
      "a change that adds a member twice",
      request([5, 2, 0, ...from, ...zeros(2), ...from, ...zeros(2), ...zeros(8)]),
      "names one twice",
    ],
    ["a change without its last part", request([5, ...zeros(8)]), "the body ends too early"],
    ["an address over its limit", request([4, ...from, 5, 1, ...zeros(261)]), "261 bytes; the limit is 260"],
    ["an empty id", request([4, 0, ...zeros(2)]), "an id has 0 bytes"],
    ["a target that is neither given nor not", request([6, 2]), "neither 0 nor 1"],
    ["a command behind a call that has none", request([6, 0], [7]), "a request that carries no command"],
    ["an unknown call", request([7]), "the unknown call 7"],
  ])("is refused with %s", (_name, frame, reason) => {
    expect(() => decode(frame)).toThrow(reason);
  });
});
