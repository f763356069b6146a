import { describe, expect, it } from "vitest";
import { membersOf } from "../../core/config.ts";
import type { NodeId } from "../../core/position.ts";
import type { RaftError } from "../../errors.ts";
import type { Journal } from "../test/journal.ts";
import { TestCluster, type TestNode } from "../test/test-cluster.ts";

const THREE = ["a", "b", "c"];

/** The members' addresses, as `TestCluster` gives them. */
function at(...ids: readonly NodeId[]): Record<NodeId, string> {
  return Object.fromEntries(ids.map((id) => [id, `${id}:1`]));
}

function textsOf({ commands }: Journal): string[] {
  return commands.map(({ command }) => command);
}

function votersOf({ raft }: TestNode): readonly NodeId[] {
  const { voters, outgoingVoters } = raft.metrics().config;
  return [...voters, ...outgoingVoters];
}

describe("a change of membership", () => {
  it("grows a cluster from one to three to five members and shrinks it again, without interrupting writes", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = await cluster.leader();
    await cluster.finish(raft.write("1"));
    await cluster.open("b");
    await cluster.open("c");
    const growing = raft.changeMembership({ add: at("b", "c") });
    await cluster.finish(raft.write("2"));
    await cluster.finish(growing);
    expect(raft.metrics().config).toMatchObject({ voters: THREE, outgoingVoters: [], learners: [] });
    await cluster.open("d");
    await cluster.open("e");
    await cluster.finish(raft.changeMembership({ add: at("d", "e") }));
    await cluster.finish(raft.write("3"));
    await cluster.until(
      () => [...cluster.nodes.values()].every(({ journal }) => textsOf(journal).join() === "1,2,3"),
      "all five to have all writes",
    );
    await cluster.finish(raft.changeMembership({ remove: ["d", "e"] }));
    expect(raft.metrics().config.voters).toEqual(THREE);
  });

  it("lets a leader remove itself: another node leads, and clients are told at once to ask it (M8)", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    await cluster.finish(leader.raft.changeMembership({ remove: [leader.id] }));
    expect(leader.raft.metrics().role).toBe("removed");
    const next = await cluster.leader(leader.id);
    await cluster.finish(next.raft.write("x"));
    expect(votersOf(next)).not.toContain(leader.id);
    const refusal = await cluster.failure(leader.raft.write("y"), 0);
    expect(refusal).toMatchObject({ code: "REMOVED", outcome: "not-done" });
    const { term } = next.raft.metrics();
    await cluster.advance(10_000);
    expect(next.raft.metrics()).toMatchObject({ role: "leader", term });
  });

  it("replaces all members at once, the leader included", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    await cluster.finish(leader.raft.write("kept"));
    for (const id of ["d", "e", "f"]) await cluster.open(id);
    await cluster.finish(leader.raft.changeMembership({ add: at("d", "e", "f"), remove: THREE }));
    await cluster.until(() => ["d", "e", "f"].includes(cluster.currentLeader()?.id ?? ""), "a new leader");
    const next = await cluster.leader();
    await cluster.finish(next.raft.write("more"));
    expect(textsOf(next.journal)).toEqual(["kept", "more"]);
    for (const id of THREE) expect(membersOf(cluster.raft(id).metrics().config)).toEqual(["d", "e", "f"]);
  });

  it("informs a removed node of its removal, and then disconnects from it", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const [removed] = cluster.followers(leader);
    await cluster.finish(leader.raft.changeMembership({ remove: [removed!.id] }));
    await cluster.advance(1000);
    expect(votersOf(removed!)).not.toContain(removed!.id);
    expect(removed!.raft.metrics().commitIndex).toBe(leader.raft.metrics().commitIndex);
    const { messagesReceived } = removed!.raft.metrics().counters;
    await cluster.finish(leader.raft.write("x"));
    expect(removed!.raft.metrics().counters.messagesReceived).toBe(messagesReceived);
  });

  it("is not held up by a leaving member that receives everything and never answers, and nor are writes (R17)", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const [hung] = cluster.followers(leader);
    hung!.transport.filter = () => false;
    await cluster.finish(leader.raft.write("x"), 1000);
    await cluster.finish(leader.raft.changeMembership({ remove: [hung!.id] }), 1000);
    await cluster.finish(leader.raft.write("y"), 1000);
    expect(votersOf(leader)).not.toContain(hung!.id);
  });

  it("makes no voter of a node that does not answer, and fails when the time limit is over (M15)", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = await cluster.leader();
    const error = await cluster.failure(raft.changeMembership({ add: at("b") }, { timeoutMs: 5000 }));
    expect(error).toMatchObject({ code: "CATCH_UP_TIMEOUT", outcome: "unknown" });
    expect(error.message).toMatch(
      /\. b never answered: check that it runs at its address and belongs to no other/,
    );
    const again = await cluster.failure(raft.changeMembership({ promote: ["b"] }, { timeoutMs: 500 }));
    expect(again).toMatchObject({ code: "CATCH_UP_TIMEOUT", outcome: "not-done" });
    expect(raft.metrics().config).toMatchObject({ voters: ["a"], learners: ["b"] });
    await cluster.finish(raft.write("x"));
    await cluster.open("b");
    await cluster.finish(raft.changeMembership({ promote: ["b"] }));
    expect(raft.metrics().config).toMatchObject({ voters: ["a", "b"], learners: [] });
  });

  it.each([
    ["changeMembership", (raft: TestNode["raft"]) => raft.changeMembership({ add: at("d") })],
    ["addLearner", (raft: TestNode["raft"]) => raft.addLearner("d", "d:1")],
  ])(
    "leaves the outcome of %s unknown if leadership moves while the new member catches up (Z6)",
    async (_name, begin) => {
      const cluster = await TestCluster.of(THREE);
      const leader = await cluster.leader();
      const change = begin(leader.raft);
      change.catch(() => undefined);
      await cluster.until(() => leader.raft.metrics().config.learners.includes("d"), "the learner");
      await cluster.advance(100);
      await cluster.finish(leader.raft.transferLeadership());
      const error = await cluster.failure(change);
      expect(error).toMatchObject({
        code: "OUTCOME_UNKNOWN",
        outcome: "unknown",
        cause: { code: "NOT_LEADER" },
      });
      expect(error.message).toContain("the new members are learners now");
      const next = await cluster.leader();
      expect(next.raft.metrics().config.learners).toEqual(["d"]);
    },
  );

  it("says not done if leadership moves before it has proposed anything (Z6)", async () => {
    const cluster = await TestCluster.of(THREE, 1, { forward: false });
    const leader = await cluster.leader();
    await cluster.advance(200);
    const [follower] = cluster.followers(leader);
    const error = await cluster.failure(follower!.raft.changeMembership({ add: at("d") }));
    expect(error).toMatchObject({ code: "NOT_LEADER", outcome: "not-done" });
  });

  it("leaves the outcome unknown if another change gets between its two steps (Z6)", async () => {
    const cluster = await TestCluster.of(THREE);
    const { raft } = await cluster.leader();
    const change = raft.changeMembership({ add: at("d") });
    change.catch(() => undefined);
    await cluster.until(() => raft.metrics().config.learners.includes("d"), "the learner");
    await cluster.advance(100);
    await cluster.finish(raft.changeMembership({ remove: ["d"] }));
    // It is not a member any more, so it never catches up.
    const error = await cluster.failure(change, 400_000);
    expect(error).toMatchObject({ outcome: "unknown" });
  });

  it("replicates to a learner without giving it a vote, and turns a voter into a learner", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const learner = await cluster.open("d");
    await cluster.finish(leader.raft.addLearner("d", "d:1"));
    await cluster.finish(leader.raft.write("x"));
    await cluster.until(() => textsOf(learner.journal).includes("x"), "the learner to have it");
    expect(await cluster.finish(learner.raft.read(() => learner.journal.commands.length))).toBe(1);
    const [other] = cluster.followers(leader);
    await cluster.finish(leader.raft.changeMembership({ demote: [other!.id], promote: ["d"] }));
    expect(leader.raft.metrics().config.learners).toEqual([other!.id]);
    expect(leader.raft.metrics().config.voters).toContain("d");
  });

  it("resolves addLearner when the metrics say that the learner has caught up, at a lag of 1,024 at most", async () => {
    const cluster = await TestCluster.of(["a"], 1, { limits: { pendingEntriesMax: 10_000 } });
    const { raft } = await cluster.leader();
    const writes = Array.from({ length: 3_000 }, () => raft.write("x"));
    await cluster.finish(Promise.all(writes), 60_000);
    await cluster.open("d");
    const memberD = () => raft.metrics().members.find(({ id }) => id === "d");
    let isDone = false;
    const adding = raft.addLearner("d", "d:1").then(() => (isDone = true));
    let seen = 0;
    await cluster.until(() => {
      const { caughtUp, lag, active } = memberD() ?? {};
      if (caughtUp === undefined || lag === undefined) return isDone;
      seen += 1;
      // The call's promise may settle in the same turn; it never settles before.
      if (isDone) expect(caughtUp).toBe(true);
      expect(caughtUp && (lag === null || lag > 1_024 || active !== true)).toBe(false);
      return isDone;
    }, "the learner to have caught up");
    await adding;
    expect(seen).toBeGreaterThan(1);
    expect(memberD()).toMatchObject({ caughtUp: true });
    expect(raft.metrics().members.find(({ id }) => id === "a")).toMatchObject({ caughtUp: true, lag: 0 });
  });

  it("changes the address of a member that stays", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const [other] = cluster.followers(leader);
    await cluster.finish(leader.raft.changeMembership({ addresses: { [other!.id]: "elsewhere:1" } }));
    const addresses = leader.raft.metrics().members.map(({ id, address }) => [id, address]);
    expect(Object.fromEntries(addresses)).toMatchObject({ [other!.id]: "elsewhere:1" });
  });

  it("changes the leader's address while the leader still listens at the old one", async () => {
    const cluster = await TestCluster.of(["a", "b"]);
    const leader = await cluster.leader();
    await cluster.finish(leader.raft.changeMembership({ addresses: { [leader.id]: "elsewhere:1" } }));
    await cluster.finish(leader.raft.write("before it moves"));
    await cluster.crash(leader.id);
    await cluster.open(leader.id, { address: "elsewhere:1" });
    await cluster.finish((await cluster.leader()).raft.write("after it moved"));
  });

  it("of an address can follow the move of the member", async () => {
    const cluster = await TestCluster.of(["a", "b"]);
    const [follower] = cluster.followers(await cluster.leader());
    await cluster.crash(follower!.id);
    await cluster.open(follower!.id, { address: "elsewhere:1" });
    // The other two need both their votes for an election.
    await cluster.advance(3_000);
    const { raft } = await cluster.leader();
    await cluster.finish(raft.changeMembership({ addresses: { [follower!.id]: "elsewhere:1" } }));
    await cluster.finish(raft.write("after it moved"));
  });

  it("is refused while another change is under way, and by followers that don't forward", async () => {
    const cluster = await TestCluster.of(THREE, 1, { forward: false });
    const leader = await cluster.leader();
    const [one, two] = cluster.followers(leader);
    const first = leader.raft.changeMembership({ remove: [one!.id] });
    expect(await cluster.failure(leader.raft.changeMembership({ remove: [two!.id] }))).toMatchObject({
      code: "CHANGE_REFUSED",
      outcome: "not-done",
    });
    await cluster.finish(first);
    expect(await cluster.failure(two!.raft.changeMembership({ remove: [one!.id] }))).toMatchObject({
      code: "NOT_LEADER",
    });
  });

  it.each([
    ["a change that leaves no voters", { remove: THREE }, "would leave no voters"],
    ["a node that is not a member", { remove: ["z"] }, "z is not a member"],
    ["a node that is named twice", { remove: ["a"], demote: ["a"] }, "named twice"],
    ["a voter that is added at another address", { add: { a: "z:9" } }, "a voter already, at a:1"],
    ["an address that another member has", { addresses: { a: "b:1" } }, "the same address"],
    ["an empty address", { add: { d: "" } }, "the address of member d"],
    ["more members than there can be", { add: manyMembers(254) }, "would have 257 members"],
    [
      "more members at once than there can be",
      { add: manyMembers(254), remove: ["a"] },
      "would have 257 members",
    ],
    [
      "an empty address that another one hides",
      { add: { d: "" }, addresses: { d: "d:1" } },
      "the address of member d",
    ],
  ])("is refused for %s", async (_name, change, reason) => {
    const cluster = await TestCluster.of(THREE);
    const { raft } = await cluster.leader();
    const { lastIndex } = raft.metrics();
    const error = await cluster.failure(raft.changeMembership(change));
    expect(error).toMatchObject({ code: "INVALID_OPTION" });
    expect(error.message).toContain(reason);
    expect(raft.metrics().lastIndex).toBe(lastIndex);
  });

  it("succeeds and writes nothing for what is so already, so that it can be repeated", async () => {
    const cluster = await TestCluster.of([...THREE, "d"]);
    const { raft, id } = await cluster.leader();
    const [gone = "", learner = "", voter = ""] = [...THREE, "d"].filter((other) => other !== id);
    const change = { remove: [gone], demote: [learner], addresses: { [voter]: "elsewhere:1" } };
    await cluster.finish(raft.changeMembership(change));
    const { lastIndex, config } = raft.metrics();
    await cluster.finish(raft.changeMembership(change));
    await cluster.finish(raft.changeMembership({ promote: [voter] }));
    expect(raft.metrics()).toMatchObject({ lastIndex, config });
    expect(config).toMatchObject({ voters: [id, voter].sort(), learners: [learner] });
  });

  it("is not reported as done before it is committed, even if an earlier attempt already wrote it to the log", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const [other] = cluster.followers(leader);
    await cluster.finish(leader.raft.write("x"));
    cluster.isolate(leader.id);
    const change = { addresses: { [other!.id]: "elsewhere:1" } };
    const first = leader.raft.changeMembership(change);
    first.catch(() => undefined);
    await cluster.advance(10);
    const settled = Promise.allSettled([first, leader.raft.changeMembership(change)]);
    const results = await cluster.finish(settled);
    const codes = results.map((result) => result.status === "rejected" && (result.reason as RaftError).code);
    expect(codes).toEqual(["OUTCOME_UNKNOWN", "NOT_LEADER"]);
  });

  it("ends as unknown when the leader is cut off in the middle of it", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const [other] = cluster.followers(leader);
    await cluster.finish(leader.raft.write("x"));
    cluster.isolate(leader.id);
    const error = await cluster.failure(leader.raft.changeMembership({ remove: [other!.id] }));
    expect(error).toMatchObject({ code: "OUTCOME_UNKNOWN", outcome: "unknown" });
  });
});

