import { describe, expect, it } from "vitest";
import type { LogComponent, LogEvent } from "../../log-event.ts";
import { memorySnapshots } from "../../storage/snapshots/index.ts";
import { TestCluster } from "../test/test-cluster.ts";

/** The texts of one component's events. */
function textsOf(events: readonly LogEvent[], component: LogComponent, id?: string): string[] {
  return events
    .filter((event) => event.component === component && (id ?? event.id) === event.id)
    .map(({ text }) => text);
}

describe("onLog", () => {
  it("gets elections, roles and members, each with its component, its node and its data", async () => {
    const events: LogEvent[] = [];
    const cluster = await TestCluster.of(["a", "b", "c"], 1, { onLog: (event) => void events.push(event) });
    const first = await cluster.leader();
    await cluster.finish(first.raft.write("x"));
    const { term } = first.raft.metrics();
    expect(events).toContainEqual({
      ...{ level: "info", component: "election", id: first.id },
      text: `${first.id} leads in term ${String(term)}`,
      fields: { role: "leader", term, leader: first.id },
    });
    const [follower] = cluster.followers(first);
    expect(textsOf(events, "election", follower?.id)).toContain(
      `${String(follower?.id)} follows ${first.id} in term ${String(term)}`,
    );
    expect(textsOf(events, "election", first.id)).toContain(
      `${first.id} hears no leader, and stands for election in term ${String(term)}`,
    );
    expect(textsOf(events, "membership", "a")).toContain("the members from entry 1 on: a,b,c");
    await cluster.finish(first.raft.close());
    const second = await cluster.leader(first.id);
    await cluster.advance(200);
    expect(textsOf(events, "election", first.id).at(-1)).toBe(
      `${first.id} follows ${second.id} in term ${String(term + 1)}`,
    );
    expect(textsOf(events, "election", first.id).at(-2)).toBe(
      `${first.id} no longer leads, after term ${String(term)}`,
    );
  });

  it("gets a bounded number of lines from a node that stands for election without an end", async () => {
    const events: LogEvent[] = [];
    const cluster = await TestCluster.of(["a", "b"], 1, {
      ...{ onLog: (event) => void events.push(event), preVote: false, checkQuorum: false },
      timings: { electionTimeoutMinMs: 20, electionTimeoutMaxMs: 40, heartbeatMs: 10, storageStallMs: 100 },
    });
    await cluster.leader();
    cluster.isolate("a");
    events.length = 0;
    await cluster.advance(10_000);
    expect(
      cluster.raft("a").metrics().counters.elections + cluster.raft("b").metrics().counters.elections,
    ).toBeGreaterThan(100);
    await cluster.advance(10_000);
    const lines = textsOf(events, "election");
    expect(lines.length).toBeLessThan(2 * 3 * 20);
    expect(lines.join("\n")).toMatch(/\(\d{3} lines about elections were left out\)/);
  });

  it("gets what the log and the snapshot store say, which have no callback of their own", async () => {
    const events: LogEvent[] = [];
    const cluster = new TestCluster(1, { onLog: (event) => void events.push(event) });
    const store = memorySnapshots();
    let toSnapshots: ((text: string) => void) | null = null;
    const logTo = store.logTo?.bind(store);
    store.logTo = (log) => {
      logTo?.(log);
      toSnapshots = (text) => {
        log("info", text);
      };
    };
    const journal = { apply: () => 1, snapshot: () => [], restore: () => Promise.resolve() };
    await cluster.open("a", { snapshots: { store }, stateMachine: journal as never });
    (toSnapshots as ((text: string) => void) | null)?.("a snapshot's word");
    expect(events).toEqual([
      { level: "info", component: "snapshot", id: "a", text: "a snapshot's word", fields: {} },
    ]);
  });

  it("may throw: the node goes on", async () => {
    const cluster = await TestCluster.of(["a", "b", "c"], 1, {
      onLog: () => {
        throw new Error("out of order");
      },
    });
    const leader = await cluster.leader();
    expect(await cluster.finish(leader.raft.write("x"))).toBe(1);
  });
});
