import { expect, it } from "vitest";
import type { FollowerProgress } from "../../core/node.ts";
import { hasCaughtUp } from "./caught-up.ts";

type Core = Parameters<typeof hasCaughtUp>[0];

/** A leader `a` whose log ends at entry 5,000, and what it knows of `b`. */
function leaderThatKnows(b: Pick<FollowerProgress, "state" | "recentlyActive" | "match">): Core {
  const core = {
    ...{ id: "a", log: { last: { index: 5_000, term: 1 } } },
    progress: (id: string) => (id === "b" ? b : undefined),
  };
  return core as Core;
}

it.each([
  [true, { state: "replicate", recentlyActive: true, match: 5_000 }],
  [true, { state: "replicate", recentlyActive: true, match: 3_976 }],
  [false, { state: "replicate", recentlyActive: true, match: 3_975 }],
  [false, { state: "replicate", recentlyActive: false, match: 5_000 }],
  [false, { state: "probe", recentlyActive: true, match: 5_000 }],
  [false, { state: "snapshot", recentlyActive: true, match: 4_999 }],
] as const)("says %s of a member of which the leader knows %j", (expected, progress) => {
  const core = leaderThatKnows(progress);
  expect([hasCaughtUp(core, "b"), hasCaughtUp(core, "a"), hasCaughtUp(core, "c")]).toEqual([
    expected,
    true,
    false,
  ]);
});
