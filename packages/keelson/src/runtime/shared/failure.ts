// Failures that stop a node, and small conversions between thrown values, errors and promises.
import {
  LostEntriesError,
  NodeFailedError,
  StateMachineFailedError,
  StorageFailedError,
  textOfThrown,
  type Outcome,
  type RaftError,
} from "../../errors.ts";
import type { WatchedPart } from "./metrics.ts";

/** Why a node stopped by itself. Each open call gets an error made from it, with the outcome of that call. */
export interface Failure {
  /**
   * The part that failed; "node": an assertion of the core or the runtime; "lost-entries": the leader proved
   * that this node lost durable entries.
   */
  readonly kind: "storage" | "state-machine" | "node" | "lost-entries";
  /** The whole sentence for people, with the reason. */
  readonly message: string;
  /** What was thrown; null: nothing was. */
  readonly cause: unknown;
}

/** The error for a call that the failure ended with `outcome`. */
export function errorOf(failure: Failure, outcome: Outcome): RaftError {
  const { message, cause } = failure;
  switch (failure.kind) {
    case "storage":
      return new StorageFailedError(message, outcome, { cause });
    case "state-machine":
      return new StateMachineFailedError(message, outcome, { cause });
    case "node":
      return new NodeFailedError(message, outcome, { cause });
    case "lost-entries":
      return new LostEntriesError(message, outcome, { cause });
  }
}

/** The failure of a part that hangs. `what` ends its message, and says what the node does about it. */
export function failureOfHang(
  { part, message }: { readonly part: WatchedPart; readonly message: string },
  what: string,
): Failure {
  const kind = part === "state-machine" ? "state-machine" : "storage";
  return { kind, message: `${message}, ${what}`, cause: null };
}

/** The failure of the state machine. `what` says what the state machine couldn't do. */
export function stateMachineFailure(what: string, error: unknown): Failure {
  const message = `the state machine failed, so the node stops: ${what}: ${reasonOf(error)}`;
  return { kind: "state-machine", message, cause: error };
}

/**
 * The message of something thrown, for use within another message. Never throws, whatever user code threw.
 */
export function reasonOf(thrown: unknown): string {
  return textOfThrown(thrown);
}

/** Something that user code threw, as an error: unchanged if it is one. */
export function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(reasonOf(thrown), { cause: thrown });
}

/** Calls a function that may throw or return a promise, and returns a promise in either case. */
export function asPromise<T>(call: () => Promise<T>): Promise<T> {
  try {
    return call();
  } catch (error) {
    return Promise.reject(toError(error));
  }
}

/** Whether a function that may answer at once or later will answer later. */
export function isPromiseLike<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}
