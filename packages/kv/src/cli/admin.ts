import { TOKEN_FILE_VARIABLE, tokenToSend } from "../shared/admin-token.ts";
import { AdminClient, type Member, type Members } from "../client/admin-client.ts";
import { progressOf, reachGoal, type MembershipGoal } from "../client/membership-goal.ts";
import { parseAddress } from "../shared/addresses.ts";
import { nodesIn, parseCommand, wordsOf } from "./arguments.ts";
import { KvClientError } from "../client/client-error.ts";
import { ProgressLine } from "./progress-line.ts";
import { count, formatBytes } from "../shared/format.ts";
import { columns } from "./terminal.ts";
import { StartError, UsageError } from "../shared/errors.ts";

/** The commands that ask a running cluster. */
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
export type AdminCommand = (typeof ADMIN_COMMANDS)[number];

const URL_DEFAULT = "http://127.0.0.1:9001";
const SECONDS_DEFAULT = 300;
const SECONDS_MAX = 86_400;
/** A request that waits for members to catch up comes back after this long, to tell how far they are. */
const SLICE_MS = 2000;

const COMMON_HELP = `  --url URL,...       nodes to ask, by their HTTP addresses (default: ${URL_DEFAULT}); any will do,
                      what only the leader can do is asked of the leader
  --json              print the answer as JSON
`;
const TOKEN_HELP = `  --admin-token-file FILE
                      send the token in FILE, for nodes that were started with --admin-token-file (default: what
                      the environment variable ${TOKEN_FILE_VARIABLE} names, if it is set)
`;
const TIMEOUT_HELP = `  --timeout SECONDS   give up after this long (default: ${SECONDS_DEFAULT}); what was begun may still go on
`;
const END_HELP = `  --help              this text
`;

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
${COMMON_HELP}${TOKEN_HELP}${TIMEOUT_HELP}${END_HELP}`,
  remove: `Usage: keelson remove ID [ID...] [--url URL,...] [--timeout SECONDS] [--json]

Removes members, voters or learners, in one step; the leader too, which then hands over. Stop their processes
afterwards. Their IDs should not be used again.

${COMMON_HELP}${TOKEN_HELP}${TIMEOUT_HELP}${END_HELP}`,
  promote: `Usage: keelson promote ID [ID...] [--url URL,...] [--timeout SECONDS] [--json]

Makes voters of learners, once they have caught up.

${COMMON_HELP}${TOKEN_HELP}${TIMEOUT_HELP}${END_HELP}`,
  demote: `Usage: keelson demote ID [ID...] [--url URL,...] [--timeout SECONDS] [--json]

Makes learners of voters: they keep getting the log, and lose their vote.

${COMMON_HELP}${TOKEN_HELP}${TIMEOUT_HELP}${END_HELP}`,
  move: `Usage: keelson move ID ADDRESS [--url URL,...] [--timeout SECONDS] [--json]

Tells the members that they reach the member ID at ADDRESS (HOST:PORT) from now on. Start its process there before
or afterwards, on the directory that it has: until it is there, it is reached where it was.

${COMMON_HELP}${TOKEN_HELP}${TIMEOUT_HELP}${END_HELP}`,
  transfer: `Usage: keelson transfer [ID] [--url URL,...] [--json]

Has the leader hand over to ID, or to the voter with the most complete log. Writes are refused for the moment that
this takes (surely not done, so clients repeat them).

${COMMON_HELP}${TOKEN_HELP}${END_HELP}`,
  snapshot: `Usage: keelson snapshot [--url URL] [--timeout SECONDS] [--json]

Has the node take a snapshot of its state now, and forget the log that it covers but for the last entries. Nodes do
so by themselves from time to time (keelson serve --snapshot-every). Writes go on meanwhile.

