import { keyProblem, valueProblem } from "../store/commands.ts";

/** What one line asks for. */
export type LineCommand =
  | { readonly type: "put"; readonly key: Buffer; readonly value: Buffer }
  | { readonly type: "get"; readonly key: Buffer }
  | { readonly type: "delete"; readonly key: Buffer }
  | { readonly type: "invalid"; readonly reason: string };

const SPACE = 0x20;
const KNOWN = "the commands are: put KEY VALUE, get KEY, del KEY";
/** Of an unknown command's name, shown to whoever typed it. */
const NAME_CHARS_MAX = 32;

/** Reads a line: a command, a space, a key without spaces, and for `put` a space and the value, which is the rest of the line. */
export function parseLine(line: Buffer): LineCommand {
  const [name, rest] = cut(line);
  switch (name.toString("latin1")) {
    case "put": {
      if (rest === null) return invalid("put needs a key and a value: put KEY VALUE");
      const [key, value] = cut(rest);
      if (value === null) return invalid("put needs a value after the key: put KEY VALUE");
      return checked(key, valueProblem(value)) ?? { type: "put", key, value };
    }
    case "get":
      return withKey("get", rest) ?? { type: "get", key: rest ?? line };
    case "del":
      return withKey("del", rest) ?? { type: "delete", key: rest ?? line };
    case "":
      return invalid(
        line.length === 0 ? `an empty line; ${KNOWN}` : `a line begins with a command; ${KNOWN}`,
      );
    default:
      return invalid(`unknown command ${quoted(name)}; ${KNOWN}`);
  }
}

/** What is before the first space, and what is after it; null: there is none. */
function cut(bytes: Buffer): [Buffer, Buffer | null] {
  const at = bytes.indexOf(SPACE);
  return at === -1 ? [bytes, null] : [bytes.subarray(0, at), bytes.subarray(at + 1)];
}

function withKey(name: string, key: Buffer | null): LineCommand | null {
  if (key === null || key.length === 0) return invalid(`${name} needs a key: ${name} KEY`);
  if (key.includes(SPACE)) return invalid(`${name} takes one key, which has no spaces: ${name} KEY`);
  return checked(key, null);
}

function checked(key: Buffer, otherFault: string | null): LineCommand | null {
  const fault = keyProblem(key) ?? otherFault;
  return fault === null ? null : invalid(fault);
}

function invalid(reason: string): LineCommand {
  return { type: "invalid", reason };
}

/** A name as typed, but with nothing in it that could end a line or move a cursor. */
function quoted(name: Buffer): string {
  const text = name.toString("utf8");
  return JSON.stringify(text.length > NAME_CHARS_MAX ? `${text.slice(0, NAME_CHARS_MAX)}…` : text);
}
