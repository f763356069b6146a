#!/usr/bin/env node
/** The program `keelson`: finds the command, runs it, and turns errors into messages and exit codes. */
import { enableCompileCache, flushCompileCache } from "node:module";
import type { AdminCommand } from "./cli/admin-options.ts";
import { reasonOf, StartError, UsageError } from "./shared/errors.ts";
import { keepYoungGenerationSmall } from "./shared/young-generation.ts";

// Compiling takes half of the time of a start. Cache what was compiled for the next start.
enableCompileCache();

/** Exit codes by the convention of shells. */
const FAILED = 1;
const MISUSED = 2;
/** New files get the mode 0600, and new directories 0700. */
const OTHERS_MAY_NOTHING = 0o077;

/** A command of the program. */
interface Command {
  /** For the help. */
  readonly summary: string;
  /** Resolves with the exit code. */
  readonly run: (args: readonly string[]) => Promise<number>;
}

// Each command imports its modules when it runs, so that a server needn't load those of the others.
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
      keepYoungGenerationSmall();
      const { serve } = await import("./cli/serve.ts");
      // Write the cache now: it would be written when the process ends, which a killed node never gets to.
      flushCompileCache();
      return serve(options);
    },
  },
  status: adminCommand("status", "how a node is"),
  members: adminCommand("members", "who takes part, and how far each is"),
  add: adminCommand("add", "add a member, or a learner"),
  remove: adminCommand("remove", "remove members"),
  promote: adminCommand("promote", "make voters of learners"),
  demote: adminCommand("demote", "make learners of voters"),
  move: adminCommand("move", "give a member another address"),
  transfer: adminCommand("transfer", "hand leadership to another node"),
  snapshot: adminCommand("snapshot", "have a node take a snapshot now"),
  token: {
    summary: "make a token for clients, with a role",
    async run(args) {
      const { parseTokenOptions, token, TOKEN_HELP } = await import("./cli/token.ts");
      const options = parseTokenOptions(args);
      return options === null ? help(TOKEN_HELP) : token(options, print);
    },
  },
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
      return options === null ? help(RESTORE_HELP) : runOnFiles(() => restore(options, print));
    },
  },
  inspect: {
    summary: "what a node's directory holds, and whether it is sound",
    async run(args) {
      const { inspect, parseInspectOptions, INSPECT_HELP } = await import("./cli/inspect.ts");
      const options = parseInspectOptions(args);
      return options === null ? help(INSPECT_HELP) : runOnFiles(() => inspect(options, print));
    },
  },
  recover: {
    summary: "go on with one node, when the majority is lost for good",
    async run(args) {
      const { parseRecoverOptions, recover, RECOVER_HELP } = await import("./cli/recover.ts");
      const options = parseRecoverOptions(args);
      return options === null ? help(RECOVER_HELP) : runOnFiles(() => recover(options, print));
    },
  },
};

/** A command that asks a running cluster; all are alike but for their name. */
function adminCommand(command: AdminCommand, summary: string): Command {
  return {
    summary,
    async run(args) {
      const { ADMIN_HELP, parseAdminOptions } = await import("./cli/admin-options.ts");
      const options = parseAdminOptions(command, args);
      if (options === null) return help(ADMIN_HELP[command]);
      const { runAdminCommand } = await import("./cli/admin.ts");
      return runAdminCommand(options, print);
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

/**
 * Runs a command that works on a node's files. The user can fix what an error of the library says, so it is
 * reported without a stack (`StartError`).
 */
async function runOnFiles(work: () => Promise<number>): Promise<number> {
  try {
    return await work();
  } catch (error) {
    const { RaftError } = await import("keelson");
    if (error instanceof RaftError) throw new StartError(error.message, { cause: error });
    throw error;
  }
}

/** Prints an error, with its stack if it is a bug of ours. Returns the exit code. */
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
      `keelson: ${error instanceof Error && error.message !== "" ? (error.stack ?? error.message) : reasonOf(error)}\n`,
    );
  return FAILED;
}

// `keelson recover DIR --yes | head -1` closes the pipe while the command works. The command must not stop
// halfway, and its exit code must say how it ended: it goes on without output.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
}

// Logs, data, backups and tokens are for the user who runs this program. The umask also covers the files that
// LevelDB makes.
process.umask(OTHERS_MAY_NOTHING);

const args = process.argv.slice(2);
try {
  process.exitCode = await run(args);
} catch (error) {
  process.exitCode = report(error, args[0]);
}
// An open channel to the parent process would keep this process running.
if (process.connected) process.disconnect();
