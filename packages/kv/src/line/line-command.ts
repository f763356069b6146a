/** Parses one line of the line protocol. Its grammar is in `line-server.ts`. */
import { keyProblem, valueProblem } from "../store/commands.ts";

/** A parsed line. `invalid`: it is no command; `reason` says why. */
export type LineCommand =
  | { readonly type: "put"; readonly key: Buffer; readonly value: Buffer }
  | { readonly type: "get"; readonly key: Buffer }
  | { readonly type: "delete"; readonly key: Buffer }
  | { readonly type: "auth"; readonly token: string }
  | { readonly type: "invalid"; readonly reason: string };

const SPACE = 0x20;
const KNOWN = "the commands are: put KEY VALUE, get KEY, del KEY";
/** The most characters of an unknown command's name that the error repeats. */
const NAME_CHARS_MAX = 32;

/** Parses a line without its end. */
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
    case "auth":
      // The error doesn't repeat the rest: it may be a token.
      return rest === null || rest.length === 0 || rest.includes(SPACE)
        ? invalid("auth needs a token, which has no spaces: auth TOKEN")
        : { type: "auth", token: rest.toString("latin1") };
    case "":
      return invalid(
        line.length === 0 ? `an empty line; ${KNOWN}` : `a line begins with a command; ${KNOWN}`,
      );
    default:
      return invalid(`unknown command ${quoted(name)}; ${KNOWN}`);
  }
}

/** The bytes before the first space, and those after it. null: there is no space. */
function cut(bytes: Buffer): [Buffer, Buffer | null] {
  const at = bytes.indexOf(SPACE);
  return at === -1 ? [bytes, null] : [bytes.subarray(0, at), bytes.subarray(at + 1)];
}

function withKey(name: string, key: Buffer | null): LineCommand | null {
  if (key === null || key.length === 0) return invalid(`${name} needs a key: ${name} KEY`);
  if (key.includes(SPACE)) return invalid(`${name} takes one key, which has no spaces: ${name} KEY`);
  return checked(key, null);
}

function checked(key: Buffer, otherProblem: string | null): LineCommand | null {
  const problem = keyProblem(key) ?? otherProblem;
  return problem === null ? null : invalid(problem);
}

function invalid(reason: string): LineCommand {
  return { type: "invalid", reason };
}

/** The name in quotes, with control characters escaped: raw ones could end the line or move the cursor. */
function quoted(name: Buffer): string {
  const text = name.toString("utf8");
  return JSON.stringify(text.length > NAME_CHARS_MAX ? `${text.slice(0, NAME_CHARS_MAX)}…` : text);
}
