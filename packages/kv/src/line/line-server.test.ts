import { EventEmitter } from "node:events";
import { Server, type Socket } from "node:net";
import { NotLeaderError, OutcomeUnknownError, OverloadedError } from "keelson";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { KEY_BYTES_MAX, VALUE_BYTES_MAX } from "../store/commands.ts";
import { serverBudgets } from "../shared/memory-budget.ts";
import { pause } from "../shared/pause.ts";
import { connectTo, exchange } from "../test/raw-client.ts";
import { LineServer, type LineServerLimits, type LineServerParts } from "./line-server.ts";
import type { FakeNode } from "../test/fake-node.ts";
import { LineClient } from "../test/line-client.ts";
import { ANY_PORT, fakeServing } from "../test/serving.ts";

async function start(
  limits: Partial<LineServerLimits> = {},
  parts: LineServerParts = {},
): Promise<{ server: LineServer; node: FakeNode; connect: () => Promise<LineClient> }> {
  const serving = await fakeServing();
  const server = await LineServer.listen(ANY_PORT, limits, parts);
  onTestFinished(() => server.close());
  server.serve(serving);
  const connect = async (): Promise<LineClient> => {
    const client = await LineClient.connect(server.address);
    onTestFinished(() => {
      client.close();
    });
    return client;
  };
  return { server, node: serving.node, connect };
}

describe("the line protocol", () => {
  it("answers each line with one line, on one connection", async () => {
    const { connect } = await start();
    const client = await connect();
    expect(await client.ask("put 1 bar")).toBe("Ok: Appended at 0");
    expect(await client.ask("get 1")).toBe("Ok: bar");
    expect(await client.ask("put 2 two words")).toBe("Ok: Appended at 1");
    expect(await client.ask("get 2")).toBe("Ok: two words");
    expect(await client.ask("del 1")).toBe("Ok: Appended at 2");
    expect(await client.ask("get 1")).toBe("Error: value does not exist");
    expect(await client.ask("del 1")).toBe("Ok: Appended at 3");
    expect(await client.ask("hello")).toMatch(/^Error: unknown command "hello"/);
    expect(await client.ask("put 3 ")).toBe("Ok: Appended at 4");
    expect(await client.ask("get 3")).toBe("Ok: ");
  });

  it("answers lines that arrive together in order", async () => {
    const { connect } = await start();
    const client = await connect();
    const puts = Array.from({ length: 200 }, (_, at) => `put k ${at}\r\nget k`);
    client.socket.end(`${puts.join("\n")}\n`);
    for (let at = 0; at < 200; at++) {
      expect(await client.line()).toBe(`Ok: Appended at ${at}`);
      expect(await client.line()).toBe(`Ok: ${at}`);
    }
    expect(await client.line()).toBeNull();
  });

  it.each(["put ship 12", "del ship"])(
    "doesn't execute %s without an end: it may be cut off",
    async (line) => {
      const { connect } = await start();
      const client = await connect();
      expect(await client.ask("put ship titanic")).toMatch(/^Ok/);
      client.socket.end(line);
      expect(await client.line()).toMatch(/^Error: the line has no end, so it may have been cut off/);
      expect(await client.line()).toBeNull();
      expect(await (await connect()).ask("get ship")).toBe("Ok: titanic");
    },
  );

  it("accepts the largest key and value, and skips a longer line without losing the next", async () => {
    const { connect } = await start();
    const client = await connect();
    const key = "k".repeat(KEY_BYTES_MAX);
    const value = "v".repeat(VALUE_BYTES_MAX);
    expect(await client.ask(`put ${key} ${value}`)).toBe("Ok: Appended at 0");
    expect(await client.ask(`get ${key}`)).toBe(`Ok: ${value}`);
    expect(await client.ask(`put ${key} ${value}v`)).toBe(
      "Error: the line is longer than 1047557 bytes; it was left out",
    );
    expect(await client.ask(`put k ${value}v`)).toBe(
      "Error: the value has 1046529 bytes; the limit is 1046528",
    );
    expect(await client.ask("get k")).toBe("Error: value does not exist");
  });

  it("refuses to send a value with a line feed", async () => {
    const { node, connect } = await start();
    await node.write({ type: "put", key: Buffer.from("k"), value: Buffer.from("a\nb"), condition: null });
    const client = await connect();
    expect(await client.ask("get k")).toBe("Error: the value has a line break in it; get it by HTTP");
  });

  it.each([
    [
      new NotLeaderError({
        id: "n2",
        address: "127.0.0.1:7002",
        info: '{"line":"127.0.0.1:8002","http":"127.0.0.1:9002"}',
      }),
      "Error: Leader is 127.0.0.1:8002",
    ],
    [
      new NotLeaderError({ id: "n2", address: "127.0.0.1:7002", info: "\n" }),
      "Error: the leader is n2, whose address for clients is not known yet; try again",
    ],
    [new NotLeaderError(null), "Error: no leader"],
    [new OverloadedError("too much is under way"), "Error: too much is under way"],
    [
      new OutcomeUnknownError("the node lost\nits office"),
      "Error: the outcome is unknown: the node lost its office",
    ],
  ])("answers a failed write with one line that says its outcome: %s", async (failure, answer) => {
    const { node, connect } = await start();
    node.failure = failure;
    const client = await connect();
    expect(await client.ask("put 1 bar")).toBe(answer);
    node.failure = null;
    expect(await client.ask("get 1")).toBe("Error: value does not exist");
  });

  it("reads linearizably", async () => {
    const { node, connect } = await start();
    const client = await connect();
    await client.ask("get 1");
    // The library's default consistency.
    expect(node.consistency).toBeUndefined();
    node.failure = new NotLeaderError(null);
    expect(await client.ask("get 1")).toBe("Error: no leader");
  });
});

