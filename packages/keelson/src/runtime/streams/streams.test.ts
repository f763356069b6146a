import { describe, expect, it } from "vitest";
import type { CommittedCommand } from "./committed-stream.ts";
import { ChangeStream, type RaftChange } from "./change-stream.ts";
import { TestCluster } from "../test/test-cluster.ts";

const THREE = ["a", "b", "c"];

/** Collects the items of a stream until it ends. */
function collect<T>(
  stream: AsyncIterable<T>,
  onItem: (item: T) => void = () => undefined,
): { items: T[]; end: Promise<unknown> } {
  const items: T[] = [];
  const end = (async () => {
    for await (const item of stream) {
      items.push(item);
      onItem(item);
    }
    return undefined;
  })().catch((error: unknown) => error);
  return { items, end };
}

describe("raft.changes()", () => {
  it("reports the present state first, then each change, then the node's end", async () => {
    const cluster = new TestCluster();
    const { raft } = await cluster.open("a");
    const { items, end } = collect(raft.changes());
    await cluster.finish(raft.initialize({ a: "a:1" }));
    await cluster.leader();
    await cluster.finish(raft.close());
    await end;
    const config = { voters: ["a"], outgoingVoters: [], learners: [] };
    expect(items).toEqual([
      { type: "role", role: "follower", term: 0 },
      { type: "leader", leader: null, term: 0 },
      { type: "membership", index: 1, config },
      { type: "role", role: "candidate", term: 2 },
      { type: "role", role: "leader", term: 2 },
      { type: "leader", leader: "a", term: 2 },
      { type: "stopped", error: null },
    ]);
  });

  it("reports a change only after the node's own state shows it (O5)", async () => {
    const cluster = await TestCluster.of(THREE);
    const wrong: string[] = [];
    for (const { raft } of cluster.nodes.values()) {
      collect(raft.changes(), (change) => {
        const { term, role } = raft.metrics();
        if ("term" in change && change.term > term)
          wrong.push(`${change.type} of ${String(change.term)} at ${String(term)}`);
        if (change.type === "stopped" && role !== "stopped") wrong.push("stopped too early");
      });
    }
    for (let round = 0; round < 4; round++) {
      const leader = await cluster.leader();
      cluster.isolate(leader.id);
      await cluster.leader(leader.id);
      cluster.net.heal();
      await cluster.advance(500);
    }
    await cluster.close();
    expect(wrong).toEqual([]);
  });

  it("gives every subscriber the latest leader, however slowly it reads (O5)", async () => {
    const cluster = await TestCluster.of(THREE, 1, { limits: { changesMax: 4 } });
    await cluster.leader();
    const streams = [...cluster.nodes.values()].map(({ raft }) => raft.changes());
    for (let round = 0; round < 6; round++) {
      const leader = await cluster.leader();
      cluster.isolate(leader.id);
      await cluster.leader(leader.id);
      cluster.net.heal();
      await cluster.advance(500);
    }
    const { leader, term } = (await cluster.leader()).raft.metrics();
    await cluster.close();
    for (const stream of streams) {
      const { items, end } = collect(stream);
      await end;
      expect(items.length).toBeLessThanOrEqual(5);
      expect(items.findLast(({ type }) => type === "leader")).toEqual({
        type: "leader",
        leader: leader?.id,
        term,
      });
      expect(items.at(-1)).toEqual({ type: "stopped", error: null });
    }
  });

  it("drops the oldest superseded change when the queue is full, never the latest of a type", async () => {
    const changes = new ChangeStream(3);
    const stream = changes.subscribe([]);
    const role: RaftChange = { type: "role", role: "leader", term: 1 };
    changes.push(role);
    for (let term = 1; term <= 5; term++) changes.push({ type: "leader", leader: "a", term });
    changes.stop(null);
    const { items, end } = collect(stream);
    await end;
    expect(items).toEqual([role, { type: "leader", leader: "a", term: 5 }, { type: "stopped", error: null }]);
  });

  it("ends for a subscriber that returns, and for one that subscribes after the node stopped", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = await cluster.leader();
    for await (const change of raft.changes()) {
      expect(change).toMatchObject({ type: "role", role: "leader" });
      break;
    }
    await cluster.finish(raft.close());
    const late = collect(raft.changes());
    await late.end;
    expect(late.items.at(-1)).toEqual({ type: "stopped", error: null });
  });

  it("reports a failure with its error", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = await cluster.leader();
    const { items, end } = collect(raft.changes());
    await cluster.failure(raft.write("break"));
    await end;
    expect(items.at(-1)).toMatchObject({ type: "stopped", error: { code: "STATE_MACHINE_FAILED" } });
  });
});

