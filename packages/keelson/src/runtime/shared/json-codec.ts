// The default codec: commands and results as JSON. Imports no other part of the runtime.
//
// `JSON.stringify` changes what JSON can't hold without an error: a Date becomes a text, NaN becomes null, a
// Map becomes {}. A command would then be another value for `apply` than it was for its caller. So this file
// writes the text itself, in one pass over the value, and throws where decoding it would give another value.
// One pass also means that a getter or a proxy can't show one value to a check and another to the encoder.
//
// That costs two to four times as much CPU time as `JSON.stringify`: 2 microseconds for a small command.
import { RECORD_PAYLOAD_BYTES_MAX } from "../../codec/record.ts";
import { CommandInvalidError, DecodeError, textOfThrown } from "../../errors.ts";
import type { StateMachineCodec } from "./state-machine.ts";

/**
 * The codec of a state machine that names none: commands and results are JSON, encoded as UTF-8.
 *
 * A value has to come back equal. So these are refused, with an error that says where the value has them:
 * functions, symbols, bigints, NaN and infinite numbers; `undefined` as a command or in an array; Dates,
 * Maps, Sets, typed arrays and all other objects that are neither arrays nor plain objects; properties with
 * symbol keys, holes in arrays and properties of arrays; values that refer to themselves, or are nested more
 * than 512 levels deep.
 *
 * These are kept exactly: -0, texts with lone surrogates, an own property named `__proto__`, and the order of
 * properties. A property whose value is `undefined` is left out: it reads as `undefined` before and after. An
 * object that appears twice becomes two objects. An object without a prototype becomes an ordinary one.
 *
 * A command that is refused rejects `write` with `CommandInvalidError`, before anything is proposed. A result
 * that is refused rejects it with `ResultUnavailableError`: the command took effect. A result may be
 * `undefined`, so `apply` needs no `return`.
 *
 * Its methods don't use `this`, so parts of it can be combined with others.
 *
 * @example
 * ```ts
 * const codec = { ...jsonCodec<Uint8Array, number>(), encode: bytesCodec().encode, decode: bytesCodec().decode };
 * ```
 */
export function jsonCodec<Command, Result>(): Required<StateMachineCodec<Command, Result>> {
  return { encode: encodeCommand, decode: decodeCommand, encodeResult, decodeResult };

  function decodeCommand(bytes: Uint8Array): Command {
    return valueOf(bytes, "the command") as Command;
  }

  function decodeResult(bytes: Uint8Array): Result {
    return (bytes.length === 0 ? undefined : valueOf(bytes, "the result")) as Result;
  }
}

/**
 * Arrays and objects in each other, at most. Without a limit, how deep a value may be nested would depend on
 * the stack that is left, which differs between nodes, and a value that refers to itself would have no end.
 */
const DEPTH_MAX = 512;

/**
 * UTF-16 units of the text. No entry holds more. Without this limit a small value in which the same object
 * appears many times, at many levels, could make a text of any length.
 */
const CHARACTERS_MAX = RECORD_PAYLOAD_BYTES_MAX;

const textEncoder = new TextEncoder();
const textDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** What an absent result is encoded as. No JSON text is empty. */
const NO_BYTES = new Uint8Array(0);

function encodeCommand(command: unknown): Uint8Array {
  try {
    return textEncoder.encode(textOf(command, 0));
  } catch (error) {
    const path = error instanceof NotJson ? error.path : [];
    throw new CommandInvalidError([{ path, message: textOfThrown(error) }], { cause: error });
  }
}

function encodeResult(result: unknown): Uint8Array {
  return result === undefined ? NO_BYTES : textEncoder.encode(textOf(result, 0));
}

function valueOf(bytes: Uint8Array, what: string): unknown {
  try {
    return JSON.parse(textDecoder.decode(bytes));
  } catch (error) {
    throw new DecodeError(`${what} is not JSON in UTF-8: ${textOfThrown(error)}`, { cause: error });
  }
}

/** A part of a value doesn't fit into JSON. */
class NotJson extends TypeError {
  override readonly name = "NotJson";
  /** Where the part is: property names and array indexes, from the outside in. */
  readonly path: (string | number)[] = [];
}

