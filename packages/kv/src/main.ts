#!/usr/bin/env node
import { enableCompileCache, flushCompileCache } from "node:module";
import { StartError, UsageError } from "./usage.ts";

// Half of the time that a start takes is compiling: what was compiled is kept for the next one.
enableCompileCache();

const HELP = `Usage: keelson COMMAND

  keelson demo     a cluster of three nodes on this machine, to try it out
  keelson serve    one node of a cluster

  keelson COMMAND --help tells more.
`;

/** Exit codes, as shells have them. */
const FAILED = 1;
const MISUSED = 2;

async function run([command, ...args]: readonly string[]): Promise<number> {
  switch (command) {
    // Each command loads only what it needs: a server should be up quickly.
    case "serve": {
      const { parseServeOptions, SERVE_HELP } = await import("./serve-options.ts");
      const options = parseServeOptions(args);
      if (options === null) return help(SERVE_HELP);
      const { serve } = await import("./serve.ts");
      // Now, because a node that is killed has no time for it at its end.
      flushCompileCache();
      return serve(options);
    }
    case "demo": {
      const { parseDemoOptions, DEMO_HELP } = await import("./demo-options.ts");
      const options = parseDemoOptions(args);
      if (options === null) return help(DEMO_HELP);
      const { demo } = await import("./demo.ts");
      return demo(options);
    }
    case "help":
    case "--help":
    case "-h":
      return help(HELP);
    case undefined:
      throw new UsageError("a command is missing: demo or serve");
    default:
      throw new UsageError(`there is no command "${command}"; there are demo and serve`);
  }
}

function help(text: string): number {
  process.stdout.write(text);
  return 0;
}

/** What a user can mend is told in words; a mistake of ours with its stack. */
function report(error: unknown, command: string | undefined): number {
  if (error instanceof UsageError) {
    const known = command === "serve" || command === "demo" ? `keelson ${command}` : "keelson";
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
