import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { HttpServer } from "../http/http-server.ts";
import { LineServer, type LineServerLimits } from "../line/line-server.ts";
import type { Serving } from "../node/kv-node.ts";
import { ClientConnections } from "../shared/client-connections.ts";
import { StartError } from "../shared/errors.ts";
import { LineClient } from "../test/line-client.ts";
import { exchange, statusesIn } from "../test/raw-client.ts";
import { ANY_PORT, fakeServing } from "../test/serving.ts";
import { errorOf, start, withToken } from "../test/started-http.ts";
import { Access, OPEN_RULES, type AccessRules } from "./access.ts";
import {
  BINARY_RIGHTS,
  HTTP_RIGHTS,
  isEnough,
  LINE_RIGHTS,
  rightOfRoute,
  ROLES,
  type Role,
} from "./rights.ts";
import { digestOf, formatEntry, newToken, parseTokens, Tokens } from "./tokens.ts";

const TOKENS: Readonly<Record<Role, string>> = { read: newToken(), write: newToken(), operate: newToken() };
const RULES: AccessRules = {
  tokens: new Tokens(ROLES.map((role) => ({ name: role, role, digest: digestOf(TOKENS[role]) }))),
  clients: "token",
  operators: "token",
};

/** A node that notes everything that is looked at. Requests that get as far as that fail. */
function trap(): { readonly serving: Serving; readonly touched: string[] } {
  const touched: string[] = [];
  const target = (name: string): object =>
    new Proxy(
      {},
      {
        get: (_, key) => {
          touched.push(`${name}.${String(key)}`);
          throw new Error("a trap");
        },
      },
    );
  const serving = {
    node: target("node"),
    store: target("store"),
    snapshots: target("snapshots"),
  };
  return { serving: serving as unknown as Serving, touched };
}

async function trappedHttp(rules: AccessRules) {
  const { serving, touched } = trap();
  const server = await HttpServer.listen(ANY_PORT, { access: new Access(rules) });
  onTestFinished(() => server.close());
  server.serve(serving);
  return { server, touched };
}

/** A target for each route, by its label. */
function targetOf(label: string): string {
  return label.replace(":key", "a").replace(":session", "1").replace(":id", "n2");
}

function wrongTokens(): string[] {
  const { operate } = TOKENS;
  return [
    operate.slice(1),
    `${operate}0`,
    operate.toUpperCase(),
    digestOf(operate).toString("hex"),
    `sha256:${digestOf(operate).toString("hex")}`,
    newToken(),
  ];
}

