import path from "node:path";
import fc from "fast-check";
import { describe, expect, it, onTestFinished } from "vitest";
import { simulatedWorld } from "../environment/simulated/simulated-environment.ts";
import { SimulatedFiles } from "../environment/simulated/simulated-files.ts";
// Loaded by `run` too; here already, because waiting for a file takes real time, not that of the simulation.
import "#node-environment";
import "../storage/wal/index.ts";
import "../transport/tcp/index.ts";
import { RaftConfig, run, type Committed, type RaftClient } from "./run.ts";

const HOSTS = ["a:3333", "b:3333", "c:3333"];
const LIMIT_MS = 30_000;

interface Command {
  readonly text: string;
}

interface Host {
  readonly client: RaftClient<Command>;
  readonly got: Committed<Command>[];
  /** Settles when the stream ends. */
  readonly streamEnded: Promise<void>;
}

class Hosts {
  readonly world = simulatedWorld({ seed: 5 });
  readonly disks = new Map(HOSTS.map((host) => [host, new SimulatedFiles()]));

  async start(host: string, data: string | undefined = "data"): Promise<Host> {
    const files = this.disks.get(host)!;
    const environment = this.world.environment(host.split(":")[0]!, files.mount());
    const config = RaftConfig.make(host, HOSTS, { environment, ...(data === "" ? {} : { data }) });
    const [client, committed] = await this.finish(run<Command>(config));
    const got: Committed<Command>[] = [];
    const streamEnded = (async () => {
      for await (const one of committed) got.push(one);
    })();
    return { client, got, streamEnded };
  }

  async finish<T>(promise: Promise<T>): Promise<T> {
    const state = { isSettled: false };
    const settle = (): void => {
      state.isSettled = true;
    };
    promise.then(settle, settle);
    // Loading modules takes turns of the real event loop.
    for (let turns = 0; turns < 20 && !state.isSettled; turns++) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    await this.until(() => state.isSettled, "an answer");
    return promise;
  }

  until(condition: () => boolean, what: string): Promise<void> {
    return this.world.clock.runUntil(condition, LIMIT_MS, what);
  }
}

describe("run", () => {
  it("gives every host the same commands in the same order, numbered from 0", async () => {
    const hosts = new Hosts();
    const all: Host[] = [];
    for (const host of HOSTS) all.push(await hosts.start(host));
    const texts = Array.from({ length: 9 }, (_, n) => `text ${String(n)}`);
    // On each host, whichever leads.
    const positions = await hosts.finish(
      Promise.all(texts.map((text, n) => all[n % 3]!.client.appendCommand({ text }))),
    );
    await hosts.until(() => all.every(({ got }) => got.length === 9), "all commands on all hosts");
    const [{ got } = all[0]!] = all;
    for (const other of all) expect(other.got).toEqual(got);
    expect(got.map(({ i }) => i)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    for (const [n, position] of positions.entries()) {
      expect(got[position.i]).toEqual({ ...position, command: { text: texts[n] } });
    }
    expect(HOSTS).toContain(all[0]!.client.leader);
  });

  it("begins the stream with the first command again after a restart, and counts on", async () => {
    const hosts = new Hosts();
    const all: Host[] = [];
    for (const host of HOSTS) all.push(await hosts.start(host));
    for (const text of ["x", "y"]) await hosts.finish(all[0]!.client.appendCommand({ text }));
    await hosts.until(() => all[0]!.got.length === 2, "both commands");
    const before = all[0]!.got.slice();
    // An election in between: entries that hold no command must not count.
    for (const { client } of all) await hosts.finish(client.close());
    const again: Host[] = [];
    for (const host of HOSTS) again.push(await hosts.start(host));
    const { i } = await hosts.finish(again[1]!.client.appendCommand({ text: "z" }));
    expect(i).toBe(2);
    await hosts.until(() => again.every(({ got }) => got.length === 3), "all commands on all hosts");
    expect(again[2]!.got.slice(0, 2)).toEqual(before);
    expect(again[2]!.got[2]).toMatchObject({ i: 2, command: { text: "z" } });
    expect(again[2]!.got[2]!.index).toBeGreaterThan(before[1]!.index + 1);
  });

  it("ends the stream when the client is closed", async () => {
    const hosts = new Hosts();
    const { client, streamEnded } = await hosts.start(HOSTS[0]!);
    await hosts.finish(client.close());
    await hosts.finish(streamEnded);
    expect(await client.stopped).toBeUndefined();
  });

  it("keeps its log beside the program unless it is told where", async () => {
    const before = process.argv[1]!;
    onTestFinished(() => {
      process.argv[1] = before;
    });
    process.argv[1] = path.join("/programs", "mine.js");
    const hosts = new Hosts();
    await hosts.start(HOSTS[0]!, "");
    const files = hosts.disks.get(HOSTS[0]!)!.mount();
    expect(await files.list("/programs/raft-data/a_3333/log")).not.toEqual([]);
  });
});

describe("the hosts of a RaftConfig", () => {
  it("become node ids, each its own", () => {
    const host = fc.oneof(
      fc.domain().filter((domain) => domain.length < 58),
      fc.ipV4().filter((address) => !address.startsWith("0")),
      fc.ipV6().map((address) => `[${address}]`),
      fc.constantFrom("raft_1", "a_b-c", "fe80--1", "[fe80::1]", "[::1]"),
    );
    const address = fc
      .tuple(host, fc.integer({ min: 1, max: 65_535 }))
      .map(([h, port]) => `${h}:${String(port)}`);
    fc.assert(
      fc.property(fc.uniqueArray(address, { minLength: 1, maxLength: 9 }), (hosts) => {
        const accepted = hosts.filter((one) => isAccepted(one));
        fc.pre(accepted.length > 0);
        const { members } = RaftConfig.make(accepted[0]!, accepted);
        expect(Object.values(members)).toEqual(accepted);
        for (const id of Object.keys(members)) expect(id).toMatch(/^[A-Za-z0-9._-]{1,64}$/);
      }),
    );
    expect(RaftConfig.make("127.0.0.1:3333", ["127.0.0.1:3333"]).id).toBe("127.0.0.1_3333");
    expect(RaftConfig.make("[fe80::1]:3333", ["[fe80::1]:3333"]).id).toBe("-fe80--1_3333");
  });

  it.each([
    [["a"], "it should look like"],
    [["a:0"], "can't dial"],
    [["0.0.0.0:3333"], "can't dial"],
    [["a:03333"], "it should be a name or an address and a port"],
    [[`${"a".repeat(64)}:1`], "64 characters at most"],
    [["[fe80::1%eth0]:1"], "it should be a name or an address and a port"],
    [["a:1", "a:1"], "hosts names a:1 twice"],
    [["b:1"], 'they should include this host, "a:1"'],
  ])("are refused if they are %j", (hosts, reason) => {
    expect(() => RaftConfig.make("a:1", hosts)).toThrow(reason);
    expect(() => RaftConfig.make("a:1", hosts)).toThrow(expect.objectContaining({ code: "INVALID_OPTION" }));
  });
});

function isAccepted(host: string): boolean {
  try {
    RaftConfig.make(host, [host]);
    return true;
  } catch {
    return false;
  }
}
