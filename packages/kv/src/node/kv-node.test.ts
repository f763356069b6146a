import { describe, expect, it } from "vitest";
import { NotLeaderError, type LeaderHint } from "keelson";
import { kvNodeOf, type FollowableNode } from "./kv-node.ts";

const OTHER: LeaderHint = { id: "n2", address: "h:1", info: null };
const SELF: LeaderHint = { id: "n1", address: "h:2", info: null };
const PUT = { type: "delete", key: new Uint8Array(1) } as never;

/** A node that notes which calls reach it, and answers none. */
function nodeWith(state: Partial<FollowableNode>): { raft: FollowableNode; reached: string[] } {
  const reached: string[] = [];
  const stopped = new Promise<undefined>(() => undefined);
  const parts = { leader: null, initialized: true, stopped, metrics: () => ({ id: "n1" }), ...state };
  const raft = new Proxy(parts, {
    get: (target, name): unknown =>
      Reflect.get(target, name) ??
      (name === "leader" || name === "removed"
        ? null
        : () => {
            reached.push(String(name));
            return Promise.resolve();
          }),
  });
  return { raft: raft as unknown as FollowableNode, reached };
}

/** Makes every call, and returns the names of those that were refused with the leader that they name. */
async function refusedBy(raft: FollowableNode, forward: boolean): Promise<Record<string, string | null>> {
  const node = kvNodeOf(raft, forward);
  await Promise.resolve();
  const calls = {
    write: node.write(PUT),
    beginSession: node.beginSession(),
    endSession: node.endSession(1),
    read: node.read(() => 1),
    changeMembership: node.changeMembership({}),
    addLearner: node.addLearner("n3", "h:3"),
    transferLeadership: node.transferLeadership(),
  };
  const refused: Record<string, string | null> = {};
  for (const [name, call] of Object.entries(calls)) {
    try {
      await call;
    } catch (error) {
      if (!(error instanceof NotLeaderError)) throw error;
      refused[name] = error.leader?.id ?? null;
    }
  }
  return refused;
}

describe("the node behind the servers", () => {
  const changes = (leader: string | null): Record<string, string | null> => ({
    ...{ changeMembership: leader, addLearner: leader, transferLeadership: leader },
  });

  it("refuses writes at once while no leader is known, unless it forwards them", async () => {
    const writes = { write: null, beginSession: null, endSession: null };
    expect(await refusedBy(nodeWith({}).raft, false)).toEqual({ ...writes, ...changes(null) });
    expect(await refusedBy(nodeWith({}).raft, true)).toEqual(changes(null));
  });

  it("leaves writes to the library when it knows a leader, and changes of members only on the leader", async () => {
    const follower = nodeWith({ leader: OTHER });
    expect(await refusedBy(follower.raft, false)).toEqual(changes("n2"));
    expect(follower.reached).toEqual(["write", "beginSession", "endSession", "read"]);
    expect(await refusedBy(nodeWith({ leader: SELF }).raft, false)).toEqual({});
  });

  it("refuses reads at once that need a leader while it belongs to no cluster", async () => {
    const { raft, reached } = nodeWith({ initialized: false, leader: OTHER });
    expect(await refusedBy(raft, true)).toMatchObject({ read: null });
    await kvNodeOf(raft, true).read(() => 1, { consistency: "stale" });
    expect(reached).toContain("read");
  });

  it("leaves a removed node's calls to the library, which refuses them with RemovedError", async () => {
    const { raft, reached } = nodeWith({ removed: true });
    expect(await refusedBy(raft, false)).toEqual({});
    expect(reached).toHaveLength(7);
  });

  it("leaves a stopped node's calls to the library, which has the reason", async () => {
    const { raft } = nodeWith({ stopped: Promise.resolve(undefined), initialized: false });
    expect(await refusedBy(raft, false)).toEqual({});
  });
});
