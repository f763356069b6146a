/**
 * The client of the routes for operators: members, leadership, snapshots and status. It sends each request
 * once, or once to each node; `membership-goal.ts` repeats requests until a change is done.
 */
import * as v from "valibot";
import { authorization } from "../access/token-file.ts";
import { ErrorBodyText, KvClientError, type KvOutcome } from "./client-error.ts";
import { KnownNodes } from "./known-nodes.ts";
import { Sender, type ClientTls } from "./sender.ts";
import { isRefused, unreachable } from "./unreachable.ts";

/**
 * The most milliseconds of one request. The server answers sooner: it waits for a change only as long as the
 * request's `timeoutMs` says, or 10 s.
 */
const ATTEMPT_MS_MAX = 15_000;
/** The most redirects that one request follows. With more, two nodes take each other for the leader. */
const REDIRECTS_MAX = 3;

/** What this client uses of the members' view (`http/member-routes.ts`). */
const Member: v.GenericSchema<unknown, Member> = v.object({
  id: v.string(),
  address: v.string(),
  role: v.picklist(["voter", "learner", "leaving"]),
  lag: v.nullable(v.number()),
  active: v.nullable(v.boolean()),
  match: v.optional(v.nullable(v.number())),
  lostEntries: v.optional(v.nullable(v.boolean())),
  http: v.optional(v.string()),
  snapshot: v.optional(v.object({ bytesDone: v.number(), bytesTotal: v.number() })),
});
const Members: v.GenericSchema<unknown, Members> = v.object({
  id: v.string(),
  clusterId: v.nullable(v.string()),
  role: v.string(),
  term: v.number(),
  leader: v.nullable(
    v.object({ id: v.string(), http: v.optional(v.string()), tls: v.optional(v.boolean()) }),
  ),
  changing: v.boolean(),
  members: v.array(Member),
});
/** The answer to `POST /snapshot`. */
const Snapshot: v.GenericSchema<unknown, TakenSnapshot> = v.object({
  index: v.number(),
  term: v.number(),
  bytes: v.number(),
});
/** The answer to `POST /transfer`. */
const Transfer = v.object({ leader: v.string() });

/** A member of the cluster. */
export interface Member {
  readonly id: string;
  readonly address: string;
  readonly role: "voter" | "learner" | "leaving";
  readonly lag: number | null;
  readonly active: boolean | null;
  /** The last entry known to be durable on this member and equal to the leader's. 0: none. */
  readonly match?: number | null | undefined;
  readonly lostEntries?: boolean | null | undefined;
  readonly http?: string | undefined;
  readonly snapshot?: { readonly bytesDone: number; readonly bytesTotal: number } | undefined;
}

/** The members of the cluster, as the node `id` knows them. */
export interface Members {
  readonly id: string;
  readonly clusterId: string | null;
  readonly role: string;
  readonly term: number;
  readonly leader: {
    readonly id: string;
    readonly http?: string | undefined;
    readonly tls?: boolean | undefined;
  } | null;
  readonly changing: boolean;
  readonly members: readonly Member[];
}

/** The last entry that a snapshot covers, and its size. */
export interface TakenSnapshot {
  readonly index: number;
  readonly term: number;
  readonly bytes: number;
}

/**
 * No node can be asked: no Keelson listens at any of the addresses, so that waiting can't help (`isRefused`).
 */
export class NothingListensError extends KvClientError {}

/** Options of an `AdminClient`. */
export interface AdminClientOptions {
  /** Sent to the nodes that the client was told about. Default: none. */
  readonly token?: string | null | undefined;
  readonly tls?: ClientTls | undefined;
  /** Told what each request waits for. */
  readonly onWait?: ((text: string) => void) | undefined;
}

/** Asks nodes of a cluster about it, and asks its leader to change it. */
export class AdminClient {
  readonly #nodes: readonly string[];
  readonly #known: KnownNodes;
  readonly #sender: Sender;
  readonly #token: string | null;
  readonly #onWait: (text: string) => void;
  /** Counts up whenever the next request should go to another node. */
  #nextNode = 0;

  /** `nodes`: "host:port" or "https://host:port", at least one. */
  constructor(nodes: readonly string[], options: AdminClientOptions = {}) {
    this.#nodes = nodes;
    this.#token = options.token ?? null;
    this.#known = new KnownNodes(nodes, this.#token !== null);
    this.#sender = new Sender(options.tls);
    this.#onWait = options.onWait ?? (() => undefined);
  }

  /** The members as the leader knows them; if the leader can't be asked, as some node knows them. */
  async members(): Promise<Members> {
    const [found, from] = await this.#askAny("/members", Members);
    const { role, leader } = found;
    if (role === "leader" || leader?.http === undefined) return found;
    const url = `${leader.tls === true ? "https" : "http"}://${leader.http}`;
    try {
      const node = this.#known.follow(from, url);
      return node === null ? found : await this.#ask(node, "/members", Members);
    } catch {
      return found;
    }
  }

