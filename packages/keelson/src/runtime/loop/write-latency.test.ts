import { describe, expect, it } from "vitest";
import { TestCluster } from "../test/test-cluster.ts";
import { WriteLatency } from "./write-latency.ts";

const TIMINGS = { heartbeatMs: 80, storageStallMs: 1600, storageTimeoutMs: 30_000 };

/** A measurement on a clock that the test sets. */
function measured(): { latency: WriteLatency; clock: { ms: number }; lines: string[] } {
  const clock = { ms: 1000 };
  const lines: string[] = [];
  const latency = new WriteLatency({
    environment: { now: () => clock.ms },
    timings: TIMINGS,
    log: (level, text) => void lines.push(`${level}: ${text}`),
  });
  return { latency, clock, lines };
}

describe("the latency of the log's writes", () => {
  it("is counted, summed and sorted into buckets, also for writes that overlap", () => {
    const { latency, clock } = measured();
    expect(latency.metrics).toMatchObject({ count: 0, sumMs: 0, lastMs: 0, recentMaxMs: 0 });
    latency.begun();
    clock.ms += 2;
    latency.begun();
    clock.ms += 1;
    expect(latency.ended()).toBe(3);
    clock.ms += 17;
    expect(latency.ended()).toBe(18);
    const { count, sumMs, lastMs, recentMaxMs, buckets } = latency.metrics;
    expect([count, sumMs, lastMs, recentMaxMs]).toEqual([2, 21, 18, 18]);
    const upTo = Object.fromEntries(buckets.map((bucket) => [bucket.toMs, bucket.count]));
    expect([upTo[2.5], upTo[5], upTo[10], upTo[25], upTo[10_000]]).toEqual([0, 1, 1, 2, 2]);
    latency.begun();
    clock.ms += 10_001;
    latency.ended();
    expect(latency.metrics.buckets.at(-1)).toEqual({ toMs: 10_000, count: 2 });
    expect(latency.metrics.count).toBe(3);
  });

  it("shows the longest of the last 10 to 20 seconds, and the one under way", () => {
    const { latency, clock } = measured();
    latency.begun();
    clock.ms += 50;
    latency.ended();
    clock.ms += 9000;
    expect(latency.metrics.recentMaxMs).toBe(50);
    latency.begun();
    clock.ms += 2000;
    expect(latency.metrics.recentMaxMs).toBe(2000);
    latency.ended();
    clock.ms += 20_000;
    expect(latency.metrics.recentMaxMs).toBe(0);
  });

  it("leads to one warning in ten seconds if writes take longer than a heartbeat interval", () => {
    const { latency, clock, lines } = measured();
    const write = (ms: number): void => {
      latency.begun();
      latency.check();
      clock.ms += ms;
      latency.ended();
    };
    write(80);
    expect(lines).toEqual([]);
    for (let n = 0; n < 5; n++) write(100);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(
      /^warn: a write to the log took 100 ms, longer than the heartbeat interval .*80 ms\)\. .*1600 ms/,
    );
    clock.ms += 10_000;
    write(100);
    expect(lines[1]).toContain("; 4 more were as slow since the last warning");
  });

  it("leads to a warning while a write hangs, once, and to a line when it ends", () => {
    const { latency, clock, lines } = measured();
    latency.begun();
    clock.ms += 1599;
    latency.check();
    expect(lines).toEqual([]);
    clock.ms += 1;
    latency.check();
    latency.check();
    expect(lines).toEqual([
      expect.stringMatching(/^warn: a write to the log hangs: it has taken 1600 ms so far/),
    ]);
    clock.ms += 400;
    latency.ended();
    expect(lines[1]).toBe("info: the write to the log that hung has ended, after 2000 ms");
    // Then it watches the next one.
    latency.begun();
    clock.ms += 1600;
    latency.check();
    expect(lines).toHaveLength(3);
  });
});

describe("a node with a slow disk", () => {
  it("shows it in its metrics and warns, on a follower as on the leader", async () => {
    const cluster = await TestCluster.of(["a", "b", "c"]);
    const leader = await cluster.leader();
    const [follower] = cluster.followers(leader);
    if (follower === undefined) throw new Error("there are two followers");
    await cluster.finish(leader.raft.write("fast"));
    await cluster.advance(1);
    for (const { raft, id } of [leader, follower]) {
      const { count, recentMaxMs } = raft.metrics().logWriteLatency;
      expect([count > 0, recentMaxMs < 2]).toEqual([true, true]);
      expect(cluster.messages.filter((text) => text.includes(`${id}: a write to the log`))).toEqual([]);
    }
    follower.log.latencyMs = 150;
    await cluster.finish(leader.raft.write("slow"));
    await cluster.advance(200);
    expect(follower.raft.metrics().logWriteLatency).toMatchObject({ lastMs: 150, recentMaxMs: 150 });
    expect(cluster.messages.join("\n")).toContain(`warn ${follower.id}: a write to the log took 150 ms`);
    // And while it hangs, before it stops the node.
    follower.log.holdsWrites = true;
    await cluster.finish(leader.raft.write("held"));
    await cluster.advance(2000);
    expect(cluster.messages.join("\n")).toMatch(
      new RegExp(`warn ${follower.id}: a write to the log hangs: it has taken 1[67]\\d\\d ms`),
    );
    expect(follower.raft.metrics().logWriteLatency.recentMaxMs).toBeGreaterThan(1900);
    follower.log.holdsWrites = false;
    follower.log.releaseWrites();
    await cluster.advance(300);
    expect(cluster.messages.join("\n")).toContain(
      `info ${follower.id}: the write to the log that hung has ended`,
    );
  });
});
