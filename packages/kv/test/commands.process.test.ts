import { createServer } from "node:net";
import { closeSync, existsSync, openSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { listen } from "../src/shared/listen.ts";
import { temporaryDirectory } from "../src/test/temporary.ts";
import { freePorts } from "./support/ports.ts";
import { Keelson, run, until } from "./support/process.ts";

interface Flags {
  readonly id?: string;
  readonly peers?: string;
  readonly data?: string;
  readonly more?: readonly string[];
}

/** The arguments of a node that is a cluster of its own, on free ports. */
async function flags({ id = "n1", peers, data = temporaryDirectory(), more = [] }: Flags = {}): Promise<
  string[]
> {
  const [raft = 0, line = 0, http = 0] = await freePorts(3);
  return [
    ...["serve", "--id", id, "--peers", peers ?? `${id}=127.0.0.1:${raft}`, "--data", data],
    ...["--line", `127.0.0.1:${line}`, "--http", `127.0.0.1:${http}`, ...more],
  ];
}

function valueOf(args: readonly string[], flag: string): string {
  return args[args.indexOf(flag) + 1] ?? "";
}

/** Starts a node and waits until it leads its cluster of one. */
async function started(args: readonly string[]): Promise<Keelson> {
  const keelson = new Keelson(args);
  onTestFinished(() => keelson.kill("SIGKILL"));
  await until("the node leads", async () => {
    expect(keelson.isRunning, keelson.stderr).toBe(true);
    const ready = await fetch(`http://${valueOf(args, "--http")}/readyz`).catch(() => null);
    return ready?.status === 200;
  });
  return keelson;
}

const NAMES =
  "demo, serve, status, members, add, remove, promote, demote, move, transfer, snapshot, token, backup, restore, inspect, recover";

describe("keelson", () => {
  it("prints its commands and their flags", async () => {
    for (const [args, text] of [
      [["--help"], "Usage: keelson COMMAND"],
      [["serve", "--help"], "Usage: keelson serve --id ID"],
      [["demo", "--help"], "Usage: keelson demo [--data DIR]"],
      [["inspect", "--help"], "Usage: keelson inspect DIR"],
      [["recover", "--help"], "Usage: keelson recover DIR"],
    ] as const) {
      const { code, stdout, stderr } = await run(args);
      expect([code, stderr]).toEqual([0, ""]);
      expect(stdout).toContain(text);
    }
  });

  it("exits with 2 and one line for an invalid command line", async () => {
    for (const [args, text] of [
      [[], `keelson: a command is missing: ${NAMES}\nSee: keelson --help\n`],
      [["sreve"], `keelson: there is no command "sreve"; there are ${NAMES}\nSee: keelson --help\n`],
      [
        ["serve", "--id", "n1"],
        "keelson: --peers is missing (or --join, or --listen for a node that has a log already)\nSee: keelson serve --help\n",
      ],
      [
        ["demo", "--raft-port", "x"],
        'keelson: --raft-port "x" is not a port from 1 to 65533\nSee: keelson demo --help\n',
      ],
      [
        ["recover", "data", "--address", "10.0.0.1"],
        'keelson: --address "10.0.0.1" is not HOST:PORT, such as 10.0.0.1:7001\nSee: keelson recover --help\n',
      ],
    ] as const) {
      const { code, stdout, stderr } = await run(args);
      expect([code, stdout, stderr]).toEqual([2, "", text]);
    }
  });
});

describe("keelson serve", () => {
  it.each(["SIGTERM", "SIGINT"] as const)(
    "closes at %s, exits with 0, and has its data after a restart",
    async (signal) => {
      const args = await flags();
      const url = `http://${valueOf(args, "--http")}/kv/a`;
      const first = await started(args);
      expect((await fetch(url, { method: "PUT", body: "kept" })).status).toBe(200);
      first.child.kill(signal);
      expect(await first.ended).toEqual({ code: 0, signal: null });
      expect(first.stderr).toContain('"msg":"closed"');
      const second = await started(args);
      expect(await (await fetch(url)).text()).toBe("kept");
      await second.kill("SIGTERM");
    },
  );

  it("serves, and closes in order, although its log can't be written", async () => {
    // Open for reading only: each write fails, as it does on a full disk.
    const unwritable = openSync("/dev/null", "r");
    onTestFinished(() => {
      closeSync(unwritable);
    });
    const args = await flags();
    const keelson = new Keelson(args, { stderr: unwritable });
    onTestFinished(() => keelson.kill("SIGKILL"));
    const url = `http://${valueOf(args, "--http")}/kv/a`;
    await until("it serves", async () => {
      const answer = await fetch(url, { method: "PUT", body: "kept" }).catch(() => null);
      return answer?.status === 200 || !keelson.isRunning;
    });
    keelson.child.kill("SIGTERM");
    expect(await keelson.ended).toEqual({ code: 0, signal: null });
  });

  it("exits with 1 and says which address is in use, for each address, and leaves the data alone", async () => {
    const taken = createServer();
    const { port } = await listen(taken, { host: "127.0.0.1", port: 0 });
    onTestFinished(() => void taken.close());
    const busy = `127.0.0.1:${port}`;
    for (const flag of ["--line", "--http", "--peers"]) {
      const args = await flags();
      args[args.indexOf(flag) + 1] = flag === "--peers" ? `n1=${busy}` : busy;
      const { code, stderr } = await run([...args, "--log-level", "silent"]);
      expect([code, stderr.trim().split("\n").length], stderr).toEqual([1, 1]);
      expect(stderr).toMatch(/^keelson: /);
      expect(stderr).toContain(busy);
      expect(stderr).toMatch(/it is in use by another process; stop that one/);
    }
  });

  it("exits with 1 if the data directory can't be created", async () => {
    const directory = temporaryDirectory();
    const file = path.join(directory, "file");
    writeFileSync(file, "");
    // On Linux, no directory can be created under /proc.
    const data = existsSync("/proc/self") ? [file, "/proc/keelson"] : [file];
    for (const place of data) {
      for (const args of [
        [...(await flags({ data: place })), "--log-level", "silent"],
        ["demo", "--data", place],
      ]) {
        const { code, stderr } = await run(args);
        expect([code, stderr.trim().split("\n").length], stderr).toEqual([1, 1]);
        expect(stderr).toMatch(/^keelson: /);
        expect(stderr).toContain(place);
      }
    }
  });

  it("exits with 1 if another process uses the data directory", async () => {
    const data = temporaryDirectory();
    const first = await started(await flags({ data }));
    const { code, stderr } = await run([...(await flags({ data })), "--log-level", "silent"]);
    expect([code, stderr.trim().split("\n").length], stderr).toEqual([1, 1]);
    expect(stderr).toContain(data);
    expect(first.isRunning).toBe(true);
  });

  it("exits with 1 if the data directory is another node's, or of a cluster with other first members", async () => {
    const data = temporaryDirectory();
    const args = await flags({ data });
    await (await started(args)).kill("SIGKILL");
    const other = await run([...(await flags({ data, id: "n2" })), "--log-level", "silent"]);
    expect([other.code, other.stderr.trim().split("\n").length], other.stderr).toEqual([1, 1]);
    expect(other.stderr).toMatch(/n1/);
    const changed = [...args];
    changed[changed.indexOf("--peers") + 1] += ",n2=127.0.0.1:1";
    const peers = await run([...changed, "--log-level", "silent"]);
    expect([peers.code, peers.stderr.trim().split("\n").length], peers.stderr).toEqual([1, 1]);
    expect(peers.stderr).toContain("--peers");
    const renamed = await run([...args, "--cluster-id", "other", "--log-level", "silent"]);
    expect([renamed.code, renamed.stderr.trim().split("\n").length], renamed.stderr).toEqual([1, 1]);
  });

  it("rebuilds a damaged state by itself, and sets the damaged one aside (Z5)", async () => {
    const data = temporaryDirectory();
    const args = await flags({ data });
    const url = `http://${valueOf(args, "--http")}/kv/a`;
    const first = await started(args);
    expect((await fetch(url, { method: "PUT", body: "kept" })).status).toBe(200);
    await first.kill("SIGKILL");
    writeFileSync(path.join(data, "state", "CURRENT"), "nonsense\n");
    const again = await started(args);
    expect(await (await fetch(url)).text()).toBe("kept");
    await again.kill("SIGTERM");
    expect(readdirSync(data).filter((name) => name.startsWith("state-damaged-"))).toHaveLength(1);
  });
});

describe("keelson recover", () => {
  it("does its work and exits with 0 also if the reader of its output closes the pipe", async () => {
    const data = temporaryDirectory();
    const [raft = 0, other = 0] = await freePorts(2);
    const peers = `n1=127.0.0.1:${raft},n2=127.0.0.1:${other}`;
    const [first, second] = [await flags({ data, peers }), await flags({ id: "n2", peers })];
    const nodes = await Promise.all([started(first), started(second)]);
    for (const node of nodes) await node.kill("SIGKILL");
    const recover = new Keelson(["recover", data, "--yes"]);
    recover.child.stdout?.destroy();
    expect([await recover.ended, recover.stderr]).toEqual([{ code: 0, signal: null }, ""]);
    const { stderr } = await run(["recover", data, "--yes"]);
    expect(stderr).toContain("is the only voter of its cluster already");
  });
});
