import { describe, expect, it } from "vitest";
import type { NodeId } from "../../core/position.ts";
import { simulatedWorld } from "../../environment/simulated/simulated-environment.ts";
import { SimulatedFiles } from "../../environment/simulated/simulated-files.ts";
import type { RaftError } from "../../errors.ts";
import { memoryLog } from "../../storage/memory/index.ts";
// The modules that `open` loads by itself, here already: waiting for a file takes real time, not that of the
// simulation.
import "../../storage/snapshots/index.ts";
import "../../storage/wal/index.ts";
import { tcp } from "../../transport/tcp/index.ts";
import { Raft } from "../raft.ts";
import type { RaftOptions } from "../shared/index.ts";
import { Journal } from "../test/journal.ts";
import { SnapshotJournal } from "../test/snapshot-journal.ts";

type Options = Partial<RaftOptions<string, number>>;

const MEMBERS = { a: "a:7001", b: "b:7001", c: "c:7001" };
const LIMIT_MS = 20_000;

/** Machines with a disk each, on a network with TCP. */
class Machines {
  readonly world = simulatedWorld({ seed: 3 });
  readonly disks = new Map<NodeId, SimulatedFiles>();
  readonly nodes = new Map<NodeId, Raft<string, number>>();
  readonly messages: string[] = [];

  /** Opens node `id` on the machine of that name. */
  async open(id: NodeId, options: Options, machine = id): Promise<Raft<string, number>> {
    const files = this.disks.get(machine) ?? new SimulatedFiles();
    this.disks.set(machine, files);
    const raft = await this.finish(
      Raft.open<string, number>({
        id,
        stateMachine: new Journal(),
        environment: this.world.environment(machine, files.mount()),
        onLog: ({ level, text }) => this.messages.push(`${level} ${id}: ${text}`),
        ...options,
      }),
    );
    this.nodes.set(id, raft);
    return raft;
  }

  async failure(opening: Promise<unknown>): Promise<RaftError> {
    return opening.then(
      () => {
        throw new Error("it was expected to fail");
      },
      (error: unknown) => error as RaftError,
    );
  }

  async finish<T>(promise: Promise<T>): Promise<T> {
    const state = { isSettled: false };
    const settle = (): void => {
      state.isSettled = true;
    };
    promise.then(settle, settle);
    // Loading modules takes turns of the real event loop.
    for (let turns = 0; turns < 20 && !state.isSettled; turns++)
      await new Promise((resolve) => setImmediate(resolve));
    await this.world.clock.runUntil(() => state.isSettled, LIMIT_MS, "an answer");
    return promise;
  }

  async leader(): Promise<Raft<string, number>> {
    const leader = (): Raft<string, number> | undefined =>
      [...this.nodes.values()].find((raft) => raft.metrics().role === "leader");
    await this.world.clock.runUntil(() => leader() !== undefined, LIMIT_MS, "a leader");
    return leader()!;
  }

  async names(machine: NodeId, directory: string): Promise<string[]> {
    return this.disks.get(machine)!.mount().list(directory);
  }
}

