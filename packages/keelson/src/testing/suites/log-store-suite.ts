import { compactionCases } from "./log-store/compaction-cases.ts";
import { entryCases } from "./log-store/entry-cases.ts";
import { lifecycleCases } from "./log-store/lifecycle-cases.ts";
import type { LogStoreCase, LogStorePlace } from "./log-store/log-store-bench.ts";
import { modelCases } from "./log-store/model-case.ts";
import type { TestFramework } from "./test-framework.ts";

export type { LogStoreCase, LogStorePlace } from "./log-store/log-store-bench.ts";
export type { TestFramework } from "./test-framework.ts";

/**
 * Checks that a `LogStore` keeps its promises, except for those about crashes and power cuts. `makePlace` is
 * called for each case.
 *
 * @example
 * const makePlace = async () => ({ environment, store: () => myStore(directory) });
 * describeLogStore("my store", makePlace, { describe, it });
 */
export function describeLogStore(
  name: string,
  makePlace: () => Promise<LogStorePlace>,
  { describe, it }: TestFramework,
): void {
  describe(`${name}, as a LogStore,`, () => {
    for (const { name: sentence, run } of logStoreCases) it(sentence, () => run(makePlace));
  });
}

/** What every log store must do, as named cases. */
export const logStoreCases: readonly LogStoreCase[] = [
  ...entryCases,
  ...compactionCases,
  ...lifecycleCases,
  ...modelCases,
];
