import { createServer, type ServerResponse } from "node:http";
import { NotLeaderError } from "keelson";
import { describe, expect, it, onTestFinished } from "vitest";
import { HttpServer } from "../http/http-server.ts";
import { listen } from "../shared/listen.ts";
import type { FakeNode } from "../test/fake-node.ts";
import { ANY_PORT, fakeServing } from "../test/serving.ts";
import { stubNode, type Stub, type StubCall, type StubHandler } from "../test/stub-node.ts";
import { KvClientError } from "./client-error.ts";
import { KvClient, type KvClientOptions } from "./kv-client.ts";

/** The client has to behave the same over both protocols. */
const PROTOCOLS = ["http", "binary"] as const;
type Protocol = (typeof PROTOCOLS)[number];

/** An HTTP stub gets a client that uses HTTP only, so that its requests are all that it counts. */
function clientOver(protocol: Protocol, options: KvClientOptions): KvClient {
  return new KvClient({ ...options, protocol: protocol === "http" ? "http" : "auto" });
}

/** A client without sessions, so that each call is exactly one request if it succeeds. */
function plainOver(protocol: Protocol, nodes: readonly string[], timeoutMs?: number): KvClient {
  return clientOver(protocol, { nodes, timeoutMs, sessions: false });
}

async function node(): Promise<{ node: FakeNode; address: string }> {
  const serving = await fakeServing();
  const server = await HttpServer.listen(ANY_PORT);
  onTestFinished(() => server.close());
  server.serve(serving);
  return { node: serving.node, address: server.address };
}

async function errorOf(promise: Promise<unknown>): Promise<KvClientError> {
  const error: unknown = await promise.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(KvClientError);
  return error as KvClientError;
}

