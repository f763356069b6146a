/**
 * Measures Keelson and its rivals on the same work, in turn (A B C, C B A, ...) on one machine in one run.
 * docs/performance.md tells what each part does, and has the results.
 *
 *   npm run bench -- PART [--short] [--rounds 5] [--seconds 3] [--points 1,16] [--peers NAME,NAME|none]
 *                    [--data DIR] [--cache DIR] [--update]
 *
 * `--update` writes the results into docs/. `--cache` (or KEELSON_BENCH_CACHE) names the folder for the
 * rivals' built programs. Rivals are fetched and built at their first use.
 */
import { updateDocuments } from "./lib/documents.ts";
import { readOptions, type BenchOptions } from "./lib/options.ts";
import { tablesOf, type Report } from "./lib/report.ts";
import { benchCore } from "./parts/core.ts";
import { benchFailover } from "./parts/failover.ts";
import { benchLibrary } from "./parts/library.ts";
import { benchMicro } from "./parts/micro.ts";
import { benchServer } from "./parts/server.ts";

const PARTS: Readonly<Record<string, (options: BenchOptions) => Promise<Report>>> = {
  core: benchCore,
  failover: benchFailover,
  library: benchLibrary,
  micro: benchMicro,
  server: benchServer,
};

const [part = "", ...args] = process.argv.slice(2);
const run = Object.hasOwn(PARTS, part) ? PARTS[part] : undefined;
if (run === undefined) {
  console.error(`npm run bench -- PART [options], with PART one of: ${Object.keys(PARTS).join(", ")}`);
  process.exitCode = 2;
} else {
  const options = readOptions(part, args);
  const report = await run(options);
  console.log(`\n${report.title}; ${report.machine}, commit ${report.commit}\n\n${tablesOf(report)}`);
  for (const note of report.notes) console.log(`\n${note}`);
  for (const failure of report.failures ?? []) console.error(`too slow: ${failure}`);
  if ((report.failures ?? []).length > 0) process.exitCode = 1;
  if (options.update) await updateDocuments(report);
}