describe("a transfer of leadership", () => {
  it("makes the named voter the leader, with all acknowledged writes", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const [, to] = cluster.followers(leader);
    await cluster.finish(leader.raft.write("x"));
    expect(await cluster.finish(leader.raft.transferLeadership(to!.id))).toBe(to!.id);
    expect(to!.raft.metrics().role).toBe("leader");
    await cluster.finish(to!.raft.write("y"));
    expect(textsOf(to!.journal)).toEqual(["x", "y"]);
  });

  it("gives up on a target that is down, and refuses writes only until then (T3)", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const [dead] = cluster.followers(leader);
    await cluster.crash(dead!.id);
    await cluster.finish(leader.raft.write("ahead of it"));
    const transfer = leader.raft.transferLeadership(dead!.id);
    const refused = cluster.failure(leader.raft.write("x"));
    expect(await refused).toMatchObject({ code: "TRANSFERRING", outcome: "not-done" });
    expect(await cluster.failure(transfer, 1000)).toMatchObject({ code: "TRANSFER_FAILED" });
    await cluster.finish(leader.raft.write("x"));
    expect(leader.raft.metrics().role).toBe("leader");
  });

  it.each([
    ["a node that is not a member", "z", "INVALID_OPTION"],
    ["the leader itself", "self", "INVALID_OPTION"],
  ])("is refused for %s", async (_name, to, code) => {
    const cluster = await TestCluster.of(THREE);
    const { id, raft } = await cluster.leader();
    expect(await cluster.failure(raft.transferLeadership(to === "self" ? id : to))).toMatchObject({ code });
  });

  it("happens before a leader closes, so that the cluster need not wait for an election timeout", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    await cluster.finish(leader.raft.close());
    const closedAt = cluster.world.clock.now();
    await cluster.leader(leader.id);
    expect(cluster.world.clock.now() - closedAt).toBeLessThan(100);
  });
});

