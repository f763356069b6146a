import { InvalidOptionError } from "../../errors.ts";

interface Invocation<Input> {
  /** Its place in the history, from 0; in explanations `#id`. */
  readonly id: number;
  /** Who called; a lane in pictures. */
  readonly client: string;
  readonly input: Input;
  /** Milliseconds. */
  readonly calledAt: number;
}

/** It returned, so it took effect at some moment between `calledAt` and `returnedAt`. */
export interface DoneOperation<Input, Output> extends Invocation<Input> {
  readonly outcome: "done";
  /** Milliseconds, not before `calledAt`. */
  readonly returnedAt: number;
  readonly output: Output;
}

/** Nobody knows: it may take effect at any moment after `calledAt`, or never. */
export interface UnknownOperation<Input> extends Invocation<Input> {
  readonly outcome: "unknown";
}

/** It surely had no effect and never will; a history in which somebody saw its effect is illegal. */
export interface NotDoneOperation<Input> extends Invocation<Input> {
  readonly outcome: "not-done";
}

/** One call of one client, and what the client learnt of it. */
export type Operation<Input, Output> =
  DoneOperation<Input, Output> | UnknownOperation<Input> | NotDoneOperation<Input>;

/** Refuses times that cannot be, before they turn into a wrong verdict. */
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