describe("the rights of roles", () => {
  it("are stated for every route of the server, and for no other", async () => {
    const { server } = await trappedHttp(OPEN_RULES);
    expect([...server.routes].sort()).toEqual(Object.keys(HTTP_RIGHTS).sort());
  });

  it("are the strongest for a route that is not in the table", () => {
    expect(rightOfRoute("GET", "/new")).toBe("operate");
    expect(rightOfRoute("PATCH", "/kv/:key")).toBe("operate");
    expect(rightOfRoute("constructor", "")).toBe("operate");
    expect(rightOfRoute("HEAD", "/snapshot")).toBe("operate");
  });

  it("are documented as they are", () => {
    const text = readFileSync(path.join(import.meta.dirname, "../../../../docs/operations.md"), "utf8");
    const rows = [...text.matchAll(/^\| `([A-Z]+ \/[^`]*)` +\| (anyone|read|write|operate) +\|/gm)];
    const lines = [
      ...text.matchAll(/^\| `(auth|get|put|del) [A-Z ]+` +\| (anyone|read|write|operate) +\|/gm),
    ];
    const calls = text.slice(text.indexOf("| binary call")).split("\n\n")[0] ?? "";
    const binary = [...calls.matchAll(/^\| `([a-z-]+)` +\| (anyone|read|write|operate) +\|/gm)];
    const asTable = (found: typeof rows): Record<string, unknown> =>
      Object.fromEntries(found.map(([, name = "", right]) => [name, right] as const));
    expect(asTable(rows)).toEqual(HTTP_RIGHTS);
    expect(asTable(lines)).toEqual(LINE_RIGHTS);
    expect(asTable(binary)).toEqual(BINARY_RIGHTS);
  });

  it("are the same for a call of the binary protocol as by HTTP", () => {
    expect(BINARY_RIGHTS).toEqual({
      get: HTTP_RIGHTS["GET /kv/:key"],
      list: HTTP_RIGHTS["GET /kv"],
      put: HTTP_RIGHTS["PUT /kv/:key"],
      delete: HTTP_RIGHTS["DELETE /kv/:key"],
      "open-session": HTTP_RIGHTS["POST /sessions"],
      "end-session": HTTP_RIGHTS["DELETE /sessions/:session"],
    });
  });

  it("grow from role to role", () => {
    expect(ROLES.map((role) => ROLES.map((right) => isEnough(role, right)))).toEqual([
      [true, false, false],
      [true, true, false],
      [true, true, true],
    ]);
  });
});

describe("HTTP with tokens", () => {
  it.each(Object.entries(HTTP_RIGHTS))(
    "lets only the right tokens get to %s, which needs %s",
    async (route, right) => {
      const { server, touched } = await trappedHttp(RULES);
      const [method = "", label = ""] = route.split(" ");
      const request = (authorization: string | null, host = server.address): Promise<string> =>
        exchange(
          server.address,
          `${method} ${targetOf(label)} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n` +
            (authorization === null ? "" : `Authorization: ${authorization}\r\n`) +
            (method === "PUT" || method === "POST" ? "Content-Length: 2\r\n\r\n{}" : "\r\n"),
        );
      const strangers = [
        null,
        "Bearer",
        "Bearer ",
        `Basic ${TOKENS.operate}`,
        `Bearer ${TOKENS.operate} x`,
        `Bearer  ${TOKENS.operate}x`,
        ...wrongTokens().map((token) => `Bearer ${token}`),
      ];
      for (const authorization of strangers) {
        const [status] = statusesIn(await request(authorization));
        if (right === "anyone") expect(status).not.toBe(401);
        else expect([status, touched], String(authorization)).toEqual([401, []]);
      }
      for (const role of ROLES) {
        const [status] = statusesIn(await request(`Bearer ${TOKENS[role]}`));
        if (isEnough(role, right)) expect([401, 403], role).not.toContain(status);
        else expect([status, touched], role).toEqual([403, []]);
      }
    },
  );

  it("tells strangers nothing about paths, and the holder of a token which there are", async () => {
    const { server } = await trappedHttp(RULES);
    const status = async (method: string, target: string, token?: string): Promise<number> => {
      const headers = token === undefined ? {} : { Authorization: `Bearer ${token}` };
      return (await fetch(`http://${server.address}${target}`, { method, headers })).status;
    };
    expect([await status("GET", "/none"), await status("PATCH", "/kv/a")]).toEqual([401, 401]);
    expect(await status("GET", "/none", TOKENS.read)).toBe(404);
    expect(await status("PATCH", "/kv/a", TOKENS.read)).toBe(405);
  });

  it("still refuses what a web page sends without a token, and takes no token from anywhere but its header", async () => {
    const { server, touched } = await trappedHttp(RULES);
    const get = (target: string, headers: Record<string, string>): Promise<number> =>
      fetch(`http://${server.address}${target}`, { headers }).then(({ status }) => status);
    expect(await get("/kv/a", { Origin: "http://evil.example" })).toBe(403);
    expect(
      await get("/kv/a", { Cookie: `token=${TOKENS.operate}; Authorization=Bearer ${TOKENS.operate}` }),
    ).toBe(401);
    expect(await get(`/kv/a?token=${TOKENS.operate}&access_token=${TOKENS.operate}`, {})).toBe(401);
    expect(await get("/kv/a", { "Proxy-Authorization": `Bearer ${TOKENS.operate}` })).toBe(401);
    expect(touched).toEqual([]);
  });

  it("names the token's role if it isn't enough, and never the token", async () => {
    const { request } = await start(withToken(TOKENS.read, "read", "token"));
    const refused = await request("PUT", "/kv/a", {
      headers: { Authorization: `Bearer ${TOKENS.read}` },
      body: "1",
    });
    expect(refused.status).toBe(403);
    const { code, message, outcome } = await errorOf(refused);
    expect([code, outcome]).toEqual(["FORBIDDEN", "not-done"]);
    expect(message).toBe("the token a-read has the role read, and this needs write");
  });

  it("obeys changed tokens at the next request, on open connections as well", async () => {
    const access = new Access(RULES);
    const { request } = await start(undefined, { access });
    const headers = { Authorization: `Bearer ${TOKENS.read}` };
    expect((await request("GET", "/kv", { headers })).status).toBe(200);
    access.replace({ ...RULES, tokens: new Tokens([]) });
    expect((await request("GET", "/kv", { headers })).status).toBe(401);
  });
});

