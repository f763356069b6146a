import * as v from "valibot";

/** What a call did: `not-done`: nothing, now or later; `unknown`: perhaps something, perhaps later; `done`: it took effect. */
export type KvOutcome = "not-done" | "unknown" | "done";

/** A call that failed. `outcome` says whether it may be repeated blindly. */
export class KvClientError extends Error {
  override readonly name = "KvClientError";
  /** The server's code, or `UNREACHABLE`, `CONNECTION_LOST`, `TIMED_OUT`, `ABORTED`, `BAD_ANSWER`. */
  readonly code: string;
  readonly outcome: KvOutcome;
  /** null: there was no answer. */
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

/** The body of every answer that is an error, as JSON text. */
export const ErrorBodyText = v.pipe(
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
