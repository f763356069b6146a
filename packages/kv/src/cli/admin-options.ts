/** The command lines of the commands that ask a running cluster: help, flags, parsing. */
import { parseAddress } from "../shared/addresses.ts";
import { UsageError } from "../shared/errors.ts";
import {
  CONNECTION_FLAGS,
  CONNECTION_HELP,
  connectionIn,
  parseCommand,
  positionalsOf,
  URL_DEFAULT,
  urlsIn,
  type ConnectionFiles,
} from "./arguments.ts";

/** The commands, in the order of the help. */
export const ADMIN_COMMANDS = [
  "status",
  "members",
  "add",
  "remove",
  "promote",
  "demote",
  "move",
  "transfer",
  "snapshot",
] as const;

/** The name of one of the commands. */
export type AdminCommand = (typeof ADMIN_COMMANDS)[number];

/** The default and the maximum of `--timeout`. */
const SECONDS_DEFAULT = 300;
const SECONDS_MAX = 86_400;
const COMMON_HELP = `  --url URL,...       nodes to ask, by their HTTP addresses (default: ${URL_DEFAULT}); any will do,
                      what only the leader can do is asked of the leader
  --json              print the answer as JSON
${CONNECTION_HELP}`;
const TIMEOUT_HELP = `  --timeout SECONDS   give up after this long (default: ${SECONDS_DEFAULT}); what was begun may still go on
`;
const END_HELP = `  --help              this text
`;

/** The text for `--help` of each command. */
export const ADMIN_HELP: Readonly<Record<AdminCommand, string>> = {
  status: `Usage: keelson status [--url URL,...] [--json]

Prints how a node is: its role, the leader, how far its log and state are, and the members.

${COMMON_HELP}${END_HELP}`,
  members: `Usage: keelson members [--url URL,...] [--json]

Prints who takes part, and how far each is behind the leader.

${COMMON_HELP}${END_HELP}`,
  add: `Usage: keelson add ID ADDRESS [--learner] [--url URL,...] [--timeout SECONDS] [--json]

Adds a member that other nodes reach at ADDRESS (HOST:PORT). It is a learner first, without a vote, and becomes a
voter when it has caught up; until then the others decide as before. Its process should run already; started
with keelson serve --join, it does all this by itself. The ID must be new: one that was used before belongs to a
node that may come back.

  --learner           leave it a learner: it gets the log, serves reads, and has no vote
${COMMON_HELP}${TIMEOUT_HELP}${END_HELP}`,
  remove: `Usage: keelson remove ID [ID...] [--url URL,...] [--timeout SECONDS] [--json]

Removes members, voters or learners, in one step; the leader too, which then hands over. Stop their processes
afterwards. Their IDs should not be used again.

${COMMON_HELP}${TIMEOUT_HELP}${END_HELP}`,
  promote: `Usage: keelson promote ID [ID...] [--url URL,...] [--timeout SECONDS] [--json]

Makes voters of learners, once they have caught up.

${COMMON_HELP}${TIMEOUT_HELP}${END_HELP}`,
  demote: `Usage: keelson demote ID [ID...] [--url URL,...] [--timeout SECONDS] [--json]

Makes learners of voters: they keep getting the log, and lose their vote.

${COMMON_HELP}${TIMEOUT_HELP}${END_HELP}`,
  move: `Usage: keelson move ID ADDRESS [--url URL,...] [--timeout SECONDS] [--json]

Tells the members that they reach the member ID at ADDRESS (HOST:PORT) from now on. Start its process there before
or afterwards, on the directory that it has: until it is there, it is reached where it was.

${COMMON_HELP}${TIMEOUT_HELP}${END_HELP}`,
  transfer: `Usage: keelson transfer [ID] [--url URL,...] [--json]

Has the leader hand over to ID, or to the voter with the most complete log. Writes are refused for the moment that
this takes (surely not done, so clients repeat them).

${COMMON_HELP}${END_HELP}`,
  snapshot: `Usage: keelson snapshot [--url URL] [--timeout SECONDS] [--json]

Has the node take a snapshot of its state now, and forget the log that it covers but for the last entries. Nodes do
so by themselves from time to time (keelson serve --snapshot-every). Writes go on meanwhile.

${COMMON_HELP}${TIMEOUT_HELP}${END_HELP}`,
};

/** A parsed command line. */
export interface AdminOptions extends ConnectionFiles {
  readonly command: AdminCommand;
  /** The arguments that are no flags; their number is right for the command. */
  readonly positionals: readonly string[];
  /** HTTP addresses of the nodes to ask, "host:port". */
  readonly nodes: readonly string[];
  /** Print JSON instead of text. */
  readonly json: boolean;
  /** `add` only: don't make the new member a voter. */
  readonly learner: boolean;
  readonly timeoutMs: number;
}

/** @returns null if the help was asked for */
export function parseAdminOptions(command: AdminCommand, args: readonly string[]): AdminOptions | null {
  const changes = command !== "status" && command !== "members";
  const takesTime = changes && command !== "transfer";
  const { values, positionals } = parseCommand(args, {
    url: { type: "string" },
    ...CONNECTION_FLAGS,
    json: { type: "boolean", default: false },
    ...(takesTime ? { timeout: { type: "string", default: String(SECONDS_DEFAULT) } } : {}),
    ...(command === "add" ? { learner: { type: "boolean", default: false } } : {}),
  });
  if (values.help) return null;
  checkPositionals(command, positionals);
  // `parseCommand` was given these flags only for some commands, which its type can't express.
  const { timeout, learner } = values as { readonly timeout?: string; readonly learner?: boolean };
  const connection = connectionIn(values);
  return {
    command,
    positionals,
    nodes: urlsIn(values.url, connection),
    json: values.json,
    learner: learner ?? false,
    timeoutMs: secondsIn(timeout ?? String(SECONDS_DEFAULT)) * 1000,
    ...connection,
  };
}

function checkPositionals(command: AdminCommand, positionals: readonly string[]): void {
  switch (command) {
    case "status":
    case "members":
    case "snapshot":
      positionalsOf(positionals);
      break;
    case "add":
    case "move": {
      const [, address] = positionalsOf(positionals, "ID", "ADDRESS");
      if (parseAddress(address) === null)
        throw new UsageError(`"${address}" is not HOST:PORT, such as 10.0.0.4:7001`);
      break;
    }
    case "remove":
    case "promote":
    case "demote":
      if (positionals.length === 0) throw new UsageError("ID is missing");
      break;
    case "transfer":
      if (positionals.length > 0) positionalsOf(positionals, "ID");
      break;
  }
}

function secondsIn(text: string): number {
  const seconds = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (seconds >= 1 && seconds <= SECONDS_MAX) return seconds;
  throw new UsageError(`--timeout "${text}" is not a number of seconds from 1 to ${SECONDS_MAX}`);
}