describe("the line protocol with tokens", () => {
  async function startLine(
    access: Access,
    limits: Partial<LineServerLimits> = {},
    connections = new ClientConnections(),
  ) {
    const { node, store } = await fakeServing();
    const server = await LineServer.listen(ANY_PORT, limits, { access, connections });
    onTestFinished(() => server.close());
    server.serve({ node, store });
    const connect = async (): Promise<LineClient> => {
      const client = await LineClient.connect(server.address);
      onTestFinished(() => {
        client.close();
      });
      return client;
    };
    return { server, connect };
  }

  it("lets only the right tokens read and write", async () => {
    const { connect } = await startLine(new Access(RULES));
    for (const role of ROLES) {
      const client = await connect();
      expect(await client.ask("get a")).toBe(
        "Error: this needs a token of the role read; send it first: auth TOKEN",
      );
      expect(await client.ask("put a 1")).toMatch(/^Error: this needs a token of the role write/);
      expect(await client.ask("del a")).toMatch(/^Error: this needs a token of the role write/);
      expect(await client.ask(`auth ${TOKENS[role]}`)).toBe(`Ok: ${role} may ${role}`);
      expect(await client.ask("get a")).toBe("Error: value does not exist");
      const put = await client.ask("put a 1");
      if (isEnough(role, "write")) expect(put).toMatch(/^Ok: Appended at/);
      else expect(put).toBe("Error: the token read has the role read, and this needs write");
      if (isEnough(role, "write")) expect(await client.ask("del a")).toMatch(/^Ok: Appended at/);
    }
  });

  it("looks at nothing for a client without a token, and closes after three wrong ones", async () => {
    const { serving, touched } = trap();
    const server = await LineServer.listen(ANY_PORT, {}, { access: new Access(RULES) });
    onTestFinished(() => server.close());
    server.serve(serving);
    const lines = [
      "get a",
      "put a 1",
      "del a",
      ...wrongTokens()
        .slice(0, 3)
        .map((token) => `auth ${token}`),
    ];
    const answers = await exchange(server.address, `${lines.join("\n")}\nget a\n`);
    expect(touched).toEqual([]);
    const last = answers.trimEnd().split("\n");
    expect(last).toHaveLength(7);
    expect(last.slice(3)).toEqual([
      ...Array<string>(3).fill("Error: the token is wrong"),
      "Error: 3 wrong tokens; goodbye",
    ]);
  });

  it("closes a connection on which no token came in time, and takes no long lines from it", async () => {
    const { connect } = await startLine(new Access(RULES), { authMsMax: 200 });
    const client = await connect();
    expect(await client.ask(`put a ${"x".repeat(5000)}`)).toBe(
      "Error: the line is longer than 2048 bytes; it was left out; longer ones need a token, sent first: auth TOKEN",
    );
    expect(await client.line()).toBe("Error: no token came within 0.2 s; goodbye");
    expect(await client.line()).toBeNull();
    const known = await connect();
    expect(await known.ask(`auth ${TOKENS.write}`)).toMatch(/^Ok/);
    expect(await known.ask(`put a ${"x".repeat(5000)}`)).toMatch(/^Ok/);
  });

  it("obeys changed tokens at the next command of an open connection", async () => {
    const access = new Access(RULES);
    const { connect } = await startLine(access);
    const client = await connect();
    expect(await client.ask(`auth ${TOKENS.write}`)).toMatch(/^Ok/);
    access.replace({ ...RULES, tokens: new Tokens([]) });
    expect(await client.ask("get a")).toMatch(/^Error: this needs a token/);
  });

  it.each([
    ["its own limit", 3, 4352],
    ["the limit of all clients", 256, 3],
  ])(
    "makes room at %s by closing the oldest without a valid token, and none with one",
    async (_, own, all) => {
      const access = new Access(RULES);
      const { connect } = await startLine(access, { connectionsMax: own }, new ClientConnections(all));
      const connectWith = async (token: string): Promise<LineClient> => {
        const client = await connect();
        expect(await client.ask(`auth ${token}`)).toMatch(/^Ok/);
        return client;
      };
      const first = await connectWith(TOKENS.write);
      const silent = [await connect(), await connect()];
      const second = await connectWith(TOKENS.read);
      expect(await silent[0]?.line()).toBeNull();
      const third = await connectWith(TOKENS.write);
      expect(await silent[1]?.line()).toBeNull();
      const refused = await connect();
      expect(await refused.line()).toBe("Error: too many connections; the limit is 3");
      // The second client's token is taken back.
      access.replace({
        ...RULES,
        tokens: new Tokens(RULES.tokens.entries.filter(({ role }) => role !== "read")),
      });
      await connectWith(TOKENS.write);
      expect(await second.line()).toBeNull();
      for (const client of [first, third])
        expect(await client.ask("get a")).toBe("Error: value does not exist");
    },
  );

  it("has no use for a token if none is needed", async () => {
    const { connect } = await startLine(new Access());
    const client = await connect();
    expect(await client.ask(`auth ${TOKENS.read}`)).toBe("Error: the token is wrong");
    expect(await client.ask("put a 1")).toBe("Ok: Appended at 0");
  });
});

