// Every error of the library, in one file. Each has a stable `code`, and an `outcome` that tells the caller
// whether the call took effect. Used by all layers except the core, which has `ProtocolViolation` instead.

import type { LogIndex, NodeId } from "./core/position.ts";

export { textOfThrown } from "./text-of-thrown.ts";

/**
 * What a failed call did. `not-done`: it had no effect and never will, so it may be repeated freely.
 * `unknown`: it may have taken effect, or may do so later. `done`: it took effect.
 */
export type Outcome = "not-done" | "unknown" | "done";

/** Names the kind of an error: each class has one. Doesn't change between versions, unlike the message. */
export type ErrorCode =
  | "ABORTED"
  | "ALREADY_INITIALIZED"
  | "ANSWER_FORGOTTEN"
  | "CATCH_UP_TIMEOUT"
  | "CHANGE_REFUSED"
  | "CLOSED"
  | "COMMAND_INVALID"
  | "COMMAND_LOST"
  | "COMMAND_REJECTED"
  | "COMMAND_TOO_LARGE"
  | "CORRUPT_LOG"
  | "CORRUPT_SNAPSHOT"
  | "DECODE"
  | "DIRECTORY_LOCKED"
  | "FORWARDED_CALL"
  | "INVALID_OPTION"
  | "LISTEN_FAILED"
  | "LOG_COMPACTED"
  | "LOST_ENTRIES"
  | "NODE_FAILED"
  | "NOT_LEADER"
  | "OUTCOME_UNKNOWN"
  | "OVERLOADED"
  | "REMOVED"
  | "RESULT_UNAVAILABLE"
  | "SESSION_EXPIRED"
  | "SNAPSHOT_FAILED"
  | "STATE_MACHINE_FAILED"
  | "STORAGE_FAILED"
  | "TRANSFERRING"
  | "TRANSFER_FAILED"
  | "WRONG_IDENTITY";

/**
 * The base class of every error that Keelson throws or rejects with on purpose. `isRaftError` narrows to the
 * union of its subclasses, so that a `switch` over `code` gives each case the fields of its class.
 */
export abstract class RaftError extends Error {
  override readonly name: string = "RaftError";
  abstract readonly code: ErrorCode;
  /**
   * Whether the same call may succeed if it is made again a little later, on this node. If not, something has
   * to be changed first: the command, an option, the session, or the node that is asked. It says nothing
   * about what the failed call did: that is `outcome`. After "unknown", a command that is written again may
   * take effect twice, unless it is sent in the same session.
   */
  abstract readonly retryable: boolean;
  /**
   * Whether the call took effect. "done" isn't a failure of the call: of a rejected command, for example, it
   * says that the command was applied, and `apply` threw.
   */
  readonly outcome: Outcome;

  constructor(outcome: Outcome, message: string, options?: ErrorOptions) {
    super(message, options);
    this.outcome = outcome;
  }
}

/** All classes of errors, as a union that `code` tells apart. */
export type KnownRaftError =
  | NotLeaderError
  | TransferringError
  | TransferFailedError
  | ChangeRefusedError
  | CatchUpTimeoutError
  | OutcomeUnknownError
  | CommandLostError
  | OverloadedError
  | CommandTooLargeError
  | CommandInvalidError
  | CommandRejectedError
  | ResultUnavailableError
  | SessionExpiredError
  | AnswerForgottenError
  | ClosedError
  | AbortedError
  | StorageFailedError
  | StateMachineFailedError
  | NodeFailedError
  | LostEntriesError
  | AlreadyInitializedError
  | InvalidOptionError
  | ListenFailedError
  | CorruptLogError
  | SnapshotFailedError
  | LogCompactedError
  | CorruptSnapshotError
  | WrongIdentityError
  | DirectoryLockedError
  | DecodeError
  | RemovedError
  | ForwardedCallError;

