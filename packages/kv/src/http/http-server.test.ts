import { once } from "node:events";
import { createConnection } from "node:net";
import {
  AbortedError,
  ClosedError,
  CommandLostError,
  CommandTooLargeError,
  NotLeaderError,
  OutcomeUnknownError,
  OverloadedError,
  StorageFailedError,
} from "keelson";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { VALUE_BYTES_MAX } from "../store/commands.ts";
import { HttpServer } from "./http-server.ts";
import { ANY_PORT } from "../test/serving.ts";
import { errorOf, start } from "../test/started-http.ts";

/** Sends the text as it is, and resolves with all that comes back until the server closes the connection. */
async function raw(
  address: string,
  text: string,
  then?: (write: (more: string) => void) => void,
): Promise<string> {
  const [host = "", port = ""] = address.split(":");
  const socket = createConnection({ host, port: Number(port) });
  socket.on("error", () => undefined);
  await once(socket, "connect");
  socket.write(text);
  then?.((more) => socket.write(more));
  let answer = "";
  socket.on("data", (chunk: Buffer) => (answer += chunk.toString("latin1")));
  await once(socket, "close");
  return answer;
}

describe("PUT, GET and DELETE /kv/KEY", () => {
  it("write, read and delete bytes, with the version as ETag", async () => {
    const { request } = await start();
    const value = Uint8Array.from({ length: 256 }, (_, at) => at);
    const put = await request("PUT", "/kv/a", { body: value });
    expect([put.status, put.headers.get("etag"), await put.json()]).toEqual([
      200,
      '"2"',
      { index: 0, version: 2 },
    ]);
    const got = await request("GET", "/kv/a");
    expect([got.status, got.headers.get("etag"), got.headers.get("content-type")]).toEqual([
      200,
      '"2"',
      "application/octet-stream",
    ]);
    expect(new Uint8Array(await got.arrayBuffer())).toEqual(value);
    const deleted = await request("DELETE", "/kv/a");
    expect([deleted.status, await deleted.json()]).toEqual([200, { index: 1, existed: true }]);
    const gone = await request("GET", "/kv/a");
    expect([gone.status, await errorOf(gone)]).toEqual([
      404,
      { code: "NOT_FOUND", message: "the key has no value", outcome: "not-done" },
    ]);
    expect(await (await request("DELETE", "/kv/a")).json()).toEqual({ index: 2, existed: false });
  });

  it.each([0, 1, 256, 4096, 4097, 70_000])("give a value of %i bytes back byte for byte", async (length) => {
    const { request } = await start();
    const value = Uint8Array.from({ length }, (_, at) => (at * 7) % 256);
    expect((await request("PUT", "/kv/a", { body: value })).status).toBe(200);
    const answer = await request("GET", "/kv/a");
    expect(answer.headers.get("Content-Length")).toBe(String(length));
    expect(Buffer.compare(Buffer.from(await answer.arrayBuffer()), value)).toBe(0);
  });

  it("accept percent-encoded keys of any bytes, and empty values", async () => {
    const { request } = await start();
    for (const key of ["a%2Fb", "%FF%00", "%25", "caf%C3%A9", "a+b"]) {
      expect((await request("PUT", `/kv/${key}`)).status).toBe(200);
      const got = await request("GET", `/kv/${key}`);
      expect([got.status, await got.text()]).toEqual([200, ""]);
    }
    // The same key as "a%2Fb".
    expect((await request("GET", "/kv/a/b")).status).toBe(200);
    expect((await request("GET", "/kv/a%20b")).status).toBe(404);
  });

  it("answer HEAD without the value", async () => {
    const { request } = await start();
    await request("PUT", "/kv/a", { body: "hello" });
    const head = await request("HEAD", "/kv/a");
    expect([head.status, head.headers.get("etag"), await head.text()]).toEqual([200, '"2"', ""]);
  });

  it("answer 412 when a condition doesn't hold, and change nothing", async () => {
    const { request } = await start();
    const put = async (headers: Record<string, string>, body: string): Promise<number> =>
      (await request("PUT", "/kv/a", { headers, body })).status;
    expect(await put({ "If-Match": "*" }, "x")).toBe(412);
    expect(await put({ "If-None-Match": "*" }, "1")).toBe(200);
    expect(await put({ "If-None-Match": "*" }, "x")).toBe(412);
    expect(await put({ "If-Match": '"9"' }, "x")).toBe(412);
    const failed = await request("DELETE", "/kv/a", { headers: { "If-Match": '"9"' } });
    expect([failed.status, failed.headers.get("etag"), await errorOf(failed)]).toEqual([
      412,
      '"3"',
      {
        code: "CONDITION_FAILED",
        message: "the condition does not hold: the key's version is 3",
        outcome: "not-done",
      },
    ]);
    expect(await (await request("GET", "/kv/a")).text()).toBe("1");
    expect(await put({ "If-Match": '"9", "3"' }, "2")).toBe(200);
    expect(await (await request("GET", "/kv/a")).text()).toBe("2");
  });

  it("answer 304 to a read whose If-None-Match names the version", async () => {
    const { request } = await start();
    await request("PUT", "/kv/a", { body: "hello" });
    const same = await request("GET", "/kv/a", { headers: { "If-None-Match": '"2"' } });
    expect([same.status, same.headers.get("etag"), await same.text()]).toEqual([304, '"2"', ""]);
    expect((await request("GET", "/kv/a", { headers: { "If-None-Match": '"1"' } })).status).toBe(200);
  });

  it("read linearizably unless the request asks for less", async () => {
    const { node, request } = await start();
    await request("GET", "/kv/a");
    expect(node.consistency).toBe("linearizable");
    await request("GET", "/kv/a?consistency=stale");
    expect(node.consistency).toBe("stale");
    await request("GET", "/kv?consistency=stale");
    expect(node.consistency).toBe("stale");
    await request("GET", "/kv/a?consistency=lease");
    expect(node.consistency).toBe("lease");
  });

  it("say how old a stale answer may be, and add the header to no other answer", async () => {
    const { node, request } = await start();
    await request("PUT", "/kv/a", { body: "x" });
    for (const target of ["/kv/a", "/kv/none", "/kv"]) {
      const stale = await request("GET", `${target}?consistency=stale`);
      expect(stale.headers.get("keelson-staleness"), target).toBe("applied=7, commit=9, leader-heard-ms=13");
      expect((await request("GET", target)).headers.get("keelson-staleness")).toBeNull();
    }
    node.staleness = () => ({ appliedIndex: 7, commitIndex: 9, leaderHeardMsAgo: null });
    const cutOff = await request("GET", "/kv/a?consistency=stale");
    expect(cutOff.headers.get("keelson-staleness")).toBe("applied=7, commit=9");
  });

  it.each([
    ["PUT", "/kv/", "the key is empty; a key has 1 to 1024 bytes"],
    ["GET", `/kv/${"k".repeat(1025)}`, "the key has 1025 bytes; the limit is 1024"],
    ["GET", "/kv/%zz", 'the key: "%zz" is not a percent sign and two hexadecimal digits'],
    ["GET", "/kv/a?consistency=some", 'consistency is one of linearizable, lease, stale, not "some"'],
    ["PUT", "/kv/a?ttl=5", 'unknown parameter "ttl"; known here: none'],
    ["GET", "/kv?limit=0", 'limit is a whole number from 1 to 1000, not "0"'],
    ["GET", "/kv?limit=1001", 'limit is a whole number from 1 to 1000, not "1001"'],
  ])("answer %s %s with 400 and say what is wrong", async (method, target, message) => {
    const { request } = await start();
    const response = await request(method, target);
    expect([response.status, await errorOf(response)]).toEqual([
      400,
      { code: "BAD_REQUEST", message, outcome: "not-done" },
    ]);
  });

  it("answer 400 to an invalid condition", async () => {
    const { request } = await start();
    const response = await request("PUT", "/kv/a", { headers: { "If-Match": "2" }, body: "x" });
    expect([response.status, (await errorOf(response)).code]).toEqual([400, "BAD_REQUEST"]);
    expect((await request("GET", "/kv/a")).status).toBe(404);
  });
});

