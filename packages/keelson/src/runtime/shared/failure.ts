import {
  NodeFailedError,
  StateMachineFailedError,
  StorageFailedError,
  type Outcome,
  type RaftError,
} from "../../errors.ts";

/** Why a node stopped by itself. Each call under way gets an error of its own, with its own outcome. */
export interface Failure {
  readonly kind: "storage" | "state-machine" | "node";
  readonly message: string;
  readonly cause: unknown;
}

/** The failure as the error of a call that ended with `outcome`. */
export function errorOf(failure: Failure, outcome: Outcome): RaftError {
  const { message, cause } = failure;
  switch (failure.kind) {
    case "storage":
      return new StorageFailedError(message, outcome, { cause });
    case "state-machine":
      return new StateMachineFailedError(message, outcome, { cause });
    case "node":
      return new NodeFailedError(message, outcome, { cause });
  }
}

/** What something thrown says, for a sentence of ours. */
export function reasonOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** What a user's code throws goes to its caller as it is, if it is an error at all. */
export function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(reasonOf(thrown), { cause: thrown });
}

/** What a call returns that may also throw, as a promise in either case. */
export function asPromise<T>(call: () => Promise<T>): Promise<T> {
  try {
    return call();
  } catch (error) {
    return Promise.reject(toError(error));
  }
}
