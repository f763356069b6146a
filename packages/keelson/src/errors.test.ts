import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, expectTypeOf, it } from "vitest";
import {
  AbortedError,
  AlreadyInitializedError,
  AnswerForgottenError,
  CatchUpTimeoutError,
  ChangeRefusedError,
  ClosedError,
  CommandInvalidError,
  CommandLostError,
  CommandRejectedError,
  CommandTooLargeError,
  CorruptLogError,
  CorruptSnapshotError,
  DecodeError,
  DirectoryLockedError,
  ForwardedCallError,
  InvalidOptionError,
  isRaftError,
  ListenFailedError,
  LogCompactedError,
  LostEntriesError,
  NodeFailedError,
  NotLeaderError,
  OutcomeUnknownError,
  OverloadedError,
  RaftError,
  Rejection,
  RemovedError,
  ResultUnavailableError,
  SessionExpiredError,
  SnapshotFailedError,
  StateMachineFailedError,
  StorageFailedError,
  TransferFailedError,
  TransferringError,
  WrongIdentityError,
  type ErrorCode,
  type KnownRaftError,
  type LeaderHint,
} from "./errors.ts";
import * as api from "./runtime/index.ts";

/** An error of each code. It doesn't compile if one is missing, or stands at another's place. */
const ERRORS: { readonly [Code in ErrorCode]: KnownRaftError & { readonly code: Code } } = {
  ABORTED: new AbortedError("unknown", ""),
  ALREADY_INITIALIZED: new AlreadyInitializedError(""),
  ANSWER_FORGOTTEN: new AnswerForgottenError(1, 1, "done"),
  CATCH_UP_TIMEOUT: new CatchUpTimeoutError(""),
  CHANGE_REFUSED: new ChangeRefusedError(""),
  CLOSED: new ClosedError(),
  COMMAND_INVALID: new CommandInvalidError([]),
  COMMAND_LOST: new CommandLostError(""),
  COMMAND_REJECTED: new CommandRejectedError(new Rejection("")),
  COMMAND_TOO_LARGE: new CommandTooLargeError(2, 1),
  CORRUPT_LOG: new CorruptLogError("", 0, null, ""),
  CORRUPT_SNAPSHOT: new CorruptSnapshotError("", 0, ""),
  DECODE: new DecodeError(""),
  DIRECTORY_LOCKED: new DirectoryLockedError(""),
  FORWARDED_CALL: new ForwardedCallError("NEW", "not-done", ""),
  INVALID_OPTION: new InvalidOptionError(""),
  LISTEN_FAILED: new ListenFailedError(""),
  LOG_COMPACTED: new LogCompactedError(1, 2),
  LOST_ENTRIES: new LostEntriesError("", "unknown"),
  NODE_FAILED: new NodeFailedError("", "unknown"),
  NOT_LEADER: new NotLeaderError(null),
  OUTCOME_UNKNOWN: new OutcomeUnknownError(""),
  OVERLOADED: new OverloadedError(""),
  REMOVED: new RemovedError("a"),
  RESULT_UNAVAILABLE: new ResultUnavailableError(""),
  SESSION_EXPIRED: new SessionExpiredError(1),
  SNAPSHOT_FAILED: new SnapshotFailedError(""),
  STATE_MACHINE_FAILED: new StateMachineFailedError("", "unknown"),
  STORAGE_FAILED: new StorageFailedError("", "unknown"),
  TRANSFERRING: new TransferringError(""),
  TRANSFER_FAILED: new TransferFailedError(""),
  WRONG_IDENTITY: new WrongIdentityError(""),
};

describe.each(Object.entries(ERRORS))("the error %s", (code, error) => {
  it("has its class's name, a code of its own, and is exported", () => {
    expect([error.code, error.name]).toEqual([code, error.constructor.name]);
    expect(Object.keys(api)).toContain(error.name);
    expect(isRaftError(error)).toBe(true);
  });

  it("is explained in docs/errors.md, which says truly whether it is retryable", () => {
    const page = readFileSync(path.join(import.meta.dirname, "../../../docs/errors.md"), "utf8");
    const [row, ...others] = page.split("\n").filter((line) => line.startsWith(`| \`${code}\``));
    expect(others).toEqual([]);
    const [, , name, , retryable] = (row ?? "").split("|").map((cell) => cell.trim());
    expect([name, retryable]).toEqual([`\`${error.name}\``, error.retryable ? "yes" : "no"]);
  });
});

it("each class of errors has a code in the union", () => {
  const classes = Object.values(api).filter(
    (one) => typeof one === "function" && one.prototype instanceof RaftError,
  );
  expect(classes).toHaveLength(Object.keys(ERRORS).length);
  expectTypeOf<KnownRaftError["code"]>().toEqualTypeOf<ErrorCode>();
});

it("a switch over the code gives each case the fields of its class, and a typo doesn't compile", () => {
  const describeError = (thrown: unknown): string => {
    if (!isRaftError(thrown)) return "another error";
    switch (thrown.code) {
      case "NOT_LEADER":
        expectTypeOf(thrown).toEqualTypeOf<NotLeaderError>();
        expectTypeOf(thrown.leader).toEqualTypeOf<LeaderHint | null>();
        return `leader ${thrown.leader?.id ?? "unknown"}`;
      case "LOG_COMPACTED":
        return `first ${String(thrown.firstIndex)}`;
      // @ts-expect-error no error has this code
      case "NOT_LEADR":
        return "a typo";
      default:
        return thrown.code;
    }
  };
  expect([null, ERRORS.NOT_LEADER, ERRORS.LOG_COMPACTED, ERRORS.ABORTED].map(describeError)).toEqual([
    "another error",
    "leader unknown",
    "first 2",
    "ABORTED",
  ]);
  const error: RaftError = ERRORS.ABORTED;
  // @ts-expect-error no error has this code
  expect(error.code === "ABORTD").toBe(false);
});
