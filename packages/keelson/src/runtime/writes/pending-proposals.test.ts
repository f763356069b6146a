import { describe, expect, it } from "vitest";
import type { RaftNode } from "../../core/node.ts";
import { simulatedEnvironment } from "../../environment/simulated/simulated-environment.ts";
import { DEFAULT_LIMITS } from "../shared/index.ts";
import { PendingProposals } from "./pending-proposals.ts";

const WAIT_MS = 100;
const COUNT = 3000;

/** A core of which only what `PendingProposals` asks is there. */
function coreWith(commitStatus: (index: number) => string): RaftNode {
  const core = {
    commitIndex: 0,
    log: { termAt: () => 0 },
    commitStatus: ({ index }: { readonly index: number }) => commitStatus(index),
  };
  return core as unknown as RaftNode;
}

/** Proposals that wait for their outcome, and how many were rejected in each turn. */
function proposals(core: RaftNode) {
  const environment = simulatedEnvironment();
  const pending = new PendingProposals(core, environment, DEFAULT_LIMITS, WAIT_MS);
  const turns: number[] = [];
  const outcomes = new Set<string>();
  let inTurn = 0;
  for (let index = 1; index <= COUNT; index++) {
    pending.add({
      position: { index, term: 1 },
      bytes: 100,
      applied: () => undefined,
      reject: ({ outcome }) => {
        outcomes.add(outcome);
        if (inTurn++ > 0) return;
        queueMicrotask(() => {
          turns.push(inTurn);
          inTurn = 0;
        });
      },
    });
  }
  return { environment, pending, turns, outcomes };
}

/** How many of them each turn rejects. */
function inTurns(count: number): number[] {
  const whole = Math.floor(count / 128);
  return [...Array.from({ length: whole }, () => 128), count - whole * 128];
}

describe("many pending proposals are rejected in several turns (Z19)", () => {
  it("when the wait after a step-down is over", async () => {
    const { environment, pending, turns, outcomes } = proposals(coreWith(() => "pending"));
    pending.leadershipEnded();
    expect(pending.entries).toBe(COUNT);
    await environment.clock.advance(2 * WAIT_MS);
    expect(turns).toEqual(inTurns(COUNT));
    expect([...outcomes]).toEqual(["unknown"]);
    expect([pending.entries, pending.bytes]).toEqual([0, 0]);
  });

  it("when another leader's entries were committed, and the others keep waiting", async () => {
    const { environment, pending, turns, outcomes } = proposals(
      coreWith((index) => (index > 500 ? "rejected" : "committed")),
    );
    pending.leadershipEnded();
    await environment.clock.advance(1);
    expect(turns).toEqual(inTurns(2500));
    expect([...outcomes]).toEqual(["not-done"]);
    expect([pending.entries, pending.bytes]).toEqual([500, 50_000]);
  });

  it("when a snapshot covers their entries", async () => {
    const { environment, pending, turns, outcomes } = proposals(coreWith(() => "pending"));
    pending.settleInstalled(2500);
    await environment.clock.advance(1);
    expect(turns).toEqual(inTurns(2500));
    expect([...outcomes]).toEqual(["unknown"]);
    expect(pending.entries).toBe(COUNT - 2500);
  });
});
