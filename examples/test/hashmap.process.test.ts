import { expect, it } from "vitest";
import {
  ExampleProcess,
  freeAddresses,
  losesFirstAnswers,
  temporaryDirectory,
  until,
} from "./example-process.ts";

/** Runs a client to its end. */
async function client(args: readonly string[]): Promise<{ code: number | null; out: string; err: string }> {
  const process = new ExampleProcess("hashmap", args, temporaryDirectory());
  const code = await process.ended;
  return { code, out: process.stdout, err: process.stderr };
}

async function result(...args: string[]): Promise<string> {
  const { code, out, err } = await client(args);
  expect(code, err).toBe(0);
  return out;
}

async function started(
  folder: string,
  id: string,
  addresses: readonly string[],
  options: readonly string[] = [],
): Promise<ExampleProcess> {
  const server = new ExampleProcess("hashmap", ["server", id, ...addresses, ...options], folder);
  await until("the server listens", () => {
    expect(server.isRunning, server.stderr).toBe(true);
    return server.stdout.includes(`server ${id} is at`);
  });
  return server;
}

it("two servers keep a map, also when one is killed and started again", async () => {
  const addresses = await freeAddresses(2);
  const [first = "", second = ""] = addresses;
  const folder = temporaryDirectory();
  const one = await started(folder, "1", addresses);
  await started(folder, "2", addresses);
  expect(await result("put", "a b", '{"n":1}', first)).toBe("null\n");
  expect(await result("get", "a b", second)).toBe('{"n":1}\n');
  expect(await result("get", "other", second)).toBe("null\n");
  expect(await result("cas", "other", "null", "first", second)).toBe("true\n");
  expect(await result("cas", "other", "null", "second", first)).toBe("false\n");
  await one.kill();
  // Of two servers, both are needed: what the client can't know it says.
  const lonely = await client(["put", "x", "1", second, "--timeout", "3"]);
  expect(lonely.code).toBe(1);
  expect(lonely.err).toContain("hashmap: no server could answer in time");
  await started(folder, "1", addresses);
  expect(await result("get", "other", first, second)).toBe('"first"\n');
  expect(await result("get", "a b", second, first)).toBe('{"n":1}\n');
});

it("a write takes effect once, although its answer is lost and the client sends it again", async () => {
  const [address = "", proxyAddress = ""] = await freeAddresses(2);
  const data = temporaryDirectory();
  await started(temporaryDirectory(), "1", [address], ["--data", data]);
  const seen = await losesFirstAnswers(proxyAddress, address);
  expect(await result("put", "k", "5", proxyAddress)).toBe("null\n");
  expect(seen).toEqual(["open-session", "open-session", "write", "write"]);
});

it("prints its usage, and says what is wrong with a command line", async () => {
  expect(await result("--help")).toContain("hashmap server ID ADDRESS...");
  for (const [args, text] of [
    [["cas", "k", "1"], "a value is missing"],
    [["server", "3", "127.0.0.1:1", "127.0.0.1:2"], "3 is not among the servers 1, 2"],
  ] as const) {
    const { code, err } = await client(args);
    expect([code, err.split("\n").at(-2)]).toEqual([2, "See: hashmap --help"]);
    expect(err).toContain(text);
  }
});