describe("the size of a value", () => {
  it("may be VALUE_BYTES_MAX", async () => {
    const { request } = await start();
    const response = await request("PUT", "/kv/a", { body: new Uint8Array(VALUE_BYTES_MAX).fill(7) });
    expect(response.status).toBe(200);
    const got = await (await request("GET", "/kv/a")).arrayBuffer();
    expect(got.byteLength).toBe(VALUE_BYTES_MAX);
  });

  it("is refused by its Content-Length if too large, and the connection is closed", async () => {
    const { server } = await start();
    const answer = await raw(
      server.address,
      `PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${VALUE_BYTES_MAX + 1}\r\n\r\n`,
    );
    expect(answer).toMatch(/^HTTP\/1\.1 413 /);
    expect(answer).toMatch(/\r\nconnection: close\r\n/i);
    expect(answer).toContain(
      '{"error":{"code":"VALUE_TOO_LARGE","message":"a value has at most 1046528 bytes","outcome":"not-done"}}',
    );
  });

  it("is refused during a chunked body if too large, and the connection is closed", async () => {
    const { server, request } = await start();
    const chunk = `10000\r\n${"v".repeat(0x10000)}\r\n`;
    const answer = await raw(
      server.address,
      "PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
      // The body has no end: the server must refuse it before.
      (write) => {
        for (let at = 0; at < 17; at++) write(chunk);
      },
    );
    expect(answer).toMatch(/^HTTP\/1\.1 413 /);
    expect((await request("GET", "/kv/a")).status).toBe(404);
  });

  it("is released if the client disconnects before the body is complete", async () => {
    const { server, mistakes, request } = await start();
    const [host = "", port = ""] = server.address.split(":");
    const socket = createConnection({ host, port: Number(port) });
    await once(socket, "connect");
    socket.write("PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf");
    socket.end();
    const counted = 'keelson_http_requests_total{method="PUT",route="/kv/:key",status="400"} 1';
    await vi.waitFor(async () => {
      expect(await (await request("GET", "/metrics")).text()).toContain(counted);
    });
    expect((await request("GET", "/kv/a")).status).toBe(404);
    expect(mistakes).toEqual([]);
  });
});

