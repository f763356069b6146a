import { describe, expect, it } from "vitest";
import { encodeMembership } from "../../codec/config.ts";
import { encodeRecord, EntryKind } from "../../codec/record.ts";
import { configOf, type ClusterConfig } from "../../core/config.ts";
import { seededRandom } from "../../environment/simulated/simulated-clock.ts";
import { simulatedEnvironment } from "../../environment/simulated/simulated-environment.ts";
import { SimulatedFiles } from "../../environment/simulated/simulated-files.ts";
import { DirectoryLockedError } from "../../errors.ts";
import type { LogStore } from "../log-store.ts";
import { SECTOR_BYTES } from "./batch-format.ts";
import { wal } from "./index.ts";
import { inspectWal } from "./inspect-wal.ts";
import type { WalInspection } from "./wal-inspection.ts";
import { planForceNewCluster, forceNewCluster } from "./force-new-cluster.ts";
import { entries } from "./test/model.ts";

const DIRECTORY = "/data/c";
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
    expect(await planForceNewCluster(DIRECTORY, { environment })).toEqual({
      nodeId: "c",
      storeId,
      address: "c:7001",
      clusterId: "origin",
      members: ["a", "b", "c"],
      removed: [],
      last: { index: 5, term: 3 },
      base: { index: 0, term: 0 },
      term: 4,
    });
    const { clusterId, position } = await forceNewCluster(DIRECTORY, { environment });
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
      const forced = forceNewCluster(DIRECTORY, { environment: environmentOf(files) });
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
        await forceNewCluster(DIRECTORY, { environment: environmentOf(files) });
      } else {
        expect(found).toMatchObject({ last: { index: 6, term: 5 }, hardState: { term: 5, votedFor: "c" } });
        outcomes = { ...outcomes, new: outcomes.new + 1 };
      }
      expect((await inspect(files)).memberships.at(-1)?.membership.config).toEqual(configOf(["c"]));
    }
    expect(outcomes.old).toBeGreaterThan(5);
    expect(outcomes.new).toBeGreaterThan(0);
  });

  it("gives two nodes of the same former cluster different cluster ids", async () => {
    const { files, store } = await logWith();
    await store.close();
    const copy = files.copy();
    const one = await forceNewCluster(DIRECTORY, { environment: environmentOf(files, 1) });
    const other = await forceNewCluster(DIRECTORY, { environment: environmentOf(copy, 2) });
    expect(one.clusterId).not.toBe(other.clusterId);
  });

  it("is refused while the node runs", async () => {
    const { files, store } = await logWith();
    const environment = environmentOf(files);
    await expect(forceNewCluster(DIRECTORY, { environment })).rejects.toThrow(DirectoryLockedError);
    await store.close();
    expect((await inspect(files)).clusterId).toBe("origin");
  });

  it("is refused for a damaged log", async () => {
    const { files, store } = await logWith();
    await store.close();
    files.damage(`${DIRECTORY}/0000000000000001.wal`, SECTOR_BYTES + 60, Uint8Array.of(0xff));
    const environment = environmentOf(files);
    await expect(forceNewCluster(DIRECTORY, { environment })).rejects.toThrow(
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
    await expect(forceNewCluster(DIRECTORY, { environment: environmentOf(files) })).rejects.toThrow(message);
  });

  it.each([
    ["is a learner", configOf(["a", "b"], ["c"])],
    ["is being added", { voters: ["a", "c"], outgoingVoters: ["a", "b"], learners: [] }],
    ["is being left alone", { voters: ["c"], outgoingVoters: ["a", "b"], learners: [] }],
  ])("takes a node that %s", async (_what, config) => {
    const { files, store } = await logWith(config);
    await store.close();
    await forceNewCluster(DIRECTORY, { environment: environmentOf(files) });
    expect((await inspect(files)).memberships.at(-1)?.membership.config).toEqual(configOf(["c"]));
  });

  it("accepts another address, if it's valid", async () => {
    const { files, store } = await logWith(configOf(["a", "b"]));
    await store.close();
    const environment = environmentOf(files);
    await expect(forceNewCluster(DIRECTORY, { environment, address: "c" })).rejects.toThrow(/address is "c"/);
    await forceNewCluster(DIRECTORY, { environment, address: "new:1" });
    expect((await inspect(files)).memberships.at(-1)?.membership.members.get("c")).toMatchObject({
      address: "new:1",
    });
  });
});
