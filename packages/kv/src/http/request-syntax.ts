/**
 * The syntax of HTTP requests: paths, queries, percent-encoding, entity tags and session headers. Pure
 * functions: the server reads requests with them, and the client writes requests with them.
 */
import type { SessionCommandId } from "keelson";
import { BadRequestError, checkKey, checkSession } from "../operations/checks.ts";
import { CONDITION_VERSIONS_MAX, type Condition } from "../store/commands.ts";

export { BadRequestError } from "../operations/checks.ts";

const PERCENT = 0x25;
const PLUS = 0x2b;
const SPACE = 0x20;

/**
 * Decodes percent-encoded text to bytes, which needn't be UTF-8. A `+` stands for a space in a query, as HTML
 * forms write it, and for itself in a path. `name`: what the text is, for the error.
 *
 * @throws BadRequestError a `%` isn't followed by two hexadecimal digits
 */
export function percentDecode(text: string, part: "path" | "query", name: string): Buffer {
  if (!text.includes("%") && (part === "path" || !text.includes("+"))) return Buffer.from(text, "utf8");
  const source = Buffer.from(text, "utf8");
  const bytes = Buffer.allocUnsafe(source.length);
  let length = 0;
  for (let at = 0; at < source.length; at++) {
    let byte = source[at] ?? 0;
    if (byte === PERCENT) {
      const digits = source.toString("latin1", at + 1, at + 3);
      if (!/^[0-9A-Fa-f]{2}$/.test(digits)) {
        throw new BadRequestError(`${name}: "%${digits}" is not a percent sign and two hexadecimal digits`);
      }
      byte = Number.parseInt(digits, 16);
      at += 2;
    } else if (byte === PLUS && part === "query") {
      byte = SPACE;
    }
    bytes[length++] = byte;
  }
  return bytes.subarray(0, length);
}

/** Encodes bytes so that `percentDecode` returns them, from a path as well as from a query. */
export function percentEncode(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) {
    const character = String.fromCharCode(byte);
    text += /[A-Za-z0-9._~-]/.test(character)
      ? character
      : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return text;
}

/** The text that the bytes are in UTF-8. null: they aren't UTF-8. */
export function textOf(bytes: Uint8Array): string | null {
  try {
    return UTF8.decode(bytes);
  } catch {
    return null;
  }
}

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Splits a request's target into path and query. A target may be a whole URL (RFC 9112, 3.2.2). */
export function splitTarget(target: string): { readonly path: string; readonly query: string } {
  const local = target.startsWith("/") ? target : target.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i, "");
  const end = local.indexOf("?");
  return end === -1 ? { path: local, query: "" } : { path: local.slice(0, end), query: local.slice(end + 1) };
}

/** The host and port of a target that is a whole URL. null: the target is only a path. */
export function authorityOf(target: string): string | null {
  if (target.startsWith("/")) return null;
  return /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i.exec(target)?.[1] ?? null;
}

const KEY_PATH = "/kv/";
const KEY_PARAMETER = "key";

/**
 * The target of a key. The keys "." and ".." go into the query: in a path, most clients take them for steps
 * between folders even if they are percent-encoded (WHATWG URL, 4.5).
 */
export function targetOfKey(key: Uint8Array): string {
  const text = percentEncode(key);
  return text === "." || text === ".." ? `${KEY_PATH}?${KEY_PARAMETER}=${text}` : KEY_PATH + text;
}

/**
 * The key in a target: everything after "/kv/", so slashes in a key needn't be encoded; or, if nothing is
 * there, the parameter `key`.
 */
export function keyOf(target: string): Buffer {
  const { path, query } = splitTarget(target);
  const pair =
    path === KEY_PATH ? query.split("&").find((one) => one.startsWith(`${KEY_PARAMETER}=`)) : undefined;
  const key =
    pair === undefined
      ? percentDecode(path.slice(KEY_PATH.length), "path", "the key")
      : percentDecode(pair.slice(KEY_PARAMETER.length + 1), "query", "the key");
  checkKey(key);
  return key;
}

/**
 * The parameters of the target's query, decoded.
 *
 * @throws BadRequestError a parameter isn't in `known`, or is given twice
 */
export function parametersOf<Name extends string>(target: string, known: readonly Name[]): Map<Name, Buffer> {
  const found = new Map<Name, Buffer>();
  for (const pair of splitTarget(target).query.split("&")) {
    if (pair === "") continue;
    const [rawName = "", ...value] = pair.split("=");
    const name = known.find((one) => one === rawName);
    if (name === undefined) {
      throw new BadRequestError(`unknown parameter "${rawName}"; known here: ${known.join(", ") || "none"}`);
    }
    if (found.has(name)) throw new BadRequestError(`the parameter "${name}" is given twice`);
    found.set(name, percentDecode(value.join("="), "query", `the parameter "${name}"`));
  }
  return found;
}

/** As `parametersOf`, for the target of a key, which may have the key in it. */
export function keyParametersOf<Name extends string>(
  target: string,
  known: readonly Name[],
): Map<Name | typeof KEY_PARAMETER, Buffer> {
  return parametersOf(target, splitTarget(target).path === KEY_PATH ? [...known, KEY_PARAMETER] : known);
}

const CONSISTENCIES = ["linearizable", "lease", "stale"] as const;
/** The consistency of a read, as requests name it. */
export type ConsistencyName = (typeof CONSISTENCIES)[number];

