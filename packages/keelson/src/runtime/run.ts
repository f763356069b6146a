// A replicated log in two calls: `RaftConfig.make` and `run`. For programs that keep their own state from a
// stream of committed commands, as those written for raftrs do. `Raft` has everything else.
/// <reference lib="esnext.disposable" preserve="true" />
import { NODE_ID_PATTERN } from "../codec/config.ts";
import type { LogIndex, NodeId } from "../core/position.ts";
import { isDialable, parseAddress } from "../environment/address.ts";
import { InvalidOptionError, type RaftError } from "../errors.ts";
import type { CallOptions } from "./calls/index.ts";
import { Raft } from "./raft.ts";
import type { RaftOptions } from "./shared/index.ts";

/** What `RaftConfig.make` may be given besides the hosts. `RaftOptions` explains all but `data`. */
export interface RaftConfigOptions extends Pick<
  RaftOptions<unknown, unknown>,
  "listen" | "timings" | "onLog" | "environment"
> {
  /**
   * The directory of this host's log. Default: `raft-data/ID` beside the program (`process.argv[1]`), with
   * the id that `RaftConfig.id` has.
   */
  readonly data?: string | undefined;
}

/** The hosts of a cluster, this one among them. */
export class RaftConfig {
  /** "host:port", as in `hosts`. */
  readonly thisHost: string;
  /** All hosts of the cluster, this one included. */
  readonly hosts: readonly string[];
  readonly options: RaftConfigOptions;

  private constructor(thisHost: string, hosts: readonly string[], options: RaftConfigOptions) {
    this.thisHost = thisHost;
    this.hosts = hosts;
    this.options = options;
  }

  /**
   * A cluster of these hosts ("host:port", each as the others reach it), with this one among them. They are
   * the same on all hosts, in any order, and stay the same.
   *
   * @throws InvalidOptionError
   *
   * @example
   * ```ts
   * const config = RaftConfig.make("10.0.0.1:3333", ["10.0.0.1:3333", "10.0.0.2:3333", "10.0.0.3:3333"]);
   * ```
   */
  static make(thisHost: string, hosts: readonly string[], options: RaftConfigOptions = {}): RaftConfig {
    for (const host of hosts) idOfHost(host);
    const twice = hosts.find((host, at) => hosts.indexOf(host) !== at);
    if (twice !== undefined) throw new InvalidOptionError(`hosts names ${twice} twice`);
    if (!hosts.includes(thisHost)) {
      throw new InvalidOptionError(
        `hosts are ${hosts.join(", ")}; they should include this host, ${JSON.stringify(thisHost)}`,
      );
    }
    return new RaftConfig(thisHost, [...hosts], options);
  }

  /** This host's node id. */
  get id(): NodeId {
    return idOfHost(this.thisHost);
  }

  /** The members for `RaftOptions.members`: each host by its id. */
  get members(): Readonly<Record<NodeId, string>> {
    return Object.fromEntries(this.hosts.map((host) => [idOfHost(host), host]));
  }
}

/** Where a command is in the log. */
export interface CommandPosition {
  /** The index of its entry. Entries that hold no command are counted too. */
  readonly index: LogIndex;
  /** Its number among the commands, from 0: the same on every host, also after a restart. */
  readonly i: number;
}

/** A command that is committed: it is in the log for good, at the same place on every host. */
export interface Committed<Command> extends CommandPosition {
  readonly command: Command;
}

/** Appends commands to the log of a cluster. */
export class RaftClient<Command> implements AsyncDisposable {
  readonly #raft: Raft<Command, CommandPosition>;

  constructor(raft: Raft<Command, CommandPosition>) {
    this.#raft = raft;
  }

  /**
   * Appends a command, on any host, and resolves with its position once it is committed. It then comes out of
   * the stream of every host.
   *
   * @throws the errors of `Raft.write`; after one with the outcome "unknown" the command may be committed,
   *   now or later, and appending it again may append it twice
   */
  appendCommand(data: Command, options: CallOptions = {}): Promise<CommandPosition> {
    return this.#raft.write(data, options);
  }