describe("a node that is opened with an id, members, data and a state machine", () => {
  it("forms a cluster with the others, on TCP and disks, and is in it again after a restart", async () => {
    const machines = new Machines();
    for (const id of ["a", "b", "c"]) await machines.open(id, { members: MEMBERS, data: "data" });
    const leader = await machines.leader();
    expect(await machines.finish(leader.write("x"))).toBe(1);
    const files = await machines.names("a", "data/log");
    expect(files.some((name) => name.endsWith(".wal"))).toBe(true);
    await machines.finish(Promise.all([...machines.nodes.values()].map((raft) => raft.close())));
    machines.nodes.clear();
    for (const id of ["a", "b"]) await machines.open(id, { members: MEMBERS, data: "data/" });
    const next = await machines.leader();
    expect(await machines.finish(next.write("y"))).toBe(2);
  });

  it("needs no more of its state machine than apply", async () => {
    const machines = new Machines();
    const texts: string[] = [];
    const stateMachine = { apply: (text: string) => texts.push(text) };
    const options = { members: { a: "a:7001" }, data: "data", stateMachine };
    const raft = await machines.open("a", options);
    await machines.leader();
    expect(await machines.finish(raft.write("x"))).toBe(1);
    await machines.finish(raft.close());
    const again = await machines.open("a", options);
    await machines.leader();
    expect(await machines.finish(again.write("y"))).toBe(3);
    // Applied from the beginning: the state was in memory.
    expect(texts).toEqual(["x", "x", "y"]);
  });

  it("takes snapshots below its directory, if its state machine can", async () => {
    const machines = new Machines();
    const only = { members: { a: "a:7001" }, data: "data" };
    const raft = await machines.open("a", { ...only, stateMachine: new SnapshotJournal() });
    await machines.leader();
    await machines.finish(raft.write("x"));
    await machines.finish(raft.snapshot());
    expect((await machines.names("a", "data/snapshots")).join()).toMatch(/snapshot/);
    const other = new Machines();
    const without = await other.open("a", only);
    await other.leader();
    await expect(other.finish(without.snapshot())).rejects.toMatchObject({ code: "INVALID_OPTION" });
  });

  it("takes a policy for the snapshots without a place for them", async () => {
    const machines = new Machines();
    const raft = await machines.open("a", {
      ...{ members: { a: "a:7001" }, data: "data", snapshots: { everyEntries: 2, keepEntries: 0 } },
      stateMachine: new SnapshotJournal(),
    });
    await machines.leader();
    for (const text of ["x", "y", "z"]) await machines.finish(raft.write(text));
    await machines.world.clock.runUntil(() => raft.metrics().firstIndex > 1, LIMIT_MS, "a snapshot");
  });

  it("joins a cluster that runs with listen instead of members", async () => {
    const machines = new Machines();
    const raft = await machines.open("a", { members: { a: "a:7001" }, data: "data" });
    await machines.leader();
    await machines.open("d", { listen: "d:7001", data: "data" });
    await machines.finish(raft.changeMembership({ add: { d: "d:7001" } }));
    expect(raft.metrics().config.voters).toEqual(["a", "d"]);
  });

  it("listens elsewhere than at its address among the members, if it is told so", async () => {
    const machines = new Machines();
    const members = { a: "proxy:7001" };
    const error = await machines.failure(machines.open("a", { members, data: "data" }));
    expect(error).toMatchObject({ code: "LISTEN_FAILED", outcome: "not-done" });
    expect(error.message).toContain("can't listen at proxy:7001: listen EADDRNOTAVAIL");
    const raft = await machines.open("a", { members, data: "other", listen: "a:7001" });
    await machines.leader();
    expect(raft.metrics().members[0]).toMatchObject({ address: "proxy:7001" });
  });

  it.each<[string, Options, string]>([
    ["has no data and no log", { members: { a: "a:7001" } }, "has no place for its log: give data"],
    ["has an empty text as its data", { members: { a: "a:7001" }, data: "" }, "it should name a directory"],
    ["has no members and no transport", { data: "data" }, "has no way to reach others: give members"],
    ["is not among the members", { data: "data", members: { b: "b:7001" } }, "should include this node, a"],
    ["listens at a wildcard without members", { data: "data", listen: "0.0.0.0:7001" }, "can't dial"],
    [
      "has a transport and listen",
      { data: "data", listen: "a:7001", transport: tcp({ listen: "a:7001" }) },
      "listen has no use with transport",
    ],
    [
      "has a transport and a secret",
      { data: "data", peerSecret: "s".repeat(32), transport: tcp({ listen: "a:7001" }) },
      "have no use with transport: give them to the transport",
    ],
    [
      "has a certificate and no key",
      { data: "data", members: { a: "a:7001" }, peerTls: { key: "", cert: "-", ca: "-" } },
      "tcp: tls.key is missing",
    ],
    [
      "has a secret that is too short",
      { data: "data", members: { a: "a:7001" }, peerSecret: "short" },
      "tcp: secret can't be used",
    ],
    [
      "has a policy for snapshots, and neither data nor a store",
      {
        ...{ log: memoryLog(), members: { a: "a:7001" }, snapshots: { everyEntries: 1 } },
        stateMachine: new SnapshotJournal(),
      },
      'has no place for its snapshots: give data, a directory of its own such as "./data/a", or snapshots.store',
    ],
    [
      "reaches others at a wildcard",
      { data: "data", members: { a: "a:7001" }, reachAt: { b: "[::]:7001" } },
      "which nobody can dial",
    ],
  ])("is refused if it %s", async (_, options, reason) => {
    const machines = new Machines();
    const error = await machines.failure(machines.open("a", options));
    expect(error.code).toBe("INVALID_OPTION");
    expect(error.message).toContain(reason);
    await expect(machines.names("a", "data")).rejects.toThrow("ENOENT");
  });
});

describe("the directory of a node", () => {
  it("is refused to a node with another id, which is named", async () => {
    const machines = new Machines();
    const raft = await machines.open("a", { members: { a: "a:7001" }, data: "data" });
    await machines.leader();
    await machines.finish(raft.close());
    const error = await machines.failure(machines.open("b", { members: { b: "a:7001" }, data: "data" }, "a"));
    expect(error).toMatchObject({ code: "WRONG_IDENTITY", outcome: "not-done" });
    expect(error.message).toMatch(/data\/log.* node a\b.* b\b/);
  });

  it("is refused to a node of a cluster with another name", async () => {
    const machines = new Machines();
    const options = { members: { a: "a:7001" }, data: "data" };
    const raft = await machines.open("a", { ...options, clusterId: "first" });
    await machines.leader();
    await machines.finish(raft.close());
    const error = await machines.failure(machines.open("a", { ...options, clusterId: "second" }));
    expect(error.code).toBe("WRONG_IDENTITY");
    expect(error.message).toMatch(/belongs to cluster first\/\w+, which was not created as "second"/);
  });

  it("is refused to a second node at the same time", async () => {
    const machines = new Machines();
    await machines.open("a", { members: { a: "a:7001" }, data: "data" });
    const error = await machines.failure(machines.open("a", { members: { a: "a:7002" }, data: "data" }));
    expect(error.code).toBe("DIRECTORY_LOCKED");
  });
});
