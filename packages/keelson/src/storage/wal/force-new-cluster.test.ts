import { describe, expect, it } from "vitest";
import { encodeMembership } from "../../codec/config.ts";
import { encodeRecord, EntryKind } from "../../codec/record.ts";
import { configOf, type ClusterConfig } from "../../core/config.ts";
import { TERM_MAX } from "../../core/position.ts";
import { seededRandom } from "../../environment/simulated/simulated-clock.ts";
import { simulatedEnvironment } from "../../environment/simulated/simulated-environment.ts";
import { SimulatedFiles } from "../../environment/simulated/simulated-files.ts";
import { DirectoryLockedError } from "../../errors.ts";
import type { LogStore } from "../log-store.ts";
import { SECTOR_BYTES } from "./batch-format.ts";
import { memorySnapshots, snapshotFiles } from "../snapshots/index.ts";
import { wal } from "./index.ts";
import { inspectWal } from "./inspect-wal.ts";
import type { WalInspection } from "./wal-inspection.ts";
import { planForceNewCluster, forceNewCluster } from "./force-new-cluster.ts";
import { entries } from "./test/model.ts";

const DIRECTORY = "/data/c";
const SNAPSHOTS = "/data/c/snapshots";
const THREE = configOf(["a", "b", "c"]);

function environmentOf(files: SimulatedFiles, seed = 1) {
  return simulatedEnvironment({ files: files.mount(), seed });
}

/**
 * The log of node c in a cluster with this configuration. Five entries, the last ones of term 3; the hard
 * state's term is 4.
 */
async function logWith(
  config: ClusterConfig | null = THREE,
): Promise<{ files: SimulatedFiles; store: LogStore }> {
  const files = new SimulatedFiles();
  const store = wal(DIRECTORY, { segmentBytes: 4096 });
  await store.open({ nodeId: "c", clusterId: config === null ? null : "origin" }, environmentOf(files));
  if (config === null) return { files, store };
  const ids = [...new Set([...config.voters, ...config.outgoingVoters, ...config.learners])];
  const members = new Map(ids.map((id) => [id, { address: `${id}:7001` }]));
  const founding = encodeRecord(1, 1, EntryKind.config, encodeMembership({ config, members }));
  await store.append({
    hardState: { term: 4, votedFor: "a" },
    truncateFrom: null,
    records: [founding, ...entries(2, 6, 3)],
  });
  return { files, store };
}

function inspect(files: SimulatedFiles): Promise<WalInspection> {
  return inspectWal(DIRECTORY, { environment: environmentOf(files) });
}

