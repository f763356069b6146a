/**
 * The routes that read and write keys: `GET /kv` and `PUT`, `GET` and `DELETE /kv/KEY`. See `http-server.ts`
 * for the table of all routes.
 */
import type { KvCommand } from "../store/commands.ts";
import type { ListedKey, Listing } from "../store/state-machine.ts";
import type { KvNode, Serving } from "../node/kv-node.ts";
import { conditionFailure, NOT_FOUND } from "../operations/failures.ts";
import { checkListLimit } from "../operations/checks.ts";
import { LIST_LIMIT_DEFAULT, type KeyOperations } from "../operations/key-operations.ts";
import type { ValueAccount } from "../shared/read-gate.ts";
import { answerOf, noRoom } from "./error-answers.ts";
import { errorResponse, jsonAnswer, type Answer } from "./answer.ts";
import type { HttpRequest } from "./http-request.ts";
import {
  conditionOf,
  consistencyOf,
  etagOf,
  hasVersion,
  keyOf,
  keyParametersOf,
  parametersOf,
  percentEncode,
  sessionOf,
  textOf,
  type ConsistencyName,
} from "./request-syntax.ts";

/** Answers requests for keys and their values. Throws what the node throws; the caller makes it an answer. */
export class KeyRoutes {
  readonly #operations: KeyOperations;

  constructor(operations: KeyOperations) {
    this.#operations = operations;
  }

  async put(request: HttpRequest, serving: Serving): Promise<Answer> {
    const key = keyOf(request.target);
    const condition = conditionIn(request);
    keyParametersOf(request.target, []);
    const value = (await request.body?.whole()) ?? Buffer.alloc(0);
    if (!Buffer.isBuffer(value)) return errorResponse(value);
    return this.#write(request, serving, { type: "put", key, value, condition });
  }

  async delete(request: HttpRequest, serving: Serving): Promise<Answer> {
    const key = keyOf(request.target);
    keyParametersOf(request.target, []);
    return this.#write(request, serving, { type: "delete", key, condition: conditionIn(request) });
  }

  async get(request: HttpRequest, serving: Serving): Promise<Answer> {
    const key = keyOf(request.target);
    const parameters = keyParametersOf(request.target, ["consistency"]);
    const consistency = consistencyOf(parameters.get("consistency"));
    const staleness = stalenessHeaders(serving.node, consistency);
    const found = await this.#operations.get(serving, key, request.answerAccount, { consistency });
    if (found === "no-room") return errorResponse(noRoom());
    if (found === null) return errorResponse({ ...answerOf(NOT_FOUND), headers: staleness });
    // An HTTP cache on the way would make a linearizable read stale, so it must revalidate each time.
    const headers = { ETag: etagOf(found.version), "Cache-Control": "no-cache", ...staleness };
    if (hasVersion(request.header("If-None-Match"), found.version)) {
      return { status: 304, headers, body: null };
    }
    // The value may be HTML that someone else put. A browser must not run it as a page of this origin, which
    // this type and the "nosniff" that every answer has prevent.
    const type = { "Content-Type": "application/octet-stream" };
    return { status: 200, headers: { ...headers, ...type }, body: found.value };
  }

  async list(request: HttpRequest, serving: Serving): Promise<Answer> {
    const parameters = parametersOf(request.target, ["prefix", "limit", "after", "consistency"]);
    const consistency = consistencyOf(parameters.get("consistency"));
    const limit = limitOf(parameters.get("limit"));
    const prefix = parameters.get("prefix") ?? Buffer.alloc(0);
    const after = parameters.get("after");
    const options = after === undefined ? { prefix, limit } : { prefix, limit, after };
    const headers = stalenessHeaders(serving.node, consistency);
    const encode = ({ keys, more }: Listing, account: ValueAccount): Answer => {
      const last = keys.at(-1);
      const next =
        !more || last === undefined
          ? null
          : `/kv?prefix=${percentEncode(prefix)}&limit=${limit}&after=${percentEncode(last.key)}` +
            (consistency === "linearizable" ? "" : `&consistency=${consistency}`);
      const answer = jsonAnswer({ keys: keys.map(listedKeyBody), next }, headers);
      // Charge the page's bytes here, within the limit on pages at once. If the caller did it later, many
      // pages could be made before the first is counted.
      const bytes = answer.body instanceof Uint8Array ? answer.body.length : 0;
      return account.take(bytes) ? answer : errorResponse(noRoom());
    };
    return this.#operations.list(serving, options, request.answerAccount, { consistency }, encode);
  }

  async #write(request: HttpRequest, serving: Serving, command: KvCommand): Promise<Answer> {
    const session = sessionOf((name) => request.header(name));
    const result = await this.#operations.write(serving, command, session);
    if (result.type === "condition-failed") return errorResponse(answerOf(conditionFailure(result)));
    const { index, version, existed } = result;
    if (version === null) return jsonAnswer({ index, existed });
    return jsonAnswer({ index, version }, { ETag: etagOf(version) });
  }
}

function conditionIn(request: HttpRequest): KvCommand["condition"] {
  return conditionOf(request.header("If-Match"), request.header("If-None-Match"));
}

/**
 * For a stale read, the header `Keelson-Staleness`, a dictionary (RFC 9651): the last applied index, the last
 * index that this node knows to be committed, and the milliseconds since it heard from a leader. For other
 * reads, no header. Call it before the read: then the answer is no older than the header says.
 */
function stalenessHeaders(node: KvNode, consistency: ConsistencyName): Record<string, string> {
  if (consistency !== "stale") return {};
  const { appliedIndex, commitIndex, leaderHeardMsAgo } = node.staleness();
  const heard = leaderHeardMsAgo === null ? "" : `, leader-heard-ms=${Math.ceil(leaderHeardMsAgo)}`;
  return { "Keelson-Staleness": `applied=${appliedIndex}, commit=${commitIndex}${heard}` };
}

function limitOf(value: Buffer | undefined): number {
  const text = value?.toString("utf8") ?? String(LIST_LIMIT_DEFAULT);
  const limit = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  checkListLimit(limit, text);
  return limit;
}

/** A key in a listing: as text if it is UTF-8, else in base64, with `encoding` saying so. */
function listedKeyBody({ key, version, bytes }: ListedKey): object {
  const text = textOf(key);
  return text === null
    ? { key: Buffer.from(key).toString("base64"), encoding: "base64", version, bytes }
    : { key: text, version, bytes };
}
