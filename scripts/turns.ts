/**
 * Prints the longest turns of the event loop for each part of a server's work at its documented limits. While
 * a turn lasts, a leader sends no heartbeats; none should take more than 20 ms (Z19).
 *
 * `npm run bench:turns -- [--only TEXT] [--rounds 3]`
 *
 * For each part the shortest of the rounds counts: a busy machine makes turns longer. Processor time is that
 * of the thread alone (Node 24), so other processes disturb it less.
 */
import { cpus } from "node:os";
import { keepYoungGenerationSmall } from "../packages/kv/src/shared/young-generation.ts";
import { SCENARIOS, TURN_MS_MAX } from "./turns/scenarios.ts";
import { flagsOf, helpIn } from "./lib/flags.ts";

keepYoungGenerationSmall();
const { values } = flagsOf("npm run bench:turns", helpIn(import.meta.filename), {
  options: { only: { type: "string", default: "" }, rounds: { type: "string", default: "3" } },
});

console.log(`Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? ""}; limit ${TURN_MS_MAX} ms`);
console.log("longest turn, ms | its processor time, ms |");
for (const { name, run } of SCENARIOS) {
  if (!name.includes(values.only)) continue;
  let longestMs = Infinity;
  let longestCpuMs = Infinity;
  for (let round = 0; round < Number(values.rounds); round++) {
    const turns = await run();
    longestMs = Math.min(longestMs, turns.longestMs);
    longestCpuMs = Math.min(longestCpuMs, turns.longestCpuMs ?? Infinity);
  }
  const exceeds = Math.min(longestMs, longestCpuMs) > TURN_MS_MAX;
  if (exceeds) process.exitCode = 1;
  const cpu = longestCpuMs === Infinity ? "-" : longestCpuMs.toFixed(1);
  console.log(
    `${longestMs.toFixed(1).padStart(16)} | ${cpu.padStart(22)} | ${name}${exceeds ? "  OVER THE LIMIT" : ""}`,
  );
}
