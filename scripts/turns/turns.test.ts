import { describe, expect, it } from "vitest";
import { keepYoungGenerationSmall } from "../../packages/kv/src/shared/young-generation.ts";
import { SCENARIOS, TURN_MS_MAX } from "./scenarios.ts";

// As `keelson serve` does: a large young generation is collected in longer pauses.
keepYoungGenerationSmall();

/**
 * Other processes and garbage collections make single turns longer than they are: the best attempt counts.
 */
const ATTEMPTS_MAX = 4;

describe("no turn of the event loop of a server at its limits is too long (Z19)", () => {
  it.each(SCENARIOS.filter(({ isInSuite }) => isInSuite === true))(
    "$name",
    { timeout: 120_000 },
    async ({ run }) => {
      let best = Infinity;
      for (let attempt = 0; attempt < ATTEMPTS_MAX && best > TURN_MS_MAX; attempt++) {
        // The thread's processor time leaves out what other processes take. Node 22 doesn't know it.
        const { longestMs, longestCpuMs } = await run();
        best = Math.min(best, longestMs, longestCpuMs ?? Infinity);
      }
      expect(best).toBeLessThanOrEqual(TURN_MS_MAX);
    },
  );
});
