import { describe, expect, it } from "vitest";
import { OPEN_RULES } from "../access/access.ts";
import { start, withToken } from "../test/started-http.ts";
import { exchange, statusesIn } from "../test/raw-client.ts";

/**
 * Requests that a page can make a browser send without asking the server, or that reveal or cost something.
 */
const REQUESTS = [
  "GET /kv",
  "GET /kv/a",
  "PUT /kv/a",
  "DELETE /kv/a",
  "POST /sessions",
  "DELETE /sessions/1",
  "GET /members",
  "POST /members",
  "DELETE /members/n2",
  "POST /transfer",
  "GET /snapshot",
  "POST /snapshot",
  "GET /status",
  "GET /metrics",
];

async function statusOf(
  { server }: { server: { address: string } },
  request: string,
  ...headers: string[]
): Promise<number | undefined> {
  const lines = [`${request} HTTP/1.1`, ...headers, "Content-Length: 0", "Connection: close", "", ""];
  return statusesIn(await exchange(server.address, lines.join("\r\n")))[0];
}

describe("a request to a wrong host [Z16]", () => {
  it("is refused after a request to the right one on the same connection too", async () => {
    const { server } = await start();
    const requests = [
      ["Host: localhost"],
      ["Host: localhost"],
      ["Host: localhost", "host: evil.example"],
      ["Host: localhost", "hOST: localhost"],
      ["Host: evil.example"],
      ["Host: evil.example"],
      ["Host: LOCALHOST"],
      ["Host: localhost", "Connection: close"],
    ];
    const lines = requests.map((headers) => ["GET /kv/a HTTP/1.1", ...headers, "", ""].join("\r\n"));
    const statuses = statusesIn(await exchange(server.address, lines.join("")));
    expect(statuses).toEqual([404, 404, 400, 400, 403, 403, 404, 404]);
  });

  it("is refused if the target is a URL to it, after a request to the right one", async () => {
    const { server } = await start();
    const right = "GET /kv/a HTTP/1.1\r\nHost: localhost\r\n";
    const wrong = "GET http://evil.example/kv/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    expect(statusesIn(await exchange(server.address, `${right}\r\n${wrong}\r\n`))).toEqual([404, 403]);
  });

  it.each(REQUESTS)("is refused, as of a page on a rebound name: %s", async (request) => {
    const started = await start();
    expect(await statusOf(started, request, "Host: evil.example:9001")).toBe(403);
    expect([started.node.changes, started.node.sessionCalls]).toEqual([[], []]);
    expect(await statusOf(started, request, "Host: localhost")).not.toBe(403);
  });

  it.each([
    ["localhost", 404],
    ["LocalHost:1", 404],
    ["localhost.", 404],
    ["127.0.0.1:9001", 404],
    ["127.9.9.9", 404],
    ["127.1", 404],
    ["[::1]:9001", 404],
    ["[::ffff:127.0.0.1]", 404],
    ["", 404],
    ["node1.internal:80", 404],
    ["NODE1.internal.:80", 404],
    ["10.1.2.3", 404],
    ["evil.example", 403],
    ["localhost.evil.example", 403],
    ["127.0.0.1.evil.example", 403],
    ["evil.example#localhost", 403],
    ["localhost@evil.example", 403],
    ["evil.example/localhost", 403],
    ["localhost:80:80", 403],
    ["0.0.0.0", 403],
    ["[::]", 403],
    ["10.1.2.4", 403],
    ["a b", 403],
  ])("is told from one to this node: Host: %s gets %i", async (host, status) => {
    const started = await start(undefined, { names: ["node1.internal", "10.1.2.3"] });
    expect(await statusOf(started, "GET /kv/a", `Host: ${host}`)).toBe(status);
  });

  it("is refused too if the target is a whole URL, or if there are two hosts", async () => {
    const started = await start();
    expect(await statusOf(started, "GET http://evil.example/kv/a", "Host: localhost")).toBe(403);
    expect(await statusOf(started, "GET http://localhost@evil.example/kv/a", "Host: localhost")).toBe(403);
    expect(await statusOf(started, "GET http://localhost/kv/a", "Host: evil.example")).toBe(403);
    expect(await statusOf(started, "GET http://localhost/kv/a", "Host: localhost")).toBe(404);
    expect(await statusOf(started, "GET /kv/a", "Host: localhost", "Host: evil.example")).toBe(400);
    expect(await statusOf(started, "GET /kv/a")).toBe(400);
    expect(await exchange(started.server.address, "GET /kv/a HTTP/1.0\r\n\r\n")).toContain(" 404 ");
  });

  it("is allowed with the operators' token, which no page knows, and for health checks", async () => {
    const started = await start(withToken("0123456789abcdef"));
    const authorization = "Authorization: Bearer 0123456789abcdef";
    expect(await statusOf(started, "POST /snapshot", "Host: balancer", authorization)).toBe(200);
    expect(await statusOf(started, "POST /snapshot", "Host: balancer")).toBe(403);
    expect(await statusOf(started, "GET /healthz", "Host: balancer")).toBe(200);
    expect(await statusOf(started, "GET /readyz", "Host: balancer")).toBe(200);
  });
});

describe("a request by a page in a browser [Z16]", () => {
  const PAGES = [
    ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"],
    ["Sec-Fetch-Site: same-site"],
    ["Origin: http://evil.example"],
    ["Origin: http://localhost:3000"],
    ["Origin: https://localhost"],
    ["Origin: null"],
  ];

  it.each(REQUESTS)("is refused: %s", async (request) => {
    for (const operators of ["local", "everyone"] as const) {
      const started = await start({ ...OPEN_RULES, operators });
      for (const headers of PAGES) {
        expect(await statusOf(started, request, "Host: localhost", ...headers), headers[0]).toBe(403);
      }
      expect([started.node.changes, started.node.sessionCalls]).toEqual([[], []]);
    }
  });

  it("is refused for everything that costs or changes something, also if only the user agent shows it", async () => {
    const started = await start();
    const signs = ["User-Agent: Mozilla/5.0 (Linux)", "Sec-Fetch-Site: none", "Sec-Fetch-Site: same-origin"];
    for (const sign of signs) {
      for (const request of [
        "GET /snapshot",
        "POST /snapshot",
        "POST /sessions",
        "POST /members",
        "POST /transfer",
      ])
        expect(await statusOf(started, request, "Host: localhost", sign), `${request} ${sign}`).toBe(403);
      // A person may look at keys in a browser.
      expect(await statusOf(started, "GET /kv/a", "Host: localhost", sign)).toBe(404);
    }
    expect([started.node.changes, started.node.sessionCalls]).toEqual([[], []]);
  });

  it("gets no permission by CORS, and may not embed an answer", async () => {
    const { request } = await start();
    for (const method of ["OPTIONS", "GET"]) {
      const headers = method === "GET" ? {} : { "Access-Control-Request-Method": "PUT" };
      const answer = await request(method, "/kv/a", { headers });
      expect([...answer.headers.keys()].filter((name) => name.startsWith("access-control"))).toEqual([]);
      expect(answer.headers.get("cross-origin-resource-policy")).toBe("same-origin");
      expect(answer.headers.get("x-content-type-options")).toBe("nosniff");
    }
  });
});