describe("a client that speaks another protocol [Z16]", () => {
  const COMMANDS = "\nput ship hacked\ndel ship\n";
  const NOT_OURS = /^Error: this is no command but another protocol/;

  it.each([
    ["a page's POST", `POST / HTTP/1.1\r\nHost: 127.0.0.1:8001\r\nContent-Length: 27\r\n\r\n${COMMANDS}`],
    ["a GET with commands in a header", `GET /x HTTP/1.1\r\nX-A: 1\r${COMMANDS}`],
    ["another method", `PROPFIND /x HTTP/1.0${COMMANDS}`],
    ["a method that nobody knows", `M-SEARCH * HTTP/1.1\r${COMMANDS}`],
    ["an absolute target", `GET http://127.0.0.1:8001/ HTTP/1.1\r${COMMANDS}`],
    ["CONNECT", `CONNECT 127.0.0.1:8001 HTTP/1.1\r${COMMANDS}`],
    ["HTTP/0.9", `GET /${COMMANDS}`],
    ["HTTP/2", `PRI * HTTP/2.0\r\n\r\nSM\r\n\r${COMMANDS}`],
    ["HTTP/1.1 with a method in lower case", `put /ship HTTP/1.1\r${COMMANDS}`],
    ["a custom method", `patch / HTTP/1.1${COMMANDS}`],
    ["a request line over the limit", `GET /${"x".repeat(1_100_000)} HTTP/1.1\r${COMMANDS}`],
    [
      "a request line over the limit without a known method",
      `x /${"x".repeat(1_100_000)} HTTP/1.1${COMMANDS}`,
    ],
    ["TLS", `\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03${COMMANDS}`],
    ["a binary protocol", `\x00\x03\x00\x08!\x12\xa4B${COMMANDS}`],
  ])("is disconnected before anything is executed: %s", async (_, text) => {
    const { server, node } = await start();
    await node.write({ type: "put", key: Buffer.from("ship"), value: Buffer.from("Argo"), condition: null });
    let writes = 0;
    node.write = () => {
      writes += 1;
      return Promise.reject(new NotLeaderError(null));
    };
    const bytes = Buffer.from(text, "latin1");
    expect(await exchange(server.address, bytes)).toMatch(NOT_OURS);
    // Byte by byte, as far as the first lines go, and then the rest.
    if (bytes.length < 1000) {
      const socket = await connectTo(server.address);
      socket.setNoDelay(true);
      let answer = "";
      socket.on("data", (chunk: Buffer) => (answer += chunk.toString("latin1")));
      const closed = new Promise((resolve) => socket.once("close", resolve));
      for (const byte of bytes) {
        socket.write(Uint8Array.of(byte));
        await new Promise((resolve) => setImmediate(resolve));
      }
      await closed;
      expect(answer).toMatch(/^(?:Error: this is no command but another protocol.*\n)?$/);
    }
    expect(writes).toBe(0);
  });

  it("is disconnected too if it sent commands before; those are answered", async () => {
    const { connect } = await start();
    const client = await connect();
    client.send("put a 1\nPOST / HTTP/1.1\nput a 2\n");
    expect(await client.line()).toBe("Ok: Appended at 0");
    expect(await client.line()).toMatch(NOT_OURS);
    expect(await client.line()).toBeNull();
    expect(await (await connect()).ask("get a")).toBe("Ok: 1");
  });

  it("isn't seen in commands that look a little like one", async () => {
    const { connect } = await start();
    const client = await connect();
    for (const [at, line] of [
      "put a GET / HTTP/1.1",
      "put protocol HTTP/1.1",
      "put / x",
      "put k POST",
    ].entries())
      expect(await client.ask(line)).toBe(`Ok: Appended at ${at}`);
    expect(await client.ask("GET a")).toMatch(/^Error: unknown command "GET"/);
    expect(await client.ask("\x1b[A")).toMatch(/^Error: unknown command/);
    expect(await client.ask("get protocol")).toBe("Ok: HTTP/1.1");
  });

  it("is disconnected after a number of lines that are no commands", async () => {
    const { connect } = await start();
    const client = await connect();
    for (let at = 0; at < 16; at++) expect(await client.ask("HELO")).toMatch(/^Error: unknown command/);
    expect(await client.ask("put a 1")).toBe("Error: 16 lines in a row were no commands, or not allowed");
    expect(await client.line()).toBeNull();
    expect(await (await connect()).ask("get a")).toBe("Error: value does not exist");
  });
});

