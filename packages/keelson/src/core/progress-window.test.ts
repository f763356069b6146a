import { describe, expect, it } from "vitest";
import { Progress } from "./progress.ts";

describe("a follower's window", () => {
  it("counts entries once, however often they are sent", () => {
    const progress = new Progress(5, 0);
    progress.recordAccepted(4, 0, 0);
    progress.recordSent(7, 30);
    progress.recordSent(7, 30);
    progress.recordSent(6, 20);
    expect(progress).toMatchObject({ state: "replicate", next: 8, inFlightMessages: 1, inFlightBytes: 30 });
  });

  it("has no heartbeat due before the first round", () => {
    expect(new Progress(1, 0).heartbeatDue).toBe(false);
  });
});
