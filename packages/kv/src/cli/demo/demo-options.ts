/** The command line of `keelson demo`: its help, its flags, and how they are parsed. */
import { parseArgs } from "node:util";
import { UsageError } from "../../shared/errors.ts";

/** A parsed command line. The ports are those of n1; the other nodes have the next ones. */
export interface DemoOptions {
  /** The directory that holds each node's data directory. */
  readonly data: string;
  readonly raftPort: number;
  readonly linePort: number;
  readonly httpPort: number;
  /** The file with the secret of all nodes. null: there is none. */
  readonly peerSecretFile: string | null;
  /** The directory with the nodes' certificates and keys. null: no TLS between nodes. */
  readonly peerTls: string | null;
}

/** How many nodes the demo has. */
export const DEMO_NODES = 3;

/** The text for `--help`. */
export const DEMO_HELP: string = `Usage: keelson demo [--data DIR] [--raft-port PORT] [--line-port PORT] [--http-port PORT]
                    [--peer-secret-file FILE] [--peer-tls DIR]

Runs a cluster of ${DEMO_NODES} nodes, n1 to n${DEMO_NODES}, on this machine's loopback address, each in a process of its
own, and tells what happens to them. Kill one with kill -9, and go on writing.

  --data DIR         where the nodes keep their data: DIR/n1, DIR/n2, DIR/n3 (default: ./data)
  --raft-port PORT   n1's port for the other nodes; n2 and n3 have the next two (default: 7001)
  --line-port PORT   n1's port for the line protocol (default: 8001)
  --http-port PORT   n1's port for HTTP (default: 9001)
  --peer-secret-file FILE
                     nodes prove to each other that they know the secret in FILE (see keelson serve --help)
  --peer-tls DIR     nodes use TLS with the certificates and keys in DIR: n1.pem, n1.key and so on, and ca.pem
  --help             this text

Ctrl-C stops all of them in order. The data stays, and is there again the next time.
`;

const PORT_MAX = 65_535;

/** @returns null if the help was asked for */
export function parseDemoOptions(args: readonly string[]): DemoOptions | null {
  const values = parseFlags(args);
  if (values.help) return null;
  for (const flag of ["data", "peer-secret-file", "peer-tls"] as const)
    if (values[flag] === "") throw new UsageError(`--${flag} is empty`);
  const options = {
    data: values.data,
    raftPort: portOf(values["raft-port"], "raft-port"),
    linePort: portOf(values["line-port"], "line-port"),
    httpPort: portOf(values["http-port"], "http-port"),
    peerSecretFile: values["peer-secret-file"] ?? null,
    peerTls: values["peer-tls"] ?? null,
  };
  const firsts = [options.raftPort, options.linePort, options.httpPort].sort((a, b) => a - b);
  if (firsts.some((port, at) => at > 0 && port - (firsts[at - 1] ?? 0) < DEMO_NODES)) {
    throw new UsageError(`the ports overlap: each of the three takes ${DEMO_NODES} in a row`);
  }
  return options;
}

function parseFlags(args: readonly string[]): ReturnType<typeof parseDemoFlags> {
  try {
    return parseDemoFlags(args);
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function parseDemoFlags(args: readonly string[]) {
  return parseArgs({
    args: [...args],
    options: {
      data: { type: "string", default: "./data" },
      "raft-port": { type: "string", default: "7001" },
      "line-port": { type: "string", default: "8001" },
      "http-port": { type: "string", default: "9001" },
      "peer-secret-file": { type: "string" },
      "peer-tls": { type: "string" },
      help: { type: "boolean", default: false },
    },
    allowPositionals: false,
    strict: true,
  }).values;
}

function portOf(text: string, name: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  const last = PORT_MAX - DEMO_NODES + 1;
  if (port >= 1 && port <= last) return port;
  throw new UsageError(`--${name} "${text}" is not a port from 1 to ${last}`);
}