describe.each(PROTOCOLS)("the client over %s", (protocol) => {
  const stub = (handler: StubHandler): Promise<Stub> => stubNode(protocol, handler);
  const plain = (nodes: readonly string[], timeoutMs?: number): KvClient =>
    plainOver(protocol, nodes, timeoutMs);

  it("puts, gets and deletes text and bytes", async () => {
    const { address } = await node();
    const client = clientOver(protocol, { nodes: [address] });
    expect(await client.put("a/b %", "é")).toEqual({ index: 0, version: 3 });
    const found = await client.get("a/b %");
    expect([Buffer.from(found?.value ?? []).toString(), found?.version]).toEqual(["é", 3]);
    const key = Uint8Array.of(0xff, 0x00);
    await client.put(key, Uint8Array.of(1, 2));
    expect([...((await client.get(key, { consistency: "stale" }))?.value ?? [])]).toEqual([1, 2]);
    expect(await client.delete(key)).toEqual({ index: 2, existed: true });
    expect(await client.get(key)).toBeNull();
    expect([...client.protocols()]).toEqual([[address, protocol]]);
  });

  it("sends the conditions of writes, and rejects with CONDITION_FAILED if they don't hold", async () => {
    const { address } = await node();
    const client = clientOver(protocol, { nodes: [address] });
    const { version } = await client.put("a", "1", { ifAbsent: true });
    const taken = await errorOf(client.put("a", "2", { ifAbsent: true }));
    expect([taken.code, taken.outcome, taken.status]).toEqual(["CONDITION_FAILED", "not-done", 412]);
    await client.put("a", "2", { ifVersion: version });
    expect((await errorOf(client.delete("a", { ifVersion: version }))).code).toBe("CONDITION_FAILED");
  });

  it("follows a redirect to the leader, and sends later calls there", async () => {
    const leader = await node();
    const follower = await node();
    const info = `{"line":"127.0.0.1:1","http":"${leader.address}"}`;
    follower.node.failure = new NotLeaderError({ id: "n2", address: null, info });
    const client = clientOver(protocol, { nodes: [follower.address] });
    await client.put("a", "1");
    follower.node.failure = new Error("nobody should ask here again");
    await client.put("a", "2");
    expect(Buffer.from((await client.get("a"))?.value ?? []).toString()).toBe("2");
  });

  it("asks another node when one can't be reached or answers 503", async () => {
    const gone = createServer();
    const { port } = await listen(gone, ANY_PORT);
    gone.close();
    const busy = await stub((call) => {
      call.fail(503, "NOT_LEADER", "not-done");
    });
    const { address } = await node();
    const client = plain([`127.0.0.1:${port}`, busy.address, address]);
    expect(await client.put("a", "1")).toEqual({ index: 0, version: 2 });
    expect(busy.count()).toBe(1);
  });

  it("repeats a call until an election has ended", async () => {
    const server = await stub((call, count) => {
      if (count < 5) call.fail(503, "NOT_LEADER", "not-done");
      else call.succeed();
    });
    const client = plain([server.address]);
    expect(await client.put("a", "1")).toEqual({ index: 0, version: 2 });
    expect(server.count()).toBe(5);
  });

  it("without sessions never repeats a write whose outcome is unknown", async () => {
    const unknown = await stub((call) => {
      call.fail(504, "OUTCOME_UNKNOWN", "unknown");
    });
    const answered = await errorOf(plain([unknown.address]).put("a", "1"));
    expect([answered.code, answered.outcome, unknown.count()]).toEqual(["OUTCOME_UNKNOWN", "unknown", 1]);
    const cut = await stub((call) => {
      call.cut();
    });
    const lost = await errorOf(plain([cut.address]).put("a", "1"));
    expect([lost.code, lost.outcome, cut.count()]).toEqual(["CONNECTION_LOST", "unknown", 1]);
    const silent = await stub(() => undefined);
    const late = await errorOf(plain([silent.address], 100).put("a", "1"));
    expect([late.code, late.outcome, silent.count()]).toEqual(["TIMED_OUT", "unknown", 1]);
  });

  it("repeats a read after a lost connection", async () => {
    const server = await stub((call, count) => {
      if (count < 3) call.cut();
      else call.value(7, "v");
    });
    expect((await clientOver(protocol, { nodes: [server.address] }).get("a"))?.version).toBe(7);
  });

  it("sends reads to all nodes in turn if told to, past those that don't answer", async () => {
    const servers: Stub[] = [];
    for (const name of ["n1", "n2", "n3"]) {
      servers.push(
        await stub((call) => {
          if (call.request.startsWith("PUT")) {
            if (name === "n1") call.succeed();
            else call.fail(307, "NOT_LEADER", "not-done", `http://${servers[0]?.address ?? ""}/kv/a`);
          } else if (name === "n2") call.cut();
          else call.value(7, name);
        }),
      );
    }
    const nodes = servers.map(({ address }) => address);
    const client = clientOver(protocol, { nodes, sessions: false, readFrom: "any" });
    await client.put("a", "1");
    const read = async (): Promise<string> => Buffer.from((await client.get("a"))?.value ?? []).toString();
    expect([await read(), await read(), await read(), await read()]).toEqual(["n1", "n3", "n1", "n3"]);
    await client.put("a", "1");
    expect(servers.map((server) => server.count())).toEqual([4, 2, 2]);
  });

  it("gives up after timeoutMs with the outcome of the attempts", async () => {
    const server = await stub((call) => {
      call.fail(503, "NOT_LEADER", "not-done");
    });
    const begun = performance.now();
    const error = await errorOf(
      clientOver(protocol, { nodes: [server.address], timeoutMs: 300 }).put("a", "1"),
    );
    expect([error.code, error.outcome, error.status]).toEqual(["NOT_LEADER", "not-done", 503]);
    expect(performance.now() - begun).toBeLessThan(2000);
    expect(server.count()).toBeGreaterThan(2);
  });

  it("pauses between redirects when two nodes name each other as the leader", async () => {
    const servers: { address: string; count: () => number }[] = [];
    for (const other of [1, 0]) {
      servers.push(
        await stub((call) => {
          call.fail(307, "NOT_LEADER", "not-done", `http://${servers[other]?.address ?? ""}/kv/a`);
        }),
      );
    }
    const client = plain([servers[0]?.address ?? ""], 300);
    expect((await errorOf(client.put("a", "1"))).code).toBe("NOT_LEADER");
    expect((servers[0]?.count() ?? 0) + (servers[1]?.count() ?? 0)).toBeLessThan(20);
  });

  it("rejects when the caller's signal is aborted", async () => {
    const server = await stub(() => undefined);
    const controller = new AbortController();
    const call = errorOf(
      clientOver(protocol, { nodes: [server.address] }).put("a", "1", { signal: controller.signal }),
    );
    controller.abort();
    expect((await call).code).toBe("ABORTED");
  });

  it("refuses what can't be sent, before it sends anything", async () => {
    const server = await stub((call) => {
      call.succeed();
    });
    const client = clientOver(protocol, { nodes: [server.address] });
    for (const call of [
      () => client.put("a\ud800", "1"),
      () => client.put("a", "\udc00"),
      () => client.get("\ud83d"),
      () => client.delete("\ude00\ud83d"),
      () => client.put("a", "1", { ifVersion: 2, ifAbsent: true }),
    ]) {
      const error = await errorOf(call());
      expect([error.code, error.outcome]).toEqual(["INVALID_OPTION", "not-done"]);
    }
    expect((await errorOf(client.get("ab\ud83d"))).message).toMatch(
      /half of a surrogate pair \(character 3\)/,
    );
    expect(server.count()).toBe(0);
  });

  it("takes no longer than its timeout, the opening of a session included", async () => {
    const server = await stub(() => undefined);
    const client = clientOver(protocol, { nodes: [server.address], timeoutMs: 300 });
    const begun = performance.now();
    const error = await errorOf(client.put("a", "1"));
    expect([error.code, error.outcome]).toEqual(["TIMED_OUT", "not-done"]);
    // A second write waits for the same opening; its own time counts.
    expect(performance.now() - begun).toBeLessThan(600);
  });

  it("ends the number of a write that was aborted while its session was being opened", async () => {
    const opening = Promise.withResolvers<undefined>();
    const unanswered: (string | undefined)[] = [];
    const server = await stub((call) => {
      if (call.request === "POST /sessions") {
        void opening.promise.then(() => {
          call.opened(7);
        });
        return;
      }
      unanswered.push(call.session.split("/")[2]);
      call.succeed();
    });
    const client = clientOver(protocol, { nodes: [server.address] });
    const controller = new AbortController();
    const aborted = errorOf(client.put("a", "1", { signal: controller.signal }));
    controller.abort();
    expect((await aborted).code).toBe("ABORTED");
    opening.resolve(undefined);
    await client.put("a", "2");
    await client.put("a", "3");
    // The aborted write took number 1, and isn't waited for.
    expect(unanswered).toEqual(["2", "3"]);
  });
});

