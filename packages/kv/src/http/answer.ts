/** The answers that routes return. `answer-writer.ts` sends them. */
import type { ErrorAnswer } from "./error-answers.ts";

/** A body that is read part by part, because it is too large for memory. */
export interface BodySource {
  /** The size of the whole body, in bytes. */
  readonly bytes: number;
  /** The next part; empty at the end. Called again only when the client has taken the part before. */
  readonly read: () => Promise<Uint8Array>;
  /** Called once, when the answer ends, whether or not the body was read to its end. */
  readonly close: () => Promise<void>;
  /** Aborted if the answer must end early: the connection is then closed. */
  readonly evicted: AbortSignal;
}

/** An answer to a request. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** null: the answer has no body. */
  readonly body: Uint8Array | BodySource | null;
}

/** An answer whose body is JSON. */
export function jsonAnswer(
  body: object,
  headers: Readonly<Record<string, string>> = {},
  status = 200,
): Answer {
  const bytes = Buffer.from(JSON.stringify(body), "utf8");
  return { status, headers: { ...headers, "Content-Type": "application/json" }, body: bytes };
}

/** The error answer as it is sent. */
export function errorResponse({ status, headers, body }: ErrorAnswer): Answer {
  return jsonAnswer(body, headers, status);
}
