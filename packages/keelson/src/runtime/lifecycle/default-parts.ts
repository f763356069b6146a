// The log, the snapshots and the transport of a node that was opened with a directory and members instead of
// these parts.
//
// Modules that work on Node alone are loaded only when they are needed, so that a program which passes all
// parts itself can run on another JavaScript runtime.
import type { NodeId } from "../../core/position.ts";
import { isDialable } from "../../environment/address.ts";
import type { Environment } from "../../environment/environment.ts";
import { InvalidOptionError } from "../../errors.ts";
import type { LogStore } from "../../storage/log-store.ts";
import type { SnapshotStore } from "../../storage/snapshot-store.ts";
import type { Transport } from "../../transport/transport.ts";
import { takesSnapshots, type RaftOptions } from "../shared/index.ts";

/**
 * The directories below the option `data`. The command `keelson` looks for log and snapshots under these
 * names.
 */
const LOG_DIRECTORY = "log";
const SNAPSHOTS_DIRECTORY = "snapshots";

/** What a node runs on, whoever made it. */
export interface OuterParts {
  readonly environment: Environment;
  readonly log: LogStore;
  readonly transport: Transport;
  /** null: the node takes no snapshots. */
  readonly snapshotStore: SnapshotStore | null;
}

/**
 * The parts that the options name, and the default parts for those that they don't.
 *
 * @throws InvalidOptionError
 */
export async function outerPartsOf<Command, Result>(
  options: RaftOptions<Command, Result>,
): Promise<OuterParts> {
  return {
    log: options.log ?? (await logIn(directoryOf(options, "log", LOG_DIRECTORY))),
    transport: options.transport ?? (await transportOf(options)),
    snapshotStore: await snapshotStoreOf(options),
    environment: options.environment ?? (await environmentOfNode()),
  };
}

async function environmentOfNode(): Promise<Environment> {
  const { nodeEnvironment } = await import("#node-environment");
  return nodeEnvironment();
}

async function logIn(directory: string): Promise<LogStore> {
  const { wal } = await import("../../storage/wal/index.ts");
  return wal(directory);
}

async function snapshotStoreOf<Command, Result>(
  options: RaftOptions<Command, Result>,
): Promise<SnapshotStore | null> {
  if (options.snapshots?.store !== undefined) return options.snapshots.store;
  if (!takesSnapshots(options)) return null;
  const directory = directoryOf(options, "snapshots.store", SNAPSHOTS_DIRECTORY);
  const { snapshotFiles } = await import("../../storage/snapshots/index.ts");
  return snapshotFiles(directory);
}

async function transportOf<Command, Result>({
  id,
  members,
  listen,
  peerTls,
  peerSecret,
}: RaftOptions<Command, Result>): Promise<Transport> {
  const address = (members === undefined ? undefined : addressOf(members, id)) ?? listen;
  if (address === undefined) {
    throw new InvalidOptionError(
      "this node has no way to reach others: give members, with the address of this node; or listen, if a cluster that " +
        "runs will take it in; or transport",
    );
  }
  if (!isDialable(address)) {
    throw new InvalidOptionError(
      `${address === listen ? "listen" : "this node's address"} is ${JSON.stringify(address)}, which other nodes can't ` +
        "dial: give members, with this node's address as others reach it",
    );
  }
  const { tcp } = await import("../../transport/tcp/index.ts");
  return tcp({ listen: listen ?? address, advertise: address, tls: peerTls, secret: peerSecret });
}

function addressOf(members: Readonly<Record<NodeId, string>>, id: NodeId): string | undefined {
  return Object.hasOwn(members, id) ? members[id] : undefined;
}

/**
 * The place of one part below the option `data`. `option`: the option that makes `data` unnecessary for it.
 */
function directoryOf<Command, Result>(
  { data }: RaftOptions<Command, Result>,
  option: string,
  name: string,
): string {
  if (data === undefined) {
    throw new InvalidOptionError(
      `this node has no place for its ${name}: give data, a directory of its own such as "./data/a", or ${option}`,
    );
  }
  if (typeof data !== "string" || data === "") {
    throw new InvalidOptionError(`data is ${JSON.stringify(data)}; it should name a directory`);
  }
  return `${data.replace(/\/+$/, "")}/${name}`;
}
