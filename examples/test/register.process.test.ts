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
  const process = new ExampleProcess("register", args, temporaryDirectory());
  const code = await process.ended;
  return { code, out: process.stdout, err: process.stderr };
}

async function result(...args: string[]): Promise<string> {
  const { code, out, err } = await client(args);
  expect(code, err).toBe(0);
  return out;
}

async function started(folder: string, id: string, pairs: readonly string[]): Promise<ExampleProcess> {
  const server = new ExampleProcess("register", ["server", id, ...pairs], folder);
  await until("the server listens", () => {
    expect(server.isRunning, server.stderr).toBe(true);
    return server.stdout.includes(`server ${id} is at`);
  });
  return server;
}

it("a single server keeps its register when it is killed and started again", async () => {
  const [address = ""] = await freeAddresses(1);
  const folder = temporaryDirectory();
  const server = await started(folder, "1", ["1", address]);
  expect(await result("get", address)).toBe("null\n");
  expect(await result("put", "5", address)).toBe("null\n");
  expect(await result("put", '{"a":[1,2]}', address)).toBe("5\n");
  expect(await result("cas", "5", "6", address)).toBe("false\n");
  expect(await result("cas", '{ "a": [1, 2] }', "not JSON", address)).toBe("true\n");
  await server.kill();
  await started(folder, "1", ["1", address]);
  expect(await result("get", address)).toBe('"not JSON"\n');
});

it("three servers serve any client, also while one is down, whichever address is named first", async () => {
  const addresses = await freeAddresses(3);
  const pairs = addresses.flatMap((address, at) => [String(at + 1), address]);
  const folder = temporaryDirectory();
  const servers = await Promise.all(["1", "2", "3"].map((id) => started(folder, id, pairs)));
  for (const [at, address] of addresses.entries()) {
    expect(await result("put", String(at + 1), address)).toBe(at === 0 ? "null\n" : `${at}\n`);
  }
  for (const at of [0, 1]) {
    await servers[at]!.kill();
    // Through the server that is down first, while the others elect a leader, perhaps.
    const ordered = [addresses[at]!, ...addresses];
    const value = await result("get", ...ordered);
    expect(await result("cas", value.trim(), String(at + 10), ...ordered)).toBe("true\n");
    servers[at] = await started(folder, String(at + 1), pairs);
  }
  for (const address of addresses) expect(await result("get", address)).toBe("11\n");
});

it("a write takes effect once, although its answer is lost and the client sends it again", async () => {
  const [address = "", proxyAddress = ""] = await freeAddresses(2);
  await started(temporaryDirectory(), "1", ["1", address]);
  const seen = await losesFirstAnswers(proxyAddress, address);
  expect(await result("put", "5", proxyAddress)).toBe("null\n");
  expect(seen).toEqual(["open-session", "open-session", "write", "write"]);
  expect(await result("get", address)).toBe("5\n");
});

it("a client gives up with what is known", async () => {
  const [address = "", other = ""] = await freeAddresses(2);
  const read = await client(["get", address, "--timeout", "1"]);
  expect([read.code, read.out]).toEqual([1, ""]);
  expect(read.err).toContain("register: no server could answer in time; nothing was read");
  expect(read.err).toContain(`${address}: connect ECONNREFUSED`);
  // A server alone of two: there is no cluster yet.
  await started(temporaryDirectory(), "1", ["1", address, "2", other]);
  const write = await client(["put", "1", address, "--timeout", "4"]);
  expect(write.code).toBe(1);
  expect(write.err).toMatch(/no server could answer in time; nothing was written\n {2}.*no leader is known/);
});

it("prints its usage, and says what is wrong with a command line", async () => {
  expect(await result("--help")).toContain("register server ID (NODE-ID NODE-ADDRESS)...");
  for (const [args, text] of [
    [["set"], "there is no command set"],
    [["get", "8080"], '"8080" is not HOST:PORT'],
    [["server", "3", "1", "127.0.0.1:1"], "3 is not among the servers 1"],
    [["get", "127.0.0.1:1", "--timeuot", "1"], "--timeuot"],
  ] as const) {
    const { code, err } = await client(args);
    expect([code, err.split("\n").at(-2)]).toEqual([2, "See: register --help"]);
    expect(err).toContain(text);
  }
});
