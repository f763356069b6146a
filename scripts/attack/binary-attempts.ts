// The attempts in the binary protocol, on the HTTP port: every call without a valid token, or with too weak a
// role, and on every wrong connection.
import { BINARY_RIGHTS, isEnough, ROLES } from "../../packages/kv/src/access/rights.ts";
import { digestOf, newToken } from "../../packages/kv/src/access/tokens.ts";
import { AnswerReader } from "../../packages/kv/src/binary/answers.ts";
import { CallWriter } from "../../packages/kv/src/binary/calls.ts";
import { readGoodbye } from "../../packages/kv/src/binary/control.ts";
import { FrameReader } from "../../packages/kv/src/binary/frame-reader.ts";
import { FRAME_BYTES_MAX, FRAMES } from "../../packages/kv/src/binary/wire.ts";
import type { Attempt, Connection } from "./attempt.ts";
import { CANARY_KEY, type Target } from "./target.ts";

type Operation = keyof typeof BINARY_RIGHTS;

/** Writes a call of each operation, which would show or change something. */
const CALLS: Readonly<Record<Operation, (writer: CallWriter) => void>> = {
  get: (writer) => {
    writer.get(1, KEY, "stale", null);
  },
  list: (writer) => {
    writer.list(1, NONE, NONE, 0, "linearizable");
  },
  put: (writer) => {
    writer.put(1, KEY, Buffer.from("x"), null, null);
  },
  delete: (writer) => {
    writer.delete(1, KEY, null, null);
  },
  "open-session": (writer) => {
    writer.openSession(1, 0);
  },
  "end-session": (writer) => {
    writer.endSession(1, 1);
  },
};

/** `wrong`: connections that a node refuses. `right`: one that it accepts. */
export function binaryAttempts(
  target: Target,
  wrong: readonly Connection[],
  right: Connection,
  isNoAnswer: (answer: string) => boolean,
): Attempt[] {
  const { tokens } = target;
  const attempts: Attempt[] = [];
  const wrongTokens = [
    null,
    newToken(),
    tokens.operate.slice(1),
    `${tokens.operate}0`,
    tokens.operate.toUpperCase(),
    digestOf(tokens.operate).toString("hex"),
    ` ${tokens.operate}`,
    `Bearer ${tokens.operate}`,
  ];
  for (const operation of Object.keys(BINARY_RIGHTS) as Operation[]) {
    const name = `binary ${operation}`;
    for (const connection of wrong)
      for (const token of [null, tokens.operate])
        attempts.push({
          name,
          port: "http",
          connection,
          bytes: bytesOf(operation, token),
          isRefusal: isNoAnswer,
        });
    for (const token of wrongTokens) {
      const bytes = bytesOf(operation, token);
      attempts.push({ name, port: "http", connection: right, bytes, isRefusal: isStrangersGoodbye });
    }
    for (const [what, bytes] of withoutHello(operation, tokens.operate))
      attempts.push({
        name: `${name} ${what}`,
        port: "http",
        connection: right,
        bytes,
        isRefusal: isGoodbye,
      });
    for (const role of ROLES.filter((one) => !isEnough(one, BINARY_RIGHTS[operation]))) {
      const bytes = bytesOf(operation, tokens[role]);
      const isRefusal = (answer: string): boolean => isForbidden(answer);
      attempts.push({ name: `${name} as ${role}`, port: "http", connection: right, bytes, isRefusal });
    }
  }
  return attempts;
}

function bytesOf(operation: Operation, token: string | null): string {
  const writer = new CallWriter();
  writer.opening();
  writer.hello({ features: 0, token });
  CALLS[operation](writer);
  return writer.take().toString("latin1");
}

/** Calls before the hello, and calls whose hello comes too late or twice. */
function withoutHello(operation: Operation, token: string): [string, string][] {
  const writer = new CallWriter();
  writer.opening();
  CALLS[operation](writer);
  const alone = writer.take();
  writer.hello({ features: 0, token });
  const hello = writer.take();
  writer.opening();
  writer.hello({ features: 0, token: null });
  writer.hello({ features: 0, token });
  CALLS[operation](writer);
  return [
    ["without a hello", alone.toString("latin1")],
    ["before its hello", Buffer.concat([alone, hello]).toString("latin1")],
    ["with the token in a second hello", writer.take().toString("latin1")],
  ];
}

interface Received {
  readonly types: readonly number[];
  readonly codes: readonly string[];
  readonly errors: readonly string[];
}

/** What the server sent. null: that isn't the binary protocol. */
function received(answer: string): Received | null {
  const reader = new FrameReader();
  const found = { types: [] as number[], codes: [] as string[], errors: [] as string[] };
  try {
    reader.push(Buffer.from(answer, "latin1"));
    if (reader.opening() !== 1) return null;
    for (;;) {
      const frame = reader.next(FRAME_BYTES_MAX);
      if (typeof frame !== "object") return found;
      found.types.push(frame.type);
      if (frame.type === FRAMES.goodbye) found.codes.push(readGoodbye(frame.payload).code);
      if (frame.type !== FRAMES.answers) continue;
      const answers = new AnswerReader(frame.payload);
      for (let one = answers.next(); one !== null; one = answers.next())
        found.errors.push(one.type === "error" ? one.error.code : `no error: ${one.type}`);
    }
  } catch {
    return null;
  }
}

/** A goodbye and nothing else, not even a welcome. */
function isGoodbye(answer: string): boolean {
  return received(answer)?.types.join() === String(FRAMES.goodbye);
}

function isStrangersGoodbye(answer: string): boolean {
  return isGoodbye(answer) && received(answer)?.codes.join() === "UNAUTHORIZED";
}

function isForbidden(answer: string): boolean {
  return received(answer)?.errors.join() === "FORBIDDEN";
}

const KEY = Buffer.from(CANARY_KEY);
const NONE = new Uint8Array(0);
