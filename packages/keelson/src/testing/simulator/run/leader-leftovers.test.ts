import { describe, expect, it } from "vitest";
import { configOf } from "../../../core/config.ts";
import { RaftNode } from "../../../core/node.ts";
import { leftoverOf } from "./leader-leftovers.ts";

/** The leader of a, b and c, to which b has acknowledged everything, and c nothing. */
function leader(): RaftNode {
  const node = RaftNode.restart({
    ...{ id: "a", random: () => 0.5, preVote: false, now: 0, bytesBetween: (from, to) => to - from },
    hardState: { term: 1, votedFor: null },
    log: {
      ...{ base: { term: 0, index: 0 }, baseConfig: configOf([]), lastIndex: 1 },
      terms: [{ index: 1, term: 1 }],
      configs: [{ index: 1, config: configOf(["a", "b", "c"]) }],
    },
  });
  node.handleTimeout(1_000);
  settle(node);
  node.handleMessage({ type: "request-vote-reply", from: "b", term: 2, granted: true }, 1_000);
  settle(node);
  acknowledge(node, "b");
  return node;
}

function settle(node: RaftNode): void {
  for (;;) {
    const { needsPersist, persistId } = node.takeActions();
    if (!needsPersist) return;
    node.handlePersisted(persistId, 1_000);
  }
}

function acknowledge(node: RaftNode, from: string): void {
  const outcome = { accepted: true, match: node.log.last.index } as const;
  node.handleMessage({ type: "append-entries-reply", from, term: 2, round: 1, outcome }, 1_000);
  settle(node);
}

const ofUsable =
  (...ids: string[]) =>
  (id: string): boolean =>
    ids.includes(id);

describe("leftoverOf", () => {
  it("finds nothing in a leader whose usable followers hold everything, nor in other nodes", () => {
    const node = leader();
    expect(leftoverOf(node.capture(), ofUsable("b"))).toBeNull();
    expect(leftoverOf(node.capture(), ofUsable("b", "c"))).toBe('the state "probe" of c');
    acknowledge(node, "c");
    expect(leftoverOf(node.capture(), ofUsable("b", "c"))).toBeNull();
  });

  it("finds messages in flight, and bytes of messages that are in flight no longer", () => {
    const node = leader();
    node.proposeCommand(1_000);
    settle(node);
    expect(leftoverOf(node.capture(), ofUsable("b"))).toBe("1 messages in flight of b");
    const image = node.capture();
    if (image.role.type !== "leader") throw new Error("it leads");
    const progress = image.role.progress.map(([id, one]) => [id, { ...one, inFlight: [] }] as const);
    const leaked = { ...image, role: { ...image.role, progress } };
    expect(leftoverOf(leaked, ofUsable("b"))).toBe("1 bytes in flight of b");
  });

  it("finds a transfer, and a notice to a member that was removed", () => {
    const node = leader();
    node.transferLeadership("b", 1_000);
    expect(leftoverOf(node.capture(), ofUsable("b"))).toBe("a transfer to b");
    const other = leader();
    other.proposeConfig(configOf(["a", "b"]), 1_000);
    settle(other);
    acknowledge(other, "b");
    acknowledge(other, "b");
    expect(leftoverOf(other.capture(), ofUsable("b"))).toBe("a notice to c, to end after 4200 ms");
  });
});
