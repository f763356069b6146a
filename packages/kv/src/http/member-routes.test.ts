import {
  CatchUpTimeoutError,
  ChangeRefusedError,
  InvalidOptionError,
  NotLeaderError,
  OutcomeUnknownError,
  TransferFailedError,
  TransferringError,
} from "keelson";
import { describe, expect, it } from "vitest";
import { errorOf, start } from "../test/started-http.ts";

describe("the routes of members and leadership", () => {
  const MEMBER = {
    id: "n1",
    address: "127.0.0.1:7001",
    role: "voter",
    voter: true,
    lag: 0,
    match: 1,
    active: true,
    caughtUp: true,
    lostEntries: false,
    line: "127.0.0.1:8001",
    http: "127.0.0.1:9001",
  };

  it("show the members with their roles at GET /members", async () => {
    const { node, request } = await start();
    const [metrics] = node.metrics().members;
    node.metricsChanges = {
      config: { voters: ["n1", "n2"], outgoingVoters: ["n1", "n3"], learners: ["n4"] },
      members: ["n1", "n2", "n3", "n4"].map((id) => ({ ...metrics!, id, info: null })),
    };
    const answer = (await (await request("GET", "/members")).json()) as {
      members: { id: string; role: string }[];
    };
    expect(answer).toMatchObject({ id: "n1", role: "leader", term: 1, leader: { id: "n1" }, changing: true });
    expect(answer.members.map(({ id, role }) => `${id} ${role}`)).toEqual([
      "n1 voter",
      "n2 voter",
      "n3 leaving",
      "n4 learner",
    ]);
  });

  it("show how much of a snapshot a member has fetched", async () => {
    const { node, request } = await start();
    const sending = [{ to: "n1", index: 5, bytesDone: 3, bytesTotal: 9 }];
    node.metricsChanges = {
      snapshots: { newest: null, taking: null, sending, receiving: null, taken: 0, installed: 0 },
    };
    const answer = (await (await request("GET", "/members")).json()) as { members: object[] };
    expect(answer.members).toMatchObject([{ id: "n1", snapshot: { bytesDone: 3, bytesTotal: 9 } }]);
  });

  it("change members in one step by POST /members, and answer with the members", async () => {
    const { node, request } = await start();
    const change = {
      add: { n4: "h:1" },
      remove: ["n1"],
      promote: ["n5"],
      demote: ["n2"],
      addresses: { n3: "h:2" },
    };
    const response = await request("POST", "/members", { body: JSON.stringify({ ...change, timeoutMs: 5 }) });
    expect([response.status, ((await response.json()) as { members: unknown }).members]).toEqual([
      200,
      [MEMBER],
    ]);
    expect(node.changes).toEqual([{ change, timeoutMs: 5 }]);
  });

  it("add learners by POST /members", async () => {
    const { node, request } = await start();
    await request("POST", "/members", { body: '{"learners":{"n4":"h:1","n5":"h:2"}}' });
    expect(node.changes).toEqual([
      { learner: "n4", address: "h:1", timeoutMs: 10_000 },
      { learner: "n5", address: "h:2", timeoutMs: 10_000 },
    ]);
  });

  it("take a snapshot by POST /snapshot", async () => {
    const { node, request } = await start();
    const answer = await request("POST", "/snapshot");
    expect([answer.status, await answer.json()]).toEqual([200, { index: 1, term: 1, bytes: 100 }]);
    expect(node.changes).toEqual([{ snapshot: true }]);
  });

  it("remove a member by DELETE /members/ID", async () => {
    const { node, request } = await start();
    expect((await request("DELETE", "/members/n%31")).status).toBe(200);
    expect(node.changes).toEqual([{ change: { remove: ["n1"] }, timeoutMs: 10_000 }]);
  });

  it.each([
    ["DELETE", "/members/n9", undefined],
    ["POST", "/members", { remove: ["n9"] }],
    ["POST", "/members", { promote: ["n1"] }],
    ["POST", "/members", { demote: ["n4"] }],
    ["POST", "/members", { promote: ["n1"], demote: ["n4"], remove: ["n9", "n8"] }],
  ])(
    "succeed by %s %s %j if it is so already, and ask the leader for nothing but that",
    async (method, target, body) => {
      const { node, request } = await start();
      node.metricsChanges = { config: { voters: ["n1", "n2"], outgoingVoters: [], learners: ["n4"] } };
      const init = body === undefined ? {} : { body: JSON.stringify(body) };
      const response = await request(method, target, init);
      expect([response.status, ((await response.json()) as { changed: boolean }).changed]).toEqual([
        200,
        false,
      ]);
      // A change of nothing, which proves that this node leads and its membership is committed.
      expect(node.changes).toEqual([{ change: { addresses: { n1: "127.0.0.1:7001" } }, timeoutMs: 10_000 }]);
      node.failure = new NotLeaderError(null);
      expect((await request(method, target, init)).status).toBe(503);
    },
  );

  it("do the rest of a change of which a part is so already", async () => {
    const { node, request } = await start();
    node.metricsChanges = { config: { voters: ["n1", "n2"], outgoingVoters: [], learners: ["n4"] } };
    const body = JSON.stringify({ remove: ["n9", "n2"], promote: ["n1", "n4"] });
    const response = await request("POST", "/members", { body });
    expect(await response.json()).toMatchObject({ changed: true });
    expect(node.changes).toEqual([{ change: { remove: ["n2"], promote: ["n4"] }, timeoutMs: 10_000 }]);
  });

  it("leave everything to the library while another change is under way", async () => {
    const { node, request } = await start();
    node.metricsChanges = { config: { voters: ["n1"], outgoingVoters: ["n1", "n9"], learners: [] } };
    await request("DELETE", "/members/n9");
    expect(node.changes).toEqual([{ change: { remove: ["n9"] }, timeoutMs: 10_000 }]);
  });

  it("succeed by POST /transfer to the node that leads already, if a read confirms that it does", async () => {
    const { node, request } = await start();
    const transfer = { body: '{"to":"n1"}' };
    const response = await request("POST", "/transfer", transfer);
    expect([response.status, await response.json(), node.changes]).toEqual([200, { leader: "n1" }, []]);
    node.failure = new NotLeaderError(null);
    expect((await request("POST", "/transfer", transfer)).status).toBe(503);
  });

  it("transfer leadership by POST /transfer", async () => {
    const { node, request } = await start();
    expect(await (await request("POST", "/transfer")).json()).toEqual({ leader: "n2" });
    expect(await (await request("POST", "/transfer", { body: '{"to":"n3"}' })).json()).toEqual({
      leader: "n3",
    });
    expect(node.changes).toEqual([{ transfer: null }, { transfer: "n3" }]);
  });

  it.each([
    ["POST", "/members", "", /^the body is not what it should be: /],
    ["POST", "/members", "{}", /^the change is empty; it has one of add, learners, addresses/],
    ["POST", "/members", '{"add":{}}', /^the change is empty/],
    ["POST", "/members", '{"add":["n4"]}', /^the body is not what it should be: add: .* not a list$/],
    [
      "POST",
      "/members",
      '{"add":{"n4":"h"}}',
      /^the body is not what it should be: add.n4: an address is HOST:PORT/,
    ],
    ["POST", "/members", '{"ad":{"n4":"h:1"}}', /^the body is not what it should be: ad: .*"ad"/],
    [
      "POST",
      "/members",
      '{"remove":["n1"],"timeoutMs":0}',
      /^the body is not what it should be: timeoutMs: /,
    ],
    [
      "POST",
      "/members",
      '{"learners":{"n4":"h:1"},"remove":["n1"]}',
      /^learners are added by a change of their own/,
    ],
    ["POST", "/members?force=1", '{"remove":["n1"]}', /^unknown parameter "force"/],
    ["POST", "/transfer", '{"leader":"n2"}', /^the body is not what it should be: leader/],
    ["DELETE", "/members/%zz", undefined, /^"%zz" is not a member's id/],
  ])("refuse %s %s with the body %s", async (method, target, body, message) => {
    const { node, request } = await start();
    const response = await request(method, target, body === undefined ? {} : { body });
    const error = await errorOf(response);
    expect([response.status, error.code, error.outcome]).toEqual([400, "BAD_REQUEST", "not-done"]);
    expect(error.message).toMatch(message);
    expect(node.changes).toEqual([]);
  });

  it("say that the outcome is unknown if some of several learners were added and the next was not (Z6)", async () => {
    const { node, request } = await start();
    node.failures.set("n5", new NotLeaderError(null));
    const body = '{"learners":{"n4":"127.0.0.1:7004","n5":"127.0.0.1:7005"}}';
    const response = await request("POST", "/members", { body });
    const error = await errorOf(response);
    expect([response.status, error.code, error.outcome]).toEqual([504, "OUTCOME_UNKNOWN", "unknown"]);
    expect(error.message).toContain("n4 was added, and n5 was not");
    node.failures.set("n4", new NotLeaderError(null));
    expect((await errorOf(await request("POST", "/members", { body }))).outcome).toBe("not-done");
  });

  it.each([
    [new InvalidOptionError("n9 is not a member"), 400, "not-done"],
    [new ChangeRefusedError("another change is under way"), 409, "not-done"],
    [new CatchUpTimeoutError("learners now", "unknown"), 504, "unknown"],
    [new TransferFailedError("nobody"), 503, "not-done"],
    [new TransferFailedError("not in time", "unknown"), 504, "unknown"],
    [new TransferringError("in a moment"), 503, "not-done"],
    [new OutcomeUnknownError("stopped leading"), 504, "unknown"],
  ])(
    "answer a failed change with the error's status, code and outcome: %s",
    async (failure, status, outcome) => {
      const { node, request } = await start();
      node.failure = failure;
      for (const [method, target, body] of [
        ["POST", "/members", '{"remove":["n9"]}'],
        ["DELETE", "/members/n9", null],
        ["POST", "/transfer", ""],
      ] as const) {
        const response = await request(method, target, { body });
        const error = await errorOf(response);
        expect([response.status, error.code, error.outcome]).toEqual([status, failure.code, outcome]);
      }
    },
  );

  it("redirect changes to the leader", async () => {
    const { node, request } = await start();
    const info = '{"line":"127.0.0.1:8002","http":"127.0.0.1:9002"}';
    node.failure = new NotLeaderError({ id: "n2", address: "h:1", info });
    const post = await request("POST", "/members", { body: '{"remove":["n1"]}' });
    expect([post.status, post.headers.get("location")]).toEqual([307, "http://127.0.0.1:9002/members"]);
    const remove = await request("DELETE", "/members/n1");
    expect([remove.status, remove.headers.get("location")]).toEqual([
      307,
      "http://127.0.0.1:9002/members/n1",
    ]);
    const transfer = await request("POST", "/transfer");
    expect([transfer.status, transfer.headers.get("location")]).toEqual([
      307,
      "http://127.0.0.1:9002/transfer",
    ]);
  });
});
