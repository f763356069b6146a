import { describe, expect, it } from "vitest";
import { encodeMembership } from "../../codec/config.ts";
import { encodeRecord, EntryKind } from "../../codec/record.ts";
import { configOf } from "../../core/config.ts";
import type { TermRun } from "../../core/message.ts";
import type { LogPosition, NodeId } from "../../core/position.ts";
import type { TransportMessage, TransportHost } from "../../transport/transport.ts";
import { TestCluster } from "../test/test-cluster.ts";

type Entry = { readonly term: number; readonly members?: readonly NodeId[] };

/** An AppendEntries message from leader b. */
function append(term: number, prev: LogPosition, entries: readonly Entry[]): TransportMessage {
  const first = prev.index + 1;
  const terms: TermRun[] = [];
  for (const [at, entry] of entries.entries()) {
    if (terms.at(-1)?.term !== entry.term) terms.push({ index: first + at, term: entry.term });
  }
  const configs = entries.flatMap(({ members }, at) =>
    members === undefined ? [] : [{ index: first + at, config: configOf(members) }],
  );
  const lastIndex = prev.index + entries.length;
  return {
    message: {
      type: "append-entries",
      from: "b",
      term,
      entries: { prev, lastIndex, terms, configs },
      commit: 0,
      round: 1,
    },
    records: entries.map(({ term: entryTerm, members }, at) => {
      if (members === undefined)
        return encodeRecord(first + at, entryTerm, EntryKind.blank, new Uint8Array(0));
      const addresses = new Map(members.map((id) => [id, { address: `${id}:1` }]));
      const payload = encodeMembership({ config: configOf(members), members: addresses });
      return encodeRecord(first + at, entryTerm, EntryKind.config, payload);
    }),
  };
}

const LEADER = { self: { id: "b", storeId: "store-b", info: "" }, clusterId: () => "test" } as TransportHost;

async function deliver(
  cluster: TestCluster,
  transportMessage: TransportMessage,
  from = LEADER,
): Promise<void> {
  await cluster.finish(cluster.node("a").transport.receive(from, "b:1", transportMessage));
  await cluster.advance(10);
}

describe("the membership of a follower", () => {
  it("is that of the last configuration in its log, also after the log was truncated, and after a restart", async () => {
    const cluster = new TestCluster();
    await cluster.open("a");
    const expectMembers = async (ids: readonly NodeId[]): Promise<void> => {
      for (let twice = 0; twice < 2; twice++) {
        const { raft, transport } = cluster.node("a");
        expect(raft.metrics().members.map(({ id, address }) => [id, address])).toEqual(
          ids.map((id) => [id, `${id}:1`]),
        );
        expect([...transport.peers.keys()].sort()).toEqual(ids.filter((id) => id !== "a"));
        await cluster.crash("a");
        await cluster.open("a");
      }
    };
    await deliver(cluster, append(1, { term: 0, index: 0 }, [{ term: 1, members: ["a", "b"] }, { term: 1 }]));
    await expectMembers(["a", "b"]);
    const two = [
      { term: 1, members: ["a", "b", "c"] },
      { term: 1, members: ["a", "b", "c", "d"] },
    ];
    await deliver(cluster, append(1, { term: 1, index: 2 }, two));
    await expectMembers(["a", "b", "c", "d"]);
    // A late duplicate of an earlier message truncates nothing.
    await deliver(cluster, append(1, { term: 1, index: 2 }, two.slice(0, 1)));
    await expectMembers(["a", "b", "c", "d"]);
    await deliver(cluster, append(2, { term: 1, index: 3 }, [{ term: 2 }]));
    await expectMembers(["a", "b", "c"]);
    await deliver(
      cluster,
      append(3, { term: 1, index: 2 }, [{ term: 3 }, { term: 3, members: ["a", "b", "e"] }]),
    );
    await expectMembers(["a", "b", "e"]);
    expect(cluster.raft("a").metrics().role).toBe("follower");
  });

  it("does not change with an AppendEntries message that the log rejects", async () => {
    const cluster = new TestCluster();
    const { raft } = await cluster.open("a");
    await deliver(cluster, append(1, { term: 0, index: 0 }, [{ term: 1, members: ["a", "b"] }]));
    await deliver(cluster, append(1, { term: 1, index: 5 }, [{ term: 1, members: ["a", "b", "c"] }]));
    expect(raft.metrics()).toMatchObject({ lastIndex: 1, config: { voters: ["a", "b"] }, role: "follower" });
  });
});