  /** The body of `GET /status` from the first node that answers. */
  async status(): Promise<Record<string, unknown>> {
    const [status] = await this.#askAny("/status", v.record(v.string(), v.unknown()));
    return status;
  }

  /** Asks the first node to take a snapshot, and waits until it is durable there. */
  async snapshot(timeoutMs: number): Promise<TakenSnapshot> {
    const response = await this.#fetch(this.#currentNode(), "POST", "/snapshot", {}, timeoutMs);
    return checked(Snapshot, await resultOf(response), "unknown");
  }

  /**
   * Has the leader hand over, to `to` or to the voter with the most complete log. Resolves with the id of the
   * new leader.
   */
  async transfer(to?: string): Promise<string> {
    const result = await this.change("POST", "/transfer", to === undefined ? {} : { to });
    return checked(Transfer, result, "unknown").leader;
  }

  /**
   * Sends one request that changes something, and follows redirects to the leader.
   *
   * @throws KvClientError
   */
  async change(method: "POST" | "DELETE", target: string, body?: object): Promise<unknown> {
    let node = this.#currentNode();
    // Begin the next request at another node: this one, or the leader that it names, may not answer.
    this.#nextNode += 1;
    for (let redirects = 0; ; redirects++) {
      const response = await this.#fetch(node, method, target, body);
      const location = response.status === 307 ? response.headers.get("location") : null;
      if (location === null || redirects === REDIRECTS_MAX) return resultOf(response);
      const next = this.#known.follow(node, location);
      if (next === null) return resultOf(response);
      await textOf(response);
      node = next;
    }
  }

  /** Sends a GET request to one node after another, and resolves with the first valid answer and its node. */
  async #askAny<Schema extends v.GenericSchema>(
    target: string,
    schema: Schema,
  ): Promise<[answer: v.InferOutput<Schema>, node: string]> {
    const failures: unknown[] = [];
    for (const _ of this.#nodes) {
      const node = this.#currentNode();
      try {
        return [await this.#ask(node, target, schema), node];
      } catch (error) {
        failures.push(error);
        this.#nextNode += 1;
      }
    }
    throw failureOfAll(failures);
  }

  async #ask<Schema extends v.GenericSchema>(
    node: string,
    target: string,
    schema: Schema,
  ): Promise<v.InferOutput<Schema>> {
    const response = await this.#fetch(node, "GET", target);
    return checked(schema, await resultOf(response), "not-done");
  }

  #currentNode(): string {
    return this.#nodes[this.#nextNode % this.#nodes.length] ?? "";
  }

  async #fetch(
    node: string,
    method: string,
    target: string,
    body?: object,
    timeoutMs = ATTEMPT_MS_MAX,
  ): Promise<Response> {
    this.#onWait(`waiting for ${node} to answer`);
    try {
      return await this.#sender.send(node, target, {
        method,
        headers: authorization(this.#token),
        signal: AbortSignal.timeout(timeoutMs),
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch (cause) {
      // "unknown" even if the request was surely not sent: callers repeat requests whatever their outcome,
      // because requests describe the desired state.
      throw new KvClientError("UNREACHABLE", "unknown", null, unreachable(node, cause), { cause });
    }
  }
}

/**
 * The error to throw when no node gave a useful answer: the last node's error, or, if nothing listens at any
 * address, one that names all of them.
 */
function failureOfAll(failures: readonly unknown[]): unknown {
  const refused = failures.filter((one) => one instanceof KvClientError && isRefused(one.cause));
  if (refused.length < failures.length) return failures.at(-1);
  const message = refused.map((one) => (one instanceof Error ? one.message : String(one))).join("; ");
  return new NothingListensError("UNREACHABLE", "not-done", null, message, {
    cause: new AggregateError(refused),
  });
}

/**
 * Checks the body of a successful answer. `outcome`: the outcome of the error, if no node of Keelson would
 * send such a body.
 */
function checked<Schema extends v.GenericSchema>(
  schema: Schema,
  body: unknown,
  outcome: KvOutcome,
): v.InferOutput<Schema> {
  const answer = v.safeParse(schema, body);
  if (answer.success) return answer.output;
  throw new KvClientError("BAD_ANSWER", outcome, 200, "what answers there is no node of Keelson");
}

/** The JSON body of a successful answer. Throws the error that any other answer describes. */
async function resultOf(response: Response): Promise<unknown> {
  const text = await textOf(response);
  if (response.ok) return checked(v.pipe(v.string(), v.parseJson()), text === "" ? "{}" : text, "unknown");
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

/** The whole body. The request may have taken effect even if its answer breaks off. */
async function textOf(response: Response): Promise<string> {
  try {
    return await response.text();
  } catch (cause) {
    const message = `the connection was lost in the middle of an answer with status ${response.status}`;
    throw new KvClientError("CONNECTION_LOST", "unknown", response.status, message, { cause });
  }
}
