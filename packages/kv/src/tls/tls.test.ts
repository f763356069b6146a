import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { connect, createServer, type TLSSocket } from "node:tls";
import { createInterface } from "node:readline";
import { NotLeaderError } from "keelson";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { AdminClient } from "../client/admin-client.ts";
import { KvClientError } from "../client/client-error.ts";
import { KvClient, type KvClientOptions } from "../client/kv-client.ts";
import type { HttpServerLimits } from "../http/http-server.ts";
import { LineServer, type LineServerLimits } from "../line/line-server.ts";
import { ClientConnections } from "../shared/client-connections.ts";
import { pause } from "../shared/pause.ts";
import { connectTo } from "../test/raw-client.ts";
import { ANY_PORT, fakeServing } from "../test/serving.ts";
import { start, type Started } from "../test/started-http.ts";
import { TlsFiles } from "../test/tls-files.ts";

const WAIT = { timeout: 5000, interval: 10 };

/**
 * Single bytes that a client sends, each as a record of its own of 23 bytes. Node would take them all, in as
 * many buffers.
 */
const SINGLE_BYTES = 10_000;
/** What a server may read of them: what it reads at once (64 KiB), the handshake, and its read-ahead. */
const READ_MAX = 150_000;

async function sendSingleBytes(socket: TLSSocket): Promise<void> {
  // Node puts writes that wait for each other into one record.
  for (let at = 0; at < SINGLE_BYTES && !socket.destroyed; at++)
    await new Promise((resolve) => socket.write("x", resolve));
  await pause(100);
}

/** Remembers the TCP sockets of all connections. */
class NotedConnections extends ClientConnections {
  readonly carriers: Socket[] = [];

  override admit(socket: Socket): boolean {
    this.carriers.push(socket);
    return super.admit(socket);
  }
}

interface StartedTls extends Started {
  readonly files: TlsFiles;
  readonly connections: NotedConnections;
  readonly client: (options?: Partial<KvClientOptions>) => KvClient;
}

async function startHttp(
  options: { mutual?: boolean; limits?: Partial<HttpServerLimits>; files?: TlsFiles; max?: number } = {},
): Promise<StartedTls> {
  const { mutual = false, limits = {}, files = new TlsFiles(), max } = options;
  const connections = new NotedConnections(max);
  const started = await start(undefined, { tls: await files.open(mutual), limits, connections });
  const client = (more: Partial<KvClientOptions> = {}): KvClient =>
    new KvClient({
      nodes: [started.server.address],
      tls: { ca: files.authority.cert },
      timeoutMs: 500,
      ...more,
    });
  return { ...started, files, connections, client };
}

async function startLine(
  files: TlsFiles,
  limits: Partial<LineServerLimits> = {},
  connections = new ClientConnections(),
): Promise<{ server: LineServer; connections: ClientConnections; node: Started["node"] }> {
  const serving = await fakeServing();
  const server = await LineServer.listen(ANY_PORT, limits, { tls: await files.open(), connections });
  onTestFinished(() => server.close());
  server.serve(serving);
  return { server, connections, node: serving.node };
}

async function secureSocket(address: string, files: TlsFiles): Promise<TLSSocket> {
  const [host = "", port = ""] = address.split(":");
  const options = { host, port: Number(port), ca: files.authority.cert, allowHalfOpen: true };
  const socket = connect(options);
  socket.on("error", () => undefined);
  onTestFinished(() => {
    socket.destroy();
  });
  await once(socket, "secureConnect");
  return socket;
}

async function failureOf(promise: Promise<unknown>): Promise<KvClientError> {
  const error: unknown = await promise.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(KvClientError);
  return error as KvClientError;
}

/** Resolves with everything that came until the connection ended. */
async function rest(socket: Socket): Promise<string> {
  let text = "";
  socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  if (!socket.destroyed) await Promise.race([once(socket, "end"), once(socket, "close")]);
  return text;
}

