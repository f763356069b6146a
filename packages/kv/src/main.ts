#!/usr/bin/env node
import { enableCompileCache, flushCompileCache } from "node:module";
import type { AdminCommand } from "./cli/admin.ts";
import { StartError, UsageError } from "./shared/errors.ts";

// Half of the time that a start takes is compiling: what was compiled is kept for the next one.
enableCompileCache();

/** Exit codes, as shells have them. */
const FAILED = 1;
const MISUSED = 2;

interface Command {
  readonly summary: string;
  /** Resolves with the exit code. */
  readonly run: (args: readonly string[]) => Promise<number>;
}

// Each command loads only what it needs: a server should be up quickly.
const COMMANDS: Readonly<Record<string, Command>> = {
  demo: {
    summary: "a cluster of three nodes on this machine, to try it out",
    async run(args) {
      const { parseDemoOptions, DEMO_HELP } = await import("./cli/demo/demo-options.ts");
      const options = parseDemoOptions(args);
      if (options === null) return help(DEMO_HELP);
      const { demo } = await import("./cli/demo/demo.ts");
      return demo(options);
    },
  },
  serve: {
    summary: "one node of a cluster",
    async run(args) {
      const { parseServeOptions, SERVE_HELP } = await import("./cli/serve-options.ts");
      const options = parseServeOptions(args);
      if (options === null) return help(SERVE_HELP);
      const { serve } = await import("./cli/serve.ts");
      // Now, because a node that is killed has no time for it at its end.
      flushCompileCache();
      return serve(options);
    },
  },
  status: administration("status", "how a node is"),
  members: administration("members", "who takes part, and how far each is"),
  add: administration("add", "add a member, or a learner"),
  remove: administration("remove", "remove members"),
  promote: administration("promote", "make voters of learners"),
  demote: administration("demote", "make learners of voters"),
  move: administration("move", "give a member another address"),
  transfer: administration("transfer", "hand leadership to another node"),
  snapshot: administration("snapshot", "have a node take a snapshot now"),
  backup: {
    summary: "keep all keys and values in a file",
    async run(args) {
      const { backup, parseBackupOptions, BACKUP_HELP } = await import("./cli/backup.ts");
      const options = parseBackupOptions(args);
      return options === null ? help(BACKUP_HELP) : backup(options, print);
    },
  },
  restore: {
    summary: "begin a new cluster from such a file",
    async run(args) {
      const { parseRestoreOptions, restore, RESTORE_HELP } = await import("./cli/restore.ts");
      const options = parseRestoreOptions(args);
      return options === null ? help(RESTORE_HELP) : offline(() => restore(options, print));
    },
  },
  inspect: {
    summary: "what a node's directory holds, and whether it is sound",
    async run(args) {
      const { inspect, parseInspectOptions, INSPECT_HELP } = await import("./cli/inspect.ts");
      const options = parseInspectOptions(args);
      return options === null ? help(INSPECT_HELP) : offline(() => inspect(options, print));
    },
  },
  recover: {
    summary: "go on with one node, when the majority is lost for good",
    async run(args) {
      const { parseRecoverOptions, recover, RECOVER_HELP } = await import("./cli/recover.ts");
      const options = parseRecoverOptions(args);
      return options === null ? help(RECOVER_HELP) : offline(() => recover(options, print));
    },
  },
};

/** A command that asks a running cluster. */
function administration(command: AdminCommand, summary: string): Command {
  return {
    summary,
    async run(args) {
      const { ADMIN_HELP, administer, parseAdminOptions } = await import("./cli/admin.ts");
      const options = parseAdminOptions(command, args);
      return options === null ? help(ADMIN_HELP[command]) : administer(options, print);
    },
  };
}

const NAMES_LENGTH_MAX = Math.max(...Object.keys(COMMANDS).map((name) => name.length));

const HELP = `Usage: keelson COMMAND

${Object.entries(COMMANDS)
  .map(([name, { summary }]) => `  keelson ${name.padEnd(NAMES_LENGTH_MAX)}   ${summary}`)
  .join("\n")}

  keelson COMMAND --help tells more.
`;

async function run([name, ...args]: readonly string[]): Promise<number> {
  if (name === "help" || name === "--help" || name === "-h") return help(HELP);
  const names = Object.keys(COMMANDS).join(", ");
  if (name === undefined) throw new UsageError(`a command is missing: ${names}`);
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) throw new UsageError(`there is no command "${name}"; there are ${names}`);
  return command.run(args);
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function help(text: string): number {
  process.stdout.write(text);
  return 0;
}

/** Runs a command that works on files: what the library refuses is for the user to mend. */
async function offline(work: () => Promise<number>): Promise<number> {
  try {
    return await work();
  } catch (error) {
    const { RaftError } = await import("keelson");
    if (error instanceof RaftError) throw new StartError(error.message, { cause: error });
    throw error;
  }
}

/** What a user can mend is told in words; a mistake of ours with its stack. */
function report(error: unknown, command: string | undefined): number {
  if (error instanceof UsageError) {
    const known =
      command !== undefined && Object.hasOwn(COMMANDS, command) ? `keelson ${command}` : "keelson";
    process.stderr.write(`keelson: ${error.message}\nSee: ${known} --help\n`);
    return MISUSED;
  }
  if (error instanceof StartError) process.stderr.write(`keelson: ${error.message}\n`);
  else
    process.stderr.write(
      `keelson: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
    );
  return FAILED;
}

const args = process.argv.slice(2);
try {
  process.exitCode = await run(args);
} catch (error) {
  process.exitCode = report(error, args[0]);
}
// A channel to the process that started this one would keep it alive.
if (process.connected) process.disconnect();