describe("a request that fails", () => {
  const leader = {
    id: "n2",
    address: "127.0.0.1:7002",
    info: '{"line":"127.0.0.1:8002","http":"127.0.0.1:9002"}',
  };

  it("on a follower is redirected to the leader, with the path byte for byte", async () => {
    const { node, request } = await start();
    node.failure = new NotLeaderError(leader);
    const response = await request("PUT", "/kv/a%2Fb%FF/c", { body: "x" });
    expect([response.status, response.headers.get("location")]).toEqual([
      307,
      "http://127.0.0.1:9002/kv/a%2Fb%FF/c",
    ]);
    expect(await errorOf(response)).toEqual({
      code: "NOT_LEADER",
      message: "the leader is n2",
      outcome: "not-done",
    });
    const deleted = await request("DELETE", "/kv/x");
    expect([deleted.status, deleted.headers.get("location")]).toEqual([307, "http://127.0.0.1:9002/kv/x"]);
  });

  it.each([
    ["no leader", new NotLeaderError(null), 503, "not-done"],
    ["a leader without an address", new NotLeaderError({ ...leader, info: null }), 503, "not-done"],
    ["a command that was overwritten", new CommandLostError("another leader overwrote it"), 503, "not-done"],
    ["a node that closes", new ClosedError("not-done"), 503, "not-done"],
    ["a wait that ended too early", new AbortedError("not-done", "no answer"), 503, "not-done"],
    ["an unknown outcome", new OutcomeUnknownError("perhaps"), 504, "unknown"],
    ["a wait that ended too late", new AbortedError("unknown", "no answer"), 504, "unknown"],
    ["a node that closed meanwhile", new ClosedError("unknown"), 504, "unknown"],
    ["a disk that failed", new StorageFailedError("EIO", "unknown"), 504, "unknown"],
    ["a command that is too large", new CommandTooLargeError(2, 1), 413, "not-done"],
    ["overload", new OverloadedError("too much"), 429, "not-done"],
  ])("because of %s gets the error's status, code and outcome", async (_, failure, status, outcome) => {
    const { node, request } = await start();
    node.failure = failure;
    const response = await request("PUT", "/kv/a", { body: "x" });
    const error = await errorOf(response);
    expect([response.status, error.code, error.outcome]).toEqual([status, failure.code, outcome]);
    expect(response.headers.get("retry-after")).toBe([503, 429].includes(status) ? "1" : null);
    if (status === 504) expect(error.message).toMatch(/^the outcome is unknown: /);
  });

  it("because of a bug gets a 500, and only the log gets the error", async () => {
    const { node, mistakes, request } = await start();
    node.failure = new TypeError("x is not a function");
    const response = await request("GET", "/kv/a");
    expect([response.status, (await errorOf(response)).code]).toEqual([500, "INTERNAL"]);
    expect(mistakes).toEqual([node.failure]);
  });

  it("for an unknown route gets 404 with the paths, or 405 with the methods", async () => {
    const { request } = await start();
    const lost = await request("GET", "/keys");
    expect([lost.status, (await errorOf(lost)).code]).toEqual([404, "NO_ROUTE"]);
    const wrong = await request("POST", "/kv/a", { body: "x" });
    expect([wrong.status, wrong.headers.get("allow"), (await errorOf(wrong)).code]).toEqual([
      405,
      "GET, HEAD, PUT, DELETE",
      "METHOD_NOT_ALLOWED",
    ]);
    expect((await request("DELETE", "/status")).status).toBe(405);
  });
});

