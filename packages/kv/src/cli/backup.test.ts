import { existsSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { nodeEnvironment } from "keelson";
import { encodeMembership } from "keelson/codec";
import { snapshotFiles } from "keelson/storage/snapshots";
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
    [
      ["a", "--url", "x"],
      '--url: "x" is not http://HOST:PORT or https://HOST:PORT, such as http://127.0.0.1:9001',
    ],
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

  it("refuses a directory with a log, and takes one where a restore has failed", async () => {
    const directory = temporaryDirectory();
    const backup = path.join(directory, "backup");
    const taken = snapshotFiles(path.join(directory, "elsewhere"));
    await taken.open(nodeEnvironment());
    const membership = encodeMembership({
      config: { voters: ["n1"], outgoingVoters: [], learners: [] },
      members: new Map([["n1", { address: "n1:1" }]]),
    });
    const header = { clusterId: "c", position: { term: 2, index: 3 }, membership };
    await (await taken.create(header, [])).finish();
    await taken.close();
    const name = readdirSync(path.join(directory, "elsewhere")).find((one) => one.endsWith(".taken")) ?? "";
    renameSync(path.join(directory, "elsewhere", name), backup);
    const data = path.join(directory, "data");
    const command = { file: backup, directory: data, id: "n1", address: "h:1", clusterName: null };
    // What a restore that failed leaves: directories with nothing but their locks.
    for (const part of ["log", "snapshots"]) {
      const { files } = nodeEnvironment();
      await files.makeDirectory(path.join(data, part));
      const lock = await files.lock(path.join(data, part));
      await expect(restore(command, () => undefined)).rejects.toThrow(/is in use by process/);
      await lock.release();
    }
    expect(await restore(command, () => undefined)).toBe(0);
    await expect(restore(command, () => undefined)).rejects.toThrow(
      /log is not empty, it has 0000000000000001.wal; /,
    );
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
