import { describe, expect, it } from "vitest";
import type { ForwardRequest } from "../../codec/frame-runtime-message.ts";
import { simulatedEnvironment } from "../../environment/simulated/simulated-environment.ts";
import { ForwardedCallServer } from "./forwarded-call-server.ts";
import type { TestNode } from "../test/test-cluster.ts";
import { forwardingGroup } from "../test/forwarding-group.ts";
import type { Journal } from "../test/journal.ts";
import type { TestCluster } from "../test/test-cluster.ts";

describe("a leader that serves forwarded calls", () => {
  /** Sends the leader a request from a follower's transport. */
  function ask(cluster: TestCluster, leader: TestNode, changes: Partial<ForwardRequest> = {}): void {
    const [other] = cluster.followers(leader);
    const request: ForwardRequest = {
      type: "forward-request",
      from: other?.id ?? "",
      incarnation: 7,
      id: 1,
      term: leader.raft.metrics().term,
      waitMs: 1000,
      call: { type: "write" },
      payload: new TextEncoder().encode("x"),
      ...changes,
    };
    cluster.node(other?.id ?? "").transport.send(leader.id, { message: request, records: [] });
  }

  /** Collects the leader's replies from now on. */
  function repliesOf(leader: TestNode): unknown[] {
    const replies: unknown[] = [];
    leader.transport.filter = (_to, { message }) => {
      if (message.type === "forward-reply") replies.push(message.answer);
      return true;
    };
    return replies;
  }

  it("runs a request once although it arrives several times (K1)", async () => {
    const { cluster, leader } = await forwardingGroup();
    cluster.net.duplicateRate = 1;
    ask(cluster, leader);
    await cluster.advance(100);
    cluster.net.duplicateRate = 0;
    ask(cluster, leader);
    ask(cluster, leader, { incarnation: 8 });
    await cluster.advance(100);
    expect(leader.journal.texts).toEqual(["x", "x"]);
  });

  it("adopts no term from a request, and ignores requests for another term (W8)", async () => {
    const { cluster, leader } = await forwardingGroup();
    const { term } = leader.raft.metrics();
    const replies = repliesOf(leader);
    for (const other of [term + 1, term - 1, term + 1000])
      ask(cluster, leader, { term: other, id: other + 1 });
    await cluster.advance(500);
    expect(leader.raft.metrics()).toMatchObject({ term, role: "leader" });
    expect(leader.journal.texts).toEqual([]);
    // The request may have been run in that term, so the leader doesn't reply at all.
    expect(replies).toEqual([]);
  });

  it("refuses requests after it has stepped down, and does not forward them", async () => {
    const { cluster, leader } = await forwardingGroup();
    const { term } = leader.raft.metrics();
    await cluster.finish(leader.raft.transferLeadership());
    await cluster.leader(leader.id);
    const replies = repliesOf(leader);
    ask(cluster, leader, { term });
    ask(cluster, leader, {
      term,
      id: 2,
      call: { type: "open-session", ttlMs: 1000 },
      payload: new Uint8Array(0),
    });
    await cluster.advance(200);
    const refusal = { type: "error", code: "NOT_LEADER", outcome: "not-done" };
    expect(replies).toEqual([refusal, refusal]);
    expect(leader.raft.metrics().sessions.open).toBe(0);
  });

  it("does not run a request of a term that it led earlier (K1)", async () => {
    const { cluster, leader } = await forwardingGroup();
    const { term } = leader.raft.metrics();
    ask(cluster, leader);
    await cluster.advance(50);
    const { raft, id } = leader;
    await cluster.finish(raft.transferLeadership());
    const next = await cluster.leader(id);
    await cluster.advance(100);
    await cluster.finish(next.raft.transferLeadership(id));
    await cluster.until(() => raft.metrics().role === "leader", "the first to lead again");
    const replies = repliesOf(leader);
    ask(cluster, leader, { term });
    await cluster.advance(100);
    expect([leader.journal.texts, replies]).toEqual([["x"], []]);
  });

  it("remembers request numbers within a window, and ignores older requests", () => {
    const written: number[] = [];
    const notCalled = (): Promise<never> => Promise.reject(new Error("not called"));
    const server = new ForwardedCallServer<string, number>({
      core: { id: "a", role: "leader", term: 3 },
      environment: simulatedEnvironment(),
      progressMs: 800,
      changes: { addLearner: notCalled, change: notCalled },
      transfers: { transfer: notCalled },
      proposer: {
        writeForwarded: ([number = 0]) => {
          written.push(number);
          return Promise.resolve({ index: 1, bytes: new Uint8Array(0) });
        },
        openSession: notCalled,
        closeSession: () => Promise.resolve(),
      },
      results: { isAvailable: true },
      send: () => true,
    });
    const request = { type: "forward-request", from: "b", incarnation: 7, term: 3, waitMs: 1 } as const;
    const receive = (id: number, number: number): void => {
      if (number > 0)
        server.onRequest({ ...request, id, call: { type: "write" }, payload: Uint8Array.of(number) });
      else
        server.onRequest({
          ...request,
          id,
          call: { type: "close-session", id: 1 },
          payload: new Uint8Array(0),
        });
    };
    receive(5, 1);
    receive(2, 2);
    for (let id = 6; id <= 2 * 8192 + 6; id++) receive(id, 0);
    receive(1, 3);
    receive(2, 4);
    receive(2 * 8192 + 6, 5);
    receive(2 * 8192 + 7, 6);
    expect(written).toEqual([1, 2, 6]);
  });

  it("encodes a result once at the leader, and decodes it once, for the caller", async () => {
    const { cluster, leader, other } = await forwardingGroup();
    const calls: string[] = [];
    for (const { id, journal } of [leader, other]) {
      const { encodeResult, decodeResult } = journal.codec;
      if (encodeResult === undefined || decodeResult === undefined)
        throw new Error("a codec without results");
      journal.codec.encodeResult = (result) => {
        calls.push(`encode at ${id}`);
        return encodeResult(result);
      };
      journal.codec.decodeResult = (bytes) => {
        calls.push(`decode at ${id}`);
        return decodeResult(bytes);
      };
    }
    await cluster.finish(other.raft.write("x"));
    expect(calls).toEqual([`encode at ${leader.id}`, `decode at ${other.id}`]);
  });

  it('reports outcome "done" when the result is too large for a reply', async () => {
    const { cluster, leader, other } = await forwardingGroup();
    leader.journal.codec.encodeResult = () => new Uint8Array(2 ** 20 + 1);
    const error = await cluster.failure(other.raft.write("x"));
    expect(error).toMatchObject({ code: "RESULT_UNAVAILABLE", outcome: "done" });
    expect(leader.journal.texts).toEqual(["x"]);
  });

  it("sends back why it refused the call", async () => {
    const { cluster, other } = await forwardingGroup({ limits: { commandBytesMax: 10 } });
    const leader = cluster.currentLeader();
    if (leader === undefined) throw new Error("no leader");
    ask(cluster, leader, { payload: new Uint8Array(11) });
    await cluster.advance(50);
    expect(leader.journal.texts).toEqual([]);
    expect(await cluster.failure(other.raft.write("0123456789x"))).toMatchObject({
      code: "COMMAND_TOO_LARGE",
    });
  });
});

