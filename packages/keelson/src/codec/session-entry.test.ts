import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DecodeError } from "../errors.ts";
import {
  decodeCloseSession,
  decodeOpenSession,
  decodeSessionCommand,
  encodeCloseSession,
  encodeOpenSession,
  encodeSessionCommand,
  SESSION_COMMAND_HEADER_BYTES,
} from "./session-entry.ts";

const anyNumber = fc.maxSafeNat();
const anyCommandId = fc
  .tuple(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), fc.integer({ min: 1, max: 2 ** 50 }), fc.nat())
  .map(([id, lowestUnanswered, above]) => ({ id, lowestUnanswered, sequence: lowestUnanswered + above }));

describe("the payload of a session entry", () => {
  it("decodes to what was encoded", () => {
    fc.assert(
      fc.property(anyNumber, anyNumber, (clock, number) => {
        expect(decodeOpenSession(encodeOpenSession({ clock, ttlMs: number }))).toEqual({
          clock,
          ttlMs: number,
        });
        expect(decodeCloseSession(encodeCloseSession({ clock, id: number }))).toEqual({ clock, id: number });
      }),
    );
    fc.assert(
      fc.property(anyNumber, anyCommandId, fc.uint8Array({ maxLength: 40 }), (clock, id, command) => {
        const decoded = decodeSessionCommand(encodeSessionCommand({ ...id, clock, command }));
        expect(decoded).toEqual({ ...id, clock, command });
      }),
    );
  });

  it("has the bytes that the table in session-entry.ts describes", () => {
    const bytes = encodeSessionCommand({
      clock: 0x01_02_03,
      id: 4,
      sequence: 6,
      lowestUnanswered: 5,
      command: Uint8Array.of(255),
    });
    const expected = [
      3, 2, 1, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 255,
    ];
    expect([...bytes]).toEqual(expected);
    expect(bytes.length).toBe(SESSION_COMMAND_HEADER_BYTES + 1);
    expect([...encodeOpenSession({ clock: 1, ttlMs: 256 })]).toEqual([
      1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0,
    ]);
  });

  it.each([
    ["an opening that is too short", () => decodeOpenSession(new Uint8Array(15))],
    ["an opening that is too long", () => decodeOpenSession(new Uint8Array(17))],
    ["an end that is too long", () => decodeCloseSession(new Uint8Array(17))],
    ["a clock beyond any number", () => decodeOpenSession(new Uint8Array(16).fill(255))],
    ["a command that is cut short", () => decodeSessionCommand(new Uint8Array(31))],
    ["a command of no session", () => decodeSessionCommand(new Uint8Array(32))],
    ["a command below the lowest unanswered", () => decodeSessionCommand(commandOf(1, 4, 5))],
    ["a command without a number", () => decodeSessionCommand(commandOf(1, 0, 0))],
  ])("is refused when it is %s", (_what, decode) => {
    expect(decode).toThrow(DecodeError);
  });

  it("fails an assertion for numbers that can't identify a command", () => {
    const command = new Uint8Array(0);
    for (const id of [
      { id: 0, sequence: 1, lowestUnanswered: 1 },
      { id: 1, sequence: 1.5, lowestUnanswered: 1 },
      { id: 1, sequence: 1, lowestUnanswered: 2 },
    ]) {
      expect(() => encodeSessionCommand({ ...id, clock: 1, command })).toThrow();
    }
  });
});

function commandOf(id: number, sequence: number, lowestUnanswered: number): Uint8Array {
  const bytes = new Uint8Array(32);
  bytes[8] = id;
  bytes[16] = sequence;
  bytes[24] = lowestUnanswered;
  return bytes;
}