describe("a client that is slow or greedy [Z18]", () => {
  it("that doesn't read its answers is disconnected, and leaves nothing behind", async () => {
    const budgets = serverBudgets();
    const { server, node } = await start({ answerPartMsMax: 300 }, { budgets });
    const value = Buffer.alloc(VALUE_BYTES_MAX, "v");
    await node.write({ type: "put", key: Buffer.from("k"), value, condition: null });
    const socket = await connectTo(server.address);
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.pause().write("get k\n".repeat(1000));
    await vi.waitFor(() => {
      expect(budgets.answers.bytes).toBeGreaterThan(0);
    });
    expect(budgets.answers.bytes).toBeLessThanOrEqual(2 * VALUE_BYTES_MAX);
    const writing = setInterval(() => socket.write("get k\n"), 50);
    await closed;
    clearInterval(writing);
    expect(budgets.answers.bytes).toBe(0);
  });

  it("that leaves before its value is read is counted until the value is dropped, and once", async () => {
    const budgets = serverBudgets();
    const { server, node } = await start({}, { budgets });
    await node.write({ type: "put", key: Buffer.from("k"), value: Buffer.alloc(1000, "v"), condition: null });
    const leave = Promise.withResolvers<undefined>();
    node.read = async (query) => {
      const found = await query();
      await leave.promise;
      return found;
    };
    const socket = await connectTo(server.address);
    socket.write("get k\n");
    await vi.waitFor(() => {
      expect(budgets.answers.bytes).toBe(1000);
    });
    socket.resetAndDestroy();
    await pause(100);
    expect(budgets.answers.bytes).toBe(1000);
    leave.resolve(undefined);
    await vi.waitFor(() => {
      expect(budgets.answers.bytes).toBe(0);
    });
  });

  it("that doesn't read large values locks out others that ask for large values, but not for small ones", async () => {
    const budgets = serverBudgets(2.5 * 1024 * 1024);
    const { server, node, connect } = await start({}, { budgets });
    const value = Buffer.alloc(VALUE_BYTES_MAX, "v");
    await node.write({ type: "put", key: Buffer.from("k"), value, condition: null });
    await node.write({ type: "put", key: Buffer.from("s"), value: Buffer.from("small"), condition: null });
    const greedy = await Promise.all([1, 2].map(() => connectTo(server.address)));
    for (const socket of greedy) socket.pause().write("get k\n".repeat(1000));
    await vi.waitFor(() => {
      expect(budgets.answers.bytes).toBe(2 * VALUE_BYTES_MAX);
    });
    const client = await connect();
    const begun = performance.now();
    expect(await client.ask("get s")).toBe("Ok: small");
    expect(await client.ask("get k")).toMatch(/^Error: clients have not read the answers/);
    // A client that asks in a loop must not be refused as fast as it asks.
    expect(performance.now() - begun).toBeGreaterThan(200);
    expect(await client.ask("get s")).toBe("Ok: small");
    expect(budgets.answers.bytes).toBe(2 * VALUE_BYTES_MAX);
    await vi.waitFor(
      async () => {
        expect(await client.ask("get k")).toMatch(/^Ok: v/);
      },
      { timeout: 10_000, interval: 100 },
    );
  });

  it("that is idle with an unread answer is disconnected by the idle limit, not kept until it reads", async () => {
    const { server, node } = await start({ idleMsMax: 300 });
    const value = Buffer.alloc(VALUE_BYTES_MAX, "v");
    await node.write({ type: "put", key: Buffer.from("k"), value, condition: null });
    const socket = await connectTo(server.address);
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.pause().write("get k\n".repeat(1000));
    await new Promise((resolve) => setTimeout(resolve, 1800));
    const writing = setInterval(() => socket.write("get k\n"), 50);
    await closed;
    clearInterval(writing);
  });

  it("adds no listeners with its answers", async () => {
    const { connect, node } = await start();
    const sockets: Socket[] = [];
    const emit = EventEmitter.prototype.emit;
    vi.spyOn(Server.prototype, "emit").mockImplementation(function (
      this: EventEmitter,
      event: string,
      ...args: unknown[]
    ) {
      if (event === "connection") sockets.push(args[0] as Socket);
      return emit.call(this, event, ...args);
    });
    await node.write({
      type: "put",
      key: Buffer.from("k"),
      value: Buffer.alloc(300_000, "v"),
      condition: null,
    });
    const client = await connect();
    await client.ask("get k");
    const [socket] = sockets;
    const count = (): number =>
      ["drain", "close", "error", "finish"].reduce(
        (sum, name) => sum + (socket?.listenerCount(name) ?? 0),
        0,
      );
    const before = count();
    for (let at = 0; at < 20; at++) await client.ask("get k");
    expect(count()).toBe(before);
    vi.restoreAllMocks();
  });

  it("that sends single bytes costs what it sends, and loses its line if others need the room", async () => {
    const budgets = serverBudgets(1.25 * 1024 * 1024);
    const { server, connect } = await start({}, { budgets });
    const slow = await connectTo(server.address);
    slow.write(`put slow ${"v".repeat(700_000)}`);
    await vi.waitFor(() => {
      expect(budgets.requests.bytes).toBeGreaterThan(700_000);
    });
    const refused = await connect();
    refused.send(`put k ${"v".repeat(600_000)}\n`);
    expect(await refused.line()).toMatch(/^Error: the server holds too many bytes of requests already/);
    await new Promise((resolve) => setTimeout(resolve, 2200));
    const served = await connect();
    served.send(`put k ${"v".repeat(600_000)}\n`);
    expect(await served.line()).toBe("Ok: Appended at 0");
    expect(budgets.requests.bytes).toBe(0);
  });
});