describe("a candidate that this node does not know as a member", () => {
  it("is answered, because this vote may be the missing one, until the membership changes", async () => {
    const cluster = new TestCluster();
    await cluster.open("a");
    const members = { term: 1, members: ["a", "b", "c"] };
    await deliver(cluster, append(1, { term: 0, index: 0 }, [members]));
    const { transport } = cluster.node("a");
    // So long after the leader's last message, the node votes for others.
    await cluster.advance(2000);
    const last = { term: 1, index: 9 };
    const message = { type: "request-vote", from: "d", term: 50, last, transfer: false } as const;
    const self = { id: "d", storeId: "store-d", info: "" };
    const stranger = { ...LEADER, self };
    await cluster.finish(transport.receive(stranger, "d:1", { message, records: [] }));
    expect(transport.peers.has("d")).toBe(false);
    // It knows this node's store, so it is a member by a configuration that this node doesn't have yet.
    const candidate = { ...LEADER, self, storeIdOf: () => "store-a" };
    await cluster.finish(transport.receive(candidate, "d:1", { message, records: [] }));
    await cluster.advance(10);
    expect(transport.peers.get("d")).toEqual(["d:1"]);
    // Another configuration without it: a node that is still a candidate asks again.
    await deliver(cluster, append(51, { term: 1, index: 1 }, [{ term: 51, members: ["a", "b", "e"] }]));
    expect([...transport.peers.keys()].sort()).toEqual(["b", "e"]);
  });
});

describe("a leader of an earlier term that this node does not know as a member", () => {
  it("is answered, or it would never hear of the later term [E12]", async () => {
    const cluster = new TestCluster();
    await cluster.open("a");
    const members = { term: 1, members: ["a", "b", "c"] };
    await deliver(cluster, append(1, { term: 0, index: 0 }, [members]));
    const { transport } = cluster.node("a");
    await cluster.advance(2000);
    const last = { term: 1, index: 9 };
    const request = { type: "request-vote", from: "b", term: 50, last, transfer: false } as const;
    await deliver(cluster, { message: request, records: [] });
    const self = { id: "d", storeId: "store-d", info: "" };
    const leader = { ...LEADER, self, storeIdOf: () => "store-a" };
    const { message, records } = append(3, { term: 2, index: 7 }, []);
    await cluster.finish(transport.receive(leader, "d:1", { message: { ...message, from: "d" }, records }));
    await cluster.advance(10);
    expect(cluster.raft("a").metrics()).toMatchObject({ term: 50, leader: null });
    expect(transport.peers.get("d")).toEqual(["d:1"]);
  });
});

describe("a message whose records are not those it names", () => {
  it("is dropped when records are missing, and stops the node when they are of other entries", async () => {
    const cluster = new TestCluster();
    const { raft } = await cluster.open("a");
    const good = append(1, { term: 0, index: 0 }, [{ term: 1, members: ["a", "b"] }, { term: 1 }]);
    await deliver(cluster, { ...good, records: good.records.slice(1) });
    expect(raft.metrics()).toMatchObject({ lastIndex: 0, role: "follower" });
    await deliver(cluster, { ...good, records: good.records.toReversed() });
    expect(await cluster.finish(raft.stopped)).toMatchObject({ code: "NODE_FAILED" });
    expect(cluster.node("a").log.disk.records).toEqual([]);
  });
});

describe("a peer that comes back with another store", () => {
  it("is ignored, because its old disk held votes and acknowledgements (M11)", async () => {
    const cluster = new TestCluster();
    await cluster.open("a");
    const members = { term: 1, members: ["a", "b"] };
    await deliver(cluster, append(1, { term: 0, index: 0 }, [members]));
    const another = { ...LEADER, self: { ...LEADER.self, storeId: "a new one" } };
    await deliver(cluster, append(2, { term: 1, index: 1 }, []), another);
    expect(cluster.raft("a").metrics().term).toBe(1);
    await deliver(cluster, append(2, { term: 1, index: 1 }, []));
    expect(cluster.raft("a").metrics().term).toBe(2);
  });

  it("is reported in the log even if it is not a member", async () => {
    const cluster = new TestCluster();
    await cluster.open("a");
    const message = { type: "pre-vote-reply", from: "b", term: 1, round: 1, granted: false } as const;
    const { transport } = cluster.node("a");
    for (const storeId of ["the first", "another"]) {
      const caller = { ...LEADER, self: { ...LEADER.self, storeId } };
      await cluster.finish(transport.receive(caller, "b:1", { message, records: [] }));
    }
    expect(cluster.messages.join()).toContain("warn a: a node came back with another disk");
  });
});

describe("a message that the protocol rules out", () => {
  it("stops the node: two leaders of one term", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = await cluster.leader();
    const write = cluster.raft("a").write("x");
    const failure = write.catch((error: unknown) => error);
    const { term, clusterId } = raft.metrics();
    const rival: TransportHost = { ...LEADER, clusterId: () => clusterId, storeIdOf: () => "store-a" };
    await deliver(cluster, append(term, { term: 1, index: 1 }, []), rival);
    expect(await failure).toMatchObject({ code: "NODE_FAILED", outcome: "unknown" });
    expect(await cluster.finish(raft.stopped)).toMatchObject({ code: "NODE_FAILED" });
    expect(raft.metrics().role).toBe("stopped");
    expect(cluster.messages.join()).toContain("a term has one leader");
  });
});
