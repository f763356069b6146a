import { createServer, type IncomingMessage } from "node:http";
import path from "node:path";
import { writeFileSync } from "node:fs";
import { describe, expect, it, onTestFinished } from "vitest";
import { backup } from "../cli/backup.ts";
import { listen } from "../shared/listen.ts";
import { ANY_PORT } from "../test/serving.ts";
import { BinaryStub } from "../test/stub-node.ts";
import { temporaryDirectory } from "../test/temporary.ts";
import { AdminClient } from "./admin-client.ts";
import { KvClientError } from "./client-error.ts";
import { KnownNodes, REDIRECT_REFUSED } from "./known-nodes.ts";
import { KvClient } from "./kv-client.ts";

const TOKEN = "canary-0123456789abcdef";
const NOT_LEADER = '{"error":{"code":"NOT_LEADER","message":"n2 leads","outcome":"not-done"}}';

/** A server that notes what it is sent, and redirects everything to `leader` if that is given. */
async function recording(leader?: () => string): Promise<{ address: string; requests: IncomingMessage[] }> {
  const requests: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    requests.push(request);
    if (leader === undefined) response.end('{"index":1,"version":2,"leader":"n2"}');
    else response.writeHead(307, { Location: `http://${leader()}${request.url ?? ""}` }).end(NOT_LEADER);
  });
  const { port } = await listen(server, ANY_PORT);
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { address: `127.0.0.1:${port}`, requests };
}

async function codeOf(promise: Promise<unknown>): Promise<unknown> {
  const error: unknown = await promise.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  return error instanceof KvClientError ? [error.code, error.outcome] : error;
}

describe("a token", () => {
  it("goes to no host that the client wasn't told about, whichever of our clients sends it", async () => {
    const stranger = await recording();
    const node = await recording(() => stranger.address);
    const refused = [REDIRECT_REFUSED, "not-done"];
    const client = new KvClient({ nodes: [node.address], token: TOKEN, sessions: false });
    expect(await codeOf(client.put("a", "1"))).toEqual(refused);
    expect(await codeOf(client.get("a"))).toEqual(refused);
    const admin = new AdminClient([node.address], { token: TOKEN });
    expect(await codeOf(admin.change("DELETE", "/members/n1"))).toEqual(refused);
    expect(await codeOf(admin.transfer("n2"))).toEqual(refused);
    const tokenFile = path.join(temporaryDirectory(), "token");
    writeFileSync(tokenFile, TOKEN, { mode: 0o600 });
    const file = path.join(temporaryDirectory(), "b");
    const options = { file, nodes: [node.address], force: false, stale: false, tokenFile };
    await expect(backup(options, () => undefined)).rejects.toThrow(
      /isn't among the nodes that this client was told/,
    );
    expect(stranger.requests).toEqual([]);
    expect(node.requests.map(({ headers }) => headers.authorization)).toEqual(
      Array<string>(5).fill(`Bearer ${TOKEN}`),
    );
  });

  it("goes in the hello to nodes that the client was told about only, in the binary protocol", async () => {
    const stranger = await BinaryStub.listen();
    const tokens: (string | null)[] = [];
    const node = await BinaryStub.listen({
      onCalls: (connection, calls) => {
        tokens.push(connection.token);
        const error = { status: 307, code: "NOT_LEADER", message: "n2 leads", outcome: "not-done" } as const;
        const leader = `http://${stranger.address}`;
        for (const { id } of calls)
          connection.writer.error(id, { ...error, leader, version: null, retryAfterMs: 0 });
        connection.send();
      },
    });
    const client = new KvClient({ nodes: [node.address], token: TOKEN, sessions: false });
    expect(await codeOf(client.put("a", "1"))).toEqual([REDIRECT_REFUSED, "not-done"]);
    expect(await codeOf(client.get("a"))).toEqual([REDIRECT_REFUSED, "not-done"]);
    expect([tokens, stranger.connections]).toEqual([[TOKEN, TOKEN], []]);
    const open = new KvClient({ nodes: [node.address], sessions: false, timeoutMs: 300 });
    await codeOf(open.get("a"));
    expect(stranger.connections.map(({ token }) => token)).toEqual([null]);
  });

  it("that is refused ends the calls with UNAUTHORIZED at once", async () => {
    const node = await BinaryStub.listen({
      onHello: ({ writer, socket }) => {
        writer.opening();
        writer.goodbye({ code: "UNAUTHORIZED", message: "the token is wrong", framesTaken: 0 });
        socket.end(writer.take());
      },
    });
    const client = new KvClient({ nodes: [node.address], token: TOKEN });
    expect(await codeOf(client.get("a"))).toEqual(["UNAUTHORIZED", "not-done"]);
    expect(await codeOf(client.put("a", "1"))).toEqual(["UNAUTHORIZED", "not-done"]);
    expect(node.connections).toHaveLength(2);
  });

  it("follows to a node that the client was told about; without one, a client follows anywhere", async () => {
    const leader = await recording();
    const node = await recording(() => leader.address);
    const nodes = [node.address, leader.address];
    await new KvClient({ nodes, token: TOKEN, sessions: false }).put("a", "1");
    expect(await new AdminClient(nodes, { token: TOKEN }).transfer()).toBe("n2");
    expect(leader.requests.map(({ headers }) => headers.authorization)).toEqual(
      Array<string>(2).fill(`Bearer ${TOKEN}`),
    );
    await new KvClient({ nodes: [node.address], sessions: false }).put("a", "1");
    expect(leader.requests.at(-1)?.headers.authorization).toBeUndefined();
  });

  it("isn't asked for from the leader that a member names, if the client wasn't told about it", async () => {
    const stranger = await recording();
    const members = { id: "n1", clusterId: null, role: "follower", term: 1, changing: false, members: [] };
    const server = createServer((_, response) => {
      response.end(JSON.stringify({ ...members, leader: { id: "n2", http: stranger.address } }));
    });
    const { port } = await listen(server, ANY_PORT);
    onTestFinished(() => void server.close());
    const admin = new AdminClient([`127.0.0.1:${port}`], { token: TOKEN });
    expect((await admin.members()).role).toBe("follower");
    expect(stranger.requests).toEqual([]);
  });

  it("that no header could carry is refused without being quoted", () => {
    const bad = `${TOKEN}\r\nX: y`;
    let text = "";
    try {
      new KvClient({ nodes: ["h:1"], token: bad });
    } catch (error) {
      text = String(error);
    }
    expect(text).toMatch(/^RangeError: the token is not 16 to 1024/);
    expect(text).not.toContain(TOKEN);
  });
});