describe("a codec that encodes into one buffer again and again", () => {
  /** Makes the journal's codec return views of one buffer, which the next call overwrites. */
  function reuseBuffers({ codec }: Journal): void {
    const buffer = Buffer.alloc(64);
    const reusing =
      <T>(encode: (value: T) => Uint8Array) =>
      (value: T): Uint8Array => {
        const bytes = encode(value);
        buffer.fill(0);
        buffer.set(bytes);
        return buffer.subarray(0, bytes.length);
      };
    codec.encode = reusing(codec.encode);
    if (codec.encodeResult !== undefined) codec.encodeResult = reusing(codec.encodeResult);
  }

  it("has each forwarded command applied once, and each answered with its own result (Z11)", async () => {
    const { cluster, leader, other } = await forwardingGroup();
    for (const { journal } of cluster.nodes.values()) reuseBuffers(journal);
    const names = ["alice", "bobby", "carol"];
    const results = await cluster.finish(Promise.all(names.map((name) => other.raft.write(name))));
    // The messages may overtake each other.
    const { texts } = leader.journal;
    expect(texts.toSorted()).toEqual(names);
    expect(results).toEqual(names.map((name) => texts.indexOf(name) + 1));
  });

  it("has commands applied that waited for a leader while others were encoded (Z11)", async () => {
    const { cluster, leader, other } = await forwardingGroup();
    reuseBuffers(other.journal);
    await cluster.crash(leader.id);
    await cluster.until(() => other.raft.metrics().leader === null, "the leader to be missed");
    const names = ["alice", "bobby", "carol"];
    const writes = names.map((name) => other.raft.write(name));
    await cluster.finish(Promise.all(writes));
    expect(other.journal.texts).toEqual(names);
  });

  it("has the retries of a session answered like the first attempts (Z11)", async () => {
    const { cluster, leader } = await forwardingGroup();
    for (const { journal } of cluster.nodes.values()) reuseBuffers(journal);
    const { id } = await cluster.finish(leader.raft.openSession());
    const write = (sequence: number): Promise<number> =>
      cluster.finish(leader.raft.write("x", { session: { id, sequence, lowestUnanswered: 1 } }));
    const first = [await write(1), await write(2), await write(3)];
    expect([await write(1), await write(2), await write(3)]).toEqual(first);
  });

  it("whose decodeResult returns a view can't change the answer that a session keeps (Z11)", async () => {
    const { cluster, leader } = await forwardingGroup();
    const { codec } = leader.journal;
    const { id } = await cluster.finish(leader.raft.openSession());
    const write = (): Promise<unknown> =>
      cluster.finish(leader.raft.write("x", { session: { id, sequence: 1, lowestUnanswered: 1 } }));
    await write();
    Reflect.set(codec, "decodeResult", (bytes: Uint8Array) => bytes);
    const answer = (await write()) as Uint8Array;
    const before = [...answer];
    answer.fill(0);
    expect([...((await write()) as Uint8Array)]).toEqual(before);
  });

  it("that returns a string is refused with an explanation, instead of storing zeros (Z12)", async () => {
    const { cluster, leader, other } = await forwardingGroup();
    for (const { raft, journal } of [leader, other]) {
      Reflect.set(journal.codec, "encode", (command: string) => command);
      const error = await cluster.finish(raft.write("x").catch((thrown: unknown) => thrown));
      expect(String(error)).toContain("what encode returns should be a Uint8Array, and is string");
    }
  });
});
