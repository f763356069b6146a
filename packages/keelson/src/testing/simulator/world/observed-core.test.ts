import { describe, expect, it } from "vitest";

import { RaftNode } from "../../../core/node.ts";
import { ModelChecker } from "../checkers/model-checker.ts";
import { TurnChecker } from "../checkers/turn-checker.ts";
import { Violation } from "../checkers/violation.ts";
import { observeCore } from "./observed-core.ts";

const SETTINGS = {
  ...{ electionTimeoutMinMs: 400, electionTimeoutMaxMs: 800, heartbeatMs: 80, storageStallMs: 1_600 },
  ...{ preVote: true, checkQuorum: true, clockDriftMax: 0.05, window: null },
};

function observed(options: { checker?: ModelChecker; isDead?: boolean; keepsDisk?: boolean } = {}) {
  const { checker = new ModelChecker(), isDead = false, keepsDisk = true } = options;
  const reported: string[] = [];
  const core = RaftNode.start({ id: "a", random: () => 0.5 });
  observeCore(core, {
    ...{ checker, settings: SETTINGS, now: 0, keepsDisk, isDead: () => isDead },
    turns: new TurnChecker(),
    times: () => ({ now: 0, resumedAt: 0, timersAreLate: false }),
    leaseHeld: () => undefined,
    offered: () => undefined,
    report: (error) => {
      expect(error).toBeInstanceOf(Violation);
      reported.push((error as Violation).message);
    },
  });
  return { core, checker, reported };
}

/**
 * Lets the core do what it wants, with writes that are durable at once, until its next deadline is far away.
 */
function run(core: RaftNode): void {
  let now = 0;
  for (let turn = 0; turn < 20; turn++) {
    const { needsPersist, persistId, timer } = core.takeActions();
    if (needsPersist) core.handlePersisted(persistId, now);
    now = Math.max(now, timer ?? now);
    core.handleTimeout(now);
  }
}

describe("observeCore", () => {
  it("lets a core work as without it, and reports nothing that Raft allows", () => {
    const { core, reported } = observed();
    core.createCluster(["a"], 0);
    run(core);
    expect(core.role).toBe("leader");
    expect(core.proposeCommand(5_000)).toEqual({ term: core.term, index: 3 });
    run(core);
    expect(core.commitIndex).toBe(3);
    core.readIndex(6_000);
    expect(core.takeActions().reads).toEqual([expect.objectContaining({ index: 3 })]);
    core.handleCompacted(2, 6_000);
    expect(reported).toEqual([]);
  });

  it("reports a step that the model forbids, with the node, the rule and the input (MODEL)", () => {
    const { core, reported } = observed();
    Object.defineProperty(core, "votedFor", { value: "b" });
    core.handleTimeout(10);
    expect(reported).toHaveLength(1);
    expect(reported[0]).toMatch(/^MODEL: a gives a vote to b, .*at the step .*timeout/);
  });

  it("reports a start that lacks what was durable, unless the disk was damaged or replaced (MODEL)", () => {
    const { core, checker } = observed();
    core.createCluster(["a", "b"], 0);
    run(core);
    expect(observed({ checker, keepsDisk: false }).reported).toEqual([]);
    core.takeActions();
    const again = observed();
    again.core.createCluster(["a", "b"], 0);
    run(again.core);
    expect(observed({ checker: again.checker }).reported).toEqual([
      expect.stringMatching(/^MODEL: a term 1 or its vote .* is lost, at the step "starts"/),
    ]);
    again.checker.diskLost("a");
    expect(observed({ checker: again.checker }).reported).toEqual([]);
  });

  it("says nothing of a process that is dead", () => {
    const { core, reported } = observed({ isDead: true });
    Object.defineProperty(core, "votedFor", { value: "b" });
    core.handleTimeout(10);
    expect(reported).toEqual([]);
  });
});