/**
 * Whether this is an error of the library.
 *
 * @example
 * ```ts
 * try {
 *   await raft.write(command);
 * } catch (error) {
 *   if (!isRaftError(error)) throw error;
 *   switch (error.code) {
 *     case "NOT_LEADER":
 *       console.log("ask", error.leader?.address);
 *       break;
 *     case "SESSION_EXPIRED":
 *       console.log("open another session than", error.session);
 *       break;
 *     default:
 *       if (!error.retryable || error.outcome !== "not-done") throw error;
 *   }
 * }
 * ```
 */
export function isRaftError(thrown: unknown): thrown is KnownRaftError {
  return thrown instanceof RaftError;
}

/** Where the leader is, as far as this node knows. */
export interface LeaderHint {
  readonly id: NodeId;
  /** The address where other nodes reach it; null: not known. */
  readonly address: string | null;
  /**
   * The leader's own `RaftOptions.info`, for example its address for clients; null: this
   * node hasn't received it yet.
   */
  readonly info: string | null;
}

/**
 * Only the leader can serve this call. Either this node knows that another one leads, and doesn't forward the
 * call to it: ask the leader. Or no leader became known within the call's time limit; the message says so if
 * that is because the node belongs to no cluster. Nothing was done.
 */
export class NotLeaderError extends RaftError {
  override readonly name = "NotLeaderError";
  override readonly code = "NOT_LEADER";
  override readonly retryable = true;
  /**
   * The leader, as far as this node knows; null: no leader is known at the moment, so
   * try again a little later.
   */
  readonly leader: LeaderHint | null;

  /** `why`: why no leader is known, or why the call isn't forwarded to the leader; part of the message. */
  constructor(leader: LeaderHint | null, options: ErrorOptions & { readonly why?: string } = {}) {
    const { why, ...rest } = options;
    const text = leader === null ? "no leader is known at the moment" : `the leader is ${leader.id}`;
    super("not-done", why === undefined ? text : `${text}: ${why}`, rest);
    this.leader = leader;
  }
}

/** This node was removed from its cluster, and will never serve the call. Nothing was done; ask a member. */
export class RemovedError extends RaftError {
  override readonly name = "RemovedError";
  override readonly code = "REMOVED";
  override readonly retryable = false;
  constructor(id: NodeId) {
    super("not-done", `${id} is no member of the cluster any more; ask another node`);
  }
}

/**
 * The leader ended a call that this node had forwarded, with an error whose code this version of Keelson
 * doesn't know: the leader runs another version.
 */
export class ForwardedCallError extends RaftError {
  override readonly name = "ForwardedCallError";
  override readonly code = "FORWARDED_CALL";
  override readonly retryable = false;
  /** The code of the leader's error. */
  readonly leaderCode: string;
  constructor(leaderCode: string, outcome: Outcome, message: string) {
    super(outcome, `at the leader: ${message}`);
    this.leaderCode = leaderCode;
  }
}

/**
 * The leader is transferring its leadership, or leaving the cluster. Nothing was done; try again in a moment.
 */
export class TransferringError extends RaftError {
  override readonly name = "TransferringError";
  override readonly code = "TRANSFERRING";
  override readonly retryable = true;
  constructor(message: string) {
    super("not-done", message);
  }
}

/**
 * The leadership transfer failed, and the leader is still the same. Outcome `not-done`: it was refused.
 * Outcome `unknown`: the target did not take over in time, and may still do so, if the leader's request
 * reaches it late.
 */
export class TransferFailedError extends RaftError {
  override readonly name = "TransferFailedError";
  override readonly code = "TRANSFER_FAILED";
  override readonly retryable = true;
  constructor(message: string, outcome: "not-done" | "unknown" = "not-done", options?: ErrorOptions) {
    super(outcome, message, options);
  }
}

/**
 * The change of membership was refused, or was abandoned without effect. The message says why,
 * and when to try again.
 */
export class ChangeRefusedError extends RaftError {
  override readonly name = "ChangeRefusedError";
  override readonly code = "CHANGE_REFUSED";
  override readonly retryable = true;
  constructor(message: string) {
    super("not-done", message);
  }
}

