// Runs every program in examples/: each checks its own result and exits with 0 if it is right.
import { readdir } from "node:fs/promises";
import path from "node:path";

import { run } from "./commands.ts";

/** The time limit of an example. Examples are there to be read, so they should end quickly. */
const EXAMPLE_SECONDS_MAX = 60;

const directory = path.join(import.meta.dirname, "..", "examples");
const names = (await readdir(directory)).filter((name) => name.endsWith(".ts")).sort();
if (names.length === 0) throw new Error("examples/ holds no example");

let failed = 0;
for (const name of names) {
  const { code, output, seconds } = await run(
    process.execPath,
    ["--conditions=source", path.join(directory, name)],
    { secondsMax: EXAMPLE_SECONDS_MAX },
  );
  console.log(`${code === 0 ? "ok    " : "FAILED"} examples/${name} (${seconds.toFixed(1)} s)`);
  if (code !== 0) {
    console.log(output);
    failed++;
  }
}
process.exitCode = failed === 0 ? 0 : 1;
