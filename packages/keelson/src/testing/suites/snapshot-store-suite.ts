import { receivingCases } from "./snapshot-store/receiving-cases.ts";
import type { SnapshotStoreCase, SnapshotStorePlace } from "./snapshot-store/snapshot-store-bench.ts";
import { takingCases } from "./snapshot-store/taking-cases.ts";
import type { TestFramework } from "./test-framework.ts";

export type { SnapshotStoreCase, SnapshotStorePlace } from "./snapshot-store/snapshot-store-bench.ts";

/**
 * Checks that a `SnapshotStore` keeps its promises, except for those about crashes and power cuts.
 * `makePlace` is called once or twice for each case.
 *
 * @example
 * const makePlace = async () => ({ environment, store: () => mySnapshots(directory) });
 * describeSnapshotStore("my snapshots", makePlace, { describe, it });
 */
export function describeSnapshotStore(
  name: string,
  makePlace: () => Promise<SnapshotStorePlace>,
  { describe, it }: TestFramework,
): void {
  describe(`${name}, as a SnapshotStore,`, () => {
    for (const { name: sentence, run } of snapshotStoreCases) it(sentence, () => run(makePlace));
  });
}

/** What every snapshot store must do, as named cases. */
export const snapshotStoreCases: readonly SnapshotStoreCase[] = [...takingCases, ...receivingCases];
