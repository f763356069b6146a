/**
 * Every key that one door takes can be read and deleted by all: HTTP as it is, HTTP by `fetch`, lines, the
 * client.
 */
import { describe, expect, it, onTestFinished } from "vitest";
import { KvClient } from "../client/kv-client.ts";
import { LineServer } from "../line/line-server.ts";
import { LineClient } from "../test/line-client.ts";
import { exchange } from "../test/raw-client.ts";
import { ANY_PORT, fakeServing } from "../test/serving.ts";
import { start } from "../test/started-http.ts";
import { HttpServer } from "./http-server.ts";
import { percentEncode, targetOfKey } from "./request-syntax.ts";

const KEYS = [
  "a",
  ".",
  "..",
  "...",
  "../..",
  "/",
  "//",
  "/x",
  "a/../b",
  "a/./b",
  "./a",
  "a//b",
  "a/",
  "%2e%2e",
  "%",
  "?key=a",
  "a?b#c",
  "\\..\\",
  "http://h/x",
  "kv/a",
  "*",
  "+",
  "é",
  "\u{1F6A2}",
  "\u0000\u007f",
];

describe("an odd key", () => {
  it.each(KEYS)("can be put, got and deleted by every door: %j", async (key) => {
    const serving = await fakeServing();
    const http = await HttpServer.listen(ANY_PORT);
    const line = await LineServer.listen(ANY_PORT);
    onTestFinished(async () => {
      await Promise.all([http.close(), line.close()]);
    });
    http.serve(serving);
    line.serve(serving);
    const people = await LineClient.connect(line.address);
    onTestFinished(() => {
      people.close();
    });
    const client = new KvClient({ nodes: [http.address], sessions: false });
    const raw = async (method: string, target: string): Promise<string> => {
      const request = `${method} ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`;
      return (await exchange(http.address, request)).slice("HTTP/1.1 ".length, "HTTP/1.1 200".length);
    };
    const encoded = percentEncode(Buffer.from(key));
    const url = `http://${http.address}${targetOfKey(Buffer.from(key))}`;
    const doors: Record<
      string,
      [put: () => Promise<unknown>, get: () => Promise<unknown>, del: () => Promise<unknown>]
    > = {
      line: [
        () => people.ask(`put ${key} v`),
        async () => (await people.ask(`get ${key}`)) !== "Error: value does not exist",
        () => people.ask(`del ${key}`),
      ],
      client: [
        () => client.put(key, "v"),
        async () => (await client.get(key)) !== null,
        () => client.delete(key),
      ],
      "fetch as the client encodes": [
        () => fetch(url, { method: "PUT" }),
        async () => (await fetch(url)).status === 200,
        () => fetch(url, { method: "DELETE" }),
      ],
      "the target as it is": [
        () => raw("PUT", `/kv/${encoded}`),
        async () => (await raw("GET", `/kv/${encoded}`)) === "200",
        () => raw("DELETE", `/kv/${encoded}`),
      ],
      "the query": [
        () => raw("PUT", `/kv/?key=${encoded}`),
        async () => (await raw("GET", `/kv/?key=${encoded}`)) === "200",
        () => raw("DELETE", `/kv/?key=${encoded}`),
      ],
    };
    for (const [name, [put]] of Object.entries(doors)) {
      for (const [other, [, get, del]] of Object.entries(doors)) {
        await put();
        expect(await get(), `put by ${name}, got by ${other}`).toBe(true);
        await del();
        expect(await get(), `put by ${name}, deleted by ${other}`).toBe(false);
      }
    }
  });

  it("decides nothing but the key: the path that is routed is the path that is read", async () => {
    const { server, request } = await start();
    const status = async (method: string, target: string): Promise<string> => {
      const text = `${method} ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
      return (await exchange(server.address, text)).slice(9, 12);
    };
    await request("PUT", "/kv/ship", { body: "Argo" });
    for (const target of [
      "/x/../kv/ship",
      "//kv/ship",
      "/./kv/ship",
      "/kv/../kv/ship",
      "/%6bv/ship",
      "/kv/./ship",
      "/KV/ship",
    ])
      expect(await status("GET", target), target).toBe("404");
    // Not the snapshot, but a key whose name has it.
    expect(await status("POST", "/kv/../snapshot")).toBe("405");
    expect(await status("GET", "/kv/../snapshot")).toBe("404");
    expect(await status("GET", "/kv/ship")).toBe("200");
    expect(await status("GET", "/kv/?key=ship")).toBe("200");
    expect(await status("GET", "/kv/?key=ship&consistency=stale")).toBe("200");
    expect(await status("GET", "/kv/?key=ship&key=ship")).toBe("400");
    expect(await status("GET", "/kv/?key=")).toBe("400");
    expect(await status("GET", "/kv/ship?key=ship")).toBe("400");
  });
});
