import * as fc from "fast-check";
import { describe, expect, it } from "vitest";

import { Progress } from "./progress.ts";

const MESSAGES_MAX = 3;
const BYTES_MAX = 100;

type Step = (progress: Progress) => void;

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  fc
    .record({ count: fc.integer({ min: 1, max: 5 }), bytes: fc.nat(60) })
    .map(({ count, bytes }): Step => (progress) => {
      if (progress.hasRoom(MESSAGES_MAX, BYTES_MAX)) progress.recordSent(progress.next + count - 1, bytes);
    }),
  // A correct acknowledgement, of entries that were sent; it may be late.
  fc.nat(30).map(
    (match): Step =>
      (progress) =>
        progress.recordAccepted(Math.min(match, progress.next), 0, 0),
  ),
  fc.record({ refused: fc.nat(30), hint: fc.nat(30) }).map(({ refused, hint }): Step => (progress) => {
    if (progress.isCurrentRefusal(refused)) progress.becomeProbe(Math.min(hint, refused - 1) + 1);
  }),
  fc.constant<Step>((progress) => progress.allowNextProbe()),
  fc.constant<Step>((progress) => progress.becomeSnapshot()),
);

describe("a leader's progress of a follower", () => {
  it("never lowers match, keeps next above it, and counts what is in flight exactly [R6, R14]", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10 }), fc.array(anyStep, { maxLength: 40 }), (next, steps) => {
        const progress = new Progress(next, 0);
        let match = 0;
        for (const step of steps) {
          step(progress);
          expect(progress.match).toBeGreaterThanOrEqual(match);
          match = progress.match;
          expect(progress.next).toBeGreaterThan(match);
          const { inFlight } = progress.capture();
          expect(progress.inFlightMessages).toBe(inFlight.length);
          expect(progress.inFlightMessages).toBeLessThanOrEqual(MESSAGES_MAX);
          expect(progress.inFlightBytes).toBe(inFlight.reduce((sum, { bytes }) => sum + bytes, 0));
          for (const { last } of inFlight) {
            expect(last).toBeGreaterThan(match);
            expect(last).toBeLessThan(progress.next);
          }
          if (progress.state !== "replicate") expect(progress.inFlightMessages).toBe(0);
        }
        progress.recordAccepted(progress.next - 1, 0, 0);
        expect([progress.inFlightMessages, progress.inFlightBytes]).toEqual([0, 0]);
        expect(progress.hasRoom(MESSAGES_MAX, BYTES_MAX)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it("behaves the same after it was captured and revived", () => {
    fc.assert(
      fc.property(fc.array(anyStep), fc.array(anyStep), (before, after) => {
        const progress = new Progress(3, 0);
        for (const step of before) step(progress);
        const twin = Progress.revive(progress.capture());
        for (const step of after) {
          step(progress);
          step(twin);
        }
        expect(twin.capture()).toEqual(progress.capture());
        expect(twin.inFlightBytes).toBe(progress.inFlightBytes);
      }),
      { numRuns: 200 },
    );
  });

  it("allows one probe at a time, and another at the next heartbeat", () => {
    const progress = new Progress(5, 0);
    progress.recordSent(9, 10);
    expect(progress.hasRoom(MESSAGES_MAX, BYTES_MAX)).toBe(false);
    expect(progress.next).toBe(5);
    progress.allowNextProbe();
    expect(progress.hasRoom(MESSAGES_MAX, BYTES_MAX)).toBe(true);
  });

  it("closes the window at either limit, and opens it with acknowledgements [R14]", () => {
    const progress = new Progress(1, 0);
    progress.recordAccepted(0, 0, 0);
    for (let n = 1; n <= MESSAGES_MAX; n++) progress.recordSent(n, 1);
    expect(progress.hasRoom(MESSAGES_MAX, BYTES_MAX)).toBe(false);
    progress.recordAccepted(1, 0, 0);
    expect(progress.hasRoom(MESSAGES_MAX, BYTES_MAX)).toBe(true);
    progress.recordSent(4, BYTES_MAX);
    progress.recordAccepted(3, 0, 0);
    expect(progress.inFlightMessages).toBe(1);
    expect(progress.hasRoom(MESSAGES_MAX, BYTES_MAX)).toBe(false);
    progress.recordAccepted(4, 0, 0);
    expect(progress.hasRoom(MESSAGES_MAX, BYTES_MAX)).toBe(true);
  });

  it("waits for a snapshot until the follower has everything up to the log's base", () => {
    const progress = new Progress(3, 0);
    progress.becomeSnapshot();
    progress.recordAccepted(7, 8, 0);
    expect(progress.state).toBe("snapshot");
    expect(progress.hasRoom(MESSAGES_MAX, BYTES_MAX)).toBe(false);
    progress.recordAccepted(8, 8, 0);
    expect(progress.state).toBe("replicate");
    expect(progress.next).toBe(9);
  });

  it("ignores refusals that are not about what is in flight [R6]", () => {
    const probing = new Progress(8, 0);
    expect(probing.isCurrentRefusal(7)).toBe(true);
    expect(probing.isCurrentRefusal(6)).toBe(false);
    probing.recordAccepted(7, 0, 0);
    expect(probing.isCurrentRefusal(7)).toBe(false);
    probing.recordSent(9, 0);
    expect(probing.isCurrentRefusal(9)).toBe(true);
    probing.becomeSnapshot();
    expect(probing.isCurrentRefusal(9)).toBe(false);
  });
});
