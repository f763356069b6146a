/** The errors of both clients, and the body of the server's error answers. */
import * as v from "valibot";

/**
 * What a call that failed did. `not-done`: it had no effect and won't have one. `unknown`: it may have taken
 * effect, or may yet. `done`: it took effect.
 */
export type KvOutcome = "not-done" | "unknown" | "done";

/**
 * A call failed. `outcome` says whether it can be repeated without taking effect twice: surely only after
 * `not-done`.
 */
export class KvClientError extends Error {
  override readonly name = "KvClientError";
  /**
   * The server's code, or `UNREACHABLE`, `CONNECTION_LOST`, `TIMED_OUT`, `ABORTED`, `BAD_ANSWER`,
   * `REDIRECT_REFUSED` if the leader is a node that the client may not follow to (`known-nodes.ts`),
   * `TOO_MANY_CALLS` if the client has too many calls in progress (`call-budget.ts`), or `INVALID_OPTION` if
   * the call itself isn't valid.
   */
  readonly code: string;
  /** The outcome of all attempts of the call together. */
  readonly outcome: KvOutcome;
  /** The HTTP status of the last answer, which the binary protocol has too. null: there was no answer. */
  readonly status: number | null;

  constructor(
    code: string,
    outcome: KvOutcome,
    status: number | null,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.code = code;
    this.outcome = outcome;
    this.status = status;
  }
}

/** The body of an error answer. */
export interface ErrorBody {
  readonly error: { readonly code: string; readonly message: string; readonly outcome: KvOutcome };
}

/** Parses the body of an error answer, which is JSON. */
export const ErrorBodyText: v.GenericSchema<string, ErrorBody> = v.pipe(
  v.string(),
  v.parseJson(),
  v.object({
    error: v.object({
      code: v.string(),
      message: v.string(),
      outcome: v.picklist(["not-done", "unknown", "done"]),
    }),
  }),
);
