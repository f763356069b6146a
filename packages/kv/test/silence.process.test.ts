import { createServer as createHttpServer } from "node:http";
import { createServer, type AddressInfo, type Server } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { freePorts } from "./support/ports.ts";
import { Keelson, run, until } from "./support/process.ts";

/** Every command that asks a cluster. */
const COMMANDS: readonly (readonly string[])[] = [
  ["status"],
  ["members"],
  ["add", "n4", "127.0.0.1:7"],
  ["remove", "n1"],
  ["promote", "n1"],
  ["demote", "n1"],
  ["move", "n1", "127.0.0.1:7"],
  ["transfer", "n1"],
  ["snapshot"],
  ["backup", path.join(tmpdir(), "keelson-never-written.backup")],
];

/** Starting Node, on a machine that is busy with other tests. The command itself has a second after that. */
const START_MS_MAX = 10_000;

async function listening(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe("a command of keelson", () => {
  it.each(COMMANDS)(
    "ends at once if nothing listens anywhere, and names the addresses: %s",
    async (...args) => {
      const [one = 0, other = 0] = await freePorts(2);
      const began = performance.now();
      const { code, stderr } = await run([...args, "--url", `127.0.0.1:${one},http://127.0.0.1:${other}`]);
      expect([code, stderr.split("\n").length]).toEqual([1, 2]);
      expect(stderr).toContain(
        `127.0.0.1:${args[0] === "backup" ? other : one} cannot be reached: nothing listens there`,
      );
      expect(performance.now() - began).toBeLessThan(START_MS_MAX);
    },
  );

  it.each(COMMANDS)("says what it waits for while a node doesn't answer: %s", async (...args) => {
    const node = await listening(
      createServer().on("connection", (socket) => socket.on("error", () => undefined)),
    );
    const keelson = new Keelson([...args, "--url", node]);
    onTestFinished(() => keelson.kill("SIGKILL"));
    await until("it says so", () => keelson.stderr.includes(`waiting for ${node} to `), START_MS_MAX);
  });

  it.each([
    [
      { role: "follower", leader: null },
      "waiting for a leader: n2 knows none; a majority of the voters n1, n2 has to",
    ],
    [{ role: "leader", leader: { id: "n2" } }, "waiting for a majority of the voters: n1 does not answer"],
  ])("says that a majority is missing, when it is (%#)", async (status, text) => {
    const member = { role: "voter", lag: null, active: true };
    const members = [
      { ...member, id: "n1", address: "n1:1", active: false },
      { ...member, id: "n2", address: "n2:1" },
    ];
    const view = { id: "n2", clusterId: "c", term: 1, changing: false, members, ...status };
    const server = createHttpServer((request, response) => {
      // A change without a majority isn't answered for a while.
      if (request.method === "GET") response.end(JSON.stringify(view));
    });
    onTestFinished(() => {
      server.closeAllConnections();
    });
    const keelson = new Keelson(["remove", "n1", "--url", await listening(server)]);
    onTestFinished(() => keelson.kill("SIGKILL"));
    await until("it says so", () => keelson.stderr.includes(text), START_MS_MAX);
  });

  it("ends without an error message when the reader of its output has closed the pipe", async () => {
    for (const args of [["--help"], ["serve", "--help"]]) {
      const keelson = new Keelson(args);
      keelson.child.stdout?.destroy();
      const { code } = await keelson.ended;
      expect([code, keelson.stderr]).toEqual([0, ""]);
    }
  });
});
