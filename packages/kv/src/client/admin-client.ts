import * as v from "valibot";
import { authorization } from "../shared/admin-token.ts";
import { ErrorBodyText, KvClientError } from "./client-error.ts";
import { unreachable } from "./unreachable.ts";

/** What one request may take before another node is asked; the server itself says sooner that something takes long. */
const ATTEMPT_MS_MAX = 15_000;
/** Redirects that one request follows: more are two nodes that each take the other for the leader. */
const REDIRECTS_MAX = 3;

const Member = v.object({
  id: v.string(),
  address: v.string(),
  role: v.picklist(["voter", "learner", "leaving"]),
  lag: v.nullable(v.number()),
  active: v.nullable(v.boolean()),
  http: v.optional(v.string()),
  snapshot: v.optional(v.object({ bytesDone: v.number(), bytesTotal: v.number() })),
});
const Members = v.object({
  id: v.string(),
  clusterId: v.nullable(v.string()),
  role: v.string(),
  term: v.number(),
  leader: v.nullable(v.object({ id: v.string(), http: v.optional(v.string()) })),
  changing: v.boolean(),
  members: v.array(Member),
});
const Snapshot = v.object({ index: v.number(), term: v.number(), bytes: v.number() });
export type Member = v.InferOutput<typeof Member>;
export type Members = v.InferOutput<typeof Members>;

/** Asks a cluster's nodes how it is, and to change. Requests go to the leader, wherever it is. */
export class AdminClient {
  readonly #nodes: readonly string[];
  readonly #token: string | null;
  #turn = 0;

  /** `token`: what the nodes want to see of who operates them; null: nothing. */
  constructor(nodes: readonly string[], token: string | null = null) {
    this.#nodes = nodes;
    this.#token = token;
  }

  /** The members as the leader knows them; as some node does, if there is no leader to be found. */
  async members(): Promise<Members> {
    const found = await this.#ask("/members", Members);
    const leader = found.leader?.http;
    if (found.role === "leader" || leader === undefined) return found;
    return new AdminClient([leader]).#ask("/members", Members).catch(() => found);
  }

  /** What a node says of itself at /status. */
  status(): Promise<Record<string, unknown>> {
    return this.#ask("/status", v.record(v.string(), v.unknown()));
  }

  /** Has the first node take a snapshot of its state, and waits for it. */
  async snapshot(timeoutMs: number): Promise<v.InferOutput<typeof Snapshot>> {
    const answer = v.safeParse(
      Snapshot,
      await resultOf(await this.#fetch(this.#next(), "POST", "/snapshot", {}, timeoutMs)),
    );
    if (answer.success) return answer.output;
    throw new KvClientError("BAD_ANSWER", "unknown", 200, "what answers there is no node of Keelson");
  }

  /** One request, on the leader, once. @throws KvClientError */
  async change(method: "POST" | "DELETE", target: string, body?: object): Promise<unknown> {
    let node = this.#next();
    // If this one does not answer, or sends us to one that does not, the next request begins at another.
    this.#turn += 1;
    for (let redirects = 0; ; redirects++) {
      const response = await this.#fetch(node, method, target, body);
      const location = response.status === 307 ? response.headers.get("location") : null;
      if (location === null || redirects === REDIRECTS_MAX) return resultOf(response);
      await response.arrayBuffer();
      node = new URL(location).host;
    }
  }

  /** From the first node that answers. */
  async #ask<Schema extends v.GenericSchema>(target: string, schema: Schema): Promise<v.InferOutput<Schema>> {
    let failure: unknown;
    for (const _ of this.#nodes) {
      try {
        const answer = v.safeParse(schema, await resultOf(await this.#fetch(this.#next(), "GET", target)));
        if (answer.success) return answer.output;
        throw new KvClientError("BAD_ANSWER", "not-done", 200, "what answers there is no node of Keelson");
      } catch (error) {
        failure = error;
        this.#turn += 1;
      }
    }
    throw failure;
  }

  #next(): string {
    return this.#nodes[this.#turn % this.#nodes.length] ?? "";
  }

  async #fetch(
    node: string,
    method: string,
    target: string,
    body?: object,
    timeoutMs = ATTEMPT_MS_MAX,
  ): Promise<Response> {
    try {
      return await fetch(`http://${node}${target}`, {
        method,
        redirect: "manual",
        // To look at it needs none.
        headers: method === "GET" ? {} : authorization(this.#token),
        signal: AbortSignal.timeout(timeoutMs),
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
    } catch (cause) {
      // Whatever is asked here may be asked again: it names what should be, not what should be done.
      throw new KvClientError("UNREACHABLE", "unknown", null, unreachable(node, cause), { cause });
    }
  }
}

async function resultOf(response: Response): Promise<unknown> {
  const text = await response.text();
  if (response.ok) return text === "" ? {} : (JSON.parse(text) as unknown);
  const body = v.safeParse(ErrorBodyText, text);
  if (!body.success) {
    throw new KvClientError(
      "BAD_ANSWER",
      "unknown",
      response.status,
      `an answer with status ${response.status}`,
    );
  }
  const { code, message, outcome } = body.output.error;
  throw new KvClientError(code, outcome, response.status, message);
}