${COMMON_HELP}${TOKEN_HELP}${TIMEOUT_HELP}${END_HELP}`,
};

export interface AdminOptions {
  readonly command: AdminCommand;
  readonly words: readonly string[];
  readonly nodes: readonly string[];
  readonly json: boolean;
  readonly learner: boolean;
  readonly timeoutMs: number;
  /** The file of the token to send; undefined: not given. */
  readonly tokenFile: string | undefined;
}

/** @returns null if only the help was asked for */
export function parseAdminOptions(command: AdminCommand, args: readonly string[]): AdminOptions | null {
  const changes = command !== "status" && command !== "members";
  const takesTime = changes && command !== "transfer";
  const { values, positionals: words } = parseCommand(args, {
    url: { type: "string", default: URL_DEFAULT },
    json: { type: "boolean", default: false },
    ...(takesTime ? { timeout: { type: "string", default: String(SECONDS_DEFAULT) } } : {}),
    ...(changes ? { "admin-token-file": { type: "string" } } : {}),
    ...(command === "add" ? { learner: { type: "boolean", default: false } } : {}),
  });
  if (values.help) return null;
  checkWords(command, words);
  // Which flags there are depends on the command.
  const {
    timeout,
    learner,
    "admin-token-file": tokenFile,
  } = values as {
    readonly timeout?: string;
    readonly learner?: boolean;
    readonly "admin-token-file"?: string;
  };
  return {
    command,
    words,
    nodes: nodesIn(values.url),
    json: values.json,
    learner: learner ?? false,
    timeoutMs: secondsIn(timeout ?? String(SECONDS_DEFAULT)) * 1000,
    tokenFile,
  };
}

function checkWords(command: AdminCommand, words: readonly string[]): void {
  switch (command) {
    case "status":
    case "members":
    case "snapshot":
      wordsOf(words);
      break;
    case "add":
    case "move": {
      const [, address] = wordsOf(words, "ID", "ADDRESS");
      if (parseAddress(address) === null)
        throw new UsageError(`"${address}" is not HOST:PORT, such as 10.0.0.4:7001`);
      break;
    }
    case "remove":
    case "promote":
    case "demote":
      if (words.length === 0) throw new UsageError("ID is missing");
      break;
    case "transfer":
      if (words.length > 0) wordsOf(words, "ID");
      break;
  }
}

function secondsIn(text: string): number {
  const seconds = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (seconds >= 1 && seconds <= SECONDS_MAX) return seconds;
  throw new UsageError(`--timeout "${text}" is not a number of seconds from 1 to ${SECONDS_MAX}`);
}

/** Carries out a command and prints what came of it; resolves with the exit code. */
export async function administer(options: AdminOptions, print: (line: string) => void): Promise<number> {
  const client = new AdminClient(options.nodes, await tokenToSend(options.tokenFile));
  try {
    await run(options, client, print);
  } catch (error) {
    if (error instanceof KvClientError) throw new StartError(error.message, { cause: error });
    throw error;
  }
  return 0;
}

async function run(options: AdminOptions, client: AdminClient, print: (line: string) => void): Promise<void> {
  const { command, words, json } = options;
  if (command === "status") {
    const status = await client.status();
    if (json) print(JSON.stringify(status, null, 2));
    else for (const line of statusLines(status)) print(line);
    if (!json) for (const line of memberLines(await client.members())) print(line);
    return;
  }
  if (command === "transfer") {
    const leader = await transferred(words[0], client);
    print(json ? JSON.stringify({ leader }) : `the leader is ${leader}`);
    return;
  }
  if (command === "snapshot") {
    const taken = await client.snapshot(options.timeoutMs);
    if (json) print(JSON.stringify(taken));
    else
      print(
        `a snapshot of all up to entry ${taken.index} of term ${taken.term}: ${formatBytes(taken.bytes)}`,
      );
    return;
  }
  const members = command === "members" ? await client.members() : await changed(options, client);
  if (json) print(JSON.stringify(members, null, 2));
  else for (const line of memberLines(members)) print(line);
}

/** Hands leadership over, and resolves with the leader; who leads already need not be asked. */
async function transferred(to: string | undefined, client: AdminClient): Promise<string> {
  if (to !== undefined) {
    // Without an answer to this one, the next one tells what is wrong.
    const members = await client.members().catch(() => null);
    if (members?.role === "leader" && members.leader?.id === to) return to;
  }
  const result = await client.change("POST", "/transfer", to === undefined ? {} : { to });
  return (result as { readonly leader: string }).leader;
}

/** Brings about a change of members, and shows how far it is. */
async function changed(options: AdminOptions, client: AdminClient): Promise<Members> {
  const { timeoutMs, words } = options;
  const progress = new ProgressLine();
  try {
    return await reachGoal(client, {
      ...goalOf(options),
      timeoutMs,
      progress: (members) =>
        words
          .map((id) => progressOf(id, members))
          .filter((text) => text !== "")
          .join("; "),
      onProgress: (text) => {
        progress.show(text);
      },
    });
  } finally {
    progress.end();
  }
}

function goalOf({
  command,
  words,
  learner,
}: AdminOptions): Omit<MembershipGoal, "timeoutMs" | "progress" | "onProgress"> {
  const post = (body: object) => (client: AdminClient) =>
    client.change("POST", "/members", { ...body, timeoutMs: SLICE_MS });
  const roleOf = ({ members }: Members, id: string): Member["role"] | undefined =>
    members.find((member) => member.id === id)?.role;
  const isAt = ({ members }: Members, [id, address]: readonly string[]): boolean =>
    members.some((member) => member.id === id && member.address === address);
  const all = (members: Members, ids: readonly string[], role: Member["role"] | undefined): boolean =>
    isSettled(members) && ids.every((id) => roleOf(members, id) === role);
  switch (command) {
    case "add": {
      const [id = "", address = ""] = words;
      return {
        objection: (members) => objectionToAdding(id, address, learner, members),
        request: post({ [learner ? "learners" : "add"]: { [id]: address } }),
        isReached: (members) => isAt(members, words) && all(members, [id], learner ? "learner" : "voter"),
      };
    }
    case "remove": {
      // Naming a stranger is refused, as a slip of the pen should be; one who was a member and is none is
      // removed.
      const met = new Set<string>();
      return {
        request: post({ remove: words }),
        isReached: (members) => {
          for (const id of words) {
            if (roleOf(members, id) !== undefined) met.add(id);
          }
          return all(members, words, undefined) && words.every((id) => met.has(id));
        },
      };
    }
    case "promote":
      return { request: post({ promote: words }), isReached: (members) => all(members, words, "voter") };
    case "demote":
      return { request: post({ demote: words }), isReached: (members) => all(members, words, "learner") };
    case "move": {
      const [id = "", address = ""] = words;
      return {
        request: post({ addresses: { [id]: address } }),
        isReached: (members) => isSettled(members) && isAt(members, words),
      };
    }
    case "status":
    case "members":
    case "transfer":
    case "snapshot":
      throw new Error(`${command} changes no members`);
  }
}

/**
 * Why a member is not added again; null: it may be. To ask twice for the same thing does no harm, and a
 * learner that never answered may have been given a wrong address. But a slip of the pen must not move a
 * member that is well.
 */
function objectionToAdding(
  id: string,
  address: string,
  asLearner: boolean,
  { members }: Members,
): string | null {
  const member = members.find((one) => one.id === id);
  if (member === undefined) return null;
  if (asLearner && member.role !== "learner") {
    return `${id} is a member already, and not a learner; keelson demote ${id} takes its vote`;
  }
  if (member.address === address || (member.role === "learner" && member.active === false)) return null;
  return (
    `${id} is a member already, at ${member.address}. Give the new node another id; ` +
    `or, if ${id} itself is to be found elsewhere now: keelson move ${id} ${address}`
  );
}

/** What the leader knows, and no change under way. */
function isSettled({ role, changing }: Members): boolean {
  return role === "leader" && !changing;
}

function memberLines({ id, leader, members, changing, role }: Members): string[] {
  const rows = members.map((member) => [
    `${member.id}${member.id === leader?.id ? " *" : ""}`,
    member.role,
    member.address,
    member.http === undefined ? "" : `http ${member.http}`,
    member.lag === null ? "" : `${count(member.lag, "entry", "entries")} behind`,
    member.active === false ? "does not answer" : "",
  ]);
  const lines = columns([["MEMBER", "ROLE", "ADDRESS", "", "", ""], ...rows]);
  if (changing) lines.push("A change of members is under way.");
  if (role === "leader") return lines;
  const known = leader === null ? "no leader is known" : `the leader, ${leader.id}, was not reached`;
  return [...lines, `This is what ${id} knows: ${known}.`];
}

function statusLines(status: Readonly<Record<string, unknown>>): string[] {
  const shown = ["id", "role", "term", "clusterId", "commit", "applied", "durable", "last"];
  const rows = shown.filter((name) => name in status).map((name) => [name, String(status[name])]);
  return columns(rows);
}
