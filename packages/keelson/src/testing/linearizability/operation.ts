import { InvalidOptionError } from "../../errors.ts";

interface Invocation<Input> {
  /** The operation's place in the history, from 0. Explanations write it as `#id`. */
  readonly id: number;
  /** The client that called. Pictures have a lane for each client. */
  readonly client: string;
  readonly input: Input;
  /** Milliseconds. */
  readonly calledAt: number;
}

/** The operation returned: it took effect at some moment between `calledAt` and `returnedAt`. */
export interface DoneOperation<Input, Output> extends Invocation<Input> {
  readonly outcome: "done";
  /** Milliseconds, not before `calledAt`. */
  readonly returnedAt: number;
  readonly output: Output;
}

/** The client can't tell: the operation may take effect at any moment after `calledAt`, or never. */
export interface UnknownOperation<Input> extends Invocation<Input> {
  readonly outcome: "unknown";
}

/**
 * The operation definitely had no effect and never will. A history in which a client saw its effect is
 * illegal.
 */
export interface NotDoneOperation<Input> extends Invocation<Input> {
  readonly outcome: "not-done";
}

/** One call of one client, and its outcome. */
export type Operation<Input, Output> =
  DoneOperation<Input, Output> | UnknownOperation<Input> | NotDoneOperation<Input>;

/** Refuses impossible times, which would lead to a wrong verdict. */
export function checkTimes(operations: readonly Operation<unknown, unknown>[]): void {
  for (const operation of operations) {
    const { id, client, calledAt } = operation;
    const name = `operation #${id} of client ${client}`;
    if (!Number.isFinite(calledAt)) {
      throw new InvalidOptionError(`${name}: calledAt must be a finite number, not ${calledAt}`);
    }
    if (operation.outcome !== "done") continue;
    if (!Number.isFinite(operation.returnedAt) || operation.returnedAt < calledAt) {
      throw new InvalidOptionError(
        `${name}: returnedAt must be a finite number not before calledAt (${calledAt}), not ${operation.returnedAt}`,
      );
    }
  }
}
