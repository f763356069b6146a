/** Runs the commands of a walkthrough in Markdown, in order, and compares their output with the page. */
import { createConnection, type Socket } from "node:net";

/** A command of the page and what the page shows below it. */
export interface Step {
  readonly command: string;
  /** Lines that the page shows; `...` stands for any number of lines, or for any text within one. */
  readonly shown: readonly string[];
}

/** How long a step is repeated while it is refused, as there is no leader or no node yet. */
const REPEAT_MS_MAX = 30_000;
const REPEAT_PAUSE_MS = 300;
/** A read on a node without a leader ends within 10 s. */
const LINE_ANSWER_MS_MAX = 20_000;
/**
 * Whole lines that say that nothing was done: repeating the command can't do it twice. A node that was
 * just started takes no connections for a moment. A line of `curl --retry` may have the answers to several
 * attempts, the last of which did something, so none of these may be found within a line.
 */
const REFUSED = [
  /^Error: no leader$/,
  /^Error: the node is starting or closing/,
  /^\{"error":\{"code":"(NOT_LEADER|NO_LEADER|STARTING)",[^{}]*"outcome":"not-done"\}\}$/,
  /^connect ECONNREFUSED /,
];
/** The exit code of curl for a connection that was refused. */
const CURL_REFUSED = 7;

/** The steps in the blocks `console` of a page. */
export function stepsIn(markdown: string): Step[] {
  const steps: Step[] = [];
  for (const [, block = ""] of markdown.matchAll(/^```console\n(.*?)^```$/gms)) {
    if (!block.startsWith("$ ")) throw new Error(`a block console begins without a command:\n${block}`);
    for (const part of block.split(/^(?=\$ )/m)) {
      const [command = "", ...shown] = part.trimEnd().split("\n");
      steps.push({ command: command.slice(2), shown });
    }
  }
  return steps;
}

/**
 * Runs a step. `shell` runs a command and resolves with its exit code and output. Resolves with what is
 * wrong; null: the output is the page's.
 */
export async function runStep(
  { command, shown }: Step,
  shell: (command: string) => Promise<{ readonly code: number; readonly output: string }>,
): Promise<string | null> {
  const deadline = performance.now() + REPEAT_MS_MAX;
  const mayBeRefused = shown.some(isRefusal);
  for (;;) {
    const nc = /^nc (\S+) (\d+)$/.exec(command);
    const printed =
      nc === null
        ? await shell(command)
        : { code: 0, output: await lineSession(nc[1] ?? "", Number(nc[2]), shown) };
    const lines = printed.output.trimEnd() === "" ? [] : printed.output.trimEnd().split("\n");
    const isRefused = !mayBeRefused && (printed.code === CURL_REFUSED || lines.some(isRefusal));
    const isEarly = mayBeRefused && !matches(shown, lines);
    if ((!isRefused && !isEarly) || performance.now() > deadline) {
      // A page that shows an error shows a command that fails.
      if (printed.code !== 0 && !shown.some((line) => line.startsWith("keelson: ")))
        return `exit code ${printed.code}:\n${printed.output}`;
      if (matches(shown, lines)) return null;
      return `printed\n${lines.join("\n")}\nand the page shows\n${shown.join("\n")}`;
    }
    await new Promise((resolve) => setTimeout(resolve, REPEAT_PAUSE_MS));
  }
}

function isRefusal(line: string): boolean {
  return REFUSED.some((pattern) => pattern.test(line));
}

/**
 * Whether lines are those that the page shows. Versions depend on elections, so only that there is one
 * counts.
 */
export function matches(shown: readonly string[], printed: readonly string[]): boolean {
  const pattern = shown
    .map((line) =>
      line === "..." ? "(?:[^\\n]*\\n)*" : `${line.split("...").map(patternOf).join("[^\\n]*")}\\n`,
    )
    .join("");
  return new RegExp(`^${pattern}$`).test(printed.map((line) => `${line.trimEnd()}\n`).join(""));
}

function patternOf(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&").replaceAll(/"version":\d+/g, '"version":\\d+');
}

/**
 * Sends the commands among the lines, one after another, and returns them with the answers, as a terminal
 * would.
 */
async function lineSession(host: string, port: number, shown: readonly string[]): Promise<string> {
  const socket = createConnection({ host, port });
  const answers = answersOf(socket);
  const printed: string[] = [];
  try {
    for (const line of shown.filter((one) => /^(put|get|del) /.test(one))) {
      socket.write(`${line}\n`);
      const { value, done } = await answers.next();
      printed.push(line, done === true ? "(the connection was closed)" : value);
    }
  } catch (error) {
    printed.push(error instanceof Error ? error.message : String(error));
  } finally {
    socket.destroy();
  }
  return printed.join("\n");
}

async function* answersOf(socket: Socket): AsyncGenerator<string, void> {
  socket.setTimeout(LINE_ANSWER_MS_MAX, () => {
    socket.destroy(new Error(`no answer for ${LINE_ANSWER_MS_MAX / 1000} s`));
  });
  let text = "";
  for await (const chunk of socket) {
    text += String(chunk);
    for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n")) {
      yield text.slice(0, end);
      text = text.slice(end + 1);
    }
  }
}
