import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { seededRandom } from "../environment/simulated/simulated-clock.ts";
import { simulatedWorld } from "../environment/simulated/simulated-environment.ts";
import { SimulatedFiles } from "../environment/simulated/simulated-files.ts";
import { wal } from "../storage/wal/index.ts";
import { tcp } from "../transport/tcp/index.ts";
import { Raft } from "./raft.ts";
import { Journal } from "./test/journal.ts";
import { killableEnvironment } from "./test/test-cluster.ts";

const IDS = ["a", "b", "c"];
const MEMBERS = { a: "a:7001", b: "b:7001", c: "c:7001" };

interface Process {
  readonly id: string;
  readonly raft: Raft<string, number>;
  readonly journal: Journal;
  readonly kill: () => void;
}

/** Three nodes with WAL and TCP transport, on a simulated disk and network that fail. */
class Machines {
  readonly #world;
  readonly #random;
  readonly #disks = new Map(IDS.map((id) => [id, new SimulatedFiles()]));
  readonly processes = new Map<string, Process>();

  constructor(seed: number) {
    this.#world = simulatedWorld({ seed });
    this.#random = seededRandom(seed + 1000);
    this.#world.network.setEveryLink({ delayMinMs: 0.1, delayMaxMs: 2, splitProbability: 0.2 });
  }

  get clock(): ReturnType<typeof simulatedWorld>["clock"] {
    return this.#world.clock;
  }

  async start(id: string): Promise<void> {
    const files = this.#disks.get(id);
    if (files === undefined) throw new Error(`no disk for ${id}`);
    const { environment, kill } = killableEnvironment(this.#world.environment(id, files.mount()));
    const journal = new Journal();
    const raft = await this.finish(
      Raft.open<string, number>({
        id,
        environment,
        stateMachine: journal,
        log: wal("data", { segmentBytes: 4096 }),
        transport: tcp({ listen: `${id}:7001` }),
      }),
    );
    this.processes.set(id, { id, raft, journal, kill });
  }

  /** A power failure of one machine, which is then started again. */
  async powerFails(id: string): Promise<void> {
    this.processes.get(id)?.kill();
    this.#world.network.crash(id);
    this.#disks.get(id)?.crash(this.#random);
    this.processes.delete(id);
    await this.clock.advance(this.#random() * 1000);
    await this.start(id);
  }

  leading(): Process | undefined {
    return [...this.processes.values()].find(({ raft }) => raft.metrics().role === "leader");
  }

  async finish<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const settle = (): void => {
      settled = true;
    };
    promise.then(settle, settle);
    await this.clock.runUntil(() => settled, 20_000, "an answer");
    return promise;
  }
}

describe("a cluster with WALs on simulated disks and TCP on a simulated network", () => {
  it("loses nothing that was acknowledged in a power failure of one node or of all (D1)", async () => {
    let acknowledged = 0;
    for (let seed = 1; seed <= 12; seed++) {
      const machines = new Machines(seed);
      for (const id of IDS) await machines.start(id);
      const founded = [...machines.processes.values()].map(({ raft }) => raft.initialize(MEMBERS));
      await machines.finish(Promise.all(founded));
      const done = new Map<string, number>();
      for (let round = 0; round < 12; round++) {
        await machines.clock.runUntil(() => machines.leading() !== undefined, 20_000, "a leader");
        for (let at = 0; at < 5; at++) {
          const text = `${String(round)}.${String(at)} ${"x".repeat(at * 100)}`;
          machines
            .leading()
            ?.raft.writeWithIndex(text)
            .then(
              ({ index }) => done.set(text, index),
              () => undefined,
            );
        }
        await machines.clock.advance((round % 4) * 3);
        const victims = round % 6 === 5 ? IDS : round % 2 === 0 ? [IDS[round % 3] ?? "a"] : [];
        for (const id of victims) await machines.powerFails(id);
      }
      await machines.clock.runUntil(() => machines.leading() !== undefined, 20_000, "a leader");
      for (const { raft, journal } of machines.processes.values()) {
        const commands = await machines.finish(raft.read(() => [...journal.commands]));
        const texts = new Map(commands.map(({ at, command }) => [at.index, command]));
        for (const [text, index] of done) expect(texts.get(index), `seed ${String(seed)}`).toBe(text);
      }
      acknowledged += done.size;
      await machines.finish(Promise.all([...machines.processes.values()].map(({ raft }) => raft.close())));
    }
    expect(acknowledged).toBeGreaterThan(100);
  });
});

describe("a cluster on real disks and sockets", () => {
  it("finds everything again after it was closed and reopened", async () => {
    const directory = mkdtempSync(join(tmpdir(), "keelson-whole-"));
    const transports = IDS.map(() => tcp({ listen: "127.0.0.1:0" }));
    const openAll = (
      listen: readonly string[],
    ): Promise<{ raft: Raft<string, number>; journal: Journal }[]> =>
      Promise.all(
        IDS.map(async (id, at) => {
          const journal = new Journal();
          const address = listen[at];
          const transport =
            (address === undefined ? transports[at] : undefined) ?? tcp({ listen: address ?? "" });
          return {
            journal,
            raft: await Raft.open<string, number>({
              id,
              stateMachine: journal,
              log: wal(join(directory, id)),
              transport,
            }),
          };
        }),
      );
    const leaderOf = async (nodes: { raft: Raft<string, number> }[]): Promise<Raft<string, number>> => {
      for (;;) {
        const leader = nodes.find(({ raft }) => raft.metrics().role === "leader");
        if (leader !== undefined) return leader.raft;
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    };
    try {
      const first = await openAll([]);
      const addresses = transports.map(({ address }) => address);
      const members = Object.fromEntries(IDS.map((id, at) => [id, addresses[at] ?? ""]));
      // Initializing one node is enough: it reaches the others.
      await first[0]?.raft.initialize(members);
      const leader = await leaderOf(first);
      const texts = Array.from({ length: 200 }, (_, at) => String(at));
      expect(await Promise.all(texts.map((text) => leader.write(text)))).toEqual(
        texts.map((_, at) => at + 1),
      );
      for (const { raft, journal } of first) expect(await raft.read(() => journal.texts)).toEqual(texts);
      await Promise.all(first.map(({ raft }) => raft.close()));

      const second = await openAll(addresses);
      await Promise.all(second.map(({ raft }) => raft.initialize(members)));
      await (await leaderOf(second)).write("after");
      for (const { raft, journal } of second)
        expect(await raft.read(() => journal.texts)).toEqual([...texts, "after"]);
      await Promise.all(second.map(({ raft }) => raft.close()));
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
});
