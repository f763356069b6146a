import { once } from "node:events";
import { nodeEnvironment } from "keelson";
import { encodeMembership } from "keelson/codec";
import { snapshotFiles, type SnapshotStore } from "keelson/storage/snapshots";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { ClientConnections } from "../shared/client-connections.ts";
import { serverBudgets } from "../shared/memory-budget.ts";
import { VALUE_BYTES_MAX } from "../store/commands.ts";
import { connectTo, exchange, statusesIn } from "../test/raw-client.ts";
import { errorOf, start } from "../test/started-http.ts";
import { usageAfterCollection } from "../test/memory-held.ts";
import { temporaryDirectory } from "../test/temporary.ts";
import { HttpServer } from "./http-server.ts";
import { ANY_PORT, fakeServing } from "../test/serving.ts";

const MIB = 1024 * 1024;
const GET_A = "GET /kv/a HTTP/1.1\r\nHost: localhost\r\n\r\n";

describe("a client that sends requests ahead [Z18]", () => {
  it("gets few answers at a time, so that 23 KB of requests for a large value hold one value", async () => {
    const budgets = serverBudgets();
    const { server, node, request } = await start(undefined, { budgets });
    await request("PUT", "/kv/a", { body: new Uint8Array(VALUE_BYTES_MAX) });
    let reads = 0;
    const read = node.read.bind(node);
    node.read = (query) => {
      reads += 1;
      return read(query);
    };
    const socket = await connectTo(server.address);
    socket.pause();
    socket.write(GET_A.repeat(560));
    await vi.waitFor(() => {
      expect(reads).toBeGreaterThan(0);
    });
    await new Promise((resolve) => setTimeout(resolve, 500));
    // What the operating system buffers is a few values; the server itself holds one.
    expect(reads).toBeLessThan(16);
    expect(budgets.answers.bytes).toBeLessThanOrEqual(VALUE_BYTES_MAX);
    socket.destroy();
    await vi.waitFor(() => {
      expect(budgets.answers.bytes).toBe(0);
    });
  });

  it("gets its answers in order, and loses the connection after those that wait if it sends too many", async () => {
    const { server, node } = await start();
    const few = `${"GET /kv/a HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(9)}GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
    expect(statusesIn(await exchange(server.address, few))).toEqual([...Array<number>(9).fill(404), 200]);
    const answers = statusesIn(await exchange(server.address, GET_A.repeat(400)));
    expect(answers).toEqual(Array<number>(17).fill(404));
    // A put and the get after it on one connection.
    const put = "PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nnew";
    const get = "GET /kv/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    expect(await exchange(server.address, put + get)).toMatch(/\r\n\r\nnew$/);
    expect(node.changes).toEqual([]);
  });

  it("doesn't fill the memory with requests that were parsed and can't be begun", async () => {
    const { server, node } = await start();
    const never = Promise.withResolvers<never>();
    node.read = () => never.promise;
    const sockets = await Promise.all(Array.from({ length: 20 }, () => connectTo(server.address)));
    const before = memory();
    // Each sends some ten thousand requests. Node has several kilobytes for each that it has parsed.
    for (const socket of sockets) socket.write(GET_A.repeat(10_000));
    await new Promise((resolve) => setTimeout(resolve, 1000));
    expect(memory() - before).toBeLessThan(20 * MIB);
    for (const socket of sockets) socket.destroy();
    never.reject(new Error("over"));
  });

  it("is answered by an error if the answers that nobody reads take all room; writers go on", async () => {
    const budgets = serverBudgets(2.5 * MIB);
    const { server, request } = await start(undefined, { budgets });
    await request("PUT", "/kv/a", { body: new Uint8Array(VALUE_BYTES_MAX) });
    await request("PUT", "/kv/b", { body: "small" });
    const sockets = await Promise.all([1, 2].map(() => connectTo(server.address)));
    for (const socket of sockets) socket.pause().write(GET_A.repeat(16));
    await vi.waitFor(() => {
      expect(budgets.answers.bytes).toBe(2 * VALUE_BYTES_MAX);
    });
    const begun = performance.now();
    const full = await request("GET", "/kv/a");
    // A client that asks in a loop must not be refused as fast as it asks.
    expect(performance.now() - begun).toBeGreaterThan(200);
    expect([full.status, (await errorOf(full)).code]).toEqual([429, "OVERLOADED"]);
    // Small answers have room that large ones can't take.
    const small = await request("GET", "/kv/b");
    expect([small.status, await small.text()]).toEqual([200, "small"]);
    expect((await request("GET", "/kv/none")).status).toBe(404);
    expect((await request("PUT", "/kv/c", { body: new Uint8Array(VALUE_BYTES_MAX) })).status).toBe(200);
    // After a while without progress, the ones that don't read lose their places to others.
    await vi.waitFor(
      async () => {
        expect((await request("GET", "/kv/a")).status).toBe(200);
      },
      { timeout: 10_000, interval: 200 },
    );
  });
});

describe("a client that doesn't read its answer [Z18]", () => {
  it("is disconnected when the deadline for a part has passed", async () => {
    const { server, request } = await start(undefined, { limits: { answerPartMsMax: 300 } });
    await request("PUT", "/kv/a", { body: new Uint8Array(VALUE_BYTES_MAX) });
    const socket = await connectTo(server.address);
    socket.pause().write(GET_A.repeat(16));
    // Its side notices only when it writes again: the server has reset the connection.
    const closed = new Promise((resolve) => socket.once("close", resolve));
    const writing = setInterval(() => socket.write(GET_A), 100);
    await closed;
    clearInterval(writing);
  });

  it("doesn't block backups: of four unread ones, one makes room for a fifth", async () => {
    const serving = await fakeServing();
    const server = await HttpServer.listen(ANY_PORT);
    onTestFinished(() => server.close());
    server.serve({ ...serving, snapshots: await storeWithSnapshot() });
    const held = await Promise.all([1, 2, 3, 4].map(() => connectTo(server.address)));
    for (const socket of held) socket.pause().write("GET /snapshot HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await vi.waitFor(
      async () => {
        const answer = await fetch(`http://${server.address}/snapshot`);
        await answer.arrayBuffer();
        expect(answer.status).toBe(200);
      },
      { timeout: 15_000, interval: 500 },
    );
  }, 30_000);
});

