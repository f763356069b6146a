/** `keelson recover`: forces a new cluster from one node's log when the majority is lost. */
import { existsSync } from "node:fs";
import path from "node:path";
import { planForceNewCluster, forceNewCluster, type ForceNewClusterPlan } from "keelson/storage/wal";
import { parseAddress } from "../shared/addresses.ts";
import { parseCommand, positionalsOf } from "./arguments.ts";
import { findDataDirectory } from "../node/data-directory.ts";
import { DatabaseOpenError } from "../store/database.ts";
import { openDatabase } from "../store/level-database.ts";
import { KvStateMachine } from "../store/state-machine.ts";
import { ask, canAsk } from "./terminal.ts";
import { withNotice } from "./wait-notice.ts";
import { StartError, UsageError } from "../shared/errors.ts";

/** The text for `--help`. */
export const RECOVER_HELP = `Usage: keelson recover DIR [--address ADDRESS] [--yes]

For a cluster that has lost the majority of its nodes for good: makes the one whose --data directory is
DIR into a cluster of its own. Shows first what it has and what may be lost, and asks before it changes
anything. The node must not run.

While a majority can still be started, with their directories, start them instead: then nothing is lost.
Of several nodes that are left, recover one: the one whose last entry has the highest term, and of those
with the same term the highest index (keelson inspect tells).

  --address ADDRESS   where the node will be reached by others, if not as before
  --yes               do not ask
  --help              this text

Afterwards start the node as before. The other nodes' directories belong to the cluster as it was: they are
refused from now on. Let their replacements join with ids of their own and empty directories.
`;

/** A parsed command line. */
export interface RecoverOptions {
  /** The data directory. */
  readonly directory: string;
  /** The node's new address. null: the one in the log. */
  readonly address: string | null;
  /** Don't ask. */
  readonly yes: boolean;
}

/** @returns null if the help was asked for */
export function parseRecoverOptions(args: readonly string[]): RecoverOptions | null {
  const { values, positionals } = parseCommand(args, {
    address: { type: "string" },
    yes: { type: "boolean", default: false },
  });
  if (values.help) return null;
  const [directory] = positionalsOf(positionals, "DIR");
  const { address } = values;
  if (address !== undefined && parseAddress(address) === null)
    throw new UsageError(`--address "${address}" is not HOST:PORT, such as 10.0.0.1:7001`);
  return { directory, address: address ?? null, yes: values.yes };
}

/** Shows what would be kept and lost, asks, and forces the new cluster. Resolves with the exit code. */
export async function recover(options: RecoverOptions, print: (line: string) => void): Promise<number> {
  const { log, state, snapshots } = findDataDirectory(options.directory);
  if (snapshots === null) throw new StartError(noDataDirectory(options.directory));
  const planOptions = { snapshots, ...(options.address === null ? {} : { address: options.address }) };
  const [plan, applied] = await withNotice(
    `reading ${options.directory}`,
    async () => [await planForceNewCluster(log, planOptions), await appliedIn(state)] as const,
  );
  for (const line of planLines(plan, applied)) print(line);
  if (!options.yes) {
    if (!canAsk()) {
      print("Nothing was changed. To do it, repeat the command with --yes.");
      return 1;
    }
    if ((await ask(`Type ${plan.nodeId} to do it, anything else to leave it: `)) !== plan.nodeId) {
      print("Nothing was changed.");
      return 1;
    }
  }
  const { clusterId, position } = await withNotice(`changing ${options.directory}`, () =>
    forceNewCluster(log, { ...planOptions, confirmed: plan }),
  );
  print(
    `Done: node ${plan.nodeId} is cluster ${clusterId}, from entry ${position.index} of term ${position.term} on.`,
  );
  print(
    `Start it as before; then let others join it, with new ids and empty directories: keelson serve --join`,
  );
  return 0;
}

function noDataDirectory(directory: string): string {
  return (
    `${directory} has no log in it, so it is no data directory. Name the one that is given to keelson serve ` +
    "--data: the snapshots beside the log are needed as well"
  );
}

/**
 * The last applied index of the state machine, which proves that the entries up to it were committed. If it
 * isn't known, the reason, in words.
 */
async function appliedIn(state: string | null): Promise<number | string> {
  // Opening a database that doesn't exist would create it, and this command must not change anything yet.
  if (state === null || !existsSync(path.join(state, "CURRENT"))) return "there is no state beside the log";
  const store = new KvStateMachine(() => openDatabase(state));
  try {
    return (await store.open()).index;
  } catch (error) {
    if (error instanceof DatabaseOpenError) return error.message;
    throw error;
  } finally {
    await store.close();
  }
}

/** The lines that describe what will change and may be lost. They are shown before the user is asked. */
function planLines(plan: ForceNewClusterPlan, applied: number | string): string[] {
  const { nodeId, address, clusterId, members, last, term, newTerm, base, installs, damagedSnapshots } = plan;
  const others = members.filter((id) => id !== nodeId).join(", ");
  const committed = Math.max(base.index, typeof applied === "number" ? applied : 0);
  const rest =
    committed >= last.index
      ? `All of its entries were applied, so they were committed.`
      : `Entries up to ${committed} are known to have been committed` +
        (typeof applied === "number" ? "" : ` (the state does not tell: ${applied})`) +
        `; entries ${committed + 1} to ${last.index} perhaps. All are kept.`;
  return [
    `Node ${nodeId} at ${address}, of cluster ${clusterId} with ${members.join(", ")}.`,
    `${installs === null ? "Its log ends" : "It ends"} with entry ${last.index} of term ${last.term}; the highest term it has seen is ${term}.`,
    ...(newTerm > term
      ? []
      : [`No cluster gets to term ${term} by elections, so the new one goes on in term ${newTerm}.`]),
    rest,
    ...(installs === null
      ? []
      : [
          `It was installing a snapshot of another node, up to entry ${installs.index} of term ${installs.term}, when it stopped.`,
          `That is finished first: the snapshot takes the place of the entries in the log.`,
        ]),
    ...damagedSnapshots.map(({ reason }) => `A snapshot that is not in the log can't be used: ${reason}.`),
    "",
    `WHAT MAY BE LOST: every write that ${others} acknowledged and that is not among these entries.`,
    `If the directory of any of them can still be read, compare first: keelson inspect DIR`,
    `WHAT CHANGES: ${nodeId} goes on as a cluster of its own. ${others} are refused when they come back.`,
    "",
  ];
}
