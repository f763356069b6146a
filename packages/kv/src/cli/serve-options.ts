/** The command line of `keelson serve`: its help, its flags, and how they are parsed. */
import { parseArgs } from "node:util";
import { DEFAULT_SNAPSHOT_POLICY } from "keelson";
import { ADMIN_TOKEN_FILE_VARIABLE } from "../access/token-file.ts";
import { formatAddress, isReachable, parseAddress, type Address } from "../shared/addresses.ts";
import { nodesIn, type ConnectionFiles } from "./arguments.ts";
import { PEER_FLAGS, PEER_HELP, peerSecurityIn } from "./peer-options.ts";
import type { ServerSettings, SnapshotSettings } from "../server/server-settings.ts";
import { UsageError } from "../shared/errors.ts";

/** The values of `--log-level`. */
export const LOG_LEVELS = ["debug", "info", "warn", "error", "silent"] as const;
/** One of the log levels. */
export type LogLevel = (typeof LOG_LEVELS)[number];

/** A parsed command line. */
export interface ServeOptions extends ServerSettings {
  /** With `join`: by what the node proves itself to the members that it asks, and how it checks them. */
  readonly joining?: ConnectionFiles;
  /** The least severe log lines that are written. */
  readonly logLevel: LogLevel;
}

/** The text for `--help`. */
export const SERVE_HELP: string = `Usage: keelson serve --id ID --peers ID=ADDRESS,... --data DIR --line ADDRESS --http ADDRESS
       keelson serve --id ID --join URL,... --listen ADDRESS --data DIR --line ADDRESS --http ADDRESS
       keelson serve --id ID --listen ADDRESS --data DIR --line ADDRESS --http ADDRESS

Runs one node of a replicated key-value store: of a new cluster (the first form: start the same command, with
another --id and other addresses, for each node in --peers), of a cluster that runs and is to take it in (the
second), or, from a directory that has a log already, of the cluster it belongs to (the third). A restart is the
same command again. Addresses are HOST:PORT.

  --id ID                this node's id: 1 to 64 of A-Z a-z 0-9 . _ -
  --peers ID=ADDRESS,... the members that the cluster begins with, this node included, and where they reach each
                         other; the same at every start, also when there are others by now. The cluster is
                         created once all of them have been up
  --join URL,...         HTTP addresses of members: they take this node in as a learner, and as a voter when it
                         has caught up; needs a new --id and an empty --data directory
  --data DIR             where the node keeps its log (DIR/log), its state (DIR/state) and the newest
                         snapshot of it (DIR/snapshots)
  --line ADDRESS         where to serve the line protocol: nc HOST PORT
  --http ADDRESS         where to serve HTTP: curl http://HOST:PORT/kv/KEY

  --listen ADDRESS       where to accept the other nodes' connections, if not at this node's own
                         address in --peers
  --advertise ADDRESS    where the other nodes reach this one, if not where it listens (without --peers)
  --reach ID=ADDRESS,... where other members are now, if not where the log says: for a cluster whose members all got
                         other addresses at once. Afterwards: keelson move ID ADDRESS. Names instead of
                         numbers in --peers and --advertise avoid this
  --advertise-line ADDRESS, --advertise-http ADDRESS
                         where clients reach this node, if not where it serves
  --http-names NAME,...  other hosts by which clients may call it over HTTP. Requests to hosts that are not this
                         node's are refused: a web page could have made a browser send them
  --cluster-id NAME      the cluster's name, checked on disk and on every connection
                         (default: made from the first members)
  --forward              pass writes on to the leader, instead of telling clients where it is
  --tokens-file FILE     who reads, writes or operates must send a token whose hash is in FILE, with that role;
                         keelson token makes both. Changes take effect within seconds
  --tls-cert FILE, --tls-key FILE
                         serve HTTP and the line protocol over TLS, with this certificate and private key (PEM).
                         Changed files take effect within seconds
  --tls-client-ca FILE   only to clients with a certificate of one of these authorities
  --tls-ca FILE          for --join https://...: the authorities to trust (default: those that Node knows)
  --token-file FILE      for --join: the token to send (default: that of --admin-token-file)
  --admin-token-file FILE
                         who changes members, moves the leader, or takes snapshots and backups over HTTP must
                         know the token in FILE, the same on every node. Without it and --tokens-file, only
                         programs on the node's own machine may (default: what the environment variable
                         ${ADMIN_TOKEN_FILE_VARIABLE} names, if it is set)
  --admin-open           without a token, let everyone do so who can reach the HTTP port
${PEER_HELP}  --snapshot-every N     entries between two snapshots (default: ${DEFAULT_SNAPSHOT_POLICY.everyEntries})
  --snapshot-every-bytes N
                         bytes of log between two, if they come to that sooner (default: ${DEFAULT_SNAPSHOT_POLICY.everyBytes})
  --snapshot-keep N      entries kept in the log before a snapshot, for nodes that lag behind a little
                         (default: ${DEFAULT_SNAPSHOT_POLICY.keepEntries})
  --snapshot-fetch-rate N
                         bytes a second at which this node fetches another's snapshot (default: no limit)
  --log-level LEVEL      ${LOG_LEVELS.join(", ")} (default: info); the log goes to stderr
  --help                 this text

Ctrl-C (SIGINT) or SIGTERM stops the node in order; kill -9 loses nothing that was acknowledged.
`;

