// `npm run attack`: every port of running nodes without the right certificate, token or secret, at every
// route and command, each attempt on a connection of its own.
//
//   --short     one attempt of twenty, for CI
//
// Exits with 0 only if every attempt was refused, no answer held what is stored, and the nodes have read and
// written nothing meanwhile.

import type { Attempt } from "./attack/attempt.ts";
import { attemptsAt, make } from "./attack/attempts.ts";
import { Target } from "./attack/target.ts";
import { flagsOf, helpIn } from "./lib/flags.ts";

/** Attempts at the same time. */
const PARALLEL = 16;
/**
 * With `--short`, one attempt of so many. A prime, so that it takes turns in every loop that made the
 * attempts.
 */
const SHORT_STEP = 19;

const { values } = flagsOf("npm run attack", helpIn(import.meta.filename), {
  options: { short: { type: "boolean", default: false } },
});
const faults: string[] = [];
const counts = { http: 0, line: 0, raft: 0 };

for (const hasTls of [true, false]) {
  const target = await Target.start(hasTls);
  try {
    const before = await target.figures();
    const attempts = attemptsAt(target).filter((_, at) => !values.short || at % SHORT_STEP === 0);
    await Promise.all(Array.from({ length: PARALLEL }, () => attack(target, attempts)));
    const after = await target.figures();
    if (JSON.stringify(after) !== JSON.stringify(before))
      faults.push(`the node did something: ${JSON.stringify(before)} before, ${JSON.stringify(after)} after`);
  } finally {
    target.close();
  }
}

/** Makes attempts until none is left. */
async function attack(target: Target, attempts: Attempt[]): Promise<void> {
  for (let attempt = attempts.shift(); attempt !== undefined; attempt = attempts.shift()) {
    counts[attempt.port] += 1;
    const fault = await make(target, attempt);
    if (fault !== null) faults.push(`${attempt.name}, with ${attempt.connection.name}: ${fault}`);
  }
}

for (const fault of faults.slice(0, 20)) console.log(fault);
const { http, line, raft } = counts;
const total = http + line + raft;
console.log(
  `${total} attempts: ${http} at HTTP, ${line} at the line protocol, ${raft} at the port for nodes; ` +
    (faults.length === 0 ? "all refused, and the nodes read and wrote nothing" : `${faults.length} faults`),
);
process.exitCode = faults.length === 0 && total > 0 ? 0 : 1;