describe("the memory for requests [Z18]", () => {
  it("isn't reserved by bytes that are only announced", async () => {
    const budgets = serverBudgets(4 * MIB);
    const { server, request } = await start(undefined, { budgets });
    const header = `PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${VALUE_BYTES_MAX}\r\n\r\n`;
    const sockets = await Promise.all(Array.from({ length: 100 }, () => connectTo(server.address)));
    for (const socket of sockets) socket.write(header);
    for (let at = 0; at < 5; at++)
      expect((await request("PUT", "/kv/b", { body: new Uint8Array(VALUE_BYTES_MAX) })).status).toBe(200);
    expect(budgets.requests.bytes).toBe(0);
  });

  it("is limited over all requests, and clients that stop in the middle lose theirs to others", async () => {
    const budgets = serverBudgets(3.5 * MIB);
    const { server, request } = await start(undefined, { budgets });
    const header = `PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${VALUE_BYTES_MAX}\r\n\r\n`;
    const sockets = await Promise.all([1, 2, 3].map(() => connectTo(server.address)));
    for (const socket of sockets) socket.write(header + "v".repeat(VALUE_BYTES_MAX - 1));
    await vi.waitFor(() => {
      expect(budgets.requests.bytes).toBeGreaterThanOrEqual(3 * (VALUE_BYTES_MAX - 1));
    });
    const body = new Uint8Array(VALUE_BYTES_MAX);
    const refused = await request("PUT", "/kv/b", { body });
    expect([refused.status, refused.headers.get("retry-after"), (await errorOf(refused)).outcome]).toEqual([
      429,
      "1",
      "not-done",
    ]);
    // Small requests have room that large ones can't take: not even one that is smaller than what is left.
    const rest = budgets.requests.bytesMax - budgets.requests.bytes;
    const fourth = await connectTo(server.address);
    fourth.write(
      `PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${rest}\r\n\r\n${"v".repeat(rest - 1)}`,
    );
    const [refusal] = (await once(fourth, "data")) as [Buffer];
    expect(refusal.toString()).toMatch(/^HTTP\/1\.1 429 /);
    expect((await request("PUT", "/kv/b", { body: "small" })).status).toBe(200);
    await vi.waitFor(
      async () => {
        expect((await request("PUT", "/kv/b", { body })).status).toBe(200);
      },
      { timeout: 10_000, interval: 200 },
    );
  });

  it("counts what pieces cost: a body in single bytes takes as much as in one piece", async () => {
    const { server, request } = await start();
    const before = memory();
    const chunks = "1\r\nv\r\n".repeat(60_000);
    const socket = await connectTo(server.address);
    socket.write(`PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}`);
    await new Promise((resolve) => setTimeout(resolve, 300));
    // 60,000 buffers of their own would be more than 10 MiB.
    expect(memory() - before).toBeLessThan(4 * MIB);
    socket.write("0\r\n\r\n");
    await once(socket, "data");
    expect((await (await request("GET", "/kv/a")).arrayBuffer()).byteLength).toBe(60_000);
  });

  it("is given back when the request is refused while its body is still coming", async () => {
    const budgets = serverBudgets();
    const { server } = await start(undefined, { budgets });
    const socket = await connectTo(server.address);
    socket.write(
      `PUT /kv/a?x=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n${"v".repeat(5000)}`,
    );
    await once(socket, "data");
    socket.write("v".repeat(50_000));
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(budgets.requests.bytes).toBe(0);
  });
});

