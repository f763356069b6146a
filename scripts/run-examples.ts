// Runs every program in examples/ that checks its own result and exits with 0 if it is right. Those that run
// until they are stopped have a test in examples/test instead.
import { readdir } from "node:fs/promises";
import path from "node:path";

import { run } from "./commands.ts";

/** The time limit of an example. Examples are there to be read, so they should end quickly. */
const EXAMPLE_SECONDS_MAX = 60;

const directory = path.join(import.meta.dirname, "..", "examples");
const tested = (await readdir(path.join(directory, "test"))).filter((name) =>
  name.endsWith(".process.test.ts"),
);
const names = (await readdir(directory))
  .filter((name) => name.endsWith(".ts") && !tested.includes(name.replace(/\.ts$/, ".process.test.ts")))
  .sort();
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
