import { DecodeError } from "keelson";
import { commandCodec, type Condition } from "keelson-kv";

import { parseLine } from "../../packages/kv/src/line/line-command.ts";
import { LineSplitter } from "../../packages/kv/src/line/line-splitter.ts";
import {
  BadRequestError,
  conditionOf,
  consistencyOf,
  hasVersion,
  keyOf,
  parametersOf,
  percentDecode,
  percentEncode,
} from "../../packages/kv/src/http/request-syntax.ts";
import { expectThat, shown, type Target } from "./target.ts";

/** A small limit, so that generated lines exceed it. */
const LINE_BYTES_MAX = 100;

/** Puts and deletes as they are stored in the log. */
export const commands: Target = {
  name: "commands",
  share: 110,
  valid: (chance) => {
    const key = Buffer.from(chance.pick(["k", "a/longer/key", "\0\u00ff", "k".repeat(1024)]));
    const condition = chance.pick<Condition | null>([
      null,
      { type: "exists" },
      { type: "absent" },
      { type: "version", versions: [1, 2 ** 40, Number.MAX_SAFE_INTEGER].slice(0, chance.between(0, 4)) },
    ]);
    if (chance.often(0.3)) return commandCodec.encode({ type: "delete", key, condition });
    return commandCodec.encode({
      type: "put",
      key,
      value: Buffer.alloc(chance.between(0, 100), 1),
      condition,
    });
  },
  run: (input) => {
    try {
      const command = commandCodec.decode(input);
      expectThat(
        Buffer.compare(commandCodec.encode(command), input) === 0,
        "a command that was taken is written as other bytes",
      );
      return "taken";
    } catch (error) {
      if (error instanceof DecodeError) return "refused";
      throw error;
    }
  },
};

/** The line protocol, from the bytes of a connection to commands. */
export const lines: Target = {
  name: "line",
  share: 110,
  valid: (chance) =>
    Buffer.from(
      Array.from({ length: chance.between(1, 5) }, () =>
        chance.pick([
          "put 1 bar\n",
          "get 1\r\n",
          "del 1\n",
          "put ship Argo II\n",
          `put ${"k".repeat(20)} \n`,
        ]),
      ).join(""),
    ),
  run: (input, chance) => {
    const whole = readLines([input]);
    const at = chance.between(0, input.length + 1);
    const pieces = readLines([
      input.subarray(0, at),
      ...[...input.subarray(at)].map((byte) => Uint8Array.of(byte)),
    ]);
    expectThat(
      shown(whole) === shown(pieces),
      `what is read depends on how the stream is cut: ${shown(whole)} and ${shown(pieces)}`,
    );
    return whole.every(({ type }) => type !== "invalid" && type !== "too-long") ? "taken" : "refused";
  },
};

function readLines(chunks: readonly Uint8Array[]) {
  const splitter = new LineSplitter(LINE_BYTES_MAX);
  const found = chunks.flatMap((chunk) => [...splitter.push(Buffer.from(chunk))]);
  const last = splitter.end();
  return (last === null ? found : [...found, last]).map((line) => {
    if (line.type !== "line") {
      expectThat(line.type === "too-long", "no room for a line, though memory has no limit here");
      // Without its beginning: that is as long as the first piece allows, at least.
      return { type: line.type };
    }
    expectThat(line.bytes.length <= LINE_BYTES_MAX, `a line of ${line.bytes.length} bytes`);
    expectThat(!line.bytes.includes(0x0a), "a line with a line feed in it");
    const command = parseLine(line.bytes);
    // The message is sent as one line of an answer.
    if (command.type === "invalid")
      expectThat(!/[\r\n\0]/.test(command.reason), `a reason that breaks a line: ${shown(command.reason)}`);
    else if (command.type === "auth")
      expectThat(/^[^ ]+$/.test(command.token), "a token that no line can name");
    else expectThat(command.key.length > 0 && !command.key.includes(0x20), "a key that no line can name");
    return command;
  });
}

/**
 * Parses a request's target and headers like the HTTP server. The input has three lines: the target, and two
 * headers.
 */
export const httpSyntax: Target = {
  name: "http-syntax",
  share: 46,
  valid: (chance) =>
    Buffer.from(
      [
        chance.pick([
          "/kv/key",
          "/kv/a%20b/%C3%BC?consistency=stale",
          "/kv/%00%ff",
          "/kv/x?consistency=linearizable",
        ]),
        chance.pick(['"12"', "*", 'W/"7", "8"', '"1","2" , "3"', '"not-a-version"']),
        chance.pick(['"5"', "*", 'W/"5"']),
      ].join("\n"),
      "latin1",
    ),
  run: (input) => {
    const [target = "", match = "", noneMatch = ""] = Buffer.from(input).toString("latin1").split("\n");
    const attempts = [
      () => keyOf(target),
      () => consistencyOf(parametersOf(target, ["consistency"]).get("consistency")),
      () => parametersOf(target, ["prefix", "limit", "after", "consistency"]),
      () => conditionOf(match, undefined),
      () => hasVersion(noneMatch, 5),
    ];
    const bytes = Buffer.from(input);
    for (const part of ["path", "query"] as const)
      expectThat(
        percentDecode(percentEncode(bytes), part, "it").equals(bytes),
        `${part}: what is encoded is decoded as something else`,
      );
    return attempts.map(isTaken).every(Boolean) ? "taken" : "refused";
  },
};

function isTaken(attempt: () => unknown): boolean {
  try {
    attempt();
    return true;
  } catch (error) {
    if (error instanceof BadRequestError) return false;
    throw error;
  }
}
