import type { IncomingMessage } from "node:http";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it, vi } from "vitest";
import {
  ADMIN_TOKEN_FILE_VARIABLE,
  readToken,
  TOKEN_FILE_VARIABLE,
  tokenToSend,
} from "../access/token-file.ts";
import { refuseRemote } from "./route-access.ts";
import { runAdminCommand } from "../cli/admin.ts";
import { parseAdminOptions } from "../cli/admin-options.ts";
import { backup } from "../cli/backup.ts";
import { errorOf, start, withToken } from "../test/started-http.ts";
import { Access, OPEN_RULES } from "../access/access.ts";
import { temporaryDirectory } from "../test/temporary.ts";
import { StartError } from "../shared/errors.ts";

const TOKEN = "0123456789abcdef";
const WITH_TOKEN = withToken(TOKEN);

const OPERATING = [
  ["POST", "/members"],
  ["DELETE", "/members/n2"],
  ["POST", "/transfer"],
  ["GET", "/snapshot"],
  ["POST", "/snapshot"],
] as const;

function from(remoteAddress: string | undefined, headers: IncomingMessage["headers"] = {}): IncomingMessage {
  return { headers, socket: { remoteAddress } } as unknown as IncomingMessage;
}

function fileWith(text: string): string {
  const file = path.join(temporaryDirectory(), "token");
  writeFileSync(file, text, { mode: 0o600 });
  return file;
}

describe("operating a cluster over HTTP", () => {
  it.each(OPERATING)("requires the token for %s %s, if there is one", async (method, target) => {
    const { request } = await start(WITH_TOKEN);
    const wrong = [undefined, "Bearer", `Bearer ${TOKEN}x`, `Bearer ${TOKEN.slice(1)}`, `Basic ${TOKEN}`];
    for (const authorization of wrong) {
      const response = await request(method, target, {
        headers: authorization === undefined ? {} : { Authorization: authorization },
      });
      expect([response.status, response.headers.get("www-authenticate")], authorization).toEqual([
        401,
        "Bearer",
      ]);
      const { code, message, outcome } = await errorOf(response);
      expect([code, outcome]).toEqual(["UNAUTHORIZED", "not-done"]);
      expect(message).toContain(authorization === undefined ? "no token came" : "the token is wrong");
      expect(message).not.toContain(TOKEN);
    }
    const allowed = await request(method, target, { headers: { Authorization: `bearer ${TOKEN}` } });
    expect(allowed.status).not.toBe(401);
  });

  it("leaves reads, writes and monitoring open to all", async () => {
    const { request } = await start(WITH_TOKEN);
    expect((await request("PUT", "/kv/a", { body: "1" })).status).toBe(200);
    for (const target of ["/kv/a", "/kv", "/members", "/status", "/metrics", "/healthz"])
      expect((await request("GET", target)).status, target).toBe(200);
  });

  it.each(OPERATING)(
    "without a token allows %s %s from this machine, but not from a web page",
    async (method, target) => {
      const { request } = await start();
      expect((await request(method, target)).status).not.toBe(403);
      const page = await request(method, target, { headers: { Origin: "http://example.org" } });
      expect([page.status, (await errorOf(page)).code]).toEqual([403, "FORBIDDEN"]);
    },
  );

  it.each([
    ["127.0.0.1", true],
    ["127.8.9.10", true],
    ["::1", true],
    ["::ffff:127.0.0.1", true],
    ["10.0.0.7", false],
    ["::ffff:10.0.0.7", false],
    ["128.0.0.1", false],
    ["::2", false],
    ["fe80::1", false],
    [undefined, false],
  ])("without a token allows requests from %s: %s", (address, isTaken) => {
    const refusal = refuseRemote(from(address));
    expect(refusal === null).toBe(isTaken);
    if (refusal !== null) expect(refusal.body.error.message).toContain("--admin-token-file");
  });

  it("allows everyone if so configured", () => {
    const access = new Access({ ...OPEN_RULES, operators: "everyone" });
    expect(access.judge(null, "operate")).toEqual({ type: "allowed" });
  });
});

describe("a token", () => {
  it("is one line of a file", async () => {
    expect(await readToken(fileWith(TOKEN))).toBe(TOKEN);
    expect(await readToken(fileWith(`${TOKEN}\r\n`))).toBe(TOKEN);
  });

  it.each(["", "short", `${TOKEN} ${TOKEN}`, `${TOKEN}\n\n`, `${TOKEN}é`, "x".repeat(1025)])(
    "is refused if the file holds %j, which the error doesn't quote",
    async (text) => {
      const error = await readToken(fileWith(text)).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(StartError);
      expect(String(error)).toMatch(/ holds no token: it should be one line of 16 to 1024/);
      if (text !== "") expect(String(error)).not.toContain(text);
    },
  );

  it("that can't be read is reported with the file's name", async () => {
    await expect(readToken("/none/token")).rejects.toThrow(
      /^the token in \/none\/token cannot be read: ENOENT/,
    );
  });

  it("comes from the environment variable's file, unless the command line names another", async () => {
    vi.stubEnv(ADMIN_TOKEN_FILE_VARIABLE, fileWith(TOKEN));
    expect(await tokenToSend(undefined)).toBe(TOKEN);
    vi.stubEnv(TOKEN_FILE_VARIABLE, fileWith(TOKEN));
    expect(await tokenToSend(undefined)).toBe(TOKEN);
    expect(await tokenToSend(fileWith("another-0123456789"))).toBe("another-0123456789");
    vi.stubEnv(TOKEN_FILE_VARIABLE, "");
    expect(await tokenToSend(undefined)).toBeNull();
    vi.unstubAllEnvs();
  });

  it("is sent by the commands that change something; without it, the error names the flag", async () => {
    const { server } = await start(WITH_TOKEN);
    const run = async (...args: string[]): Promise<string[]> => {
      const options = parseAdminOptions("snapshot", [...args, "--url", server.address]);
      if (options === null) throw new Error("only the help was asked for");
      const lines: string[] = [];
      await runAdminCommand(options, (line) => void lines.push(line));
      return lines;
    };
    expect(await run("--admin-token-file", fileWith(TOKEN))).toHaveLength(1);
    await expect(run()).rejects.toThrow(
      /no token came with the request; this needs a token of the role operate/,
    );
    const file = path.join(temporaryDirectory(), "b");
    const options = { file, nodes: [server.address], force: false, stale: false };
    await expect(backup(options, () => undefined)).rejects.toThrow(/no token came with the request/);
    // This test's node has no snapshots: an allowed request gets a 404.
    const allowed = backup({ ...options, tokenFile: fileWith(TOKEN) }, () => undefined);
    await expect(allowed).rejects.toThrow(/this node takes no snapshots/);
  });
});