/**
 * New members did not catch up in time. They are learners, and still catching up; the rest of the change was
 * not made. Make the same call again to continue, or remove them. Outcome `not-done`: they were learners
 * before the call. Outcome `unknown`: the call made them learners, so a part of the change has taken effect.
 */
export class CatchUpTimeoutError extends RaftError {
  override readonly name = "CatchUpTimeoutError";
  override readonly code = "CATCH_UP_TIMEOUT";
  override readonly retryable = true;
  constructor(message: string, outcome: "not-done" | "unknown" = "not-done", options?: ErrorOptions) {
    super(outcome, message, options);
  }
}

/**
 * The command was proposed, and its outcome can't be known: it may have taken effect, may
 * do so later, or never.
 */
export class OutcomeUnknownError extends RaftError {
  override readonly name = "OutcomeUnknownError";
  override readonly code = "OUTCOME_UNKNOWN";
  override readonly retryable = true;
  constructor(message: string, options?: ErrorOptions) {
    super("unknown", message, options);
  }
}

/** Another leader's entry took the command's place in the log: the command will never take effect. */
export class CommandLostError extends RaftError {
  override readonly name = "CommandLostError";
  override readonly code = "COMMAND_LOST";
  override readonly retryable = true;
  constructor(message: string, options?: ErrorOptions) {
    super("not-done", message, options);
  }
}

/** A limit on concurrent work is reached. Nothing was done; slow down and try again. */
export class OverloadedError extends RaftError {
  override readonly name = "OverloadedError";
  override readonly code = "OVERLOADED";
  override readonly retryable = true;
  constructor(message: string, options?: ErrorOptions) {
    super("not-done", message, options);
  }
}

/** The encoded command is larger than the limit. Nothing was done, and a retry will not help. */
export class CommandTooLargeError extends RaftError {
  override readonly name = "CommandTooLargeError";
  override readonly code = "COMMAND_TOO_LARGE";
  override readonly retryable = false;
  /** The size of the encoded command. */
  readonly bytes: number;
  /**
   * The limit: `limits.commandBytesMax`, or what one message to the leader can carry. null: it is the
   * leader's `limits.commandBytesMax`, which is lower than this node's.
   */
  readonly bytesMax: number | null;
  /** `what`: which limit that is. */
  constructor(bytes: number, bytesMax: number | null, what = "limits.commandBytesMax") {
    const limit = bytesMax === null ? "the leader's limit is lower" : `the limit is ${String(bytesMax)}`;
    super("not-done", `the command has ${String(bytes)} bytes; ${limit} (${what})`);
    this.bytes = bytes;
    this.bytesMax = bytesMax;
  }
}