describe("the HTTP port with TLS", () => {
  it("serves the client, which checks the certificate", async () => {
    const { client, server } = await startHttp();
    const trusting = client();
    await trusting.put("ship", "Argo");
    expect(Buffer.from((await trusting.get("ship"))?.value ?? "").toString()).toBe("Argo");
    expect(await trusting.delete("ship")).toMatchObject({ existed: true });
    expect(await trusting.get("ship")).toBeNull();
    await trusting.close();
    const distrusting = client({ tls: {} });
    const { code, outcome, message } = await failureOf(distrusting.put("ship", "Argo"));
    expect([code, outcome]).toEqual(["UNREACHABLE", "not-done"]);
    expect(message).toContain("its certificate isn't accepted");
    await expect(fetch(`http://${server.address}/kv`)).rejects.toThrow();
  });

  it("is refused by a client that doesn't trust it, even if the environment tells Node to check nothing", async () => {
    vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", "0");
    onTestFinished(() => {
      vi.unstubAllEnvs();
    });
    const { client, node } = await startHttp();
    const { code, message } = await failureOf(client({ tls: {} }).put("ship", "Argo"));
    expect([code, node.sessionCalls]).toEqual(["UNREACHABLE", []]);
    expect(message).toContain("its certificate isn't accepted");
  });

  it("is refused by a client if the certificate names another host, before a token is sent", async () => {
    const files = new TlsFiles({ names: ["DNS:elsewhere.example"] });
    const received: string[] = [];
    const { cert, key } = files.authority.issue({ names: ["DNS:elsewhere.example"] });
    const server = createServer({ cert, key }, (socket) => {
      socket.on("error", () => undefined);
      socket.on("data", (chunk: Buffer) => received.push(chunk.toString()));
    });
    server.on("tlsClientError", () => undefined);
    server.listen(0, "127.0.0.1");
    onTestFinished(() => void server.close());
    await once(server, "listening");
    const { port } = server.address() as { port: number };
    const options = { token: "canary-0123456789", tls: { ca: files.authority.cert }, sessions: false };
    const client = new KvClient({ nodes: [`127.0.0.1:${port}`], timeoutMs: 300, ...options });
    const { code, outcome, message } = await failureOf(client.put("ship", "Argo"));
    expect([code, outcome]).toEqual(["UNREACHABLE", "not-done"]);
    expect(message).toMatch(/certificate isn't accepted .*altname/i);
    expect(received).toEqual([]);
    const admin = new AdminClient([`https://127.0.0.1:${port}`], options);
    expect((await failureOf(admin.members())).message).toContain("certificate isn't accepted");
    expect(received).toEqual([]);
  });

  it("refuses clients without the right certificate, if it requires one, before it looks at the request", async () => {
    const { client, files, node } = await startHttp({ mutual: true });
    const wrong = [undefined, files.authority.issue(), new TlsFiles().clients.issue()];
    const expired = files.clients.issue({ validTo: new Date(Date.now() - 1000) });
    for (const pair of [...wrong, expired]) {
      const tls = { ca: files.authority.cert, ...pair };
      const error = await failureOf(client({ tls, sessions: false }).put("a", "1"));
      expect(["UNREACHABLE", "CONNECTION_LOST"]).toContain(error.code);
    }
    expect(node.sessionCalls).toEqual([]);
    const right = client({ tls: { ca: files.authority.cert, ...files.clients.issue() } });
    await right.put("a", "1");
    expect(node.sessionCalls).not.toEqual([]);
  });

  it("names the leader with its scheme, and a client with TLS doesn't follow to a node without", async () => {
    const { client, server, files, node } = await startHttp();
    const hint = (info: string): NotLeaderError => new NotLeaderError({ id: "n2", address: "h:1", info });
    const location = async (): Promise<string> => {
      const socket = await secureSocket(server.address, files);
      socket.end(`GET /kv/a HTTP/1.1\r\nHost: ${server.address}\r\nConnection: close\r\n\r\n`);
      return /^Location: (.*)\r$/m.exec(await rest(socket))?.[1] ?? "";
    };
    node.failure = hint('{"line":"h:2","http":"h:3","tls":true}');
    expect(await location()).toBe("https://h:3/kv/a");
    node.failure = hint('{"line":"h:2","http":"h:3"}');
    expect(await location()).toBe("http://h:3/kv/a");
    const { code, message } = await failureOf(client().get("a"));
    expect(code).toBe("REDIRECT_REFUSED");
    expect(message).toContain("uses TLS and says that h:3 leads, which doesn't");
  });

  it("takes a new certificate and key while it runs, and keeps the old ones if the new are broken", async () => {
    const { server, files } = await startHttp();
    const serial = async (): Promise<string> =>
      (await secureSocket(server.address, files)).getPeerCertificate().serialNumber;
    const first = await serial();
    files.write("key", "nonsense");
    await vi.waitFor(() => {
      expect(files.log.join()).toMatch(
        /what was in use stays in use, because of a change: .*can't be used together/,
      );
    }, WAIT);
    expect(await serial()).toBe(first);
    files.write("cert", "nonsense");
    await vi.waitFor(() => {
      expect(files.log.join()).toMatch(/holds no certificate in PEM/);
    }, WAIT);
    files.write("key", files.authority.issue().key, 0o644);
    await vi.waitFor(() => {
      expect(files.log.join()).toMatch(/is open to other users of this machine \(mode 644\): chmod 600/);
    }, WAIT);
    expect(await serial()).toBe(first);
    const second = files.authority.issue();
    files.put(second);
    await vi.waitFor(async () => {
      expect(await serial()).not.toBe(first);
    }, WAIT);
    expect(files.log.at(-1)).toContain("the changed files are in use now");
    expect(files.log.join()).not.toContain(second.key.slice(30, 60));
  });

  it("refuses to renegotiate, also after its certificate was replaced", async () => {
    const { server, files } = await startHttp();
    const [host = "", port = ""] = server.address.split(":");
    const renegotiates = async (): Promise<boolean> => {
      const ca = files.authority.cert;
      const socket = connect({ host, port: Number(port), ca, maxVersion: "TLSv1.2" });
      socket.on("error", () => undefined);
      await once(socket, "secureConnect");
      const agreed = new Promise<boolean>((resolve) => {
        socket.renegotiate({}, (error) => {
          resolve(error === null);
        });
        socket.once("close", () => {
          resolve(false);
        });
      });
      const result = await Promise.race([agreed, pause(500).then(() => false)]);
      socket.destroy();
      return result;
    };
    expect(await renegotiates()).toBe(false);
    const serial = async (): Promise<string> =>
      (await secureSocket(server.address, files)).getPeerCertificate().serialNumber;
    const first = await serial();
    files.put(files.authority.issue());
    await vi.waitFor(async () => {
      expect(await serial()).not.toBe(first);
    }, WAIT);
    expect(await renegotiates()).toBe(false);
  });

  it("closes a connection whose handshake isn't complete in time, and counts it until then", async () => {
    const { server, connections } = await startHttp({ limits: { handshakeMsMax: 150 } });
    const silent = await connectTo(server.address);
    const slow = await connectTo(server.address);
    slow.write(Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00]));
    await vi.waitFor(() => {
      expect(connections.count).toBe(2);
    }, WAIT);
    await Promise.all([once(silent, "close"), once(slow, "close")]);
    await vi.waitFor(() => {
      expect(connections.count).toBe(0);
    }, WAIT);
  });

  it("counts connections in a handshake for the limit, and closes the oldest for another client", async () => {
    const { server, connections, client } = await startHttp({ limits: { connectionsMax: 3 } });
    const silent: Socket[] = [];
    for (let count = 0; count < 3; count++) silent.push(await connectTo(server.address));
    await vi.waitFor(() => {
      expect(connections.count).toBe(3);
    }, WAIT);
    await client({ sessions: false }).put("a", "1");
    expect(connections.count).toBe(3);
    await vi.waitFor(() => {
      expect(silent.map(({ destroyed }) => destroyed)).toEqual([true, false, false]);
    }, WAIT);
  });

  it("makes room over TLS among all client connections, as many as there are descriptors for", async () => {
    const { connections, client } = await startHttp({ max: 2 });
    const clients = Array.from({ length: 5 }, () => client({ sessions: false }));
    for (const [at, one] of clients.entries()) await one.put("a", String(at));
    expect(connections.count).toBeLessThanOrEqual(2);
  });

  it("disconnects a client that doesn't take its answer in time", async () => {
    const { server, files, client, connections } = await startHttp({ limits: { answerPartMsMax: 200 } });
    await client({ sessions: false }).put("large", Buffer.alloc(1_000_000, 1));
    // The client keeps its connection, and it is idle.
    const idle = connections.count;
    const socket = await secureSocket(server.address, files);
    socket.pause();
    const request = `GET /kv/large HTTP/1.1\r\nHost: ${server.address}\r\n\r\n`;
    socket.write(request.repeat(16));
    await vi.waitFor(() => {
      expect(connections.count).toBe(idle + 1);
    }, WAIT);
    await vi.waitFor(() => {
      expect(connections.count).toBe(idle);
    }, WAIT);
  });

  it("reads only a little ahead of a request that hangs, however small the pieces", async () => {
    const { server, files, node, connections } = await startHttp();
    const hanging = Promise.withResolvers<never>();
    node.read = () => hanging.promise;
    const socket = await secureSocket(server.address, files);
    socket.write(`GET /kv/a HTTP/1.1\r\nHost: ${server.address}\r\n\r\n`.repeat(30));
    await pause(100);
    await sendSingleBytes(socket);
    expect(connections.carriers[0]?.bytesRead).toBeLessThan(READ_MAX);
  });
});