describe("a lease read", () => {
  it("is answered by the leader without a message; on a follower it is answered too, with a read index", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    await cluster.finish(leader.raft.write("x"));
    await cluster.advance(200);
    const rounds = leader.raft.metrics().counters.readRounds;
    let value = 0;
    void leader.raft.read(() => (value = leader.journal.commands.length), { consistency: "lease" });
    expect(value).toBe(1);
    expect(leader.raft.metrics().counters.readRounds).toBe(rounds);
    const [other] = cluster.followers(leader);
    const read = other!.raft.read(() => other!.journal.commands.length, { consistency: "lease" });
    expect(await cluster.finish(read)).toBe(1);
  });

  it("is not answered after the lease has expired (L5)", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    await cluster.advance(200);
    cluster.isolate(leader.id);
    await cluster.advance(390);
    let answered = false;
    const read = leader.raft.read(() => (answered = true), { consistency: "lease" });
    expect(answered).toBe(false);
    expect(leader.raft.metrics().role).toBe("leader");
    await cluster.failure(read);
  });

  it("reports how old the state of a stale read may be", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const [other] = cluster.followers(leader);
    await cluster.advance(200);
    expect(leader.raft.staleness().leaderHeardMsAgo).toBe(0);
    cluster.isolate(other!.id);
    await cluster.advance(1000);
    expect(other!.raft.staleness().leaderHeardMsAgo).toBeGreaterThanOrEqual(920);
    expect(other!.raft.staleness().appliedIndex).toBe(other!.raft.metrics().appliedIndex);
  });

  it("is refused when the consistency has an unknown name", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = await cluster.leader();
    const wrong = raft.read(() => 1, { consistency: "strong" as "stale" });
    expect(await cluster.failure(wrong)).toMatchObject({ code: "INVALID_OPTION" });
  });
});

function manyMembers(count: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, at) => [`m${String(at)}`, `m${String(at)}:1`]));
}