describe("connections [Z18]", () => {
  it("that are silent or idle make room for others", async () => {
    const { server, request } = await start(undefined, { limits: { connectionsMax: 10 } });
    const silent = await Promise.all(Array.from({ length: 30 }, () => connectTo(server.address)));
    expect((await request("GET", "/healthz")).status).toBe(200);
    expect(silent).toHaveLength(30);
  });

  it("whose clients don't read their answers make room for others after a while", async () => {
    const budgets = serverBudgets();
    const { server, request } = await start(undefined, { budgets, limits: { connectionsMax: 3 } });
    await request("PUT", "/kv/a", { body: new Uint8Array(VALUE_BYTES_MAX) });
    for (let at = 1; at <= 3; at++) {
      // None of them is idle when the next one comes.
      (await connectTo(server.address)).pause().write(GET_A.repeat(16));
      await vi.waitFor(() => {
        expect(budgets.answers.bytes).toBe(at * VALUE_BYTES_MAX);
      });
    }
    await vi.waitFor(
      async () => {
        expect((await request("GET", "/healthz")).status).toBe(200);
      },
      { timeout: 10_000, interval: 200 },
    );
  });

  it("stay below the limit of the process, which is logged once", async () => {
    const told: string[] = [];
    const connections = new ClientConnections(4, (text) => told.push(text));
    const { server, node } = await start(undefined, { connections });
    const never = Promise.withResolvers<never>();
    let begun = 0;
    node.read = () => {
      begun += 1;
      return never.promise;
    };
    for (let at = 1; at <= 6; at++) {
      (await connectTo(server.address)).write(GET_A);
      if (at <= 4)
        await vi.waitFor(() => {
          expect(begun).toBe(at);
        });
    }
    await vi.waitFor(() => {
      expect(told).toHaveLength(1);
    });
    expect(connections.count).toBeLessThanOrEqual(4);
    expect(told[0]).toMatch(/^4 clients are connected, the most that this node takes/);
    never.reject(new Error("over"));
  });

  it("that send nothing, or half of their headers, are closed after the limit of time", async () => {
    const { server } = await start(undefined, { limits: { headersMsMax: 200, requestMsMax: 400 } });
    expect(await exchange(server.address, "")).toMatch(/^HTTP\/1\.1 408 /);
    expect(await exchange(server.address, "GET /kv/a HTTP/1.1\r\nHost: loc")).toMatch(/^HTTP\/1\.1 408 /);
    const slow = "PUT /kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nv";
    expect(await exchange(server.address, slow)).toMatch(/^HTTP\/1\.1 408 |^$/);
  });
});

/** Bytes in use in the JavaScript heap and outside of it. */
function memory(): number {
  const { heapUsed, external } = usageAfterCollection();
  return heapUsed + external;
}

async function storeWithSnapshot(): Promise<SnapshotStore> {
  const store = snapshotFiles(temporaryDirectory());
  onTestFinished(() => store.close());
  await store.open(nodeEnvironment());
  const membership = encodeMembership({
    config: { voters: ["n1"], outgoingVoters: [], learners: [] },
    members: new Map([["n1", { address: "h:1" }]]),
  });
  const draft = await store.create({ clusterId: "c", position: { index: 7, term: 2 }, membership }, []);
  await draft.write(new Uint8Array(24 * MIB));
  await draft.finish();
  return store;
}
