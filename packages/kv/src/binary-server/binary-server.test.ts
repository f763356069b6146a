import { once } from "node:events";
import { connect as connectTls } from "node:tls";
import { CatchUpTimeoutError } from "keelson";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { Access, OPEN_RULES } from "../access/access.ts";
import { CallWriter } from "../binary/calls.ts";
import { checksumOf } from "../binary/frame-writer.ts";
import { FRAME_BYTES_MAX, FRAME_CALLS_MAX, FRAME_HEADER_BYTES } from "../binary/wire.ts";
import { HttpServer } from "../http/http-server.ts";
import { ClientConnections } from "../shared/client-connections.ts";
import { serverBudgets } from "../shared/memory-budget.ts";
import { VALUE_BYTES_MAX } from "../store/commands.ts";
import { BinaryClient } from "../test/binary-client.ts";
import { connectTo, exchange } from "../test/raw-client.ts";
import { start, withToken, type Started } from "../test/started-http.ts";
import { TlsFiles } from "../test/tls-files.ts";

const KEY = Buffer.from("ship");
const VALUE = Buffer.from("Argo");
const TOKEN = "a-token-for-these-tests";

describe("a binary connection", () => {
  it("carries the calls of a turn in one frame and one write, and their answers likewise", async () => {
    const { server, node } = await start();
    const results = Promise.withResolvers<undefined>();
    let begun = 0;
    node.write = async () => {
      begun += 1;
      // In one turn of the event loop, but not all at the same moment of it.
      const later = begun % 5;
      await results.promise;
      for (let moment = 0; moment < 20 * later; moment++) await Promise.resolve();
      return { type: "applied", index: 1, version: 2, existed: null };
    };
    const client = await BinaryClient.connect(server.address);
    await client.until(() => client.welcome !== null);
    for (let id = 1; id <= 300; id++) client.writer.put(id, KEY, VALUE, null, null);
    expect(client.writer.itemFrames).toBe(1);
    client.send();
    await vi.waitFor(() => {
      expect(begun).toBe(300);
    });
    results.resolve(undefined);
    await client.until(() => client.answers.size === 300);
    expect(client.frames).toBe(1);
    expect([...client.answers.values()].every(({ type }) => type === "put")).toBe(true);
  });

  it("takes opening, hello and calls byte by byte", async () => {
    const { server } = await start();
    const client = new BinaryClient(await connectTo(server.address));
    client.writer.put(1, KEY, VALUE, null, null);
    client.writer.get(2, KEY, "linearizable", null);
    client.writer.ping(77);
    const bytes = client.writer.take();
    client.socket.setNoDelay(true);
    for (const byte of bytes) {
      client.socket.write(Uint8Array.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect((await client.answer(1)).type).toBe("put");
    expect((await client.answer(2)).type).toMatch(/value|error/);
    await client.until(() => client.pongs.length > 0);
    expect(client.pongs).toEqual([77]);
    expect(client.welcome).toEqual({
      features: 0,
      frameBytesMax: FRAME_BYTES_MAX,
      callsMax: 4096,
      idleMs: 300_000,
    });
  });

  it("shares the port with HTTP, with and without TLS", async () => {
    const files = new TlsFiles();
    const { server } = await start(undefined, { tls: await files.open() });
    const [host = "", port = ""] = server.address.split(":");
    const options = { host, port: Number(port), ca: files.authority.cert };
    const socket = connectTls(options);
    onTestFinished(() => {
      socket.destroy();
    });
    await once(socket, "secureConnect");
    const client = new BinaryClient(socket);
    expect((await client.call((writer, id) => writer.put(id, KEY, VALUE, null, null))).type).toBe("put");
    const http = connectTls(options);
    onTestFinished(() => {
      http.destroy();
    });
    http.write("GET /kv/ship HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let answer = "";
    http.on("data", (chunk: Buffer) => (answer += chunk.toString()));
    await once(http, "close");
    expect(answer).toMatch(/200 OK[^]*Argo$/);
    // In clear text, the opening is no handshake of TLS.
    const clear = await BinaryClient.connect(server.address);
    expect(await clear.closed()).toBeNull();
    expect(clear.welcome).toBeNull();
  });

  it("answers values up to the largest, and refuses larger ones as HTTP does", async () => {
    const { server } = await start();
    const client = await BinaryClient.connect(server.address);
    const value = Buffer.alloc(VALUE_BYTES_MAX, 7);
    expect((await client.call((writer, id) => writer.put(id, KEY, value, null, null))).type).toBe("put");
    const got = await client.call((writer, id) => writer.get(id, KEY, "stale", null));
    expect(got.type === "value" && Buffer.from(got.value).equals(value)).toBe(true);
    const larger = Buffer.alloc(VALUE_BYTES_MAX + 1);
    const refused = await client.call((writer, id) => writer.put(id, KEY, larger, null, null));
    expect(refused).toMatchObject({ type: "error", error: { status: 413, code: "VALUE_TOO_LARGE" } });
  });

  it("passes a call's deadline on, and none without one", async () => {
    const { server, node } = await start();
    const client = await BinaryClient.connect(server.address);
    await client.call((writer, id) => writer.put(id, KEY, VALUE, null, null, 250));
    expect(node.writeOptions).toEqual({ timeoutMs: 250 });
    await client.call((writer, id) => writer.put(id, KEY, VALUE, null, null, 0xffff_ffff));
    expect(node.writeOptions).toEqual({ timeoutMs: 60_000 });
    await client.call((writer, id) => writer.put(id, KEY, VALUE, null, null));
    expect(node.writeOptions).toEqual({});
  });

  it("gives back all memory that it counted", async () => {
    const budgets = serverBudgets();
    const { server, node } = await start(undefined, { budgets });
    const client = await BinaryClient.connect(server.address);
    for (let id = 1; id <= 50; id++) {
      client.writer.put(id, Buffer.from(`k${id}`), Buffer.alloc(20_000), null, null);
      client.writer.get(1000 + id, Buffer.from(`k${id}`), "stale", null);
      client.writer.list(2000 + id, KEY, KEY, 0, "stale");
    }
    client.send();
    await client.until(() => client.answers.size === 150);
    await vi.waitFor(() => {
      expect([budgets.requests.bytes, budgets.answers.bytes]).toEqual([0, 0]);
    });
    // Also if the client leaves in the middle, and if its calls fail.
    const release = holdReads(node);
    for (let id = 1; id <= 50; id++) client.writer.get(id, Buffer.from("k1"), "linearizable", null);
    client.send();
    await vi.waitFor(() => {
      expect(budgets.requests.bytes).toBeGreaterThan(0);
    });
    client.socket.destroy();
    await new Promise((resolve) => setTimeout(resolve, 50));
    release();
    await vi.waitFor(() => {
      expect([budgets.requests.bytes, budgets.answers.bytes]).toEqual([0, 0]);
    });
  });
});

describe("a read whose time is up while it waits for the disk", () => {
  it("leaves nothing counted, and gives nothing back twice, by either protocol", async () => {
    const budgets = serverBudgets();
    const { server, node, store, request } = await start(undefined, { budgets });
    await request("PUT", "/kv/ship", { body: new Uint8Array(100_000) });
    const disk = Promise.withResolvers<undefined>();
    const [get, list] = [store.get.bind(store), store.list.bind(store)];
    store.get = async (key) => {
      await disk.promise;
      return get(key);
    };
    store.list = async (options) => {
      await disk.promise;
      return list(options);
    };
    const queries: unknown[] = [];
    node.read = (query) => {
      // The library ends the call, and lets the query run to its end.
      queries.push(query());
      return Promise.reject(new CatchUpTimeoutError("the time is up"));
    };
    const client = await BinaryClient.connect(server.address);
    for (let count = 0; count < 20; count++) {
      await request("GET", "/kv/ship");
      await request("GET", "/kv");
      await client.call((writer, id) => {
        writer.get(id, KEY, "linearizable", null);
      });
      await client.call((writer, id) => {
        writer.list(id, KEY, KEY, 0, "linearizable");
      });
    }
    // Nothing is held for calls that were answered, and still nothing when their queries end.
    await vi.waitFor(() => {
      expect(budgets.answers.bytes).toBe(0);
    });
    disk.resolve(undefined);
    await Promise.all(queries);
    expect(queries).toHaveLength(80);
    expect(budgets.answers.bytes).toBe(0);
  });
});

describe("a hostile client of the binary protocol", () => {
  it.each([
    ["a wrong checksum", (bytes: Buffer) => flip(bytes, FRAME_HEADER_BYTES + 9), "BAD_CHECKSUM"],
    ["a length over the limit", (bytes: Buffer) => flip(bytes, 3), "FRAME_TOO_LARGE"],
    ["a type that no client sends", () => serverFrame(), "BAD_FRAME"],
    ["a frame of too many calls", () => manyCalls(), "TOO_MANY_CALLS"],
  ])(
    "that sends %s gets a goodbye that says so, after the answers to what came before",
    async (_what, change, code) => {
      const { server } = await start();
      const client = await BinaryClient.connect(server.address);
      client.writer.put(1, KEY, VALUE, null, null);
      client.send();
      client.writer.delete(2, KEY, null, null);
      client.socket.write(change(client.writer.take()));
      const goodbye = await client.closed();
      expect(goodbye).toMatchObject({ code, framesTaken: 1 });
      expect(client.order).toEqual([1]);
    },
  );

  it("gets no answer at all if it doesn't send the opening bytes", async () => {
    const { server } = await start();
    expect(await exchange(server.address, Buffer.from([0xfe, 0x4b, 0x45, 0x00]))).toBe("");
  });

  it("of another version learns which one the server speaks", async () => {
    const { server } = await start();
    const client = new BinaryClient(await connectTo(server.address));
    const bytes = client.writer.take();
    bytes[7] = 9;
    client.socket.write(bytes);
    expect(await client.closed()).toMatchObject({ code: "UNSUPPORTED_VERSION", framesTaken: 0 });
  });

  it("is closed when it doesn't say hello, doesn't end a frame, or says nothing for long", async () => {
    const binaryLimits = { helloMsMax: 100, frameMsMax: 150, idleMsMax: 200 };
    const { server } = await start(undefined, { binaryLimits });
    const silent = new BinaryClient(await connectTo(server.address));
    silent.socket.write(silent.writer.take().subarray(0, 9));
    expect(await silent.closed()).toMatchObject({ code: "TOO_SLOW" });
    const inside = await BinaryClient.connect(server.address);
    inside.writer.put(1, KEY, VALUE, null, null);
    inside.socket.write(inside.writer.take().subarray(0, 30));
    expect(await inside.closed()).toMatchObject({ code: "TOO_SLOW", framesTaken: 0 });
    const idle = await BinaryClient.connect(server.address);
    expect(await idle.closed()).toMatchObject({ code: "IDLE" });
    const waiting = await start(undefined, { binaryLimits });
    const release = holdReads(waiting.node);
    const busy = await BinaryClient.connect(waiting.server.address);
    busy.writer.get(1, KEY, "linearizable", null);
    busy.send();
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(busy.goodbye).toBeNull();
    expect(busy.isClosed).toBe(false);
    release();
    await busy.answer(1);
  });

  it("that reads nothing is read from no more, holds a bounded amount, and is disconnected", async () => {
    const budgets = serverBudgets();
    const { server, node, request } = await start(undefined, {
      ...{ budgets, binaryLimits: { answerPartMsMax: 1500, callsMax: 4 } },
    });
    await request("PUT", "/kv/ship", { body: new Uint8Array(VALUE_BYTES_MAX) });
    let reads = 0;
    const read = node.read.bind(node);
    node.read = (query, options) => {
      reads += 1;
      return read(query, options);
    };
    const client = await BinaryClient.connect(server.address);
    await client.until(() => client.welcome !== null);
    client.socket.pause();
    for (let id = 1; id <= 3000; id++) client.writer.get(id, KEY, "stale", null);
    client.send();
    let most = 0;
    const watch = setInterval(() => (most = Math.max(most, budgets.answers.bytes)), 5);
    onTestFinished(() => {
      clearInterval(watch);
    });
    await vi.waitFor(() => {
      expect(reads).toBeGreaterThan(0);
    });
    // Others are served meanwhile.
    expect((await request("GET", "/kv/ship")).status).toBe(200);
    await new Promise((resolve) => setTimeout(resolve, 700));
    // What the operating system buffers is a few values.
    expect(reads).toBeLessThan(20);
    expect(most).toBeLessThan(8 * VALUE_BYTES_MAX);
    expect(budgets.requests.bytes).toBeLessThan(FRAME_BYTES_MAX);
    await vi.waitFor(
      () => {
        expect([budgets.requests.bytes, budgets.answers.bytes]).toEqual([0, 0]);
      },
      { timeout: 4000 },
    );
  });

  it("that has too many calls in progress is read from no more until some are answered", async () => {
    const { server, node } = await start(undefined, { binaryLimits: { callsMax: 10 } });
    const release = holdReads(node);
    const client = await BinaryClient.connect(server.address);
    for (let frame = 0; frame < 20; frame++) {
      for (let call = 0; call < 4; call++) client.writer.get(frame * 4 + call, KEY, "linearizable", null);
      client.send();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(heldReads(node)).toBe(10);
    release();
    await client.until(() => client.answers.size === 80);
  });

  it("leaves others a share of the calls that all connections may have in progress together", async () => {
    const { server, node } = await start(undefined, { binaryLimits: { allCallsMax: 50 } });
    const release = holdReads(node);
    const clients = await Promise.all([1, 2, 3].map(() => BinaryClient.connect(server.address)));
    const [first, second, third] = clients;
    for (const client of clients) {
      for (let id = 1; id <= 200; id++) client.writer.get(id, KEY, "linearizable", null);
      client.send();
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    // The first takes all 50; the others have their 32.
    expect(heldReads(node)).toBe(50 + 32 + 32);
    second?.socket.destroy();
    release();
    await first?.until(() => first.answers.size === 200);
    await third?.until(() => third.answers.size === 200);
  });

  it("has those that wait for others' calls go on when a connection that could is gone", async () => {
    const { server, node } = await start(undefined, { binaryLimits: { allCallsMax: 40 } });
    const release = holdReads(node);
    const clients = await Promise.all([1, 2, 3].map(() => BinaryClient.connect(server.address)));
    const [, second, third] = clients;
    for (const client of clients) {
      for (let id = 1; id <= 100; id++) client.writer.get(id, KEY, "linearizable", null);
      client.send();
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    second?.socket.pause();
    release();
    second?.socket.destroy();
    await third?.until(() => third.answers.size === 100);
  });

  it("finds no room for a frame when the budget is full, and learns what was not taken", async () => {
    const budgets = serverBudgets(256 * 1024);
    const { server, node } = await start(undefined, { budgets });
    const release = holdWrites(node);
    const client = await BinaryClient.connect(server.address);
    client.writer.put(1, KEY, Buffer.alloc(150_000), null, null);
    client.send();
    await vi.waitFor(() => {
      expect(budgets.requests.bytes).toBeGreaterThan(150_000);
    });
    client.writer.put(2, KEY, Buffer.alloc(150_000), null, null);
    client.send();
    await client.until(() => client.goodbye !== null);
    expect(client.goodbye).toMatchObject({ code: "OVERLOADED", framesTaken: 1 });
    release();
    await client.closed();
    expect(client.order).toEqual([1]);
    expect(budgets.requests.bytes).toBe(0);
  });

  it("counts for the limit on connections, and makes room for others when it is idle", async () => {
    const connections = new ClientConnections(4);
    const { server, node, request } = await start(undefined, { connections });
    const release = holdWrites(node);
    const clients: BinaryClient[] = [];
    for (let count = 0; count < 4; count++) {
      const client = await BinaryClient.connect(server.address);
      await client.until(() => client.welcome !== null);
      clients.push(client);
    }
    expect(connections.count).toBe(4);
    // The oldest has a call in progress, so the next one has to go.
    const writing = clients[0]?.call((writer, id) => {
      writer.put(id, KEY, VALUE, null, null);
    });
    await clients[0]?.call((writer, id) => {
      writer.get(id, KEY, "stale", null);
    });
    expect((await request("GET", "/kv/ship")).status).toBe(404);
    expect(clients.map(({ isClosed }) => isClosed)).toEqual([false, true, false, false]);
    release();
    expect((await writing)?.type).toBe("put");
  });
});

describe("the binary protocol's access rules", () => {
  it("refuse a stranger before anything is read or done", async () => {
    const { server, node } = await start(withToken(TOKEN, "read", "token"));
    const touched = spyOn(node);
    for (const token of [null, "not-a-token-of-this-node"]) {
      const client = new BinaryClient(await connectTo(server.address), token);
      client.writer.get(1, KEY, "stale", null);
      client.writer.put(2, KEY, VALUE, null, null);
      client.send();
      expect(await client.closed()).toMatchObject({ code: "UNAUTHORIZED", framesTaken: 0 });
      expect([client.welcome, client.order]).toEqual([null, []]);
    }
    // A stranger may not even fill a buffer.
    const large = new BinaryClient(await connectTo(server.address), "x".repeat(4000));
    large.send();
    expect(await large.closed()).toMatchObject({ code: "FRAME_TOO_LARGE" });
    expect(touched()).toBe(0);
  });

  it("judge each call by the token's role, and by the tokens of the moment", async () => {
    const rules = withToken(TOKEN, "read", "token");
    const access = new Access(rules);
    const { server, node } = await start(undefined, { access });
    const client = await BinaryClient.connect(server.address, TOKEN);
    const get = (): Promise<unknown> => client.call((writer, id) => writer.get(id, KEY, "stale", null));
    const put = (): Promise<unknown> => client.call((writer, id) => writer.put(id, KEY, VALUE, null, null));
    const touched = spyOn(node);
    expect(await get()).toMatchObject({ error: { code: "NOT_FOUND" } });
    expect(touched()).toBe(1);
    for (const refused of [
      await put(),
      await client.call((writer, id) => writer.delete(id, KEY, null, null)),
      await client.call((writer, id) => writer.openSession(id, 0)),
      await client.call((writer, id) => writer.endSession(id, 1)),
    ])
      expect(refused).toMatchObject({ error: { status: 403, code: "FORBIDDEN", outcome: "not-done" } });
    expect(touched()).toBe(1);
    access.replace(withToken("another-token-of-this-node", "operate", "token"));
    for (const refused of [await get(), await put()])
      expect(refused).toMatchObject({ error: { status: 401, code: "UNAUTHORIZED" } });
    expect(touched()).toBe(1);
    access.replace({ ...OPEN_RULES });
    expect(await put()).toMatchObject({ type: "put" });
  });
});

describe("a server that stops", () => {
  it("answers the calls that it has taken, and says how many frames that were", async () => {
    const { server, node } = await start();
    const release = holdWrites(node);
    const client = await BinaryClient.connect(server.address);
    client.writer.put(1, KEY, VALUE, null, null);
    client.send();
    await client.until(() => client.welcome !== null);
    const closing = server.close();
    await client.until(() => client.goodbye !== null);
    client.writer.put(2, KEY, VALUE, null, null);
    client.send();
    release();
    expect(await client.closed()).toMatchObject({ code: "", framesTaken: 1 });
    expect(client.order).toEqual([1]);
    await closing;
  });

  it("refuses calls before the node is open, as HTTP does", async () => {
    const server = await HttpServer.listen({ host: "127.0.0.1", port: 0 });
    onTestFinished(() => server.close());
    const client = await BinaryClient.connect(server.address);
    const refused = await client.call((writer, id) => writer.get(id, KEY, "stale", null));
    expect(refused).toMatchObject({ error: { status: 503, code: "STARTING", retryAfterMs: 1000 } });
  });

  it("closes the connection of a client that says goodbye, after its answers", async () => {
    const { server } = await start();
    const client = await BinaryClient.connect(server.address);
    client.writer.put(1, KEY, VALUE, null, null);
    client.writer.goodbye({ code: "", message: "", framesTaken: 0 });
    client.send();
    expect(await client.closed()).toBeNull();
    expect(client.order).toEqual([1]);
  });
});

describe("the metrics", () => {
  it("count calls by operation and status", async () => {
    const { server, request } = await start();
    const client = await BinaryClient.connect(server.address);
    await client.call((writer, id) => writer.put(id, KEY, VALUE, null, null));
    await client.call((writer, id) => writer.get(id, KEY, "stale", null));
    await client.call((writer, id) => writer.get(id, VALUE, "stale", null));
    const text = await (await request("GET", "/metrics")).text();
    expect(text).toContain('keelson_calls_total{operation="put",status="200"} 1');
    expect(text).toContain('keelson_calls_total{operation="get",status="200"} 1');
    expect(text).toContain('keelson_calls_total{operation="get",status="404"} 1');
  });
});

type Node = Started["node"];

const held = new WeakMap<Node, number>();

function heldReads(node: Node): number {
  return held.get(node) ?? 0;
}

/** Makes reads wait until the returned function is called. */
function holdReads(node: Node): () => void {
  const read = node.read.bind(node);
  const gate = Promise.withResolvers<undefined>();
  node.read = async (query, options) => {
    held.set(node, heldReads(node) + 1);
    await gate.promise;
    return read(query, options);
  };
  return () => {
    gate.resolve(undefined);
  };
}

/** Makes writes wait until the returned function is called. */
function holdWrites(node: Node): () => void {
  const write = node.write.bind(node);
  const gate = Promise.withResolvers<undefined>();
  node.write = async (command, options) => {
    await gate.promise;
    return write(command, options);
  };
  return () => {
    gate.resolve(undefined);
  };
}

/** Counts what is asked of the node's state. */
function spyOn(node: Node): () => number {
  const names = ["read", "write", "beginSession", "endSession"] as const;
  const spies = names.map((name) => vi.spyOn(node, name));
  return () => spies.reduce((sum, { mock }) => sum + mock.calls.length, 0);
}

function flip(bytes: Buffer, at: number): Buffer {
  bytes[at] = (bytes[at] ?? 0) ^ 0x80;
  return bytes;
}

function serverFrame(): Buffer {
  const writer = new CallWriter();
  writer.pong(1);
  return writer.take();
}

function manyCalls(): Buffer {
  const writer = new CallWriter();
  for (let id = 0; id < FRAME_CALLS_MAX; id++) writer.get(id, KEY, "stale", null);
  const frame = writer.take();
  writer.get(1, KEY, "stale", null);
  const call = writer.take().subarray(FRAME_HEADER_BYTES + 4);
  const both = Buffer.concat([frame, call]);
  both.writeUInt32LE(both.length - FRAME_HEADER_BYTES, 0);
  both.writeUInt32LE(checksumOf(both.subarray(FRAME_HEADER_BYTES)), 4);
  return both;
}
