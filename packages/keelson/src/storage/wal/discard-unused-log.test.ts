import { describe, expect, it } from "vitest";
import { encodeMembership } from "../../codec/config.ts";
import { clusterIdOf } from "../../codec/cluster-id.ts";
import { encodeRecord, EntryKind } from "../../codec/record.ts";
import type { HardState } from "../../core/action.ts";
import { configOf } from "../../core/config.ts";
import { seededRandom } from "../../environment/simulated/simulated-clock.ts";
import { simulatedEnvironment } from "../../environment/simulated/simulated-environment.ts";
import { SimulatedFiles } from "../../environment/simulated/simulated-files.ts";
import { DirectoryLockedError } from "../../errors.ts";
import type { LogStore } from "../log-store.ts";
import { discardUnusedLog } from "./discard-unused-log.ts";
import { wal } from "./index.ts";
import { inspectWal } from "./inspect-wal.ts";
import { entries } from "./test/model.ts";

const DIRECTORY = "/data/log";
const WRONG = { a: "a:7001", b: "b:7001", c: "c:700" };
const RIGHT = { ...WRONG, c: "c:7001" };

function environmentOf(files: SimulatedFiles) {
  return simulatedEnvironment({ files: files.mount(), seed: 1 });
}

function firstMembership(members: Readonly<Record<string, string>>): Uint8Array {
  const config = configOf(Object.keys(members));
  return encodeMembership({
    config,
    members: new Map(Object.entries(members).map(([id, address]) => [id, { address }])),
  });
}

interface Log {
  readonly members?: Readonly<Record<string, string>>;
  readonly hardState?: HardState;
  readonly name?: string | null;
  readonly more?: readonly Uint8Array[];
  readonly clusterId?: string;
}

/** The log of a node that was told to create a cluster. */
async function logOf({
  members = WRONG,
  hardState = { term: 1, votedFor: null },
  name = null,
  more = [],
  clusterId,
}: Log = {}): Promise<{ files: SimulatedFiles; store: LogStore }> {
  const files = new SimulatedFiles();
  const store = wal(DIRECTORY);
  await store.open({ nodeId: "a", clusterId: null }, environmentOf(files));
  const payload = firstMembership(members);
  await store.setClusterId(clusterId ?? clusterIdOf(payload, name));
  const record = encodeRecord(1, 1, EntryKind.config, payload);
  await store.append({ hardState, truncateFrom: null, records: [record, ...more] });
  return { files, store };
}

describe("discardUnusedLog", () => {
  it.each([null, "prod"])(
    "removes a log that no election has used, when only addresses differ [Z21]",
    async (name) => {
      const { files, store } = await logOf({ name });
      await store.close();
      const environment = environmentOf(files);
      expect(await discardUnusedLog(DIRECTORY, { members: RIGHT, environment })).toEqual({
        isDiscarded: true,
        reason: "",
        firstMembers: WRONG,
      });
      const anew = wal(DIRECTORY);
      const found = await anew.open({ nodeId: "a", clusterId: null }, environmentOf(files));
      expect([found.clusterId, found.lastIndex, found.hardState]).toEqual([
        null,
        0,
        { term: 0, votedFor: null },
      ]);
      await anew.close();
    },
  );

  const OWN_VOTE = { term: 1, votedFor: "a" };
  it.each([
    ["it has voted", { hardState: { term: 2, votedFor: "b" } }, "an election"],
    ["it has voted in the first term", { hardState: OWN_VOTE }, "an election"],
    ["it has seen an election", { hardState: { term: 2, votedFor: null } }, "an election"],
    [
      "it holds entries of a leader",
      { hardState: { term: 2, votedFor: null }, more: entries(2, 3, 2) },
      "entries of that",
    ],
    ["the ids differ", { members: { a: "a:7001", b: "b:7001", d: "d:7001" } }, "began with the ids a, b, d"],
    ["another node created the cluster", { clusterId: "of others" }, "not this node that created"],
  ] as const)("keeps the log if %s, and says so", async (_, log, reason) => {
    const { files, store } = await logOf(log);
    await store.close();
    const environment = environmentOf(files);
    const before = await inspectWal(DIRECTORY, { environment });
    const kept = await discardUnusedLog(DIRECTORY, { members: RIGHT, environment });
    expect(kept.isDiscarded).toBe(false);
    expect(kept.reason).toContain(reason);
    expect(await inspectWal(DIRECTORY, { environment })).toEqual(before);
  });

  it("is refused while the node runs", async () => {
    const { files } = await logOf();
    const environment = environmentOf(files);
    const discarding = discardUnusedLog(DIRECTORY, { members: RIGHT, environment });
    await expect(discarding).rejects.toThrow(DirectoryLockedError);
  });

  it("can be called again, wherever the power fails", async () => {
    for (let calls = 1; calls < 40; calls++) {
      const { files, store } = await logOf();
      await store.close();
      const first = files.operations;
      files.intercept = ({ number }) => (number === first + calls ? { type: "power-cut" } : null);
      const done = discardUnusedLog(DIRECTORY, { members: RIGHT, environment: environmentOf(files) });
      const isDone = await Promise.race([
        done.then(() => true),
        new Promise((resolve) => setTimeout(resolve, 20, false)),
      ]);
      files.intercept = null;
      files.crash(seededRandom(calls));
      const anew = wal(DIRECTORY);
      const found = await anew.open({ nodeId: "a", clusterId: null }, environmentOf(files.copy()));
      expect([0, 1]).toContain(found.lastIndex);
      await anew.close();
      const isLeft = files.paths().length > 0;
      const again = discardUnusedLog(DIRECTORY, { members: RIGHT, environment: environmentOf(files) });
      if (isLeft) expect(await again).toMatchObject({ isDiscarded: true });
      else await expect(again).rejects.toThrow("there is no log");
      expect(files.paths()).toEqual([]);
      if (isDone === true) return;
    }
    throw new Error("it never got to its end");
  });
});