describe("a redirect", () => {
  const follow = (nodes: string[], hasToken: boolean, from: string, location: string): string | null => {
    try {
      return new KnownNodes(nodes, hasToken).follow(from, location);
    } catch (error) {
      return error instanceof KvClientError ? error.code : String(error);
    }
  };

  it.each([
    // From a node with TLS, nothing goes to one without; a known node keeps its TLS.
    [["https://a:1", "https://b:2"], "https://a:1", "https://b:2/kv/x", "https://b:2", "https://b:2"],
    [["https://a:1", "https://b:2"], "https://a:1", "http://b:2/kv/x", "https://b:2", "https://b:2"],
    [["https://a:1"], "https://a:1", "http://b:2/kv/x", REDIRECT_REFUSED, REDIRECT_REFUSED],
    [["https://a:1", "b:2"], "https://a:1", "http://b:2/kv/x", REDIRECT_REFUSED, REDIRECT_REFUSED],
    // To a node with TLS, yes; with a token only if its address is known.
    [["a:1", "b:2"], "a:1", "https://b:2/kv/x", "https://b:2", "https://b:2"],
    [["a:1"], "a:1", "https://b:2/kv/x", REDIRECT_REFUSED, "https://b:2"],
    [["a:1"], "a:1", "http://b:2/kv/x", REDIRECT_REFUSED, "b:2"],
    // Another port, a user name, or another spelling make no host known.
    [["a:1"], "a:1", "http://a:2/", REDIRECT_REFUSED, "a:2"],
    [["a:1"], "a:1", "http://a:1@b:2/", REDIRECT_REFUSED, "b:2"],
    [["a:1"], "a:1", "http://A:1/", "a:1", "a:1"],
    [["a:1"], "a:1", "ftp://a:1/", null, null],
    [["a:1"], "a:1", "nowhere", null, null],
  ])(
    "from %j at %s to %s leads to %s with a token, and to %s without",
    (nodes, from, location, withToken, without) => {
      expect(follow(nodes, true, from, location)).toBe(withToken);
      expect(follow(nodes, false, from, location)).toBe(without);
    },
  );
});