/** Reads the parameter `consistency`. Without one, reads are linearizable. */
export function consistencyOf(value: Buffer | undefined): ConsistencyName {
  const text = value?.toString("utf8") ?? "linearizable";
  const found = CONSISTENCIES.find((one) => one === text);
  if (found !== undefined) return found;
  throw new BadRequestError(`consistency is one of ${CONSISTENCIES.join(", ")}, not "${text}"`);
}

/** A version as an entity tag (RFC 9110, 8.8.3). */
export function etagOf(version: number): string {
  return `"${version}"`;
}

/** One entity tag of a list, and the comma after it, if any. */
const ENTITY_TAG = /^[ \t]*(W\/)?"([\x21\x23-\x7e\x80-\xff]*)"[ \t]*(,|$)/;
/** Stands for every entity tag. */
const ANY = "*";

/** The condition that `If-Match` or `If-None-Match` sets for a write. null: none. */
export function conditionOf(ifMatch: string | undefined, ifNoneMatch: string | undefined): Condition | null {
  if (ifMatch !== undefined && ifNoneMatch !== undefined) {
    throw new BadRequestError("give If-Match or If-None-Match, not both");
  }
  if (ifNoneMatch !== undefined) {
    if (ifNoneMatch.trim() === ANY) return { type: "absent" };
    throw new BadRequestError("a write takes If-None-Match: * only, that is, if the key has no value yet");
  }
  if (ifMatch === undefined) return null;
  if (ifMatch.trim() === ANY) return { type: "exists" };
  const tags = tagsOf(ifMatch, "If-Match");
  if (tags.length > CONDITION_VERSIONS_MAX) {
    throw new BadRequestError(
      `If-Match names ${tags.length} versions; the limit is ${CONDITION_VERSIONS_MAX}`,
    );
  }
  // RFC 9110, 13.1.1: If-Match compares strongly, so a weak tag matches nothing. A tag that this server never
  // gives matches nothing either.
  const versions = tags.flatMap(({ isWeak, version }) => (isWeak || version === null ? [] : [version]));
  return { type: "version", versions };
}

/** Whether a read's `If-None-Match` names this version, so that the client has the value already. */
export function hasVersion(ifNoneMatch: string | undefined, version: number): boolean {
  if (ifNoneMatch === undefined) return false;
  if (ifNoneMatch.trim() === ANY) return true;
  return tagsOf(ifNoneMatch, "If-None-Match").some((tag) => tag.version === version);
}

interface Tag {
  readonly isWeak: boolean;
  /** null: this server gives no such tag. */
  readonly version: number | null;
}

function tagsOf(list: string, name: string): Tag[] {
  const tags: Tag[] = [];
  let rest = list;
  do {
    const match = ENTITY_TAG.exec(rest);
    if (match === null) {
      throw new BadRequestError(
        `${name} is * or a list of versions in quotes as ETag gives them, such as "12"`,
      );
    }
    const opaque = match[2] ?? "";
    const version = /^[1-9]\d{0,15}$/.test(opaque) ? Number(opaque) : null;
    tags.push({
      isWeak: match[1] !== undefined,
      version: version !== null && Number.isSafeInteger(version) ? version : null,
    });
    rest = rest.slice(match[0].length);
    if (match[3] === ",") continue;
    break;
  } while (rest.trim() !== "");
  return tags;
}

// The headers of a write in a session. All are whole numbers from 1 on.
//   Keelson-Session     the session's id, from POST /sessions
//   Keelson-Sequence    the number of this write in the session; a repeated write has the same number
//   Keelson-Unanswered  the lowest number whose answer the client lacks; answers below it are forgotten
export const SESSION_HEADER = "Keelson-Session";
export const SEQUENCE_HEADER = "Keelson-Sequence";
export const UNANSWERED_HEADER = "Keelson-Unanswered";

/**
 * The session and number of a write. null: the write belongs to no session. Without `Keelson-Unanswered`, the
 * client has the answers to all writes before this one.
 */
export function sessionOf(header: (name: string) => string | undefined): SessionCommandId | null {
  const numberOf = (name: string): number | undefined => {
    const text = header(name);
    return text === undefined ? undefined : wholeNumber(name, text);
  };
  const id = numberOf(SESSION_HEADER);
  const sequence = numberOf(SEQUENCE_HEADER);
  const unanswered = numberOf(UNANSWERED_HEADER);
  if (id === undefined && sequence === undefined && unanswered === undefined) return null;
  if (id === undefined || sequence === undefined) {
    throw new BadRequestError(`a write in a session names ${SESSION_HEADER} and ${SEQUENCE_HEADER}`);
  }
  const session = { id, sequence, lowestUnanswered: unanswered ?? sequence };
  checkSession(session, UNANSWERED_HEADER, SEQUENCE_HEADER);
  return session;
}

/** The session's id in a path such as "/sessions/12". */
export function sessionIdOf(target: string): number {
  return wholeNumber("the session", splitTarget(target).path.slice("/sessions/".length));
}

/** Reads a whole number from 1 on. `name`: what it is, for the error. */
export function wholeNumber(name: string, text: string): number {
  const value = /^[1-9]\d{0,15}$/.test(text) ? Number(text) : 0;
  if (value >= 1 && Number.isSafeInteger(value)) return value;
  throw new BadRequestError(`${name} is a whole number from 1 on, not "${text}"`);
}