describe("the line server", () => {
  it("refuses connections over its limit, and accepts new ones when others end", async () => {
    const { connect } = await start({ connectionsMax: 2 });
    const [first, second] = [await connect(), await connect()];
    expect(await first.ask("get 1")).toMatch(/^Error: value/);
    expect(await second.ask("get 1")).toMatch(/^Error: value/);
    const third = await connect();
    expect(await third.line()).toBe("Error: too many connections; the limit is 2");
    expect(await third.line()).toBeNull();
    first.socket.end();
    expect(await first.line()).toBeNull();
    const fourth = await connect();
    expect(await fourth.ask("get 1")).toBe("Error: value does not exist");
  });

  it("closes an idle connection", async () => {
    const { connect } = await start({ idleMsMax: 100 });
    const client = await connect();
    expect(await client.line()).toBe("Error: nothing was said for 0.1 s; goodbye");
    expect(await client.line()).toBeNull();
  });

  it("answers that it is starting until it is given a node", async () => {
    const server = await LineServer.listen(ANY_PORT);
    onTestFinished(() => server.close());
    const client = await LineClient.connect(server.address);
    onTestFinished(() => {
      client.close();
    });
    expect(await client.ask("get 1")).toBe("Error: the node is starting or closing; try again");
  });

  it("closes while connections are open, and releases the port", async () => {
    const { server, connect } = await start();
    const client = await connect();
    expect(await client.ask("put 1 a")).toBe("Ok: Appended at 0");
    await server.close();
    expect(await client.line()).toBeNull();
    const [host = "", port = ""] = server.address.split(":");
    const next = await LineServer.listen({ host, port: Number(port) });
    await next.close();
  });

  it("says that the port is in use, and what to do", async () => {
    const { server } = await start();
    const port = Number(server.address.split(":")[1]);
    await expect(LineServer.listen({ host: "127.0.0.1", port })).rejects.toThrow(
      `cannot listen on 127.0.0.1:${port}: it is in use by another process; stop that one or choose another port`,
    );
  });

  it("survives clients that disconnect early, refused ones included", async () => {
    const { connect } = await start({ connectionsMax: 1 });
    const stays = await connect();
    expect(await stays.ask("get nothing")).toBe("Error: value does not exist");
    for (let at = 0; at < 40; at++) {
      // The first twenty are refused: the server is full.
      if (at === 20) stays.close();
      const client = await connect();
      client.send(`put k ${"v".repeat(5000)}\nget k\nget`);
      client.socket.resetAndDestroy();
    }
    await vi.waitFor(async () => {
      const client = await connect();
      expect(await client.ask("get nothing")).toBe("Error: value does not exist");
    });
  });
});
