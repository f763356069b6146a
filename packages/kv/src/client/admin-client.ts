import * as v from "valibot";
import { authorization } from "../http/admin-access.ts";
import { KvClientError } from "./kv-client.ts";
import { count, formatBytes } from "../cli/terminal.ts";
import { StartError } from "../shared/errors.ts";

/** What one request may take before another node is asked; the server itself says sooner that something takes long. */
const ATTEMPT_MS_MAX = 15_000;
const PAUSE_MS = 250;
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
const ErrorBody = v.object({
  error: v.object({
    code: v.string(),
    message: v.string(),
    outcome: v.picklist(["not-done", "unknown", "done"]),
  }),
});

export type Member = v.InferOutput<typeof Member>;
export type Members = v.InferOutput<typeof Members>;

/** How far a member is on its way; "": nothing to say. */
export function progressOf(id: string, { members }: Members): string {
  const member = members.find((one) => one.id === id);
  if (member?.role !== "learner") return "";
  if (member.active === false) return `${id} is a learner and does not answer at ${member.address}`;
  if (member.snapshot !== undefined) {
    const { bytesDone, bytesTotal } = member.snapshot;
    return `${id} is a learner and fetches a snapshot, ${formatBytes(bytesDone)} of ${formatBytes(bytesTotal)}`;
  }
  return member.lag === null ? "" : `${id} is a learner, ${count(member.lag, "entry", "entries")} behind`;
}

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
  const body = v.safeParse(v.pipe(v.string(), v.parseJson(), ErrorBody), text);
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

/** In words for people, why `fetch` failed. */
export function unreachable(node: string, error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const code =
    cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : null;
  const isHttp = !(cause instanceof Error && cause.name === "HTTPParserError");
  const reason = isHttp ? ((code === null ? undefined : REASONS[code]) ?? code ?? textOf(cause)) : NO_HTTP;
  return `${node} cannot be reached: ${reason}`;
}

/** What stands in the way, and what to do about it. */
const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nothing listens there; is the node running, and is this its --http address?",
  ENOTFOUND: "the host name is not known",
  EAI_AGAIN: "the host name cannot be looked up at the moment",
  UND_ERR_SOCKET: "it hung up",
};
const NO_HTTP = "what listens there does not speak HTTP; give the node's --http address";

function textOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.name === "TimeoutError" ? "it does not answer" : error.message;
}

/** How a change of the cluster is brought about. */
export interface Goal {
  /** Why it should not even be tried, by the members as they are before the first request; null: nothing is. */
  readonly objection?: (members: Members) => string | null;
  /** One request towards it. */
  readonly request: (client: AdminClient) => Promise<unknown>;
  /** Whether it is reached already. */
  readonly isReached: (members: Members) => boolean;
  /** How far it is, in words: told each time that it is not reached yet, and when time is up. "": nothing to say. */
  readonly progress?: (members: Members) => string;
  readonly onProgress?: (text: string) => void;
  readonly timeoutMs: number;
}

/**
 * Asks until the goal is reached: a node may be gone, leadership may change, and new members take their time. Each
 * request names what should be, so asking twice does no harm.
 *
 * @throws StartError it was refused, or not reached in time
 */
export async function pursue(client: AdminClient, goal: Goal): Promise<Members> {
  const deadline = performance.now() + goal.timeoutMs;
  let last = "no node answered";
  let progress = "";
  let refusal: KvClientError | null = null;
  let hasAsked = false;
  for (;;) {
    try {
      const members = await client.members();
      if (goal.isReached(members)) return members;
      if (!hasAsked) refuse(goal.objection?.(members) ?? null);
      // An earlier request may have been carried out unseen, and this one refused for just that.
      if (refusal !== null && members.role === "leader")
        throw new StartError(refusal.message, { cause: refusal });
      if (refusal === null) {
        progress = goal.progress?.(members) ?? "";
        goal.onProgress?.(progress);
        hasAsked = true;
        last = "the cluster agreed, and it is not so yet";
        await goal.request(client);
        const changed = await client.members();
        if (goal.isReached(changed)) return changed;
      }
    } catch (error) {
      if (!(error instanceof KvClientError)) throw error;
      if (isFinal(error)) refusal ??= error;
      last = error.message;
    }
    if (performance.now() > deadline) {
      const seconds = Math.round(goal.timeoutMs / 1000);
      throw new StartError(
        `not done within ${seconds} s: ${progress === "" ? last : `${progress} (${last})`}`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

function refuse(objection: string | null): void {
  if (objection !== null) throw new StartError(objection);
}

/** Whether asking again would give the same answer. */
function isFinal({ status }: KvClientError): boolean {
  return status !== null && status >= 400 && status < 500 && status !== 409 && status !== 429;
}
