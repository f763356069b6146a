import { channel } from "node:diagnostics_channel";
import { describe, expect, it } from "vitest";
import { InvalidOptionError } from "../../errors.ts";
import { LogPrinter, parseLogFilter, subscribePrinter } from "./environment-log.ts";

function levels(text: string): Record<string, string> {
  return Object.fromEntries(parseLogFilter(text));
}

/** A printer into a list, on a clock and with a reader that the test sets. */
function printer(): { printer: LogPrinter; lines: string[]; state: { now: number; unwritten: number } } {
  const lines: string[] = [];
  const state = { now: Date.UTC(2026, 0, 1), unwritten: 0 };
  return {
    ...{ lines, state },
    printer: new LogPrinter(
      (line) => void lines.push(line),
      () => state.unwritten,
      () => state.now,
    ),
  };
}

const ALL = ["election", "message", "storage", "membership", "snapshot", "transport", "node"];
const allAt = (level: string): Record<string, string> => Object.fromEntries(ALL.map((name) => [name, level]));

describe("the filter KEELSON_LOG", () => {
  it("is a level, a component, or a component with a level, and later parts win", () => {
    expect(levels("")).toEqual(allAt("off"));
    expect(levels("debug")).toEqual(allAt("debug"));
    expect(levels("election")).toEqual({ ...allAt("off"), election: "debug" });
    expect(levels(" Info, election=debug ,storage=OFF,")).toEqual({
      ...allAt("info"),
      ...{ election: "debug", storage: "off" },
    });
    expect(levels("election=debug,warn")).toEqual(allAt("warn"));
  });

  it.each(["verbose", "wal=debug", "election=loud", "election=debug=info", "=debug", "election debug"])(
    "is refused if it is %s, with what it may be",
    (text) => {
      expect(() => parseLogFilter(`info,${text}`)).toThrow(InvalidOptionError);
      expect(() => parseLogFilter(`info,${text}`)).toThrow(
        `${JSON.stringify(text)} in it is no filter: it should be a level (off, error, warn, info, debug)`,
      );
    },
  );
});

describe("the lines of KEELSON_LOG", () => {
  it("have a time, a level, a component and a node, one line each, whatever a peer says", () => {
    const { printer: log, lines } = printer();
    log.print("info", "election", { id: "a", text: "a leads" });
    log.print("warn", "transport", { id: "a", text: "refused: \u001b[2J\nfaked line" });
    log.print("debug", "message", { id: "a", text: "x".repeat(5000) });
    expect(lines.slice(0, 2)).toEqual([
      "2026-01-01T00:00:00.000Z INFO  election a: a leads\n",
      "2026-01-01T00:00:00.000Z WARN  transport a: refused: ?[2J?faked line\n",
    ]);
    expect(lines[2]).toHaveLength(1000 + "...\n".length);
  });

  it("are limited in each second, and by a reader that doesn't read; what is left out is counted", () => {
    const { printer: log, lines, state } = printer();
    const message = { id: "a", text: "heartbeat" };
    for (let n = 0; n < 2500; n++) log.print("debug", "message", message);
    expect(lines).toHaveLength(2000);
    state.now += 1000;
    log.print("debug", "message", message);
    expect(lines.slice(2000)).toEqual([
      expect.stringMatching(/DEBUG log: 500 lines were left out\n$/),
      expect.stringMatching(/heartbeat\n$/),
    ]);
    state.unwritten = 2 * 1024 * 1024;
    log.print("debug", "message", message);
    state.unwritten = 0;
    log.print("debug", "message", message);
    expect(lines.slice(2002)[0]).toMatch(/ 1 lines were left out\n$/);
  });

  it("are those that the filter asks for; no other channel is subscribed to", () => {
    const { printer: log, lines } = printer();
    subscribePrinter(parseLogFilter("warn,election=debug,transport=off"), log);
    expect(
      ["log", "election", "message", "storage"].filter((name) => channel(`keelson:${name}`).hasSubscribers),
    ).toEqual(["log", "election"]);
    const publish = (level: string, component: string): void => {
      channel("keelson:log").publish({ level, component, id: "a", text: `${level} of ${component}` });
    };
    for (const component of ["election", "storage", "transport"]) {
      publish("info", component);
      publish("error", component);
    }
    channel("keelson:election").publish({ id: "a", text: "follower term=1" });
    expect(lines.map((line) => line.slice(25).trimEnd())).toEqual([
      "INFO  election a: info of election",
      "ERROR election a: error of election",
      "ERROR storage a: error of storage",
      "DEBUG election a: follower term=1",
    ]);
  });
});
