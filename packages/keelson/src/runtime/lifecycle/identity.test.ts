import { describe, expect, it } from "vitest";
import type { TransportMessage } from "../../transport/transport.ts";
import { FakeDisk } from "../test/fake-log.ts";
import { TestCluster } from "../test/test-cluster.ts";

const THREE = ["a", "b", "c"];
/** Milliseconds, enough for a run of the leader's maintenance. */
const CHORES_MS = 4000;

describe("the store of a member", () => {
  it("is recorded in the log, and another store under the same id does not vote (M11)", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const [wiped, other] = cluster.followers(leader);
    await cluster.finish(leader.raft.write("committed"));
    await cluster.advance(CHORES_MS);
    await cluster.crash(wiped!.id);
    cluster.disks.set(wiped!.id, new FakeDisk("another store"));
    await cluster.open(wiped!.id);
    await cluster.advance(CHORES_MS);
    expect(cluster.raft(wiped!.id).metrics()).toMatchObject({ lastIndex: 0, config: { voters: [] } });
    // Its vote would have completed the majority that the third node needs.
    cluster.isolate(leader.id);
    await cluster.advance(CHORES_MS);
    expect(other!.raft.metrics().role).not.toBe("leader");
    expect(cluster.raft(wiped!.id).metrics().term).toBe(0);
  });

  it("may be replaced by another one under another id (M11)", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const [wiped] = cluster.followers(leader);
    await cluster.advance(CHORES_MS);
    await cluster.crash(wiped!.id);
    await cluster.open("d");
    await cluster.finish(leader.raft.changeMembership({ add: { d: "d:1" }, remove: [wiped!.id] }));
    expect(leader.raft.metrics().config.voters).toContain("d");
  });

  it("is not recorded while the configuration is joint", async () => {
    const cluster = new TestCluster(1, { checkQuorum: false });
    const all = cluster.members([...THREE, "d"]);
    for (const id of THREE) await cluster.open(id);
    await cluster.finish(Promise.all(THREE.map((id) => cluster.raft(id).initialize(all))));
    const leader = await cluster.leader();
    const [removed] = cluster.followers(leader);
    await cluster.finish(leader.raft.write("committed"));
    cluster.isolate(leader.id);
    const changing = leader.raft.changeMembership({ remove: [removed!.id] });
    // The node whose store is not known yet connects in the middle of the change, which it alone cannot
    // complete.
    await cluster.open("d");
    await cluster.advance(2 * CHORES_MS);
    expect(leader.raft.metrics()).toMatchObject({
      role: "leader",
      config: { outgoingVoters: [...THREE, "d"] },
    });
    cluster.net.heal();
    await cluster.finish(changing);
    await cluster.advance(CHORES_MS);
    expect(leader.raft.metrics().role).toBe("leader");
    expect(leader.raft.metrics().config.voters).not.toContain(removed!.id);
  });

  it("is recorded once, and not again by the next leader", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    await cluster.advance(CHORES_MS);
    const { lastIndex } = leader.raft.metrics();
    expect(lastIndex).toBe(3);
    await cluster.finish(leader.raft.transferLeadership());
    await cluster.advance(CHORES_MS);
    expect(leader.raft.metrics().lastIndex).toBe(lastIndex + 1);
  });
});

describe("the id of a member that was removed", () => {
  it("is not accepted again, even after all nodes restarted (M10)", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const [removed] = cluster.followers(leader);
    await cluster.finish(leader.raft.changeMembership({ remove: [removed!.id] }));
    await cluster.advance(CHORES_MS);
    await cluster.crash(removed!.id);
    cluster.disks.set(removed!.id, new FakeDisk("a new disk"));
    await cluster.open(removed!.id);
    const again = { add: { [removed!.id]: `${removed!.id}:1` } };
    expect(await cluster.failure(leader.raft.changeMembership(again))).toMatchObject({
      code: "INVALID_OPTION",
    });
    for (const id of THREE.filter((one) => one !== removed!.id)) {
      await cluster.crash(id);
      await cluster.open(id);
    }
    const next = await cluster.leader();
    const error = await cluster.failure(next.raft.addLearner(removed!.id, `${removed!.id}:1`));
    expect(error.message).toContain("an id is not used again");
  });

  it("is not revived by a late duplicate of a message from when it was a member (M19)", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const said: TransportMessage[] = [];
    leader.transport.filter = (to, transportMessage) => {
      if (to === "d") said.push(transportMessage);
      return true;
    };
    await cluster.open("d");
    await cluster.finish(leader.raft.changeMembership({ add: { d: "d:1" } }));
    await cluster.finish(leader.raft.changeMembership({ remove: ["d"] }));
    await cluster.advance(CHORES_MS);
    await cluster.crash("d");
    cluster.disks.set("d", new FakeDisk("a wiped disk"));
    await cluster.open("d");
    const { term } = leader.raft.metrics();

    leader.transport.filter = null;
    leader.transport.setPeers(new Map([...leader.transport.peers, ["d", ["d:1"]]]));
    expect(said.length).toBeGreaterThan(3);
    for (const transportMessage of said) leader.transport.send("d", transportMessage);
    await cluster.advance(10_000);
    expect(cluster.raft("d").metrics()).toMatchObject({ role: "follower", term: 0, lastIndex: 0 });
    expect(leader.raft.metrics()).toMatchObject({ role: "leader", term });
  });

  it("is refused in the handshake (M9)", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const [removed] = cluster.followers(leader);
    cluster.isolate(removed!.id);
    await cluster.finish(leader.raft.changeMembership({ remove: [removed!.id] }));
    await cluster.advance(10_000);
    cluster.net.heal();
    const { term } = leader.raft.metrics();
    await cluster.advance(10_000);
    expect(leader.raft.metrics()).toMatchObject({ role: "leader", term });
    expect(removed!.raft.metrics().role).not.toBe("leader");
  });
});

describe("the priority of a node", () => {
  it("moves leadership to the node after an election, and does not influence votes", async () => {
    const cluster = new TestCluster(1, {});
    for (const id of THREE) await cluster.open(id, { priority: id === "b" ? 5 : 1 });
    await cluster.finish(Promise.all(THREE.map((id) => cluster.raft(id).initialize(cluster.members(THREE)))));
    await cluster.until(() => cluster.currentLeader()?.id === "b", "the one that should lead");
    await cluster.crash("b");
    const next = await cluster.leader("b");
    await cluster.finish(next.raft.write("x"));
    await cluster.open("b", { priority: 5 });
    await cluster.until(() => cluster.currentLeader()?.id === "b", "it to lead again");
    const { term } = cluster.raft("b").metrics();
    await cluster.advance(30_000);
    expect(cluster.raft("b").metrics()).toMatchObject({ role: "leader", term });
  });

  it.each([-1, 0.5, NaN])("is not %s", async (priority) => {
    const cluster = new TestCluster();
    expect(await cluster.failure(cluster.startOpening("a", { priority }))).toMatchObject({
      code: "INVALID_OPTION",
    });
  });
});