const FLAGS = {
  id: { type: "string" },
  peers: { type: "string" },
  join: { type: "string" },
  data: { type: "string" },
  line: { type: "string" },
  http: { type: "string" },
  listen: { type: "string" },
  advertise: { type: "string" },
  reach: { type: "string" },
  "advertise-line": { type: "string" },
  "advertise-http": { type: "string" },
  "http-names": { type: "string" },
  "cluster-id": { type: "string" },
  forward: { type: "boolean", default: false },
  "tokens-file": { type: "string" },
  "tls-cert": { type: "string" },
  "tls-key": { type: "string" },
  "tls-client-ca": { type: "string" },
  "tls-ca": { type: "string" },
  "token-file": { type: "string" },
  "admin-token-file": { type: "string" },
  "admin-open": { type: "boolean", default: false },
  ...PEER_FLAGS,
  "snapshot-every": { type: "string" },
  "snapshot-every-bytes": { type: "string" },
  "snapshot-keep": { type: "string" },
  "snapshot-fetch-rate": { type: "string" },
  "log-level": { type: "string", default: "info" },
  help: { type: "boolean", default: false },
} as const;

/** @returns null if the help was asked for */
export function parseServeOptions(args: readonly string[]): ServeOptions | null {
  const values = parseFlags(args);
  if (values.help) return null;
  const id = required(values.id, "id");
  if (!NODE_ID.test(id)) throw new UsageError(`--id "${id}": an id is 1 to 64 of A-Z a-z 0-9 . _ -`);
  const members = membersIn(values, id);
  const line = addressOf(required(values.line, "line"), "line");
  const http = addressOf(required(values.http, "http"), "http");
  return {
    id,
    ...members,
    data: required(values.data, "data"),
    line,
    http,
    advertiseLine: advertised(values["advertise-line"], line, "line", "advertise-line", "clients reach"),
    advertiseHttp: advertised(values["advertise-http"], http, "http", "advertise-http", "clients reach"),
    ...httpNamesIn(values),
    ...(values.reach === undefined ? {} : { reach: addressesIn(values.reach, "--reach") }),
    clusterId: values["cluster-id"] ?? null,
    forward: values.forward,
    snapshots: {
      ...numberIn(values, "snapshot-every", "everyEntries", 1),
      ...numberIn(values, "snapshot-every-bytes", "everyBytes", 1),
      ...numberIn(values, "snapshot-keep", "keepEntries", 0),
      ...numberIn(values, "snapshot-fetch-rate", "fetchBytesPerSecond", 1),
    },
    ...adminIn(values),
    ...peerSecurityIn(values),
    ...tlsIn(values),
    logLevel: logLevelOf(values["log-level"]),
  };
}

function httpNamesIn({ "http-names": list }: Values): Pick<ServeOptions, "httpNames"> {
  if (list === undefined) return {};
  const httpNames = list.split(",");
  // A name with a port is a likely mistake; any port is accepted, because it may be forwarded.
  const wrong = httpNames.find((name) => name.includes(":") || parseAddress(`${name}:1`) === null);
  if (wrong === undefined) return { httpNames };
  throw new UsageError(`--http-names "${wrong}" is not a host's name: give names without ports, as a,b`);
}

type NumberFlag = "snapshot-every" | "snapshot-every-bytes" | "snapshot-keep" | "snapshot-fetch-rate";

/** An object with the option that the flag sets; empty if the flag was not given. */
function numberIn(
  values: Values,
  flag: NumberFlag,
  option: keyof SnapshotSettings,
  min: number,
): SnapshotSettings {
  const text = values[flag];
  if (text === undefined) return {};
  const value = /^[0-9]+$/.test(text) ? Number(text) : NaN;
  if (Number.isSafeInteger(value) && value >= min) return { [option]: value };
  throw new UsageError(`--${flag} "${text}" is not a whole number from ${min} on`);
}

function adminIn(values: Values): Pick<ServeOptions, "adminTokenFile" | "adminOpen" | "tokensFile"> {
  const { "admin-token-file": file, "admin-open": adminOpen, "tokens-file": tokensFile = null } = values;
  if (file === "") throw new UsageError("--admin-token-file is missing its file");
  if (tokensFile === "") throw new UsageError("--tokens-file is missing its file");
  if ((file !== undefined || tokensFile !== null) && adminOpen) {
    const flag = tokensFile === null ? "--admin-token-file" : "--tokens-file";
    throw new UsageError(`--admin-open has no use with ${flag}: give one of them`);
  }
  // The command line takes precedence over the environment.
  const adminTokenFile = file ?? (adminOpen ? undefined : process.env[ADMIN_TOKEN_FILE_VARIABLE]) ?? "";
  return {
    adminTokenFile: adminTokenFile === "" ? null : adminTokenFile,
    adminOpen,
    ...(tokensFile === null ? {} : { tokensFile }),
  };
}