/** One reason why a command is invalid. */
export interface CommandIssue {
  /**
   * Where in the command: property names and array indexes, from the outside in. Empty: the command itself.
   */
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/**
 * The command is invalid: the state machine's `schema` refuses it, or its codec can't encode it, or can't
 * decode what it encoded. Nothing was proposed, and a retry will not help.
 */
export class CommandInvalidError extends RaftError {
  override readonly name = "CommandInvalidError";
  override readonly code = "COMMAND_INVALID";
  override readonly retryable = false;
  /** Why, at least one reason. The message has the first few. */
  readonly issues: readonly CommandIssue[];
  constructor(issues: readonly CommandIssue[], options?: ErrorOptions) {
    super("not-done", `the command is invalid: ${textOfIssues(issues)}`, options);
    this.issues = issues;
  }
}

/**
 * Issues that the message of a `CommandInvalidError` has, and UTF-16 units of each: enough to find the
 * mistake.
 */
const MESSAGE_ISSUES_MAX = 3;
const MESSAGE_ISSUE_CHARS_MAX = 300;

function textOfIssues(issues: readonly CommandIssue[]): string {
  const texts = issues.slice(0, MESSAGE_ISSUES_MAX).map(({ path, message }) => {
    const text = path.length === 0 ? message : `${textOfPath(path)}: ${message}`;
    return text.length <= MESSAGE_ISSUE_CHARS_MAX ? text : `${text.slice(0, MESSAGE_ISSUE_CHARS_MAX)}...`;
  });
  const more = issues.length - texts.length;
  return more === 0 ? texts.join("; ") : `${texts.join("; ")}; and ${String(more)} more`;
}

/** Property names and indexes of a path that its text has: a value that refers to itself has a long one. */
const MESSAGE_PATH_MAX = 8;

/** `command.items[3].name` */
function textOfPath(path: readonly (string | number)[]): string {
  const text = path.slice(0, MESSAGE_PATH_MAX).reduce<string>((text, key) => {
    if (typeof key === "number") return `${text}[${String(key)}]`;
    return /^[\w$]+$/u.test(key) ? `${text}.${key}` : `${text}[${JSON.stringify(key)}]`;
  }, "command");
  return path.length <= MESSAGE_PATH_MAX ? text : `${text}...`;
}

/**
 * What `apply` threw, in the shape in which every caller gets it: on the leader, on a node that forwards, and
 * for each attempt in a session. It is no instance of the class that was thrown, and has none of its other
 * fields. What a caller needs besides belongs into a result. Only on the node that applied the command for
 * its own caller it has the `stack` of what was thrown.
 */
export class Rejection extends Error {
  /** The name of the error that was thrown; "Error": it had none. Its first 128 UTF-16 units. */
  override readonly name: string;
  /**
   * The `code` of the error that was thrown; null: it had none that is a number or a text of up to 128 units.
   */
  readonly code: string | number | null;
  /** `message`: that of the error that was thrown; its first 2,048 UTF-16 units. */
  constructor(
    message: string,
    { name = "Error", code = null }: { readonly name?: string; readonly code?: string | number | null } = {},
  ) {
    super(message);
    this.name = name;
    this.code = code;
  }
}

/**
 * The state machine's `apply` threw, on every node alike. The command counts as applied, so its outcome is
 * `done`; `cause` is what was thrown, the same for every caller.
 */
export class CommandRejectedError extends RaftError {
  override readonly name = "CommandRejectedError";
  override readonly code = "COMMAND_REJECTED";
  override readonly retryable = false;
  override readonly cause: Rejection;
  constructor(cause: Rejection) {
    super("done", `the state machine rejected the command: ${cause.message}`);
    this.cause = cause;
  }
}

/**
 * The command took effect, and its result can't be given to the caller: the codec can't encode it or decode
 * it, or it is too large to be sent to the node that was called.
 */
export class ResultUnavailableError extends RaftError {
  override readonly name = "ResultUnavailableError";
  override readonly code = "RESULT_UNAVAILABLE";
  override readonly retryable = false;
  constructor(message: string, options?: ErrorOptions) {
    super("done", message, options);
  }
}

/**
 * The session has ended: it stayed unused for longer than its time to live, was evicted because too many were
 * open, or was closed. Outcome `not-done`: the command never had an effect in it. Outcome `unknown`: this
 * attempt did nothing, but an earlier attempt of the same command may have taken effect while the session was
 * open, and what the cluster knew about that ended with the session. Open another session.
 */
export class SessionExpiredError extends RaftError {
  override readonly name = "SessionExpiredError";
  override readonly code = "SESSION_EXPIRED";
  override readonly retryable = false;
  /** The id of the session. */
  readonly session: number;
  constructor(session: number, outcome: Outcome = "not-done", options?: ErrorOptions) {
    super(
      outcome,
      outcome === "not-done"
        ? `session ${String(session)} has ended; open another`
        : `session ${String(session)} has ended, and an earlier attempt of the command may have taken effect`,
      options,
    );
    this.session = session;
  }
}

/**
 * A retry in a session was not applied again, and the first attempt's answer is no longer kept. Outcome
 * `done`: the command took effect, but its result was too large to keep. Outcome `unknown`: the client has
 * said before that it received this answer, so nothing about the command is kept.
 */
export class AnswerForgottenError extends RaftError {
  override readonly name = "AnswerForgottenError";
  override readonly code = "ANSWER_FORGOTTEN";
  override readonly retryable = false;
  constructor(session: number, sequence: number, outcome: "done" | "unknown") {
    const reason =
      outcome === "done"
        ? "it took effect, and its result was too large to keep"
        : "the client said before that it has its answer";
    super(
      outcome,
      `the answer to command ${String(sequence)} of session ${String(session)} is not kept any more: ${reason}`,
    );
  }
}

/** The node is closed, or is being closed. */
export class ClosedError extends RaftError {
  override readonly name = "ClosedError";
  override readonly code = "CLOSED";
  override readonly retryable = false;
  constructor(outcome: Outcome = "not-done", options?: ErrorOptions) {
    super(outcome, "the node is closed or closing", options);
  }
}

/** The caller stopped waiting, by its `signal` or by the time limit. */
export class AbortedError extends RaftError {
  override readonly name = "AbortedError";
  override readonly code = "ABORTED";
  override readonly retryable = true;
}

/**
 * Storage could not be written or read. A running node then stops,
 * and acknowledges nothing afterwards (fail-stop).
 */
export class StorageFailedError extends RaftError {
  override readonly name = "StorageFailedError";
  override readonly code = "STORAGE_FAILED";
  override readonly retryable = false;
  constructor(message: string, outcome: Outcome, options?: ErrorOptions) {
    super(outcome, message, options);
  }
}

/** The state machine itself failed, for example its disk, so the node stopped. */
export class StateMachineFailedError extends RaftError {
  override readonly name = "StateMachineFailedError";
  override readonly code = "STATE_MACHINE_FAILED";
  override readonly retryable = false;
  constructor(message: string, outcome: Outcome, options?: ErrorOptions) {
    super(outcome, message, options);
  }
}

/**
 * The node saw something that the protocol rules out. It stopped, because a
 * "repair" could lose committed entries.
 */
export class NodeFailedError extends RaftError {
  override readonly name = "NodeFailedError";
  override readonly code = "NODE_FAILED";
  override readonly retryable = false;
  constructor(message: string, outcome: Outcome, options?: ErrorOptions) {
    super(outcome, message, options);
  }
}

/**
 * The node lost entries that it had acknowledged as durable: its directory was replaced by an older copy, or
 * its disk forgot writes. It stopped, because it may have forgotten a vote too. Remove it from the cluster,
 * and add its machine anew, with an empty directory and a new id.
 */
export class LostEntriesError extends RaftError {
  override readonly name = "LostEntriesError";
  override readonly code = "LOST_ENTRIES";
  override readonly retryable = false;
  constructor(message: string, outcome: Outcome, options?: ErrorOptions) {
    super(outcome, message, options);
  }
}

/** `initialize` was called on a node that already belongs to a cluster, which began with other members. */
export class AlreadyInitializedError extends RaftError {
  override readonly name = "AlreadyInitializedError";
  override readonly code = "ALREADY_INITIALIZED";
  override readonly retryable = false;
  constructor(message: string) {
    super("not-done", message);
  }
}

/** An option or argument is invalid. The message names it, and says what would be valid. */
export class InvalidOptionError extends RaftError {
  override readonly name = "InvalidOptionError";
  override readonly code = "INVALID_OPTION";
  override readonly retryable = false;
  constructor(message: string) {
    super("not-done", message);
  }
}

/**
 * The node can't listen at its address. The message says why, and what to do; `cause` has the system's
 * `code`.
 */
export class ListenFailedError extends RaftError {
  override readonly name = "ListenFailedError";
  override readonly code = "LISTEN_FAILED";
  override readonly retryable = true;
  constructor(message: string, options?: ErrorOptions) {
    super("not-done", message, options);
  }
}

/** Stored data that was once durable is damaged. The node refuses to start, or stops. */
export class CorruptLogError extends RaftError {
  override readonly name = "CorruptLogError";
  override readonly code = "CORRUPT_LOG";
  override readonly retryable = false;
  /** The path of the damaged file. */
  readonly file: string;
  /** Where in the file, in bytes. */
  readonly offset: number;
  /** The first entry that is affected; null: it can't be determined. */
  readonly index: number | null;
  constructor(file: string, offset: number, index: number | null, message: string, options?: ErrorOptions) {
    super("not-done", message, options);
    this.file = file;
    this.offset = offset;
    this.index = index;
  }
}

/**
 * No snapshot could be taken. The node keeps running, and keeps the entries that the snapshot would have
 * covered. Outcome `unknown`: the failure came while the finished file was being published, so the next start
 * may find it.
 */
export class SnapshotFailedError extends RaftError {
  override readonly name = "SnapshotFailedError";
  override readonly code = "SNAPSHOT_FAILED";
  override readonly retryable = true;
  constructor(message: string, outcome: "not-done" | "unknown" = "not-done", options?: ErrorOptions) {
    super(outcome, message, options);
  }
}

/** The requested entry is no longer in the log: the log was compacted past it, and a snapshot covers it. */
export class LogCompactedError extends RaftError {
  override readonly name = "LogCompactedError";
  override readonly code = "LOG_COMPACTED";
  override readonly retryable = false;
  /** The first entry that the log still holds. */
  readonly firstIndex: LogIndex;
  constructor(wanted: LogIndex, firstIndex: LogIndex) {
    super(
      "not-done",
      `entry ${String(wanted)} is gone from the log, which begins at ${String(firstIndex)}: a snapshot covers what came before`,
    );
    this.firstIndex = firstIndex;
  }
}

/** A stored snapshot is damaged, incomplete, or of another version of the format. */
export class CorruptSnapshotError extends RaftError {
  override readonly name = "CorruptSnapshotError";
  override readonly code = "CORRUPT_SNAPSHOT";
  override readonly retryable = false;
  /** The path of the damaged file. */
  readonly file: string;
  /** Where in the file, in bytes. */
  readonly offset: number;
  /**
   * The version of the format that the file says it has, if this program reads another one: the file may then
   * be intact, and must not be removed. null: it is damaged or incomplete.
   */
  readonly otherVersion: number | null;
  constructor(
    file: string,
    offset: number,
    message: string,
    options: ErrorOptions & { readonly otherVersion?: number } = {},
  ) {
    super("not-done", message, options);
    this.file = file;
    this.offset = offset;
    this.otherVersion = options.otherVersion ?? null;
  }
}

/** The directory belongs to another node or another cluster. */
export class WrongIdentityError extends RaftError {
  override readonly name = "WrongIdentityError";
  override readonly code = "WRONG_IDENTITY";
  override readonly retryable = false;
  constructor(message: string) {
    super("not-done", message);
  }
}

/** Another process is using the directory. */
export class DirectoryLockedError extends RaftError {
  override readonly name = "DirectoryLockedError";
  override readonly code = "DIRECTORY_LOCKED";
  override readonly retryable = true;
  constructor(message: string, options?: ErrorOptions) {
    super("not-done", message, options);
  }
}

/** Bytes could not be decoded: of a frame, a record or a payload. */
export class DecodeError extends RaftError {
  override readonly name = "DecodeError";
  override readonly code = "DECODE";
  override readonly retryable = false;
  constructor(message: string, options?: ErrorOptions) {
    super("not-done", message, options);
  }
}

/**
 * Bytes that are intact hold an entry or an item of a kind that this version of Keelson doesn't know: another
 * version wrote them. Unlike other `DecodeError`s this says nothing about damage.
 */
export class UnknownKindError extends DecodeError {
  /**
   * Whether an earlier version wrote it, whose format this one can't read any more; otherwise a later one.
   */
  readonly isOld: boolean;
  constructor(message: string, isOld: boolean) {
    super(message);
    this.isOld = isOld;
  }
}
