import { run } from "../commands.ts";

/** The time limit of one command. Far above what any takes; it ends a command that hangs. */
const COMMAND_SECONDS_MAX = 240;

/** Runs a command and returns what it prints. @throws it fails; the message has what it printed */
export async function must(
  command: string,
  args: readonly string[],
  cwd: string,
  env?: NodeJS.ProcessEnv,
): Promise<string> {
  const { code, output } = await run(command, args, {
    cwd,
    secondsMax: COMMAND_SECONDS_MAX,
    ...(env === undefined ? {} : { env }),
  });
  if (code !== 0) throw new Error(`${command} ${args.join(" ")} failed\n${output}`);
  return output;
}
