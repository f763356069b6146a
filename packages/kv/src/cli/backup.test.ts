import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { backup, parseBackupOptions } from "./backup.ts";
import { parseRestoreOptions, restore } from "./restore.ts";
import { temporaryDirectory } from "../test/temporary.ts";
import { UsageError } from "../shared/errors.ts";

/** A server with this answer at /snapshot. `bytes`: the Content-Length, which may be more than is sent. */
async function nodeThatSends(status: number, body: string, bytes = body.length): Promise<string> {
  const server = createServer((_request, response) => {
    response.writeHead(status, { "Content-Length": bytes });
    response.write(body);
    if (bytes === body.length) response.end();
    else setImmediate(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe("keelson backup", () => {
  it.each([
    [
      "an answer that is no snapshot",
      200,
      "nonsense",
      undefined,
      /what came is no sound snapshot, and nothing was kept/,
    ],
    [
      "an answer that broke off",
      200,
      "KLP\u0001",
      1000,
      /the backup broke off after 4 B: .* Nothing was kept; try again/,
    ],
    ["a refusal", 503, '{"error":{"message":"no leader is known"}}', undefined, /: no leader is known$/],
  ])("leaves no file behind after %s", async (_what, status, body, bytes, message) => {
    const directory = temporaryDirectory();
    const nodes = [await nodeThatSends(status, body, bytes)];
    const options = { file: path.join(directory, "b"), nodes, force: false, stale: false };
    await expect(backup(options, () => undefined)).rejects.toThrow(message);
    expect(readdirSync(directory)).toEqual([]);
  });

  it("sends no request when the file can't be created", async () => {
    const file = path.join(temporaryDirectory(), "none", "b");
    const options = { file, nodes: ["127.0.0.1:2"], force: false, stale: false };
    await expect(backup(options, () => undefined)).rejects.toThrow(
      /^there is no directory .*none for the file$/,
    );
  });

  it.each([
    [[], "FILE is missing"],
    [["a", "b"], '"b" is one word too many'],
    [["a", "--url", "x"], '--url: "x" is not http://HOST:PORT, such as http://127.0.0.1:9001'],
  ])("refuses %j and says what is wrong", (args, message) => {
    expect(() => parseBackupOptions(args)).toThrow(new UsageError(message));
  });
});

describe("keelson restore", () => {
  it("refuses a directory that isn't empty, and a path that isn't a directory", async () => {
    const directory = temporaryDirectory();
    writeFileSync(path.join(directory, "notes"), "");
    const command = { file: "none", directory, id: "n1", address: "h:1", clusterName: null };
    await expect(restore(command, () => undefined)).rejects.toThrow(/ is not empty, it has notes; /);
    expect(existsSync(path.join(directory, "log"))).toBe(false);
    const file = { ...command, directory: path.join(directory, "notes") };
    await expect(restore(file, () => undefined)).rejects.toThrow(/notes is not a directory$/);
  });

  it.each([
    [["a", "b"], "--id is missing"],
    [["a", "b", "--id", "n 1"], '--id "n 1": it is 1 to 64 of A-Z a-z 0-9 . _ -'],
    [["a", "b", "--id", "n1"], "--address is missing"],
    [["a", "b", "--id", "n1", "--address", "h"], '--address "h" is not HOST:PORT, such as 10.0.0.1:7001'],
    [["a", "--id", "n1"], "DIR is missing"],
  ])("refuses %j and says what is wrong", (args, message) => {
    expect(() => parseRestoreOptions(args)).toThrow(new UsageError(message));
  });
});
