import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { createServer as createTcpServer } from "node:net";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import type { Call } from "../binary/calls.ts";
import { AnswerWriter } from "../binary/answers.ts";
import { listen } from "../shared/listen.ts";
import { pause } from "../shared/pause.ts";
import { ANY_PORT } from "../test/serving.ts";
import { BinaryStub, welcome, type StubConnection } from "../test/stub-node.ts";
import { KvClientError } from "./client-error.ts";
import { KvClient, type KvClientOptions } from "./kv-client.ts";

/** A client whose calls are one attempt each, if that has an outcome that can't be repeated. */
function plain(stub: { readonly address: string }, options: Partial<KvClientOptions> = {}): KvClient {
  return new KvClient({ nodes: [stub.address], sessions: false, ...options });
}

async function errorOf(promise: Promise<unknown>): Promise<KvClientError> {
  const error: unknown = await promise.then(
    (result) => result,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(KvClientError);
  return error as KvClientError;
}

/** What came of each call, as "code outcome", or the value or version of its result. */
async function outcomes(promises: readonly Promise<unknown>[]): Promise<unknown[]> {
  return Promise.all(
    promises.map((promise) =>
      promise.then(
        (result) => result,
        (error: unknown) => (error instanceof KvClientError ? `${error.code} ${error.outcome}` : error),
      ),
    ),
  );
}

/** Answers puts with their id as the version, and gets with the key as the value. */
function answer(connection: StubConnection, calls: readonly Call[]): void {
  const { writer } = connection;
  for (const call of calls) {
    if (call.type === "put") writer.put(call.id, 0, call.id);
    else if (call.type === "get") writer.value(call.id, 1, call.key, null);
    else if (call.type === "open-session") writer.session(call.id, 7, 60_000);
  }
  connection.send();
}

const keysUpTo = (count: number): string[] => Array.from({ length: count }, (_, at) => `key${at}`);

describe("a binary connection", () => {
  it("carries all calls of a turn in one frame, and all later ones too", async () => {
    const stub = await BinaryStub.listen({ onCalls: answer });
    const client = plain(stub);
    const read = async (key: string): Promise<string> =>
      Buffer.from((await client.get(key))?.value ?? []).toString();
    const keys = keysUpTo(500);
    expect(await Promise.all(keys.map(read))).toEqual(keys);
    expect(await Promise.all(keys.map(read))).toEqual(keys);
    // Calls of one turn, whether they are made at once, in microtasks or in process.nextTick.
    const turn = [client.get("a"), Promise.resolve().then(() => client.get("b"))];
    turn.push(new Promise((resolve) => process.nextTick(resolve)).then(() => client.get("c")));
    await Promise.all(turn);
    expect([stub.frames, stub.connections.length]).toEqual([[500, 500, 3], 1]);
    expect([...client.protocols()]).toEqual([[stub.address, "binary"]]);
  });

  it("takes answers late and in any order, however they are cut", async () => {
    const held: Call[] = [];
    const stub = await BinaryStub.listen({
      onCalls: (connection, calls) => {
        held.push(...calls);
        if (held.length < 20) return;
        answer(connection, []);
        const writer = new AnswerWriter();
        for (const call of held.splice(0).reverse())
          if (call.type === "get") writer.value(call.id, 1, call.key, null);
        const bytes = writer.take();
        // Every byte in a write of its own for the first answers, the rest at once.
        void (async () => {
          for (let at = 0; at < 60; at++) {
            connection.socket.write(bytes.subarray(at, at + 1));
            if (at % 10 === 0) await pause(1);
          }
          connection.socket.write(bytes.subarray(60));
        })();
      },
    });
    const client = plain(stub);
    const keys = keysUpTo(20);
    const first = keys.slice(0, 10).map((key) => client.get(key));
    await pause(30);
    const found = await Promise.all([...first, ...keys.slice(10).map((key) => client.get(key))]);
    expect(found.map((one) => Buffer.from(one?.value ?? []).toString())).toEqual(keys);
  });

  it("gives each call its exact outcome when it breaks", async () => {
    const stub = await BinaryStub.listen({
      // One call is sent at a time; the others wait.
      welcome: { callsMax: 2 },
      onCalls: (connection) => connection.socket.destroy(),
    });
    // An attempt that is "not done" is repeated, so each connection takes one write with it.
    const client = plain(stub, { timeoutMs: 3000 });
    const results = await outcomes([client.put("a", "1"), client.put("b", "1"), client.put("c", "1")]);
    expect(results).toEqual(Array(3).fill("CONNECTION_LOST unknown"));
    expect(stub.frames).toEqual([1, 1, 1]);
  });

  it("that ends in the middle of a frame leaves the outcomes unknown, except of what was answered before", async () => {
    const stub = await BinaryStub.listen({
      onCalls: ({ writer, socket }, calls) => {
        const [first, second] = calls;
        writer.put(first?.id ?? 0, 0, 11);
        const whole = writer.take();
        writer.put(second?.id ?? 0, 0, 12);
        const half = writer.take();
        socket.end(Buffer.concat([whole, half.subarray(0, half.length - 3)]));
      },
    });
    const client = plain(stub);
    const results = await outcomes([client.put("a", "1"), client.put("b", "1")]);
    expect(results).toEqual([{ index: 0, version: 11 }, "CONNECTION_LOST unknown"]);
  });

  it("repeats reads, and writes in a session under the same number, when it breaks", async () => {
    const seen: string[] = [];
    let cuts = 0;
    const stub = await BinaryStub.listen({
      onCalls: (connection, calls) => {
        for (const call of calls)
          if (call.type === "put")
            seen.push(`${Buffer.from(call.key).toString()} ${call.session?.id}/${call.session?.sequence}`);
        if (calls.some(({ type }) => type !== "open-session") && cuts++ < 2) connection.socket.destroy();
        else answer(connection, calls);
      },
    });
    const client = new KvClient({ nodes: [stub.address] });
    await client.put("first", "1").catch(() => undefined);
    seen.length = 0;
    cuts = 1;
    const [a, b, got] = await Promise.all([client.put("a", "1"), client.put("b", "1"), client.get("c")]);
    expect([a.index, b.index, got?.version]).toEqual([0, 0, 1]);
    expect(seen).toEqual(["a 7/2", "b 7/3", "a 7/2", "b 7/3"]);
  });

  it("sends what the node's goodbye says it didn't take to a new connection", async () => {
    const stub = await BinaryStub.listen({
      onCalls: (connection, calls) => {
        if (connection !== stub.connections[0]) {
          answer(connection, calls);
          return;
        }
        const { writer } = connection;
        // The first frame was taken, and is answered after the goodbye; the second wasn't.
        if (stub.frames.length === 2) {
          writer.goodbye({ code: "", message: "", framesTaken: 1 });
          connection.send();
          writer.put(first.id, 0, 21);
          connection.send();
        } else first = calls[0] ?? first;
      },
    });
    let first = { id: 0 } as Call;
    const client = plain(stub);
    const one = client.put("a", "1");
    await vi.waitFor(() => {
      expect(stub.frames).toHaveLength(1);
    });
    const other = client.put("b", "1");
    expect(await one).toEqual({ index: 0, version: 21 });
    expect(await other).toEqual({ index: 0, version: 1 });
    expect([stub.frames, stub.connections.length]).toEqual([[1, 1, 1], 2]);
    await vi.waitFor(() => {
      expect(stub.connections[0]?.socket.destroyed).toBe(true);
    });
  });

  it.each([
    ["an answer to no call", (writer: AnswerWriter) => writer.put(4711, 0, 1)],
    ["an answer of another type", (writer: AnswerWriter) => writer.session(1, 7, 1)],
    ["no frame of a node", (writer: AnswerWriter) => writer.ping(1)],
    ["nonsense", null],
  ])("that brings %s is given up, and no answer behind it counts", async (_, write) => {
    const stub = await BinaryStub.listen({
      onCalls: ({ writer, socket }) => {
        if (write === null) socket.write(Buffer.alloc(100, "nonsense"));
        else {
          write(writer);
          socket.write(writer.take());
        }
        writer.put(2, 0, 12);
        socket.write(writer.take());
      },
    });
    const both = plain(stub);
    const [first, second] = await outcomes([both.put("a", "1"), both.put("b", "1")]);
    expect(first).toMatch(/^(?:CONNECTION_LOST|BAD_ANSWER) unknown$/);
    expect(second).toBe("CONNECTION_LOST unknown");
    await vi.waitFor(() => {
      expect(stub.connections.every(({ socket }) => socket.destroyed)).toBe(true);
    });
  });

  it("forgets a call that timed out or was aborted, and ignores its late answer", async () => {
    const stub = await BinaryStub.listen({
      onCalls: (connection, calls) => {
        const key = (call: Call | undefined): string =>
          call?.type === "put" ? Buffer.from(call.key).toString() : "";
        if (key(calls[0]) !== "late") answer(connection, calls);
        else setTimeout(() => answer(connection, calls), 250);
      },
    });
    const client = plain(stub, { timeoutMs: 100 });
    await client.put("a", "1");
    const controller = new AbortController();
    const late = client.put("late", "1");
    const aborted = client.put("late too", "1", { signal: controller.signal });
    const never = errorOf(client.put("not sent", "1", { signal: AbortSignal.abort() }));
    await pause(30);
    controller.abort();
    expect(await outcomes([late, aborted])).toEqual(["TIMED_OUT unknown", "ABORTED unknown"]);
    expect((await never).outcome).toBe("not-done");
    await pause(300);
    expect(await client.put("b", "1")).toEqual({ index: 0, version: 4 });
    expect(stub.connections).toHaveLength(1);
  });

  it("sends no more calls at once than the node takes, and keeps one back so that a ping is read", async () => {
    const waiting: { connection: StubConnection; calls: readonly Call[] }[] = [];
    let most = 0;
    const stub = await BinaryStub.listen({
      welcome: { callsMax: 9 },
      onCalls: (connection, calls) => {
        waiting.push({ connection, calls });
        most = Math.max(
          most,
          waiting.reduce((sum, one) => sum + one.calls.length, 0),
        );
        setTimeout(() => {
          const one = waiting.shift();
          if (one !== undefined) answer(one.connection, one.calls);
        }, 5);
      },
    });
    const client = plain(stub);
    await Promise.all(keysUpTo(50).map((key) => client.put(key, "1")));
    expect(most).toBe(8);
  });

  it("holds at most a large write in its socket while the node doesn't read", async () => {
    const stub = await BinaryStub.listen({
      onHello: (connection) => {
        welcome(connection);
        connection.socket.pause();
      },
      onCalls: answer,
    });
    const client = plain(stub, { timeoutMs: 1500 });
    const value = new Uint8Array(1_000_000);
    const calls: Promise<unknown>[] = [];
    for (let at = 0; at < 40; at++) {
      calls.push(client.put(`key${at}`, value));
      await new Promise((resolve) => setImmediate(resolve));
    }
    const results = await outcomes(calls);
    const sent = results.filter((one) => one === "TIMED_OUT unknown").length;
    const unsent = results.filter((one) => one === "TIMED_OUT not-done").length;
    expect(sent + unsent).toBe(40);
    expect(unsent).toBeGreaterThan(10);
  });

  it("refuses calls beyond its limits with a code of its own, and takes further ones later", async () => {
    const stub = await BinaryStub.listen({
      onCalls: (connection, calls) => setTimeout(() => answer(connection, calls), 50),
    });
    const client = plain(stub, { callsMax: 2, bytesMax: 10_000 });
    const three = ["a", "b", "c"].map((key) => client.put(key, "1"));
    const refused = await errorOf(three[2] ?? Promise.resolve());
    expect([refused.code, refused.outcome]).toEqual(["TOO_MANY_CALLS", "not-done"]);
    expect(refused.message).toContain("2 calls with");
    await Promise.all(three.slice(0, 2));
    const large = [client.put("a", new Uint8Array(6000)), client.get("b")];
    await Promise.all(large);
    const over = await errorOf(client.put("a", new Uint8Array(10_000)));
    expect(over.code).toBe("TOO_MANY_CALLS");
  });

  it("sends values as they were when the call was made", async () => {
    const values: string[] = [];
    const stub = await BinaryStub.listen({
      onCalls: (connection, calls) => {
        for (const call of calls) if (call.type === "put") values.push(Buffer.from(call.value).toString());
        answer(connection, calls);
      },
    });
    const client = plain(stub);
    const value = Buffer.from("one");
    const first = client.put("a", value);
    value.write("two");
    await Promise.all([first, client.put("b", value)]);
    expect(values).toEqual(["one", "two"]);
  });

  it("is closed by close(), and later calls open another", async () => {
    const stub = await BinaryStub.listen({ onCalls: answer });
    const client = plain(stub);
    await client.put("a", "1");
    await client.close();
    const [first] = stub.connections;
    if (first?.socket.destroyed === false) await once(first.socket, "close");
    expect(await client.put("b", "1")).toEqual({ index: 0, version: 1 });
  });

  it("closes when it wasn't used for a while", async () => {
    const stub = await BinaryStub.listen({ onCalls: answer, welcome: { idleMs: 200 } });
    const client = plain(stub);
    await client.put("a", "1");
    const [first] = stub.connections;
    if (first?.socket.destroyed === false) await once(first.socket, "close");
    expect(await client.put("b", "1")).toEqual({ index: 0, version: 1 });
  });
});

describe("a binary connection that falls silent", () => {
  it("is given up if no ping is answered, and kept if it is", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    onTestFinished(() => {
      vi.useRealTimers();
    });
    let pings = 0;
    let answersPings = true;
    const stub = await BinaryStub.listen({
      onPing: ({ writer, socket }, number) => {
        pings += 1;
        if (!answersPings) return;
        writer.pong(number);
        socket.write(writer.take());
      },
    });
    const client = plain(stub, { timeoutMs: 60_000 });
    const put = outcomes([client.put("a", "1")]);
    await real(() => stub.frames.length === 1);
    for (let second = 0; second < 8; second++) {
      const before = pings;
      await vi.advanceTimersByTimeAsync(1000);
      await real(() => pings > before || second < 1);
    }
    expect(pings).toBeGreaterThan(3);
    answersPings = false;
    for (let second = 0; second < 8; second++) {
      await vi.advanceTimersByTimeAsync(1000);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await put).toEqual(["CONNECTION_LOST unknown"]);
  });
});

