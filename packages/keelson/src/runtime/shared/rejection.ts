// What `apply` threw, as every caller gets it, and as text for session answers and for other nodes.
import { cutText } from "../../codec/cut-text.ts";
import { Rejection, textOfThrown } from "../../errors.ts";

/**
 * UTF-16 units of a rejection's message: enough to say why. In a session it counts towards
 * `SESSION_LIMITS.answerBytesMax` like a result, and a long one would push out results.
 */
const MESSAGE_CHARS_MAX = 2048;

/** UTF-16 units of its name, and of its code. */
const NAME_CHARS_MAX = 128;

/**
 * Makes a rejection of what `apply` threw. Never throws itself, whatever that was. All but the stack must be
 * the same on every node, as it is a part of the session table.
 */
export function rejectionOf(thrown: unknown): Rejection {
  const name = propertyOf(thrown, "name");
  const code = propertyOf(thrown, "code");
  const stack = propertyOf(thrown, "stack");
  const rejection = new Rejection(cutText(textOfThrown(thrown), MESSAGE_CHARS_MAX), {
    name: typeof name === "string" && name !== "" ? cutText(name, NAME_CHARS_MAX) : "Error",
    code: isCode(code) ? code : null,
  });
  if (typeof stack === "string") rejection.stack = stack;
  return rejection;
}

/** The rejection without its stack, as text. */
export function textOfRejection({ name, message, code }: Rejection): string {
  return JSON.stringify({ name, message, code });
}

/** What `textOfRejection` returned; of any other text, a rejection with that message. */
export function rejectionOfText(text: string): Rejection {
  const { name, message, code } = fieldsOf(text);
  if (typeof name !== "string" || typeof message !== "string") return new Rejection(text);
  return new Rejection(message, { name, code: isCode(code) ? code : null });
}

function fieldsOf(text: string): Partial<Record<"name" | "message" | "code", unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}

function isCode(code: unknown): code is string | number {
  if (typeof code === "string") return code.length <= NAME_CHARS_MAX && code.isWellFormed();
  return typeof code === "number" && Number.isFinite(code) && !Object.is(code, -0);
}

function propertyOf(thrown: unknown, name: "name" | "code" | "stack"): unknown {
  try {
    return typeof thrown === "object" && thrown !== null ? Reflect.get(thrown, name) : undefined;
  } catch {
    return undefined;
  }
}
