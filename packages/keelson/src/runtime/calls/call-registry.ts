import type { Environment } from "../../environment/environment.ts";
import { AbortedError, InvalidOptionError, type RaftError } from "../../errors.ts";
import { Call, type CallOptions, type Cancellation } from "./call.ts";
import type { CallDeadlines } from "./call-deadlines.ts";

export interface CallRegistryParts {
  readonly environment: Environment;
  readonly deadlines: CallDeadlines;
  /** Milliseconds, for calls that name no time limit. */
  readonly timeoutMs: number;
  /** Why the node takes no calls any more; null: it does. */
  readonly refusal: () => RaftError | null;
}

/** What all calls of a node have in common: they are refused alike, and each ends in bounded time. */
export class CallRegistry {
  readonly #parts: CallRegistryParts;

  constructor(parts: CallRegistryParts) {
    this.#parts = parts;
  }

  /** Throws what speaks against a call before anything is done about it. */
  check({ signal, timeoutMs }: CallOptions): void {
    const refusal = this.#parts.refusal();
    if (refusal !== null) throw refusal;
    if (timeoutMs !== undefined && !(timeoutMs >= 0)) {
      throw new InvalidOptionError(
        `timeoutMs is ${String(timeoutMs)}; it should be a number of milliseconds`,
      );
    }
    if (signal?.aborted === true) {
      throw new AbortedError("not-done", "the caller's signal was aborted before the call", {
        cause: signal.reason,
      });
    }
  }

  /** A caller who waits from now on. */
  begin<T>(options: CallOptions, onCancel: (cancellation: Cancellation) => RaftError): Call<T> {
    const { environment, deadlines, timeoutMs } = this.#parts;
    return new Call({
      deadlines,
      now: environment.now(),
      timeoutMs: options.timeoutMs ?? timeoutMs,
      signal: options.signal,
      onCancel,
    });
  }
}
