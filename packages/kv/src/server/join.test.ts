import { describe, expect, it } from "vitest";
import type { Member, Members } from "../client/admin-client.ts";
import { KvClientError } from "../client/client-error.ts";
import { join } from "./join.ts";
import { StartError } from "../shared/errors.ts";

const ADDRESS = "n4:1";

function member(role: Member["role"], address = ADDRESS): Member {
  return { id: "n4", address, role, lag: 10, active: true };
}

function known(members: readonly Member[], changes: Partial<Members> = {}): Members {
  return {
    id: "n1",
    clusterId: "c",
    role: "leader",
    term: 1,
    leader: { id: "n1" },
    changing: false,
    members: [...members],
    ...changes,
  };
}

/** A cluster that answers `GET /members` with these, one after another; then always with the last. */
function fakeCluster(answers: readonly (Members | Error)[], refusal: Error | null = null) {
  const requests: unknown[] = [];
  let looks = 0;
  return {
    requests,
    client: {
      members: () => {
        const answer = answers[Math.min(looks, answers.length - 1)];
        looks += 1;
        return answer instanceof Error || answer === undefined
          ? Promise.reject(answer ?? new Error("no answer"))
          : Promise.resolve(answer);
      },
      change: (method: string, target: string, body?: object) => {
        requests.push({ method, target, ...body });
        return refusal === null ? Promise.resolve({}) : Promise.reject(refusal);
      },
    },
  };
}

async function joinWith(
  cluster: ReturnType<typeof fakeCluster>,
  startedEmpty: boolean,
  signal = new AbortController().signal,
  clusterId: string | null = null,
): Promise<string[]> {
  const reports: string[] = [];
  const report = (text: string): void => void reports.push(text);
  await join({
    id: "n4",
    address: ADDRESS,
    startedEmpty,
    clusterId: () => clusterId,
    client: cluster.client,
    report,
    signal,
  });
  return reports;
}

const ASKED = { method: "POST", target: "/members", add: { n4: ADDRESS }, timeoutMs: 2000 };

describe("a node that joins", () => {
  it("asks until it is a voter, and reports its progress", async () => {
    const cluster = fakeCluster([
      known([]),
      known([member("learner")]),
      known([member("voter")], { changing: true }),
      known([member("voter")]),
    ]);
    expect(await joinWith(cluster, true)).toEqual(["n4 is a learner, 10 entries behind"]);
    expect(cluster.requests).toEqual(
      [ASKED, ASKED, { ...ASKED, add: undefined, addresses: { n4: ADDRESS } }].map(
        (one) => JSON.parse(JSON.stringify(one)) as unknown,
      ),
    );
  });

  it("reports how much of a snapshot it has fetched", async () => {
    const fetching = { ...member("learner"), snapshot: { bytesDone: 1024, bytesTotal: 5 * 1024 * 1024 } };
    const cluster = fakeCluster([known([fetching]), known([member("voter")])]);
    expect(await joinWith(cluster, true)).toEqual([
      "n4 is a learner and fetches a snapshot, 1.0 KiB of 5.0 MiB",
    ]);
  });

  it("continues after a crash while joining, with and without a log", async () => {
    for (const startedEmpty of [true, false]) {
      const cluster = fakeCluster([known([member("learner")]), known([member("voter")])]);
      await joinWith(cluster, startedEmpty);
      expect(cluster.requests).toEqual([ASKED]);
    }
  });

  it.each([401, 403])("doesn't ask again after an answer with %d", async (status) => {
    const refusal = new KvClientError("REFUSED", "not-done", status, "the token is wrong");
    const cluster = fakeCluster([known([])], refusal);
    await expect(joinWith(cluster, true)).rejects.toThrow(
      new StartError("the cluster does not take this node in: the token is wrong"),
    );
    expect(cluster.requests).toEqual([ASKED]);
  });

  it("does nothing after a restart as a voter", async () => {
    const cluster = fakeCluster([known([member("voter")])]);
    await joinWith(cluster, false);
    expect(cluster.requests).toEqual([]);
  });

  it("asks for its address to be changed if it moved", async () => {
    const cluster = fakeCluster([known([member("voter", "old:1")]), known([member("voter")])]);
    await joinWith(cluster, false);
    expect(cluster.requests).toEqual([
      { method: "POST", target: "/members", addresses: { n4: ADDRESS }, timeoutMs: 2000 },
    ]);
  });

  it("is refused as a voter with an empty log, since it may have voted (M11)", async () => {
    const cluster = fakeCluster([known([member("voter")])]);
    await expect(joinWith(cluster, true)).rejects.toThrow(
      new StartError(
        "n4 is a member already, at n4:1, and this node's directory is empty. If another node has this id, choose another --id. " +
          "If this node's disk was lost, run keelson remove n4, and join with a new --id",
      ),
    );
    expect(cluster.requests).toEqual([]);
  });

  it("is refused under the id of a learner at another address", async () => {
    const cluster = fakeCluster([known([member("learner", "other:1")])]);
    await expect(joinWith(cluster, true)).rejects.toThrow(/n4 is a member already, at other:1/);
    expect(cluster.requests).toEqual([]);
  });

  it("is refused after it was removed (M9)", async () => {
    const cluster = fakeCluster([known([])]);
    await expect(joinWith(cluster, false)).rejects.toThrow(
      /n4 is no member of the cluster: it was removed from it/,
    );
    expect(cluster.requests).toEqual([]);
  });

  it("is refused by a cluster that it doesn't belong to (M16)", async () => {
    const cluster = fakeCluster([known([])]);
    await expect(joinWith(cluster, true, undefined, "other")).rejects.toThrow(
      "n4 belongs to cluster other, and those that it was told to join are of cluster c",
    );
    expect(cluster.requests).toEqual([]);
  });

  it("stops when the cluster finds the request invalid", async () => {
    const refusal = new KvClientError(
      "INVALID_OPTION",
      "not-done",
      400,
      "members n1 and n4 would have the same address",
    );
    await expect(joinWith(fakeCluster([known([])], refusal), true)).rejects.toThrow(
      new StartError("the cluster does not take this node in: members n1 and n4 would have the same address"),
    );
  });

  it("asks again while it is catching up", async () => {
    const late = new KvClientError("CATCH_UP_TIMEOUT", "not-done", 503, "not yet");
    const cluster = fakeCluster([known([]), known([member("learner")]), known([member("voter")])], late);
    await joinWith(cluster, true);
    expect(cluster.requests).toEqual([ASKED, ASKED]);
  });

  it("ends when the node is closing, even if the cluster doesn't answer", async () => {
    const leaving = new AbortController();
    const cluster = fakeCluster([
      new KvClientError("UNREACHABLE", "unknown", null, "n1:9001 cannot be reached"),
    ]);
    const joined = joinWith(cluster, true, leaving.signal);
    setImmediate(() => {
      leaving.abort();
    });
    expect(await joined).toEqual(["joining: n1:9001 cannot be reached"]);
  });
});