/** The value as JSON. `depth`: how many arrays and objects it is in. @throws NotJson */
function textOf(value: unknown, depth: number): string {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value);
    case "number":
      return textOfNumber(value);
    case "boolean":
      return value ? "true" : "false";
    case "object":
      if (value === null) return "null";
      if (depth >= DEPTH_MAX) {
        throw new NotJson(`it is nested more than ${String(DEPTH_MAX)} levels deep, or refers to itself`);
      }
      return Array.isArray(value) ? textOfArray(value, depth) : textOfObject(value, depth);
    case "bigint":
      throw new NotJson("JSON has no bigint; pass it as a text");
    default:
      throw new NotJson(`JSON has no ${typeof value}`);
  }
}

function textOfNumber(value: number): string {
  if (!Number.isFinite(value)) throw new NotJson(`JSON has no ${String(value)}`);
  // `String(-0)` is "0". `JSON.parse` reads "-0" as -0.
  return Object.is(value, -0) ? "-0" : String(value);
}

function textOfArray(value: readonly unknown[], depth: number): string {
  if (!isPlain(value, Array.prototype, "copyWithin")) throw notPlain(value);
  if (Object.keys(value).length !== value.length) {
    throw new NotJson("JSON has no arrays with holes or with properties of their own");
  }
  let text = "[";
  for (let at = 0; at < value.length; at++) {
    const part = textOfPart(at, value[at], depth);
    text += at === 0 ? part : `,${part}`;
    checkLength(text);
  }
  return `${text}]`;
}

function textOfObject(value: object, depth: number): string {
  if (!isPlain(value, Object.prototype, "isPrototypeOf") && Object.getPrototypeOf(value) !== null) {
    throw notPlain(value);
  }
  if (Object.getOwnPropertySymbols(value).length > 0) {
    throw new NotJson("JSON has no properties with symbols as keys");
  }
  let text = "{";
  for (const key of Object.keys(value)) {
    const property = (value as Readonly<Record<string, unknown>>)[key];
    if (property === undefined) continue;
    const part = textOfPart(key, property, depth);
    text += `${text === "{" ? "" : ","}${JSON.stringify(key)}:${part}`;
    checkLength(text);
  }
  return `${text}}`;
}

/**
 * The text of one element or property. An error that passes through here gets the key or index put before its
 * path, so that it says where in the value the part is.
 */
function textOfPart(key: string | number, part: unknown, depth: number): string {
  try {
    return textOf(part, depth + 1);
  } catch (error) {
    if (error instanceof NotJson) error.path.unshift(key);
    throw error;
  }
}

function checkLength(text: string): void {
  if (text.length <= CHARACTERS_MAX) return;
  throw new NotJson(`its JSON has more than ${String(CHARACTERS_MAX)} characters`);
}

/**
 * Whether the object inherits only from `prototype`, or from its counterpart in another realm (a `vm`
 * context, such as that of some test runners), which is known by a method of its own.
 */
function isPlain(value: object, prototype: object, methodOfPrototype: string): boolean {
  const own: unknown = Object.getPrototypeOf(value);
  if (own === prototype) return true;
  if (typeof own !== "object" || own === null || !Object.hasOwn(own, methodOfPrototype)) return false;
  const next: unknown = Object.getPrototypeOf(own);
  return next === null || prototype === Array.prototype;
}

/** What to pass instead of an object that isn't plain, by the name of its class. */
const INSTEAD: Readonly<Record<string, string>> = {
  Date: "pass its toISOString() or getTime()",
  Map: "pass an array of its entries",
  Set: "pass an array of its values",
  Uint8Array: "pass it as text, such as base64, or use bytesCodec() or a codec of your own",
  Buffer: "pass it as text, such as base64, or use bytesCodec() or a codec of your own",
  Promise: "await it first",
};

function notPlain(value: object): NotJson {
  const { constructor } = value as { readonly constructor?: unknown };
  const name =
    typeof constructor === "function" && constructor.name !== "" ? constructor.name : "other class";
  const instead = INSTEAD[name] ?? "pass a plain object or array, or use a codec of your own";
  return new NotJson(`JSON has no ${name}; ${instead}`);
}
