// The environment variable KEELSON_LOG: prints to standard error what the nodes of a process publish on their
// diagnostics channels, in any program that uses the library. Without the variable, nothing is subscribed to.
import { subscribe } from "node:diagnostics_channel";
import { InvalidOptionError } from "../../errors.ts";

/** From the least that is printed to the most. */
const LEVELS = ["off", "error", "warn", "info", "debug"] as const;
type Level = (typeof LEVELS)[number];

/**
 * The components of log events (`LogComponent`), and `message`, which has none: the messages between nodes.
 * With the level `debug`, `election`, `message` and `storage` print each step.
 */
const COMPONENTS = [
  ...["election", "message", "storage", "membership", "snapshot", "transport", "node"],
] as const;

/** How much is printed, by component. */
export type LogFilter = ReadonlyMap<string, Level>;

/** A line is cut off after this many characters. */
const LINE_CHARS_MAX = 1000;

/** Lines in one second; more are left out, and counted. A busy node sends thousands of messages a second. */
const LINES_PER_SECOND_MAX = 2000;

/** Bytes that standard error holds unwritten, because its reader is slow; then lines are left out, too. */
const UNWRITTEN_BYTES_MAX = 1024 * 1024;

/** What every published message has, as far as it is printed. */
interface Published {
  readonly id: string;
  readonly text: string;
}

/** A `LogEvent`, as it is published. */
interface PublishedEvent extends Published {
  readonly level: "error" | "warn" | "info";
  readonly component: string;
}

/**
 * Reads a filter: a level for all components, `COMPONENT=LEVEL` for one, or `COMPONENT` for one at the level
 * `debug`, separated by commas; later parts win. Components that aren't named are off.
 *
 * @throws InvalidOptionError names the part that is wrong, and what it may be
 */
export function parseLogFilter(text: string): LogFilter {
  const filter = new Map<string, Level>(COMPONENTS.map((component) => [component, "off"]));
  for (const part of text.split(",")) {
    const [name = "", given, ...more] = part.trim().toLowerCase().split("=");
    if (part.trim() === "") continue;
    if (given === undefined && isLevel(name)) {
      for (const component of COMPONENTS) filter.set(component, name);
      continue;
    }
    const level = given ?? "debug";
    if (more.length > 0 || !isLevel(level) || !filter.has(name)) {
      throw new InvalidOptionError(
        `KEELSON_LOG is ${JSON.stringify(text)}, and ${JSON.stringify(part.trim())} in it is no filter: it should be a level ` +
          `(${LEVELS.join(", ")}), COMPONENT=LEVEL, or a list of these with commas between them. The components are ` +
          COMPONENTS.join(", "),
      );
    }
    filter.set(name, level);
  }
  return filter;
}

function isLevel(text: string): text is Level {
  return (LEVELS as readonly string[]).includes(text);
}

/** Writes lines, no more than can be read. */
export class LogPrinter {
  readonly #write: (line: string) => void;
  readonly #unwrittenBytes: () => number;
  readonly #now: () => number;
  /** The second that `#lines` counts the lines of. */
  #second = 0;
  #lines = 0;
  /** Lines left out since the last one that was written. */
  #leftOut = 0;

  /** `now`: milliseconds since 1970. */
  constructor(write: (line: string) => void, unwrittenBytes: () => number, now: () => number) {
    this.#write = write;
    this.#unwrittenBytes = unwrittenBytes;
    this.#now = now;
  }

  print(level: Level, component: string, message: Published): void {
    const now = this.#now();
    const second = Math.floor(now / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#lines = 0;
    }
    if (this.#lines >= LINES_PER_SECOND_MAX || this.#unwrittenBytes() > UNWRITTEN_BYTES_MAX) {
      this.#leftOut += 1;
      return;
    }
    const head = `${new Date(now).toISOString()} ${level.toUpperCase().padEnd(5)}`;
    if (this.#leftOut > 0) {
      this.#write(`${head} log: ${String(this.#leftOut)} lines were left out\n`);
      this.#leftOut = 0;
    }
    this.#lines += 1;
    // A peer's words may be in the text: they must not move the cursor of a terminal, or look like a line.
    const line = `${head} ${component} ${message.id}: ${message.text}`.replace(/\p{Cc}/gu, "?");
    this.#write(`${line.length > LINE_CHARS_MAX ? `${line.slice(0, LINE_CHARS_MAX)}...` : line}\n`);
  }
}

/**
 * Subscribes a printer to what the filter asks for, and to nothing else: a channel costs nothing until then.
 */
export function subscribePrinter(filter: LogFilter, printer: LogPrinter): void {
  const rankOf = (component: string): number => LEVELS.indexOf(filter.get(component) ?? "off");
  for (const component of ["election", "message", "storage"]) {
    if (filter.get(component) !== "debug") continue;
    subscribe(`keelson:${component}`, (message) => {
      printer.print("debug", component, message as Published);
    });
  }
  subscribe("keelson:log", (message) => {
    const event = message as PublishedEvent;
    if (LEVELS.indexOf(event.level) <= rankOf(event.component))
      printer.print(event.level, event.component, event);
  });
}

/** Whether KEELSON_LOG was looked at: it is, once in a process, when the first environment is made. */
let hasStarted = false;

/**
 * Begins to print what KEELSON_LOG asks for.
 *
 * @throws InvalidOptionError it is no filter
 */
export function startEnvironmentLog(): void {
  if (hasStarted) return;
  const { KEELSON_LOG: text = "" } = process.env;
  const filter = parseLogFilter(text);
  hasStarted = true;
  if (COMPONENTS.every((component) => filter.get(component) === "off")) return;
  const { stderr } = process;
  // Its reader may be gone. What can't be printed must not end the program: without a listener, it would.
  stderr.on("error", () => undefined);
  const printer = new LogPrinter(
    (line) => stderr.write(line),
    () => stderr.writableLength,
    () => Date.now(),
  );
  subscribePrinter(filter, printer);
}
