import { describe, expect, it } from "vitest";
import { encodeMembership } from "../../codec/config.ts";
import { configOf } from "../../core/config.ts";
import type { StoredSnapshot } from "../../storage/snapshot-store.ts";
import { SnapshotInstaller, type SnapshotInstallerParts } from "./snapshot-installer.ts";

/** The membership of these voters, as a snapshot stores it. */
function membershipOf(ids: readonly string[]): Uint8Array {
  const members = new Map(ids.map((id) => [id, { address: `${id}:1` }]));
  return encodeMembership({ config: configOf(ids), members });
}

const SNAPSHOT: StoredSnapshot = {
  id: "s",
  clusterId: "own",
  position: { index: 9, term: 2 },
  membership: membershipOf(["a", "b"]),
  bytes: 100,
  origin: "received",
};

/**
 * The installer of a node of cluster "own" that has committed the entries up to 12, all of term 2, and
 * applied those up to `applied`. `events`: what it had its parts do, in order.
 */
function installer(applied: number, discard: () => Promise<void> = () => Promise.resolve()) {
  const events: string[] = [];
  const log = {
    termAt: () => 2,
    contains: ({ term }: { readonly term: number }) => term === 2,
    configAt: () => ({ index: 1, config: configOf(["a", "b"]) }),
  };
  const parts = {
    core: { commitIndex: 12, log },
    clusterId: () => "own",
    applier: { applied: { index: applied } },
    compactor: { suspend: () => events.push("suspend") },
    store: {
      discard: (id: string) => {
        events.push(`discard ${id}`);
        return discard();
      },
    },
    failed: ({ message }: { readonly message: string }) => events.push(message),
  };
  const made = new SnapshotInstaller(parts as unknown as SnapshotInstallerParts<string, number>);
  return {
    events,
    install: (snapshot: Partial<StoredSnapshot>) => made.install({ ...SNAPSHOT, ...snapshot }),
  };
}

describe("a snapshot that can't belong to the node's log", () => {
  const STOPS = "a snapshot came that cannot be, so the node stops: ";
  const CONTRADICTIONS: readonly (readonly [string, Partial<StoredSnapshot>, string])[] = [
    ["of another cluster", { clusterId: "other" }, "it is of cluster other, and this is own"],
    [
      "of another term than the committed entry",
      { position: { index: 9, term: 1 } },
      "it contradicts the entry at 9, which is committed here",
    ],
    [
      "with another membership",
      { membership: membershipOf(["a", "c"]) },
      "its membership is not that of the entry at 9",
    ],
  ];

  it.each(CONTRADICTIONS)(
    "is thrown away, and stops the node before anything is replaced, if it is %s",
    async (_what, snapshot, reason) => {
      const { events, install } = installer(5);
      await install(snapshot);
      expect(events).toEqual(["discard s", STOPS + reason]);
    },
  );

  it.each(CONTRADICTIONS)(
    "is thrown away before the log is compacted for it, if the state has passed it and it is %s",
    async (_what, snapshot, reason) => {
      const { events, install } = installer(12);
      await install(snapshot);
      expect(events).toEqual(["discard s", STOPS + reason]);
    },
  );

  it("stops the node with both reasons if it can't be thrown away", async () => {
    const { events, install } = installer(5, () => Promise.reject(new Error("EIO")));
    await install({ clusterId: "other" });
    expect(events.at(-1)).toBe(
      `${STOPS}it is of cluster other, and this is own. It could not be thrown away: EIO`,
    );
  });
});

it("replaces nothing for a snapshot that the state has passed", async () => {
  const { events, install } = installer(12);
  await install({});
  expect(events).toEqual([]);
});
