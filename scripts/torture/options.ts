import { parseArgs } from "node:util";

/** How the network between the nodes is made. `auto`: with namespaces if they are allowed. */
export type NetworkKind = "auto" | "namespaces" | "proxies";

export interface TortureOptions {
  readonly minutes: number;
  readonly nodes: number;
  readonly clients: number;
  readonly seed: number;
  /** null: a new directory for temporary files. */
  readonly data: string | null;
  readonly network: NetworkKind;
  /** Where the histories of the keys are written, a file for each; null: nowhere. */
  readonly histories: string | null;
}

export const TORTURE_HELP = `Usage: npm run torture -- --minutes M [--nodes N] [--clients C] [--seed S] [--data DIR] [--network KIND]
                             [--histories DIR]

Real server processes on real disks under real faults, and a check that every answer they gave was right.

  --minutes M     how long the faults last; the checks at the end take up to two more
  --nodes N       3 to 9 (default 5)
  --clients C     1 to 64 (default 10)
  --seed S        which faults, in which order (default: drawn, and printed)
  --data DIR      an empty or absent directory for data and logs; it is removed if all is well
                  (default: a new one among the system's temporary directories)
  --network KIND  namespaces: each node in a network namespace of its own (Linux, as root)
                  proxies: all nodes on the loopback address, with proxies in between
                  auto: namespaces if they are allowed, and otherwise proxies (default)
  --histories DIR an empty or absent directory, for a file for each key: the calls on it and their answers,
                  one call a line (docs/histories.md)

Exits with 0 if all held, with 1 if not, with 2 if the command is wrong.`;

const NODES_MAX = 9;
const CLIENTS_MAX = 64;

/** @returns null if only the help was asked for; throws an Error that says what is wrong */
export function parseTortureOptions(args: readonly string[]): TortureOptions | null {
  const { values } = parseArgs({
    args: [...args],
    options: {
      minutes: { type: "string" },
      nodes: { type: "string", default: "5" },
      clients: { type: "string", default: "10" },
      seed: { type: "string" },
      data: { type: "string" },
      network: { type: "string", default: "auto" },
      histories: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return null;
  if (values.minutes === undefined) throw new Error("--minutes is missing");
  const minutes = Number(values.minutes);
  if (!(minutes > 0 && minutes <= 7 * 24 * 60))
    throw new Error("--minutes is a number above 0, up to a week");
  return {
    minutes,
    nodes: whole("nodes", values.nodes, 3, NODES_MAX),
    clients: whole("clients", values.clients, 1, CLIENTS_MAX),
    seed: whole("seed", values.seed ?? String(Math.floor(Math.random() * 2 ** 31)), 0, 2 ** 31 - 1),
    data: values.data ?? null,
    network: networkOf(values.network),
    histories: values.histories ?? null,
  };
}

function whole(name: string, text: string, from: number, to: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= from && value <= to) return value;
  throw new Error(`--${name} is a whole number from ${from} to ${to}, not "${text}"`);
}

function networkOf(text: string): NetworkKind {
  if (text === "auto" || text === "namespaces" || text === "proxies") return text;
  throw new Error(`--network is namespaces, proxies or auto, not "${text}"`);
}