describe("forceNewCluster", () => {
  it("keeps all entries, and writes a new incarnation, a new term and a one-member configuration (O6)", async () => {
    const { files, store } = await logWith();
    await store.close();
    const environment = environmentOf(files);
    const { storeId } = await inspect(files);
    expect(await planForceNewCluster(DIRECTORY, { snapshots: SNAPSHOTS, environment })).toEqual({
      nodeId: "c",
      storeId,
      address: "c:7001",
      clusterId: "origin",
      members: ["a", "b", "c"],
      removed: [],
      last: { index: 5, term: 3 },
      base: { index: 0, term: 0 },
      term: 4,
      newTerm: 5,
      installs: null,
      damagedSnapshots: [],
    });
    const { clusterId, position } = await forceNewCluster(DIRECTORY, { snapshots: SNAPSHOTS, environment });
    expect(position).toEqual({ index: 6, term: 5 });
    expect(clusterId).toMatch(/^origin\+[0-9a-f]{16}$/);
    const found = await inspect(files);
    expect(found).toMatchObject({
      clusterId,
      hardState: { term: 5, votedFor: "c" },
      last: position,
      entries: { command: { count: 4 }, config: { count: 2 } },
      damage: null,
    });
    expect(found.memberships.at(-1)?.membership).toEqual({
      config: configOf(["c"]),
      members: new Map([["c", { address: "c:7001", storeId }]]),
      // The former members must not come back under their old ids (M10).
      removed: ["a", "b"],
    });
  });

  it.each([TERM_MAX, Number.MAX_SAFE_INTEGER])(
    "goes on after the last entry's term when a hostile message took the node to term %s [Z17]",
    async (term) => {
      for (const config of [THREE, configOf(["c"])]) {
        const { files, store } = await logWith(config);
        await store.append({ hardState: { term, votedFor: null }, truncateFrom: null, records: [] });
        await store.close();
        const environment = environmentOf(files);
        expect(await planForceNewCluster(DIRECTORY, { snapshots: null, environment })).toMatchObject({
          term,
          newTerm: 4,
        });
        expect(await forceNewCluster(DIRECTORY, { snapshots: null, environment })).toMatchObject({
          position: { index: 6, term: 4 },
        });
        expect(await inspect(files)).toMatchObject({ hardState: { term: 4, votedFor: "c" }, damage: null });
      }
    },
  );

  it("says what to do when an entry of the log has such a term [Z17]", async () => {
    const { files, store } = await logWith();
    const hardState = { term: TERM_MAX, votedFor: null };
    await store.append({ hardState, truncateFrom: null, records: entries(6, 7, TERM_MAX) });
    await store.close();
    await expect(
      planForceNewCluster(DIRECTORY, { snapshots: null, environment: environmentOf(files) }),
    ).rejects.toThrow(/has term 281474976710656, .*keelson restore/);
  });

  it("changes the log completely or not at all, wherever the power fails (O6)", async () => {
    let outcomes = { old: 0, new: 0 };
    for (let at = 1; ; at++) {
      const { files, store } = await logWith();
      await store.close();
      const first = files.operations;
      let cut = (): void => undefined;
      const isCut = new Promise<boolean>((resolve) => {
        cut = () => resolve(true);
      });
      files.intercept = ({ number }) => {
        if (number - first !== at) return null;
        cut();
        return { type: "power-cut" };
      };
      const forced = forceNewCluster(DIRECTORY, { snapshots: SNAPSHOTS, environment: environmentOf(files) });
      const happened = await Promise.race([isCut, forced.then(() => false)]);
      await new Promise((resolve) => setImmediate(resolve));
      files.intercept = null;
      if (!happened) break;
      files.crash(seededRandom(at));
      const found = await inspect(files);
      expect(found.damage).toBeNull();
      if (found.clusterId === "origin") {
        expect(found).toMatchObject({ last: { index: 5 }, hardState: { term: 4, votedFor: "a" } });
        outcomes = { ...outcomes, old: outcomes.old + 1 };
        await forceNewCluster(DIRECTORY, { snapshots: SNAPSHOTS, environment: environmentOf(files) });
      } else {
        expect(found).toMatchObject({ last: { index: 6, term: 5 }, hardState: { term: 5, votedFor: "c" } });
        outcomes = { ...outcomes, new: outcomes.new + 1 };
      }
      expect((await inspect(files)).memberships.at(-1)?.membership.config).toEqual(configOf(["c"]));
    }
    expect(outcomes.old).toBeGreaterThan(5);
    expect(outcomes.new).toBeGreaterThan(0);
  });

  it("does nothing if what it would do is not what was confirmed [Z21]", async () => {
    const { files, store } = await logWith();
    await store.close();
    const environment = environmentOf(files);
    const options = { snapshots: SNAPSHOTS, environment };
    const confirmed = await planForceNewCluster(DIRECTORY, options);
    // The node runs once more, and is told of another term and entry.
    const again = wal(DIRECTORY, { segmentBytes: 4096 });
    await again.open({ nodeId: "c", clusterId: "origin" }, environmentOf(files));
    await again.append({
      hardState: { term: 6, votedFor: null },
      truncateFrom: null,
      records: entries(6, 7, 6),
    });
    await again.close();
    const before = await inspect(files);
    await expect(forceNewCluster(DIRECTORY, { ...options, confirmed })).rejects.toThrow(
      `${DIRECTORY} has changed since the plan was shown (last, term, newTerm), so nothing was done`,
    );
    expect(await inspect(files)).toEqual(before);
    const shown = await planForceNewCluster(DIRECTORY, options);
    expect(await forceNewCluster(DIRECTORY, { ...options, confirmed: shown })).toMatchObject({
      position: { index: 7, term: 7 },
    });
  });

  it("gives two nodes of the same former cluster different cluster ids", async () => {
    const { files, store } = await logWith();
    await store.close();
    const copy = files.copy();
    const one = await forceNewCluster(DIRECTORY, {
      snapshots: SNAPSHOTS,
      environment: environmentOf(files, 1),
    });
    const other = await forceNewCluster(DIRECTORY, {
      snapshots: SNAPSHOTS,
      environment: environmentOf(copy, 2),
    });
    expect(one.clusterId).not.toBe(other.clusterId);
  });

  it("is refused while the node runs", async () => {
    const { files, store } = await logWith();
    const environment = environmentOf(files);
    await expect(forceNewCluster(DIRECTORY, { snapshots: SNAPSHOTS, environment })).rejects.toThrow(
      DirectoryLockedError,
    );
    await store.close();
    expect((await inspect(files)).clusterId).toBe("origin");
  });

  it("is refused for a damaged log", async () => {
    const { files, store } = await logWith();
    await store.close();
    files.damage(`${DIRECTORY}/0000000000000001.wal`, SECTOR_BYTES + 60, Uint8Array.of(0xff));
    const environment = environmentOf(files);
    await expect(forceNewCluster(DIRECTORY, { snapshots: SNAPSHOTS, environment })).rejects.toThrow(
      /the log is damaged: .*does not match/,
    );
  });

  it.each([
    ["that belongs to no cluster", null, /belongs to no cluster yet, so there is nothing to recover/],
    [
      "of the only voter",
      configOf(["c"], ["a"]),
      /node c is the only voter of its cluster already: start it/,
    ],
    ["that lacks the node's address", configOf(["a", "b"]), /no member of the last configuration.*give one/],
  ])("is refused for a log %s", async (_what, config, message) => {
    const { files, store } = await logWith(config);
    await store.close();
    await expect(
      forceNewCluster(DIRECTORY, { snapshots: SNAPSHOTS, environment: environmentOf(files) }),
    ).rejects.toThrow(message);
  });

  it.each([
    ["is a learner", configOf(["a", "b"], ["c"])],
    ["is being added", { voters: ["a", "c"], outgoingVoters: ["a", "b"], learners: [] }],
    ["is being left alone", { voters: ["c"], outgoingVoters: ["a", "b"], learners: [] }],
  ])("takes a node that %s", async (_what, config) => {
    const { files, store } = await logWith(config);
    await store.close();
    await forceNewCluster(DIRECTORY, { snapshots: SNAPSHOTS, environment: environmentOf(files) });
    expect((await inspect(files)).memberships.at(-1)?.membership.config).toEqual(configOf(["c"]));
  });

  it("accepts another address, if it's valid", async () => {
    const { files, store } = await logWith(configOf(["a", "b"]));
    await store.close();
    const environment = environmentOf(files);
    await expect(
      forceNewCluster(DIRECTORY, { snapshots: SNAPSHOTS, environment, address: "c" }),
    ).rejects.toThrow(/address is "c"/);
    await forceNewCluster(DIRECTORY, { snapshots: SNAPSHOTS, environment, address: "new:1" });
    expect((await inspect(files)).memberships.at(-1)?.membership.members.get("c")).toMatchObject({
      address: "new:1",
    });
  });

  describe("with a snapshot that the log doesn't lead to", () => {
    const POSITION = { index: 9, term: 6 };

    /** Log and snapshot of node c; it stopped after it had received the snapshot. */
    async function halfInstalled(
      origin: "taken" | "received" = "received",
      clusterId = "origin",
      position = POSITION,
    ): Promise<SimulatedFiles> {
      const { files, store } = await logWith();
      await store.close();
      const members = new Map(["a", "c", "d"].map((id) => [id, { address: `${id}:8001` }]));
      const membership = encodeMembership({ config: configOf(["a", "c", "d"]), members, removed: ["b"] });
      const elsewhere = memorySnapshots();
      await elsewhere.open(simulatedEnvironment({ seed: 5 }));
      const taken = origin === "taken" ? snapshotFiles(SNAPSHOTS) : elsewhere;
      if (origin === "taken") await taken.open(environmentOf(files));
      const draft = await taken.create({ clusterId, position, membership }, []);
      await draft.write(new Uint8Array(5000).fill(7));
      const { id, bytes } = await draft.finish();
      if (origin === "received") {
        const received = snapshotFiles(SNAPSHOTS);
        await received.open(environmentOf(files));
        const reader = await elsewhere.read(id);
        const incoming = await received.receive(id, bytes);
        await incoming.write(await reader!.read(0, bytes));
        await incoming.finish();
        await received.close();
      } else await taken.close();
      return files;
    }

    const snapshotIn = (files: SimulatedFiles): string =>
      files.paths().find((path) => path.startsWith(`${SNAPSHOTS}/snapshot-`)) ?? "";

    it("counts it in the plan, and finishes its installation first (Z8)", async () => {
      const files = await halfInstalled();
      const options = { snapshots: SNAPSHOTS, environment: environmentOf(files) };
      const before = files.paths();
      const plan = await planForceNewCluster(DIRECTORY, options);
      expect(files.paths()).toEqual(before);
      expect(plan).toMatchObject({
        ...{ last: POSITION, base: POSITION, installs: POSITION, term: 6 },
        ...{ members: ["a", "c", "d"], removed: ["b"], address: "c:8001", damagedSnapshots: [] },
      });
      const { clusterId, position } = await forceNewCluster(DIRECTORY, options);
      expect(position).toEqual({ index: 10, term: 7 });
      const found = await inspect(files);
      expect(found).toMatchObject({ clusterId, base: POSITION, last: position, damage: null });
      expect(found.memberships.at(-1)?.membership).toMatchObject({
        config: configOf(["c"]),
        removed: ["b", "a", "d"],
      });
    });

    it("keeps the vote in the saved term, if that isn't older than the snapshot's", async () => {
      const files = await halfInstalled("received", "origin", { index: 9, term: 4 });
      files.intercept = ({ type, path }) =>
        // The first write after the reset is the one that makes the new cluster.
        type === "write" && path.startsWith(DIRECTORY) && ++writes === 2 ? { type: "power-cut" } : null;
      let writes = 0;
      const options = { snapshots: SNAPSHOTS, environment: environmentOf(files) };
      void forceNewCluster(DIRECTORY, options);
      for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
      files.intercept = null;
      files.crash(seededRandom(1));
      expect((await inspect(files)).hardState).toEqual({ term: 4, votedFor: "a" });
    });

    it("can be called again, wherever the power fails (O6)", async () => {
      const bases = new Set<number>();
      for (let at = 1; ; at++) {
        const files = await halfInstalled();
        const first = files.operations;
        let cut = (): void => undefined;
        const isCut = new Promise<boolean>((resolve) => {
          cut = () => resolve(true);
        });
        files.intercept = ({ number }) => {
          if (number - first !== at) return null;
          cut();
          return { type: "power-cut" };
        };
        const options = { snapshots: SNAPSHOTS, environment: environmentOf(files) };
        const forced = forceNewCluster(DIRECTORY, options);
        const happened = await Promise.race([isCut, forced.then(() => false)]);
        await new Promise((resolve) => setImmediate(resolve));
        files.intercept = null;
        if (!happened) break;
        files.crash(seededRandom(at));
        const found = await inspect(files);
        expect(found.damage).toBeNull();
        bases.add(found.base.index);
        if (found.clusterId === "origin") {
          await forceNewCluster(DIRECTORY, { snapshots: SNAPSHOTS, environment: environmentOf(files) });
        }
        const after = await inspect(files);
        expect(after).toMatchObject({ base: POSITION, last: { index: 10, term: 7 } });
        expect(after.memberships.at(-1)?.membership.config).toEqual(configOf(["c"]));
      }
      expect([...bases].sort()).toEqual([0, POSITION.index]);
    });

    it("refuses if the snapshot is damaged anywhere, and changes nothing", async () => {
      const files = await halfInstalled();
      const path = snapshotIn(files);
      files.damage(path, 3000, Uint8Array.of(0));
      const options = { snapshots: SNAPSHOTS, environment: environmentOf(files) };
      for (const attempt of [planForceNewCluster, forceNewCluster]) {
        await expect(attempt(DIRECTORY, options)).rejects.toThrow(
          /is damaged at byte .* was installing it when it stopped.*move the file away/,
        );
      }
      expect((await inspect(files)).clusterId).toBe("origin");
    });

    it("names snapshots whose header is damaged", async () => {
      const files = await halfInstalled();
      const path = snapshotIn(files);
      files.damage(path, 20, Uint8Array.of(0xff));
      const options = { snapshots: SNAPSHOTS, environment: environmentOf(files) };
      expect(await planForceNewCluster(DIRECTORY, options)).toMatchObject({
        installs: null,
        last: { index: 5, term: 3 },
        damagedSnapshots: [{ file: path }],
      });
    });

    it.each([
      ["was taken by this node", "taken", "origin", /though this node took it: the log has lost entries/],
      ["is of another cluster", "received", "other", /it is of cluster other, not of origin/],
    ] as const)("refuses one that %s", async (_what, origin, clusterId, message) => {
      const files = await halfInstalled(origin, clusterId);
      const options = { snapshots: SNAPSHOTS, environment: environmentOf(files) };
      await expect(forceNewCluster(DIRECTORY, options)).rejects.toThrow(message);
    });

    it("refuses one of another version of the format", async () => {
      const files = await halfInstalled();
      files.damage(snapshotIn(files), 3, Uint8Array.of(99));
      const options = { snapshots: SNAPSHOTS, environment: environmentOf(files) };
      await expect(forceNewCluster(DIRECTORY, options)).rejects.toThrow(/has version 99/);
    });

    it("is refused while another process uses the snapshots", async () => {
      const files = await halfInstalled();
      const store = snapshotFiles(SNAPSHOTS);
      await store.open(environmentOf(files));
      const options = { snapshots: SNAPSHOTS, environment: environmentOf(files) };
      await expect(forceNewCluster(DIRECTORY, options)).rejects.toThrow(DirectoryLockedError);
      await store.close();
      await forceNewCluster(DIRECTORY, options);
    });
  });
});
