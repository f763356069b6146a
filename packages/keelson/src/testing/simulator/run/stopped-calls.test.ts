import { expect, it } from "vitest";
import type { Raft } from "../../../runtime/raft.ts";
import { StoppedCalls } from "./stopped-calls.ts";

async function* ended(): AsyncGenerator<never, void, undefined> {
  // Nothing comes.
}

async function* endless(): AsyncGenerator<never, void, undefined> {
  await new Promise(() => undefined);
}

const refused = (): Promise<never> => Promise.reject(new Error("closed"));

function stoppedNode(
  changes: Partial<Record<keyof Raft<unknown, unknown>, unknown>>,
): Raft<unknown, unknown> {
  return {
    ...{ write: refused, read: refused, openSession: refused, endSession: refused, snapshot: refused },
    ...{ addLearner: refused, changeMembership: refused, transferLeadership: refused },
    ...{ changes: ended, committed: ended, close: () => Promise.resolve(), stopped: Promise.resolve() },
    ...{ metrics: () => ({ lastIndex: 3 }), ...changes },
  } as unknown as Raft<unknown, unknown>;
}

async function openCallsOf(raft: Raft<unknown, unknown>): Promise<readonly string[]> {
  const calls = new StoppedCalls();
  calls.waitAt("a", raft);
  calls.askAfter("a", raft);
  await new Promise((resolve) => setImmediate(resolve));
  return calls.open;
}

it("names the calls and readers that a stopped node doesn't end (KNOWN)", async () => {
  const throws = (): never => {
    throw new Error("closed");
  };
  expect(await openCallsOf(stoppedNode({ write: throws }))).toEqual([]);
  const hung = await openCallsOf(stoppedNode({ snapshot: () => new Promise(() => undefined) }));
  expect(hung).toEqual(["snapshot at a, which has stopped"]);
  const open = await openCallsOf(stoppedNode({ changes: endless }));
  expect(open).toContain("reader 2 of a's changes");
  expect(open).toContain("changes at a, which has stopped");
  expect(open).not.toContain("committed at a, which has stopped");
});
