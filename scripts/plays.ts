/**
 * Performs the plays of the core (`packages/keelson/src/core/plays/`) and compares what the cores do with
 * what the files say: `npm run plays`. With `--update`, writes the files anew; review the difference as you
 * would review code.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

import { performPlay } from "../packages/keelson/src/testing/core/play.ts";
import { flagsOf, helpIn } from "./lib/flags.ts";

const { values } = flagsOf("npm run plays", helpIn(import.meta.filename), {
  options: { update: { type: "boolean", default: false } },
});
const directory = path.join(import.meta.dirname, "../packages/keelson/src/core/plays");
let different = 0;
for (const name of readdirSync(directory).filter((entry) => entry.endsWith(".txt"))) {
  const file = path.join(directory, name);
  const text = readFileSync(file, "utf8");
  const performed = performPlay(text);
  if (performed === text) continue;
  different += 1;
  if (values.update) writeFileSync(file, performed);
  console.log(`${name} ${values.update ? "was written anew" : "goes otherwise than written"}`);
}
if (different === 0) console.log("every play goes as written");
process.exitCode = different > 0 && !values.update ? 1 : 0;
