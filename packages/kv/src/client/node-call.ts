/**
 * What a client asks a node, and what came of it, whichever protocol carries it.
 *
 * A `Transport` carries one attempt of a call to one node. It decides nothing about retries, and never
 * rejects: `kv-client.ts` decides by the kind of the answer what to do next.
 */
import type { KvClientError } from "./client-error.ts";

/** What a put did. */
export interface KvPutResult {
  /** Puts and deletes that were applied before this one. */
  readonly index: number;
  /** The key's version from now on, for `ifVersion`. */
  readonly version: number;
}

/** What a delete did. */
export interface KvDeleteResult {
  /** Puts and deletes that were applied before this one. */
  readonly index: number;
  /** Whether the key had a value before. */
  readonly existed: boolean;
}

/** A value with its version. */
export interface KvValue {
  readonly value: Uint8Array;
  readonly version: number;
}

/** How new a value a read must see (`KvReadOptions.consistency`). */
export type ReadConsistency = "linearizable" | "lease" | "stale";

/** A write's place in its session. */
export interface SessionPlace {
  /** The session's id. */
  readonly session: number;
  /** The number of the write in the session. A repeated write has the same number. */
  readonly sequence: number;
  /** The lowest number whose answer the client lacks. It may rise from one attempt to the next. */
  readonly unanswered: number;
}

/** The condition of a write. At most one of the two is set. */
export interface CallCondition {
  /** The write takes effect only if this is the key's version. undefined: at any version. */
  readonly ifVersion: number | undefined;
  /** The write takes effect only if the key has no value. */
  readonly ifAbsent: boolean;
}

interface Write {
  readonly key: Uint8Array;
  readonly condition: CallCondition;
  /** The write's place as of the attempt. undefined: the write belongs to no session. */
  readonly place?: () => SessionPlace;
}

export interface PutCall extends Write {
  readonly type: "put";
  readonly value: Uint8Array;
}

export interface DeleteCall extends Write {
  readonly type: "delete";
}

export interface GetCall {
  readonly type: "get";
  readonly key: Uint8Array;
  /** undefined: as the server's default, `linearizable`. */
  readonly consistency: ReadConsistency | undefined;
}

/** Opens a session. */
export interface OpenSessionCall {
  readonly type: "open-session";
}

/** Ends a session. Succeeds too if it has ended already. */
export interface EndSessionCall {
  readonly type: "end-session";
  readonly session: number;
}

/** A call as a node executes it. */
export type NodeCall = PutCall | DeleteCall | GetCall | OpenSessionCall | EndSessionCall;

/** What each call results in, by its type. */
export interface CallResults {
  readonly put: KvPutResult;
  readonly delete: KvDeleteResult;
  /** null: the key has no value. */
  readonly get: KvValue | null;
  /** The session's id. */
  readonly "open-session": number;
  readonly "end-session": null;
}

/** What came of one attempt. */
export type NodeAnswer<Result> =
  | { readonly type: "done"; readonly result: Result }
  /**
   * The error is about all attempts: "the condition doesn't hold", or an answer that no node would give. In a
   * session, the former is the first attempt's answer.
   */
  | { readonly type: "verdict"; readonly error: KvClientError }
  /** The node refused this attempt, and would refuse it again. */
  | { readonly type: "refused"; readonly error: KvClientError }
  /** Another node leads. `location`: its URL. null: the answer doesn't say which. */
  | { readonly type: "redirect"; readonly error: KvClientError; readonly location: string | null }
  /** There was no answer, or the node can't serve calls now. Another node may. */
  | { readonly type: "failed"; readonly error: KvClientError };

/** What ends an attempt without an answer. */
export interface AttemptLimits {
  /** The attempt ends after this many milliseconds, with the code `TIMED_OUT`. */
  readonly timeoutMs: number;
  /** The caller's: when it is aborted, the attempt ends with the code `ABORTED`. */
  readonly signal: AbortSignal | undefined;
}

/** Carries calls to nodes. */
export interface Transport {
  /** Sends one attempt of a call to a node: "host:port", or "https://host:port" for TLS. Never rejects. */
  attempt<Call extends NodeCall>(
    node: string,
    call: Call,
    limits: AttemptLimits,
  ): Promise<NodeAnswer<CallResults[Call["type"]]>>;
}
