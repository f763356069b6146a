import { DecodeError, InvalidOptionError } from "../../errors.ts";
import { checkTimes, type Operation } from "./operation.ts";

/**
 * The least time between two events of one recorder: about a microsecond. The checker depends on the order of
 * events, but clocks are coarse, and a simulated clock stands still for thousands of events. A power of two,
 * so that adding it to a clock's milliseconds is exact.
 */
const EVENT_STEP_MS = 1 / 1024;

/**
 * A call that has not ended. Report its outcome once; a second report throws `InvalidOptionError`. A call
 * without a report has an unknown outcome.
 */
export interface OpenOperation<Output> {
  readonly id: number;
  /** Records that the call returned, with this output. */
  done(output: Output): void;
  /** Records that the call failed, and may still take effect. */
  unknown(): void;
  /** Records that the call failed, and definitely had and will have no effect. */
  notDone(): void;
}

interface RecordedCall<Input, Output> {
  readonly client: string;
  readonly input: Input;
  readonly calledAt: number;
  end:
    | { readonly outcome: "done"; readonly returnedAt: number; readonly output: Output }
    | { readonly outcome: "unknown" | "not-done" }
    | undefined;
}

/**
 * Records the calls of clients and their results, in the order in which they happened.
 *
 * @example
 * const history = new History<RegisterInput, RegisterOutput>(() => environment.now());
 * const read = history.invoke("client 1", { type: "read" });
 * read.done({ value: 5 });
 * const result = checkLinearizability(registerModel(), history.operations());
 */
export class History<Input, Output> {
  readonly #now: () => number;
  readonly #records: RecordedCall<Input, Output>[] = [];
  #lastMs = Number.NEGATIVE_INFINITY;

  /** `now` returns milliseconds. Recorders in several processes need the same clock. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** How many calls were recorded. */
  get size(): number {
    return this.#records.length;
  }

  /** Records a call. Call this right before you send the request. */
  invoke(client: string, input: Input): OpenOperation<Output> {
    const id = this.#records.length;
    const record: RecordedCall<Input, Output> = { client, input, calledAt: this.#stamp(), end: undefined };
    this.#records.push(record);
    const finish = (end: NonNullable<RecordedCall<Input, Output>["end"]>): void => {
      if (record.end !== undefined) {
        throw new InvalidOptionError(`operation #${id} of client ${client} has its outcome already`);
      }
      record.end = end;
    };
    return {
      id,
      done: (output) => finish({ outcome: "done", returnedAt: this.#stamp(), output }),
      unknown: () => finish({ outcome: "unknown" }),
      notDone: () => finish({ outcome: "not-done" }),
    };
  }

  /** The operations recorded so far. A call that has not ended has an unknown outcome. */
  operations(): Operation<Input, Output>[] {
    return this.#records.map(({ client, input, calledAt, end }, id) => ({
      id,
      client,
      input,
      calledAt,
      ...(end ?? { outcome: "unknown" }),
    }));
  }

  /** The operations as text, one a line. `parseHistory` reads it. */
  toJsonLines(): string {
    return formatHistory(this.operations());
  }

  #stamp(): number {
    this.#lastMs = Math.max(this.#now(), this.#lastMs + EVENT_STEP_MS);
    return this.#lastMs;
  }
}

/** A history as text: one line for each operation, each a JSON object. */
export function formatHistory(operations: readonly Operation<unknown, unknown>[]): string {
  return operations.map((operation) => `${JSON.stringify(operation)}\n`).join("");
}

/**
 * Reads what `formatHistory` wrote. It can't check inputs and outputs by itself: pass a `check` that throws
 * if they aren't what your model takes. Throws `DecodeError`, which names the line.
 */
export function parseHistory<Input, Output>(
  lines: string,
  check?: (operation: Operation<unknown, unknown>) => asserts operation is Operation<Input, Output>,
): Operation<Input, Output>[] {
  const operations: Operation<Input, Output>[] = [];
  for (const [at, line] of lines.split("\n").entries()) {
    if (line.trim() === "") continue;
    try {
      const operation = parseOperation(JSON.parse(line));
      check?.(operation);
      // Without `check`, the caller is responsible for the inputs and outputs.
      operations.push(operation as Operation<Input, Output>);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new DecodeError(`line ${at + 1} of the history is no operation: ${why}`, { cause: error });
    }
  }
  return operations;
}

function parseOperation(value: unknown): Operation<unknown, unknown> {
  if (typeof value !== "object" || value === null) throw new DecodeError("it is not an object");
  const { id, client, input, calledAt, outcome, returnedAt, output } = value as { [name: string]: unknown };
  if (typeof id !== "number" || !Number.isSafeInteger(id)) throw new DecodeError("id must be an integer");
  if (typeof client !== "string") throw new DecodeError("client must be a string");
  if (typeof calledAt !== "number") throw new DecodeError("calledAt must be a number");
  const call = { id, client, input, calledAt };
  if (outcome === "unknown" || outcome === "not-done") return checked({ ...call, outcome });
  if (outcome !== "done") throw new DecodeError('outcome must be "done", "unknown" or "not-done"');
  if (typeof returnedAt !== "number") throw new DecodeError("returnedAt must be a number");
  return checked({ ...call, outcome, returnedAt, output });
}

function checked(operation: Operation<unknown, unknown>): Operation<unknown, unknown> {
  checkTimes([operation]);
  return operation;
}