  /** The host that leads; null: none is known at the moment. */
  get leader(): string | null {
    const { leader } = this.#raft.metrics();
    return leader === null ? null : hostOfId(leader.id);
  }

  /** Resolves when the host has stopped: with undefined after `close`, with the error after a failure. */
  get stopped(): Promise<RaftError | undefined> {
    return this.#raft.stopped;
  }

  /** Stops this host, and ends its stream of committed commands. */
  close(): Promise<void> {
    return this.#raft.close();
  }

  /** Calls `close`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * Starts this host, and returns its client and the stream of committed commands, in the order of the log. The
 * stream begins with the first command ever appended, also after a restart, so a program can rebuild its
 * state from it. It is read from the log as the program takes from it, so a slow program holds nothing up.
 * There are no snapshots: the log keeps all commands.
 *
 * Commands are JSON. The cluster is created when all of its hosts have been up at the same time, and goes on
 * while a majority of them is.
 *
 * @throws the errors of `Raft.open`
 *
 * @example
 * ```ts
 * const hosts = ["127.0.0.1:3333", "127.0.0.1:3334", "127.0.0.1:3335"];
 * const [client, committed] = await run<{ foo: string }>(RaftConfig.make("127.0.0.1:3333", hosts));
 * await client.appendCommand({ foo: "bar" });
 * for await (const { i, command } of committed) console.log(i, command.foo);
 * ```
 */
export async function run<Command>(
  config: RaftConfig,
): Promise<[client: RaftClient<Command>, committed: AsyncIterableIterator<Committed<Command>>]> {
  const { id, members, options } = config;
  const { data = await defaultDirectory(id), ...rest } = options;
  let count = 0;
  const raft = await Raft.open<Command, CommandPosition>({
    ...rest,
    ...{ id, members, data },
    stateMachine: { apply: (_, { index }) => ({ index, i: count++ }) },
  });
  return [new RaftClient(raft), committedBy(raft)];
}

async function* committedBy<Command>(
  raft: Raft<Command, CommandPosition>,
): AsyncGenerator<Committed<Command>, void, undefined> {
  let i = 0;
  for await (const { index, command } of raft.committed()) yield { index, i: i++, command };
}

async function defaultDirectory(id: NodeId): Promise<string> {
  // Loaded when it is needed: it works on Node alone.
  const { programDirectory } = await import("#node-environment");
  return `${programDirectory()}/raft-data/${id}`;
}

/**
 * The node id of a host. Ids have no ":", so it becomes "_", after which the port follows: "127.0.0.1_3333".
 * An IPv6 host loses its brackets and begins with "-", as no host name does: "-fe80--1_3333" is
 * "[fe80::1]:3333".
 */
function idOfHost(address: string): NodeId {
  const { host, port } = parseAddress(address, "a host");
  if (!isDialable(address)) {
    throw new InvalidOptionError(`a host is ${JSON.stringify(address)}, which the others can't dial`);
  }
  const id = `${host.includes(":") ? `-${host.replaceAll(":", "-")}` : host}_${String(port)}`;
  // Compared, so that two notations of one port, or a host name that looks like the form of an IPv6 host,
  // can't collide.
  if (hostOfId(id) === address && NODE_ID_PATTERN.test(id)) return id;
  throw new InvalidOptionError(
    `a host is ${JSON.stringify(address)}; it should be a name or an address and a port, together 64 characters at most, ` +
      'such as "db1.example:3333"',
  );
}

/** The inverse of `idOfHost`. */
function hostOfId(id: NodeId): string {
  const end = id.lastIndexOf("_");
  const host = id.slice(0, end);
  const port = id.slice(end + 1);
  return host.startsWith("-") ? `[${host.slice(1).replaceAll("-", ":")}]:${port}` : `${host}:${port}`;
}