describe("the client over HTTP", () => {
  /** A server that speaks HTTP and is no node. */
  async function web(answer: (response: ServerResponse) => void): Promise<string> {
    const server = createServer((request, response) => {
      request.resume();
      answer(response);
    });
    const { port } = await listen(server, ANY_PORT);
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    return `127.0.0.1:${port}`;
  }

  it("rejects with BAD_ANSWER when a value comes without its version, or a redirect leads nowhere", async () => {
    const address = await web((response) => void response.end("v"));
    expect((await errorOf(plainOver("http", [address]).get("a"))).code).toBe("BAD_ANSWER");
    const lost = await stubNode("http", (call) => {
      call.fail(307, "NOT_LEADER", "not-done", "nowhere");
    });
    expect((await errorOf(plainOver("http", [lost.address], 500).put("a", "1"))).code).toBe("NOT_LEADER");
  });

  it("rejects with BAD_ANSWER when the server isn't a node", async () => {
    const address = await web((response) => void response.writeHead(200).end("<html>"));
    expect((await errorOf(plainOver("http", [address]).put("a", "1"))).code).toBe("BAD_ANSWER");
    const other = await web((response) => void response.writeHead(418).end("teapot"));
    const error = await errorOf(plainOver("http", [other]).put("a", "1"));
    expect([error.code, error.status, error.outcome]).toEqual(["BAD_ANSWER", 418, "unknown"]);
  });
});