describe("raft.committed()", () => {
  const textOf = ({ index, command }: CommittedCommand<string>): string => `${String(index)} ${command}`;

  it("yields all commands from the log's beginning, then new ones as they are applied", async () => {
    const cluster = await TestCluster.of(THREE);
    const { raft } = await cluster.leader();
    await cluster.finish(raft.write("one"));
    const { items, end } = collect(raft.committed());
    await cluster.finish(raft.write("two"));
    await cluster.finish(raft.write("three"));
    await cluster.finish(raft.close());
    expect(await end).toBeUndefined();
    expect(items.map(textOf)).toEqual(["3 one", "4 two", "5 three"]);
    expect(items.every(({ term }) => term === 2)).toBe(true);
  });

  it("begins at the given index, whether it is applied already or not", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = await cluster.leader();
    for (const text of ["3", "4", "5"]) await cluster.finish(raft.write(text));
    const past = collect(raft.committed({ from: 4 }));
    const future = collect(raft.committed({ from: 7 }));
    for (const text of ["6", "7", "8"]) await cluster.finish(raft.write(text));
    await cluster.finish(raft.close());
    await Promise.all([past.end, future.end]);
    expect(past.items.map(textOf)).toEqual(["4 4", "5 5", "6 6", "7 7", "8 8"]);
    expect(future.items.map(textOf)).toEqual(["7 7", "8 8"]);
    expect(() => raft.committed({ from: 0 })).toThrow("from is 0");
  });

  it("reads commands from the store that memory no longer holds, and only when its reader asks", async () => {
    const cluster = await TestCluster.of(["a"], 1, { limits: { cacheBytesMax: 1 } });
    const { raft, log } = await cluster.leader();
    const texts = Array.from({ length: 30 }, (_, at) => String(at));
    for (const text of texts) await cluster.finish(raft.write(text));
    const stream = raft.committed();
    const before = log.reads;
    await cluster.advance(100);
    expect(log.reads).toBe(before);
    for (const text of texts)
      expect(await cluster.finish(stream.next())).toMatchObject({ value: { command: text } });
    expect(log.reads).toBe(before + 1);
    const waiting = [stream.next(), stream.next()];
    await cluster.finish(raft.write("more"));
    await cluster.finish(raft.write("and more"));
    expect(await cluster.finish(Promise.all(waiting))).toMatchObject([
      { value: { command: "more" } },
      { value: { command: "and more" } },
    ]);
    await stream.return?.();
    expect(await stream.next()).toEqual({ done: true, value: undefined });
  });

  it("yields a command only after it is applied on this node", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    leader.log.holdsWrites = true;
    const { items } = collect(leader.raft.committed());
    const write = leader.raft.write("x");
    await cluster.advance(300);
    expect(items).toEqual([]);
    leader.log.releaseWrites();
    await cluster.finish(write);
    await cluster.advance(1);
    expect(items.map(({ command }) => command)).toEqual(["x"]);
  });

  it("throws the node's error when the node fails", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = await cluster.leader();
    const { end } = collect(raft.committed());
    await cluster.failure(raft.write("break"));
    expect(await end).toMatchObject({ code: "STATE_MACHINE_FAILED" });
  });
});
