/**
 * Puts a bug of the zoo back and writes a history that it spoils: `node buggy-history.ts CODE FILE
 * SEEDS_MAX`. Simulates seed after seed until our own checker refuses a history, and prints that seed. A
 * process of its own, because the patched modules stay loaded.
 */
import { writeFileSync } from "node:fs";
import path from "node:path";

import type * as simulator from "../../packages/keelson/src/testing/simulator/index.ts";
import { formatHistory } from "keelson/testing";
import { patchOnLoad } from "../lib/patched-modules.ts";
import type * as stores from "../sim/stores.ts";
import { BUGS, patchOf } from "../zoo/bugs.ts";
import { SOURCE } from "../zoo/hunt.ts";

const [code = "", file = "", seedsMax = "0"] = process.argv.slice(2);
process.exitCode = await main();

async function main(): Promise<number> {
  const bug = BUGS.find((one) => one.code === code);
  if (bug === undefined || bug.finder !== undefined) {
    console.error(`the zoo has no bug ${code} that the simulator finds: npm run zoo -- --list`);
    return 2;
  }
  patchOnLoad(SOURCE, "patch", [patchOf(bug)]);
  const { planOf, simulate } = (await import(
    `${path.join(SOURCE, "testing/simulator/index.ts")}?patch=${code}`
  )) as typeof simulator;
  const { subjectOfStore } = (await import(
    `${path.join(import.meta.dirname, "../sim/stores.ts")}?patch=${code}`
  )) as typeof stores;
  const subject = await subjectOfStore(bug.store ?? "sim");
  for (let seed = 1; seed <= Number(seedsMax); seed++) {
    // The checkers that look into the nodes would end each run before the history shows the bug.
    const plan = { ...planOf(seed), checksModel: false };
    const { violation, history } = await simulate(plan, { subject });
    // Another invariant ends the run before the history is judged.
    if (violation?.code !== "LIN") continue;
    writeFileSync(file, formatHistory(history));
    console.log(`${bug.title}: seed ${seed}`);
    return 0;
  }
  console.error(`with bug ${code} put back, ${seedsMax} seeds have no history that our own checker refuses`);
  return 1;
}
