// Visits every state of a small group within bounds: `node --conditions=source scripts/explore.ts --help`.
import { parseArgs } from "node:util";
import {
  CHANGES,
  COUNTED,
  PROFILES,
  SWITCHES,
} from "../packages/keelson/src/testing/explore/shared/bounds.ts";
import { STARTS } from "../packages/keelson/src/testing/explore/group/start.ts";
import {
  Explorer,
  describeTrace,
  SEARCHES,
  versionOf,
  type Search,
} from "../packages/keelson/src/testing/explore/index.ts";
import { boundsOf, changesIn, describeBounds, kebab, number } from "./explore/arguments.ts";
import { exploreBreaks, exploreZoo, KNOWN, searchNamed } from "./explore/bugs.ts";
import { describeRun, explore, type Run } from "./explore/run.ts";

const HELP = `Visits every state that a small group can reach, on the real core, and checks the invariants after every step.
Without flags: the short version of every search.

  --search NAME      the long version of a search; all, or one of
                     ${SEARCHES.map((search) => `${search.name.padEnd(11)} ${search.title}`).join(`\n${" ".repeat(21)}`)}
  --short            with --search: the short version
  --states N         stop at N states; default: as the search says, or none left
  --quiet            no progress

  --bounds NAME      explore within these bounds: one of ${Object.keys(PROFILES).join(", ")}
  ${COUNTED.map((name) => `--${kebab(name)} N`).join("  ")}
  ${SWITCHES.map((name) => `--${kebab(name)} BOOLEAN`).join("  ")}
                     change one of the bounds; without --bounds, of ci
  --change NAME      the changes of membership there are: none or ${Object.keys(CHANGES).join(", ")}
  --start NAME       begin at one of ${STARTS.join(", ")}

  --break NAME       put a known bug into the core first; exit code 0 if it is found
  --breaks           every known bug, one after another, each until it is found
  --zoo [CODE,...]   every bug of the zoo that is in the core alone, by the short searches; prints which one finds it
Exit code: 0 all held (or: every known bug was found); 1 an invariant broke (or: a known bug was not found); 2 wrong usage.`;

const { values, positionals } = parse();

function parse() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        ...Object.fromEntries(
          [...COUNTED, ...SWITCHES].map((name) => [kebab(name), { type: "string" } as const]),
        ),
        search: { type: "string" },
        short: { type: "boolean", default: false },
        bounds: { type: "string" },
        change: { type: "string" },
        start: { type: "string" },
        states: { type: "string" },
        break: { type: "string" },
        breaks: { type: "boolean", default: false },
        zoo: { type: "boolean", default: false },
        quiet: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
  } catch (error) {
    return failUsage(error);
  }
}

async function main(): Promise<number> {
  if (values.help) {
    console.log(HELP);
    return 0;
  }
  const states = values.states === undefined ? Infinity : number("states", values.states);
  const [codes] = positionals;
  if (positionals.length > (values.zoo ? 1 : 0)) throw new RangeError(`what is "${positionals.join(" ")}"?`);
  if (values.zoo) return (await exploreZoo(codes?.split(",") ?? null)) > 0 ? 0 : 1;
  const changes = changesIn(values);
  if (values.breaks || values.break !== undefined) {
    const breaks = values.break === undefined ? KNOWN : [breakNamed(values.break)];
    return (await exploreBreaks(breaks, changes, states)) === 0 ? 0 : 1;
  }
  if (values.bounds !== undefined || (Object.keys(changes).length > 0 && values.search === undefined)) {
    return exploreBounds({ bounds: boundsOf(values.bounds ?? "ci", values), states, quiet: values.quiet });
  }
  if (Object.keys(changes).length > 0)
    throw new RangeError("a search has its own bounds: leave out --search");
  const { search = "all" } = values;
  const searches = search === "all" ? SEARCHES : [searchNamed(search)];
  return runSearches(searches, values.short || values.search === undefined, states);
}

function exploreBounds(run: Run): number {
  console.log(describeBounds(run.bounds));
  const result = explore({ Explorer, describeTrace }, run);
  console.log(describeRun(result));
  console.log(result.found === null ? "every invariant held in every state" : result.trace.join("\n"));
  return result.found === null ? 0 : 1;
}

/** Runs searches one after another, so that only one has its states in memory. A line for each. */
function runSearches(searches: readonly Search[], short: boolean, statesMax: number): number {
  let broken = 0;
  for (const search of searches) {
    const { bounds, states, statesMin } = versionOf(search, short);
    const limit = Math.min(states, statesMax);
    const result = explore({ Explorer, describeTrace }, { bounds, states: limit, quiet: values.quiet });
    console.log(`${search.name}: ${describeRun(result)}`);
    const isShrunk = result.found === null && result.states < Math.min(statesMin, limit);
    if (result.found !== null) console.log(result.trace.join("\n"));
    if (isShrunk)
      console.log(`expected at least ${statesMin} states: the exploration has lost some of its events`);
    if (result.found !== null || isShrunk) broken += 1;
  }
  const names = searches.length === 1 ? "search" : "searches";
  console.log(
    broken === 0
      ? `${searches.length} ${names}: every invariant held in every state`
      : `${broken} of ${searches.length} ${names} failed`,
  );
  return broken === 0 ? 0 : 1;
}

function breakNamed(name: string) {
  const bug = KNOWN.find((one) => one.name === name);
  if (bug === undefined) throw new RangeError(`--break is one of ${KNOWN.map((one) => one.name).join(", ")}`);
  return bug;
}

/** Prints what is wrong with the flags, and exits; throws any other error. */
function failUsage(error: unknown): never {
  const isUsage = error instanceof RangeError || (error instanceof TypeError && "code" in error);
  if (!isUsage) throw error;
  console.error(`${error.message}\n\n${HELP}`);
  process.exit(2);
}

try {
  process.exitCode = await main();
} catch (error) {
  failUsage(error);
}