describe("the line port with TLS", () => {
  it("answers lines, also to a client that ends its half", async () => {
    const files = new TlsFiles();
    const { server, connections } = await startLine(files);
    const socket = await secureSocket(server.address, files);
    const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
    socket.end("put ship Argo\nget ship\n");
    expect([(await lines.next()).value, (await lines.next()).value]).toEqual([
      "Ok: Appended at 0",
      "Ok: Argo",
    ]);
    expect((await lines.next()).done).toBe(true);
    await vi.waitFor(() => {
      expect(connections.count).toBe(0);
    }, WAIT);
  });

  it("names the leader as one with TLS", async () => {
    const files = new TlsFiles();
    const { server, node } = await startLine(files);
    node.failure = new NotLeaderError({
      id: "n2",
      address: "h:1",
      info: '{"line":"h:2","http":"h:3","tls":true}',
    });
    const socket = await secureSocket(server.address, files);
    socket.end("put a 1\n");
    expect(await rest(socket)).toBe("Error: Leader is tls://h:2\n");
  });

  it("closes at the first line of HTTP, and executes no command in clear text", async () => {
    const files = new TlsFiles();
    const { server } = await startLine(files);
    const page = await secureSocket(server.address, files);
    page.write("POST / HTTP/1.1\r\n\r\nput a 1\n");
    expect(await rest(page)).toMatch(/^Error: this is no command but another protocol/);
    const plain = await connectTo(server.address);
    plain.write("put a 1\n");
    await rest(plain);
    const reader = await secureSocket(server.address, files);
    reader.end("get a\n");
    expect(await rest(reader)).toBe("Error: value does not exist\n");
  });

  it("closes a connection whose handshake isn't complete in time", async () => {
    const files = new TlsFiles();
    const { server, connections } = await startLine(files, { handshakeMsMax: 150 });
    const silent = await connectTo(server.address);
    await vi.waitFor(() => {
      expect(connections.count).toBe(1);
    }, WAIT);
    if (!silent.destroyed) await once(silent, "close");
    await vi.waitFor(() => {
      expect(connections.count).toBe(0);
    }, WAIT);
  });

  it("counts connections in a handshake for the limit, and closes the oldest for another client", async () => {
    const files = new TlsFiles();
    const { server, connections } = await startLine(files, { connectionsMax: 2 });
    const silent = [await connectTo(server.address), await connectTo(server.address)];
    await vi.waitFor(() => {
      expect(connections.count).toBe(2);
    }, WAIT);
    const answerTo = async (socket: TLSSocket): Promise<string> => {
      socket.write("get a\n");
      const [answer] = (await once(socket, "data")) as [Buffer];
      return answer.toString();
    };
    const served: TLSSocket[] = [];
    for (let count = 0; count < 2; count++) {
      const socket = await secureSocket(server.address, files);
      expect(await answerTo(socket)).toBe("Error: value does not exist\n");
      served.push(socket);
    }
    await vi.waitFor(() => {
      expect(silent.map(({ destroyed }) => destroyed)).toEqual([true, true]);
    }, WAIT);
    const [host = "", port = ""] = server.address.split(":");
    const refused = connectTcp({ host, port: Number(port) });
    refused.on("error", () => undefined);
    await once(refused, "close");
    expect(connections.count).toBe(2);
    for (const socket of served) expect(await answerTo(socket)).toBe("Error: value does not exist\n");
  });

  it("reads only a little ahead of a command that hangs, however small the pieces", async () => {
    const files = new TlsFiles();
    const connections = new NotedConnections();
    const { server, node } = await startLine(files, {}, connections);
    const hanging = Promise.withResolvers<never>();
    node.read = () => hanging.promise;
    const socket = await secureSocket(server.address, files);
    socket.write("get a\n");
    await pause(100);
    await sendSingleBytes(socket);
    expect(connections.carriers[0]?.bytesRead).toBeLessThan(READ_MAX);
  });
});