describe.each(PROTOCOLS)("the client's session over %s", (protocol) => {
  interface Seen {
    readonly request: string;
    readonly session: string;
  }

  /** A node that opens session 7 and answers writes as `onWrite` says; and the calls that it got. */
  async function sessions(
    onWrite: StubHandler,
    onSession: StubHandler = (call) => {
      if (call.request === "POST /sessions") call.opened(7);
      else call.ended();
    },
  ): Promise<{ address: string; seen: Seen[] }> {
    const seen: Seen[] = [];
    let writes = 0;
    const { address } = await stubNode(protocol, (call, count) => {
      const { request, session } = call;
      seen.push({ request, session });
      if (request.includes(" /sessions")) onSession(call, count);
      else onWrite(call, ++writes);
    });
    return { address, seen };
  }

  it("is opened before the first write, and numbers all writes of the client", async () => {
    const { address, seen } = await sessions((call) => {
      call.succeed();
    });
    const client = clientOver(protocol, { nodes: [address] });
    await Promise.all([client.put("a", "1"), client.put("b", "1")]);
    await client.delete("a").catch(() => undefined);
    expect(seen).toEqual([
      { request: "POST /sessions", session: "//" },
      { request: "PUT /kv/a", session: "7/1/1" },
      { request: "PUT /kv/b", session: "7/2/1" },
      { request: "DELETE /kv/a", session: "7/3/3" },
    ]);
  });

  it("lets the client repeat a write with an unknown outcome under the same number (K1)", async () => {
    const { address, seen } = await sessions((call, count) => {
      if (count === 1) call.cut();
      else if (count === 2) call.fail(504, "OUTCOME_UNKNOWN", "unknown");
      else call.succeed();
    });
    expect(await clientOver(protocol, { nodes: [address] }).put("a", "1")).toEqual({ index: 0, version: 2 });
    const put = { request: "PUT /kv/a", session: "7/1/1" };
    expect(seen.slice(1)).toEqual([put, put, put]);
  });

  it("is replaced when it has ended, and a write that had no effect goes into the new one", async () => {
    let opened = 6;
    const { address, seen } = await sessions(
      (call) => {
        if (call.session.startsWith("7/")) call.fail(410, "SESSION_EXPIRED", "unknown");
        else call.succeed();
      },
      (call) => {
        opened += 1;
        call.opened(opened);
      },
    );
    expect(await clientOver(protocol, { nodes: [address] }).put("a", "1")).toEqual({ index: 0, version: 2 });
    expect(seen.map(({ session }) => session)).toEqual(["//", "7/1/1", "//", "8/1/1"]);
  });

  it("that ended after an unanswered attempt leaves the outcome unknown (K4)", async () => {
    const { address, seen } = await sessions((call, count) => {
      if (count === 1) call.cut();
      else call.fail(410, "SESSION_EXPIRED", "unknown");
    });
    const error = await errorOf(clientOver(protocol, { nodes: [address] }).put("a", "1"));
    expect([error.code, error.outcome, error.status]).toEqual(["SESSION_EXPIRED", "unknown", 410]);
    expect(seen).toHaveLength(3);
  });

  it.each([
    [400, "BAD_REQUEST"],
    [403, "FORBIDDEN"],
    [413, "VALUE_TOO_LARGE"],
  ])(
    "leaves the outcome unknown if an earlier attempt was unanswered and the last one got %d (Z6)",
    async (status, code) => {
      const { address } = await sessions((call, count) => {
        if (count === 1) call.cut();
        else call.fail(status, code, "not-done");
      });
      const error = await errorOf(clientOver(protocol, { nodes: [address] }).put("a", "1"));
      expect([error.code, error.outcome, error.status]).toEqual([code, "unknown", status]);
    },
  );

  it("leaves the outcome unknown if an earlier attempt was unanswered and the last one refused (K4)", async () => {
    const { address } = await sessions((call, count) => {
      if (count === 1) call.cut();
      else call.fail(503, "NOT_LEADER", "not-done");
    });
    const error = await errorOf(clientOver(protocol, { nodes: [address], timeoutMs: 300 }).put("a", "1"));
    expect([error.code, error.outcome]).toEqual(["NOT_LEADER", "unknown"]);
  });

  it("that can't be opened rejects the write as not done, and the next write tries again", async () => {
    let works = false;
    const { address } = await sessions(
      (call) => {
        call.succeed();
      },
      (call) => {
        if (works) call.opened(7);
        else call.cut();
      },
    );
    const client = clientOver(protocol, { nodes: [address], timeoutMs: 500 });
    const error = await errorOf(client.put("a", "1"));
    expect([error.code, error.outcome]).toEqual(["CONNECTION_LOST", "not-done"]);
    works = true;
    expect(await client.put("a", "1")).toEqual({ index: 0, version: 2 });
  });

  it("takes 1024 writes from the oldest unanswered one; a write beyond that goes into another", async () => {
    let opened = 0;
    // On a slow machine the client may repeat any attempt, the oldest write's too, before and after its
    // answer.
    const waiting: StubCall[] = [];
    let isAnswered = false;
    const { address, seen } = await sessions(
      (call) => {
        if (call.request === "PUT /kv/oldest" && !isAnswered) waiting.push(call);
        else call.succeed();
      },
      (call) => {
        opened += 1;
        call.opened(opened);
      },
    );
    const client = clientOver(protocol, { nodes: [address], timeoutMs: 60_000 });
    const oldest = client.put("oldest", "1");
    await expect.poll(() => waiting.length, { timeout: 30_000 }).toBeGreaterThan(0);
    for (let at = 0; at < 16; at++) {
      await Promise.all(Array.from({ length: 64 }, () => client.put("a", "1")));
    }
    isAnswered = true;
    for (const call of waiting) call.succeed();
    await oldest;
    // The place of a write: its session, its number, and the lowest number without an answer.
    const places = new Set(
      seen.filter(({ request }) => request === "PUT /kv/a").map(({ session }) => session),
    );
    const [first, second, ...others] = new Set([...places].map((place) => place.split("/")[0]));
    expect(others).toEqual([]);
    const inFirst = Array.from({ length: 1023 }, (_, at) => `${first}/${at + 2}/1`);
    expect(places).toEqual(new Set([...inFirst, `${second}/1/1`]));
  }, 60_000);

  it("is ended by close(), and a later write opens another", async () => {
    const { address, seen } = await sessions((call) => {
      call.succeed();
    });
    const client = clientOver(protocol, { nodes: [address] });
    await client.put("a", "1");
    await client.close();
    await client.close();
    await client.put("a", "1");
    expect(seen.map(({ request }) => request)).toEqual([
      "POST /sessions",
      "PUT /kv/a",
      "DELETE /sessions/7",
      "POST /sessions",
      "PUT /kv/a",
    ]);
  });
});