function tlsIn(values: Values): Pick<ServeOptions, "tls" | "joining"> {
  const { "tls-cert": cert, "tls-key": key, "tls-client-ca": clientCa, "tls-ca": ca, join } = values;
  const tokenFile = values["token-file"];
  if ((cert === undefined) !== (key === undefined))
    throw new UsageError("--tls-cert and --tls-key belong together: give both");
  if (clientCa !== undefined && cert === undefined)
    throw new UsageError("--tls-client-ca has no use without --tls-cert and --tls-key");
  if (join === undefined && (ca !== undefined || tokenFile !== undefined))
    throw new UsageError(`${ca === undefined ? "--token-file" : "--tls-ca"} has no use without --join`);
  return {
    ...(join === undefined ? {} : { joining: { tokenFile, tlsCa: ca, tlsCert: cert, tlsKey: key } }),
    ...(cert === undefined || key === undefined ? {} : { tls: { cert, key, clientCa: clientCa ?? null } }),
  };
}

type Values = ReturnType<typeof parseServeFlags>;

/** Which cluster the node creates or joins, and where other nodes reach it. */
function membersIn(values: Values, id: string): Pick<ServeOptions, "peers" | "join" | "listen" | "address"> {
  const { peers: list, join, listen, advertise } = values;
  if (list !== undefined) {
    if (join !== undefined)
      throw new UsageError("--peers founds a cluster and --join asks one that runs: give one of them");
    if (advertise !== undefined)
      throw new UsageError("--advertise has no use with --peers, which says it already");
    const peers = addressesIn(required(list, "peers"), "--peers");
    const own = peers[id];
    if (own === undefined)
      throw new UsageError(`--peers does not name this node, ${id}: it should have ${id}=HOST:PORT`);
    return { peers, join: null, listen: addressOf(listen ?? own, "listen"), address: own };
  }
  if (listen === undefined) {
    throw new UsageError(
      join === undefined
        ? "--peers is missing (or --join, or --listen for a node that has a log already)"
        : "--listen is missing: --join needs to know where the other nodes reach this one",
    );
  }
  const bound = addressOf(listen, "listen");
  const address =
    advertised(advertise, bound, "listen", "advertise", "other nodes reach") ?? formatAddress(bound);
  return { peers: null, join: join === undefined ? null : nodesIn(join, "--join"), listen: bound, address };
}

const NODE_ID = /^[A-Za-z0-9._-]{1,64}$/;

function parseFlags(args: readonly string[]): ReturnType<typeof parseServeFlags> {
  try {
    return parseServeFlags(args);
  } catch (error) {
    // Node's message names the flag and what is wrong with it.
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function parseServeFlags(args: readonly string[]) {
  return parseArgs({ args: [...args], options: FLAGS, allowPositionals: false, strict: true }).values;
}

function required(value: string | undefined, name: string): string {
  if (value === undefined || value === "") throw new UsageError(`--${name} is missing`);
  return value;
}

function addressOf(text: string, name: string): Address {
  const address = parseAddress(text);
  if (address === null) throw new UsageError(`--${name} "${text}" is not HOST:PORT, such as 127.0.0.1:8001`);
  return address;
}

/**
 * The address to tell others. null: the bound one. A wildcard such as 0.0.0.0 can be bound but not reached,
 * so it needs an explicit address.
 */
function advertised(
  text: string | undefined,
  bound: Address,
  name: string,
  flag: string,
  who: string,
): string | null {
  if (text !== undefined) {
    const address = addressOf(text, flag);
    if (isReachable(address)) return formatAddress(address);
    throw new UsageError(
      `--${flag} "${text}" can't be reached: it should be the address by which ${who} this node`,
    );
  }
  // The system chooses a port in place of 0, and that one is told to others.
  if (isReachable({ host: bound.host, port: 1 })) return null;
  throw new UsageError(
    `--${name} ${formatAddress(bound)} listens everywhere; say with --${flag} HOST:PORT where ${who} this node`,
  );
}

function addressesIn(text: string, flag: string): Record<string, string> {
  // No prototype, because an id may be "__proto__".
  const peers = Object.create(null) as Record<string, string>;
  for (const peer of text.split(",")) {
    const [id = "", address = "", ...rest] = peer.split("=");
    const parsed = parseAddress(address);
    if (!NODE_ID.test(id) || rest.length > 0 || parsed === null) {
      throw new UsageError(`${flag}: "${peer}" is not ID=HOST:PORT, such as n1=127.0.0.1:7001`);
    }
    if (!isReachable(parsed)) throw new UsageError(`${flag}: other nodes can't reach ${id} at ${address}`);
    if (id in peers) throw new UsageError(`${flag} names ${id} twice`);
    if (Object.values(peers).includes(address)) throw new UsageError(`${flag} names ${address} twice`);
    peers[id] = address;
  }
  return peers;
}

function logLevelOf(text: string): LogLevel {
  const level = LOG_LEVELS.find((one) => one === text);
  if (level === undefined)
    throw new UsageError(`--log-level "${text}" is not one of ${LOG_LEVELS.join(", ")}`);
  return level;
}