describe("GET /kv", () => {
  it("lists keys page by page, each with the path of the next", async () => {
    const { request } = await start();
    for (const key of ["b", "a%20x", "a%FF", "a%26b", "c"])
      await request("PUT", `/kv/${key}`, { body: "123" });
    const first = (await (await request("GET", "/kv?prefix=a&limit=2")).json()) as {
      keys: object[];
      next: string;
    };
    expect(first.keys).toEqual([
      { key: "a x", version: 3, bytes: 3 },
      { key: "a&b", version: 5, bytes: 3 },
    ]);
    expect(first.next).toBe("/kv?prefix=a&limit=2&after=a%26b");
    const second = (await (await request("GET", first.next)).json()) as {
      keys: object[];
      next: string | null;
    };
    expect(second).toEqual({ keys: [{ key: "Yf8=", encoding: "base64", version: 4, bytes: 3 }], next: null });
  });

  it("keeps the first page's consistency in the path of the next", async () => {
    const { node, request } = await start();
    await request("PUT", "/kv/a");
    await request("PUT", "/kv/b");
    const { next } = (await (await request("GET", "/kv?limit=1&consistency=stale")).json()) as {
      next: string;
    };
    await request("GET", next);
    expect(node.consistency).toBe("stale");
  });
});

describe("the state of the node", () => {
  it("is at /status", async () => {
    const { node, request } = await start();
    const response = await request("GET", "/status");
    expect(await response.json()).toEqual({
      id: "n1",
      pid: process.pid,
      clusterId: "c",
      role: "leader",
      term: 1,
      leader: { id: "n1", address: "127.0.0.1:7001" },
      commit: 1,
      applied: 1,
      durable: 1,
      first: 1,
      last: 1,
      changing: false,
      members: [
        {
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
        },
      ],
      pending: { entries: 0, bytes: 0, reads: 0 },
      stalled: null,
      sessions: { open: 0, bytes: 0, timeMs: 0 },
      snapshots: null,
      counters: node.metrics().counters,
    });
  });

  it("is at /metrics in Prometheus' text format, as of the request", async () => {
    const { node, request } = await start();
    await request("PUT", "/kv/a", { body: "x" });
    await request("GET", "/kv/b");
    const first = await request("GET", "/metrics");
    expect(first.headers.get("content-type")).toMatch(/^text\/plain; version=0\.0\.4/);
    const text = await first.text();
    for (const line of [
      'keelson_role{role="leader"} 1',
      'keelson_role{role="follower"} 0',
      'keelson_stalled_seconds{part="log"} 0',
      'keelson_stalled_seconds{part="snapshot-store"} 0',
      "keelson_term 1",
      "keelson_commit_index 2",
      "keelson_applied_index 2",
      "keelson_pending_entries 0",
      "keelson_forwarded_calls 3",
      'keelson_member_lag_entries{member="n1"} 0',
      "keelson_messages_dropped_total 8",
      'keelson_http_requests_total{method="PUT",route="/kv/:key",status="200"} 1',
      'keelson_http_requests_total{method="GET",route="/kv/:key",status="404"} 1',
      "keelson_write_seconds_count 1",
      "# TYPE keelson_log_write_seconds histogram",
      'keelson_log_write_seconds_bucket{le="0.001"} 2',
      'keelson_log_write_seconds_bucket{le="+Inf"} 3',
      "keelson_log_write_seconds_sum 0.0125",
      "keelson_log_write_seconds_count 3",
      "keelson_log_write_recent_max_seconds 0.011",
    ]) {
      expect(text.split("\n")).toContain(line);
    }
    node.metricsChanges = { role: "follower", members: [] };
    const later = await (await request("GET", "/metrics")).text();
    expect(later).toContain('keelson_role{role="leader"} 0');
    expect(later).toContain("keelson_messages_dropped_total 8\n");
    expect(later).not.toContain('member="n1"');
  });

  it("is at /healthz, with 503 when the node has stopped", async () => {
    const { node, request } = await start();
    expect((await request("GET", "/healthz")).status).toBe(200);
    node.metricsChanges = { leader: null, role: "candidate" };
    expect((await request("GET", "/healthz")).status).toBe(200);
    node.metricsChanges = { role: "stopped" };
    const response = await request("GET", "/healthz");
    expect([response.status, (await errorOf(response)).code]).toEqual([503, "STOPPED"]);
  });

  it.each([
    [{ leader: null }, 503, "NO_LEADER"],
    [{ role: "stopped" } as const, 503, "STOPPED"],
    [{ role: "removed" } as const, 503, "REMOVED"],
    [{ commitIndex: 1101, appliedIndex: 100 }, 503, "CATCHING_UP"],
    [{ stalled: { part: "state-machine", call: "applying entry 7", ms: 9000 } } as const, 503, "STALLED"],
    [{ commitIndex: 1100, appliedIndex: 100 }, 200, null],
  ])("is at /readyz: with %j the status is %i", async (changes, status, code) => {
    const { node, request } = await start();
    node.metricsChanges = changes;
    const response = await request("GET", "/readyz");
    expect(response.status).toBe(status);
    if (code !== null) expect((await errorOf(response)).code).toBe(code);
  });
});

describe("the HTTP server", () => {
  it("answers 503 until it is given a node", async () => {
    const server = await HttpServer.listen(ANY_PORT);
    onTestFinished(() => server.close());
    const response = await fetch(`http://${server.address}/healthz`);
    expect([response.status, response.headers.get("retry-after"), (await errorOf(response)).code]).toEqual([
      503,
      "1",
      "STARTING",
    ]);
  });

  it("sends the answer to a request under way when it closes", async () => {
    const { server, node, request } = await start();
    const gate = Promise.withResolvers<undefined>();
    const arrived = Promise.withResolvers<undefined>();
    node.read = async <T>(query: () => T | Promise<T>): Promise<T> => {
      arrived.resolve(undefined);
      await gate.promise;
      return query();
    };
    const answer = request("GET", "/kv/a");
    await arrived.promise;
    const closed = server.close();
    gate.resolve(undefined);
    expect((await answer).status).toBe(404);
    await closed;
    await expect(request("GET", "/kv/a")).rejects.toThrow();
  });
});
