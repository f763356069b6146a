import { describe, expect, it } from "vitest";

import { logStoreSuite, memorySuite, peerSuite, storageSuite, transportSuite } from "./suites.ts";

describe("without a bug, no case fails", () => {
  it.each([
    ["transport suite", transportSuite],
    ["log store suite", logStoreSuite],
    ["storage suite", storageSuite],
    ["memory suite", memorySuite],
    ["peer suite", peerSuite],
  ])("of the %s", async (_, run) => {
    expect(await run()).toBeNull();
  });
});
