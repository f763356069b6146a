import { describe, expect, it } from "vitest";
import type { RuntimeMessage } from "../../../codec/frame-runtime-message.ts";
import type { InstallSnapshot } from "../../../core/message.ts";
import type { RaftNode } from "../../../core/node.ts";
import { TransferChecker, type Sender } from "./transfer-checker.ts";

const request: RuntimeMessage = {
  ...{ type: "snapshot-request", from: "b", id: "s", index: 9, offset: 0, bytes: 100 },
};
const end: RuntimeMessage = { type: "snapshot-end", from: "b", id: "s", intact: true };
const offer = {
  ...{ type: "install-snapshot", from: "a", term: 2, last: { term: 2, index: 20 }, round: 1 },
} as InstallSnapshot;

function sender(
  id: string,
  says: { applied?: number; now?: number; base?: number; match?: number; term?: number },
) {
  const { applied = 0, now = 0, base = 0, match = 0, term = 2 } = says;
  const core = { leader: "a", term, log: { base: { index: base } }, progress: () => ({ match }) };
  const made: Sender = {
    id,
    core: core as unknown as RaftNode,
    appliedIndex: () => applied,
    now: () => now,
  };
  return made;
}

describe("TransferChecker", () => {
  it("reports a node that asks for a snapshot which its state has passed (Q3)", () => {
    const checker = new TransferChecker(true);
    checker.sending(sender("b", { applied: 8 }), "a", request);
    expect(() => {
      checker.sending(sender("b", { applied: 9 }), "a", request);
    }).toThrow("BOUND: b asks a for a snapshot up to 9, and has applied 9");
    // It only says that it still needs the source.
    checker.sending(sender("b", { applied: 9 }), "a", { ...request, bytes: 0 });
  });

  it("reports a leader that has forgotten the log after a snapshot which it has just sent (S12)", () => {
    const fetched = (keepsLog = true): TransferChecker => {
      const checker = new TransferChecker(keepsLog);
      checker.sending(sender("b", {}), "a", request);
      checker.sending(sender("b", { now: 1_000 }), "a", end);
      return checker;
    };
    expect(() => {
      fetched().sending(sender("a", { base: 10, now: 2_000 }), "b", offer);
    }).toThrow("LIVE: b has fetched the snapshot of a up to 9, and needs that up to 20");
    // It keeps the log; the node has gone on; it leads another term; the node is gone for long; or there is a
    // limit.
    fetched().sending(sender("a", { base: 9, now: 2_000 }), "b", offer);
    fetched().sending(sender("a", { base: 10, match: 10, now: 2_000 }), "b", offer);
    fetched().sending(sender("a", { base: 10, term: 3, now: 2_000 }), "b", offer);
    fetched().sending(sender("a", { base: 10, now: 40_000 }), "b", offer);
    fetched(false).sending(sender("a", { base: 10, now: 2_000 }), "b", offer);
  });

  it("takes a receiver for one of the snapshot that it got, which may be newer than the one it asked for", () => {
    const checker = new TransferChecker(true);
    checker.sending(sender("b", {}), "a", request);
    checker.sending(sender("b", { base: 20, now: 1_000 }), "a", end);
    checker.sending(sender("a", { base: 20, now: 2_000 }), "b", offer);
    expect(() => {
      checker.sending(sender("a", { base: 21, now: 2_000 }), "b", offer);
    }).toThrow("LIVE: b has fetched the snapshot of a up to 20");
  });
});