describe("a list of tokens", () => {
  const entry = { name: "grafana", role: "read", digest: digestOf(TOKENS.read) } as const;

  it("holds hashes, and finds a token by its own", () => {
    const text = `# who\n\n${formatEntry(entry)}`;
    expect(text).not.toContain(TOKENS.read);
    const tokens = new Tokens(parseTokens(text, "tokens"));
    expect(tokens.find(digestOf(TOKENS.read))).toEqual(entry);
    expect(tokens.find(digestOf(TOKENS.write))).toBeNull();
    expect(tokens.find(digestOf(digestOf(TOKENS.read).toString("hex")))).toBeNull();
    for (let at = 0; at < entry.digest.length; at++) {
      const almost = Buffer.from(entry.digest);
      almost[at] = (almost[at] ?? 0) ^ 1;
      expect(tokens.find(almost), `byte ${at}`).toBeNull();
    }
  });

  it.each([
    [`grafana read ${TOKENS.read}`, "it should be NAME ROLE sha256:HEX, as keelson token writes it"],
    ["grafana admin sha256:" + "0".repeat(64), "there is no such role; there are read, write, operate"],
    ["a b read sha256:" + "0".repeat(64), "it should be NAME ROLE sha256:HEX, as keelson token writes it"],
    [`${formatEntry(entry)}${formatEntry(entry)}`, "a second token is called grafana"],
    [formatEntry(entry) + formatEntry({ ...entry, name: "b" }), "the token stands on another line too"],
  ])("is refused with what is wrong, without the line itself: %j", (text, reason) => {
    let message = "";
    try {
      parseTokens(text, "tokens");
    } catch (error) {
      expect(error).toBeInstanceOf(StartError);
      message = String(error);
    }
    expect(message).toContain(reason);
    expect(message).not.toContain(TOKENS.read);
    expect(message).not.toContain("sha256:0");
  });
});
