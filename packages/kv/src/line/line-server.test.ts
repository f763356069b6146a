import { NotLeaderError, OutcomeUnknownError, OverloadedError } from "keelson";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { KEY_BYTES_MAX, VALUE_BYTES_MAX } from "../store/commands.ts";
import { LineServer, type LineServerLimits } from "./line-server.ts";
import type { FakeNode } from "../test/fake-node.ts";
import { LineClient } from "../test/line-client.ts";
import { ANY_PORT, fakeServing } from "../test/serving.ts";

async function start(
  limits: Partial<LineServerLimits> = {},
): Promise<{ server: LineServer; node: FakeNode; connect: () => Promise<LineClient> }> {
  const serving = await fakeServing();
  const server = await LineServer.listen(ANY_PORT, limits);
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

  it("answers lines that arrive together in order, and a last line without a line feed", async () => {
    const { connect } = await start();
    const client = await connect();
    const puts = Array.from({ length: 200 }, (_, at) => `put k ${at}\r\nget k`);
    client.socket.end(puts.join("\n"));
    for (let at = 0; at < 200; at++) {
      expect(await client.line()).toBe(`Ok: Appended at ${at}`);
      expect(await client.line()).toBe(`Ok: ${at}`);
    }
    expect(await client.line()).toBeNull();
  });

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
        data: '{"line":"127.0.0.1:8002","http":"127.0.0.1:9002"}',
      }),
      "Error: Leader is 127.0.0.1:8002",
    ],
    [
      new NotLeaderError({ id: "n2", address: "127.0.0.1:7002", data: "\n" }),
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