/** Waits in real time, while timers are faked. */
async function real(condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 100_000 && !condition(); turn++)
    await new Promise((resolve) => setImmediate(resolve));
}

describe("a node that doesn't speak the binary protocol", () => {
  it("is called over HTTP from the first call on, and asked again when it was replaced", async () => {
    const requests: string[] = [];
    const old = createHttpServer((request, response) => {
      request.resume();
      requests.push(`${request.method ?? ""} ${request.url ?? ""}`);
      response.end('{"index":0,"version":2}');
    });
    let opened = 0;
    old.on("connection", () => (opened += 1));
    const { port } = await listen(old, ANY_PORT);
    const address = `127.0.0.1:${port}`;
    const client = plain({ address });
    await Promise.all([client.put("a", "1"), client.put("b", "1")]);
    await client.put("c", "1");
    expect(requests.toSorted()).toEqual(["PUT /kv/a", "PUT /kv/b", "PUT /kv/c"]);
    expect([...client.protocols()]).toEqual([[address, "http"]]);
    const before = opened;
    await client.put("d", "1");
    expect(opened).toBe(before);
    old.closeAllConnections();
    await new Promise((resolve) => old.close(resolve));
    expect((await errorOf(plain({ address }, { timeoutMs: 50 }).put("a", "1"))).code).toBe("UNREACHABLE");
    expect((await errorOf(new KvClient({ nodes: [address], timeoutMs: 50 }).put("a", "1"))).outcome).toBe(
      "not-done",
    );
    await client.get("a", { signal: AbortSignal.timeout(30) }).catch(() => undefined);
    const stub = await BinaryStub.listen({ onCalls: answer, port });
    expect(await client.put("e", "1")).toEqual({ index: 0, version: 1 });
    expect([...client.protocols()]).toEqual([[stub.address, "binary"]]);
  });

  it("because something in between closes such connections is called over HTTP after the second", async () => {
    let connections = 0;
    const server = createTcpServer((socket) => {
      socket.on("error", () => undefined);
      socket.once("data", (chunk) => {
        connections += 1;
        if (chunk[0] === 0xfe) socket.destroy();
        else socket.end('HTTP/1.1 200 OK\r\nContent-Length: 23\r\n\r\n{"index":0,"version":2}');
      });
    });
    const { port } = await listen(server, ANY_PORT);
    onTestFinished(() => void server.close());
    expect(await plain({ address: `127.0.0.1:${port}` }).put("a", "1")).toEqual({ index: 0, version: 2 });
    expect(connections).toBe(3);
  });

  it("gets calls that are too large for it over HTTP, which says so", async () => {
    const stub = await BinaryStub.listen({ onCalls: answer });
    const error = await errorOf(plain(stub, { timeoutMs: 300 }).put("k".repeat(70_000), "1"));
    // The stub speaks no HTTP, so the attempt over HTTP fails.
    expect(error.code).toBe("CONNECTION_LOST");
  });
});
