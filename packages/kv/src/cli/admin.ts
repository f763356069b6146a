/** The commands that ask a running cluster: what they send, and what they print. */
import { AdminClient, type Members } from "../client/admin-client.ts";
import { KvClientError } from "../client/client-error.ts";
import { progressOf, reachGoal, silenceOf } from "../client/membership-goal.ts";
import { StartError } from "../shared/errors.ts";
import { count, formatBytes } from "../shared/format.ts";
import type { AdminOptions } from "./admin-options.ts";
import { readCredentials } from "./arguments.ts";
import { goalOf } from "./member-goals.ts";
import { columns } from "./terminal.ts";
import { WaitNotice } from "./wait-notice.ts";

/**
 * Carries out a command and prints its result. Resolves with the exit code.
 *
 * @throws StartError the cluster refused, or was not reached
 */
export async function runAdminCommand(options: AdminOptions, print: (line: string) => void): Promise<number> {
  const credentials = await readCredentials(options);
  const notice = new WaitNotice();
  const waiting = new Waiting(notice);
  const client = new AdminClient(options.nodes, {
    ...credentials,
    onWait: (text) => {
      waiting.forNode(text);
    },
  });
  try {
    await run(options, client, waiting, (line) => {
      notice.end();
      print(line);
    });
  } catch (error) {
    if (error instanceof KvClientError) throw new StartError(error.message, { cause: error });
    throw error;
  } finally {
    notice.end();
  }
  return 0;
}

/**
 * Shows what the command waits for: a node's answer, or, once it has asked for a change of members, what that
 * change waits for.
 */
class Waiting {
  readonly #notice: WaitNotice;
  #goal = "";

  constructor(notice: WaitNotice) {
    this.#notice = notice;
  }

  forNode(text: string): void {
    this.#notice.waitFor(this.#goal === "" ? text : this.#goal);
  }

  forCluster(text: string): void {
    this.#goal = text;
    this.#notice.waitFor(text);
  }
}

async function run(
  options: AdminOptions,
  client: AdminClient,
  waiting: Waiting,
  print: (line: string) => void,
): Promise<void> {
  const { command, positionals, json } = options;
  if (command === "status") {
    const status = await client.status();
    if (json) print(JSON.stringify(status, null, 2));
    else for (const line of statusLines(status)) print(line);
    if (!json) for (const line of memberLines(await client.members())) print(line);
    return;
  }
  if (command === "transfer") {
    const leader = await transferLeadership(positionals[0], client);
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
  const members =
    command === "members" ? await client.members() : await changeMembers(options, client, waiting);
  if (json) print(JSON.stringify(members, null, 2));
  else for (const line of memberLines(members)) print(line);
}

/** Transfers leadership, and resolves with the leader. Does nothing if `to` leads already. */
async function transferLeadership(to: string | undefined, client: AdminClient): Promise<string> {
  if (to !== undefined) {
    // If this fails, so will the next request, with a message.
    const members = await client.members().catch(() => null);
    if (members?.role === "leader" && members.leader?.id === to) return to;
  }
  return client.transfer(to);
}

/** Changes the members, shows the progress, and resolves with the members after the change. */
function changeMembers(options: AdminOptions, client: AdminClient, waiting: Waiting): Promise<Members> {
  const { command, timeoutMs, positionals } = options;
  return reachGoal(client, {
    ...goalOf(options),
    timeoutMs,
    progress: (members) =>
      positionals
        .map((id) => progressOf(id, members))
        .filter((text) => text !== "")
        .join("; "),
    onProgress: (text) => {
      waiting.forCluster(`${command} ${positionals.join(" ")}: ${text}`);
    },
  });
}

/** The members as a table; with a note if a node other than the leader answered. */
function memberLines({ id, leader, members, changing, role }: Members): string[] {
  const rows = members.map((member) => [
    `${member.id}${member.id === leader?.id ? " *" : ""}`,
    member.role,
    member.address,
    member.http === undefined ? "" : `http ${member.http}`,
    member.lag === null ? "" : `${count(member.lag, "entry", "entries")} behind`,
    stateOf(member),
  ]);
  const lines = columns([["MEMBER", "ROLE", "ADDRESS", "", "", ""], ...rows]);
  if (changing) lines.push("A change of members is under way.");
  if (role === "leader") return lines;
  const known = leader === null ? "no leader is known" : `the leader, ${leader.id}, was not reached`;
  return [...lines, `This is what ${id} knows: ${known}.`];
}

/** What is wrong with a member; "": nothing that is known. */
function stateOf(member: Members["members"][number]): string {
  const { id, active, lostEntries } = member;
  if (lostEntries === true) {
    return `LOST ENTRIES that it had acknowledged: remove ${id}, and add its machine anew with an empty directory and a new id`;
  }
  return active === false ? silenceOf(member) : "";
}

/** The most important fields of `GET /status`. */
function statusLines(status: Readonly<Record<string, unknown>>): string[] {
  const shown = ["id", "role", "term", "clusterId", "commit", "applied", "durable", "last"];
  const rows = shown.filter((name) => name in status).map((name) => [name, String(status[name])]);
  return columns(rows);
}
