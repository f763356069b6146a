// Every error of the library, in one file. Each has a stable `code`, and an `outcome` that tells the caller
// whether the call took effect. Used by all layers except the core, which has `ProtocolViolation` instead.

import type { LogIndex, NodeId } from "./core/position.ts";

/**
 * What a failed call did. `not-done`: it had no effect and never will, so it may be repeated freely.
 * `unknown`: it may have taken effect, or may do so later. `done`: it took effect.
 */
export type Outcome = "not-done" | "unknown" | "done";

/**
 * The base class of every error that Keelson throws or rejects with on purpose. Tell them apart by `code`.
 */
export class RaftError extends Error {
  override readonly name: string = "RaftError";
  /** Names the kind of error. Doesn't change between versions, unlike the message. */
  readonly code: string;
  /** Whether the call took effect. */
  readonly outcome: Outcome;

  constructor(code: string, outcome: Outcome, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.outcome = outcome;
  }
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
  /**
   * The leader, as far as this node knows; null: no leader is known at the moment, so
   * try again a little later.
   */
  readonly leader: LeaderHint | null;

  /** `why`: why no leader is known, or why the call isn't forwarded to the leader; part of the message. */
  constructor(leader: LeaderHint | null, options: ErrorOptions & { readonly why?: string } = {}) {
    const { why, ...rest } = options;
    const text = leader === null ? "no leader is known at the moment" : `the leader is ${leader.id}`;
    super("NOT_LEADER", "not-done", why === undefined ? text : `${text}: ${why}`, rest);
    this.leader = leader;
  }
}

/**
 * The leader is transferring its leadership, or leaving the cluster. Nothing was done; try again in a moment.
 */
export class TransferringError extends RaftError {
  override readonly name = "TransferringError";
  constructor(message: string) {
    super("TRANSFERRING", "not-done", message);
  }
}

/**
 * The leadership transfer failed, and this node is still the leader. Outcome `not-done`: it was refused.
 * Outcome `unknown`: the target did not take over in time, and may still do so, if the leader's request
 * reaches it late.
 */
export class TransferFailedError extends RaftError {
  override readonly name = "TransferFailedError";
  constructor(message: string, outcome: "not-done" | "unknown" = "not-done", options?: ErrorOptions) {
    super("TRANSFER_FAILED", outcome, message, options);
  }
}

/**
 * The change of membership was refused, or was abandoned without effect. The message says why,
 * and when to try again.
 */
export class ChangeRefusedError extends RaftError {
  override readonly name = "ChangeRefusedError";
  constructor(message: string) {
    super("CHANGE_REFUSED", "not-done", message);
  }
}

/**
 * New members did not catch up in time. They are learners, and still catching up; the rest of the change was
 * not made. Make the same call again to continue, or remove them. Outcome `not-done`: they were learners
 * before the call. Outcome `unknown`: the call made them learners, so a part of the change has taken effect.
 */
export class CatchUpTimeoutError extends RaftError {
  override readonly name = "CatchUpTimeoutError";
  constructor(message: string, outcome: "not-done" | "unknown" = "not-done", options?: ErrorOptions) {
    super("CATCH_UP_TIMEOUT", outcome, message, options);
  }
}

/**
 * The command was proposed, and its outcome can't be known: it may have taken effect, may
 * do so later, or never.
 */
export class OutcomeUnknownError extends RaftError {
  override readonly name = "OutcomeUnknownError";
  constructor(message: string, options?: ErrorOptions) {
    super("OUTCOME_UNKNOWN", "unknown", message, options);
  }
}

/** Another leader's entry took the command's place in the log: the command will never take effect. */
export class CommandLostError extends RaftError {
  override readonly name = "CommandLostError";
  constructor(message: string, options?: ErrorOptions) {
    super("COMMAND_LOST", "not-done", message, options);
  }
}

/** A limit on concurrent work is reached. Nothing was done; slow down and try again. */
export class OverloadedError extends RaftError {
  override readonly name = "OverloadedError";
  constructor(message: string, options?: ErrorOptions) {
    super("OVERLOADED", "not-done", message, options);
  }
}

/** The encoded command is larger than the limit. Nothing was done, and a retry will not help. */
export class CommandTooLargeError extends RaftError {
  override readonly name = "CommandTooLargeError";
  /** The size of the encoded command. */
  readonly bytes: number;
  /** The limit: `limits.commandBytesMax`, or what one message to the leader can carry. */
  readonly bytesMax: number;
  /** `what`: which limit that is. */
  constructor(bytes: number, bytesMax: number, what = "limits.commandBytesMax") {
    super(
      "COMMAND_TOO_LARGE",
      "not-done",
      `the command has ${String(bytes)} bytes; the limit is ${String(bytesMax)} (${what})`,
    );
    this.bytes = bytes;
    this.bytesMax = bytesMax;
  }
}

/** One reason why a command is invalid. */
export interface CommandIssue {
  /** Where in the command: property names and array indexes, from the outside in. Empty: the command itself. */
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/**
 * The command is invalid: the state machine's `schema` refuses it, or its codec can't encode it, or can't decode what
 * it encoded. Nothing was proposed, and a retry will not help.
 */
export class CommandInvalidError extends RaftError {
  override readonly name = "CommandInvalidError";
  /** Why, at least one reason. The message has the first few. */
  readonly issues: readonly CommandIssue[];
  constructor(issues: readonly CommandIssue[], options?: ErrorOptions) {
    super("COMMAND_INVALID", "not-done", `the command is invalid: ${textOfIssues(issues)}`, options);
    this.issues = issues;
  }
}

/** Issues that the message of a `CommandInvalidError` has, and UTF-16 units of each: enough to find the mistake. */
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
 * The state machine's `apply` threw, on every node alike. The command counts as applied, so its outcome is `done`;
 * `cause` is what was thrown.
 */
export class CommandRejectedError extends RaftError {
  override readonly name = "CommandRejectedError";
  constructor(cause: unknown) {
    super("COMMAND_REJECTED", "done", `the state machine rejected the command: ${textOfThrown(cause)}`, {
      cause,
    });
  }
}

/**
 * The command took effect, and its result can't be given to the caller: the codec can't encode it or decode it, or it
 * is too large to be sent to the node that was called.
 */
export class ResultUnavailableError extends RaftError {
  override readonly name = "ResultUnavailableError";
  constructor(message: string, options?: ErrorOptions) {
    super("RESULT_UNAVAILABLE", "done", message, options);
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
  /** The id of the session. */
  readonly session: number;
  constructor(session: number, outcome: Outcome = "not-done", options?: ErrorOptions) {
    super(
      "SESSION_EXPIRED",
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
  constructor(session: number, sequence: number, outcome: "done" | "unknown") {
    const reason =
      outcome === "done"
        ? "it took effect, and its result was too large to keep"
        : "the client said before that it has its answer";
    super(
      "ANSWER_FORGOTTEN",
      outcome,
      `the answer to command ${String(sequence)} of session ${String(session)} is not kept any more: ${reason}`,
    );
  }
}

/** The node is closed, or is being closed. */
export class ClosedError extends RaftError {
  override readonly name = "ClosedError";
  constructor(outcome: Outcome = "not-done", options?: ErrorOptions) {
    super("CLOSED", outcome, "the node is closed or closing", options);
  }
}

/** The caller stopped waiting, by its `signal` or by the time limit. */
export class AbortedError extends RaftError {
  override readonly name = "AbortedError";
  constructor(outcome: Outcome, message: string, options?: ErrorOptions) {
    super("ABORTED", outcome, message, options);
  }
}

/**
 * Storage could not be written or read. A running node then stops,
 * and acknowledges nothing afterwards (fail-stop).
 */
export class StorageFailedError extends RaftError {
  override readonly name = "StorageFailedError";
  constructor(message: string, outcome: Outcome, options?: ErrorOptions) {
    super("STORAGE_FAILED", outcome, message, options);
  }
}

/** The state machine itself failed, for example its disk, so the node stopped. */
export class StateMachineFailedError extends RaftError {
  override readonly name = "StateMachineFailedError";
  constructor(message: string, outcome: Outcome, options?: ErrorOptions) {
    super("STATE_MACHINE_FAILED", outcome, message, options);
  }
}

/**
 * The node saw something that the protocol rules out. It stopped, because a
 * "repair" could lose committed entries.
 */
export class NodeFailedError extends RaftError {
  override readonly name = "NodeFailedError";
  constructor(message: string, outcome: Outcome, options?: ErrorOptions) {
    super("NODE_FAILED", outcome, message, options);
  }
}

/**
 * The node lost entries that it had acknowledged as durable: its directory was replaced by an older copy, or
 * its disk forgot writes. It stopped, because it may have forgotten a vote too. Remove it from the cluster,
 * and add its machine anew, with an empty directory and a new id.
 */
export class LostEntriesError extends RaftError {
  override readonly name = "LostEntriesError";
  constructor(message: string, outcome: Outcome, options?: ErrorOptions) {
    super("LOST_ENTRIES", outcome, message, options);
  }
}

/** `initialize` was called on a node that already belongs to a cluster, which began with other members. */
export class AlreadyInitializedError extends RaftError {
  override readonly name = "AlreadyInitializedError";
  constructor(message: string) {
    super("ALREADY_INITIALIZED", "not-done", message);
  }
}

/** An option or argument is invalid. The message names it, and says what would be valid. */
export class InvalidOptionError extends RaftError {
  override readonly name = "InvalidOptionError";
  constructor(message: string) {
    super("INVALID_OPTION", "not-done", message);
  }
}

/** The node can't listen at its address. The message says why, and what to do; `cause` has the system's `code`. */
export class ListenFailedError extends RaftError {
  override readonly name = "ListenFailedError";
  constructor(message: string, options?: ErrorOptions) {
    super("LISTEN_FAILED", "not-done", message, options);
  }
}

/** Stored data that was once durable is damaged. The node refuses to start, or stops. */
export class CorruptLogError extends RaftError {
  override readonly name = "CorruptLogError";
  /** The path of the damaged file. */
  readonly file: string;
  /** Where in the file, in bytes. */
  readonly offset: number;
  /** The first entry that is affected; null: it can't be determined. */
  readonly index: number | null;
  constructor(file: string, offset: number, index: number | null, message: string, options?: ErrorOptions) {
    super("CORRUPT_LOG", "not-done", message, options);
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
  constructor(message: string, outcome: "not-done" | "unknown" = "not-done", options?: ErrorOptions) {
    super("SNAPSHOT_FAILED", outcome, message, options);
  }
}

/** The requested entry is no longer in the log: the log was compacted past it, and a snapshot covers it. */
export class LogCompactedError extends RaftError {
  override readonly name = "LogCompactedError";
  /** The first entry that the log still holds. */
  readonly firstIndex: LogIndex;
  constructor(wanted: LogIndex, firstIndex: LogIndex) {
    super(
      "LOG_COMPACTED",
      "not-done",
      `entry ${String(wanted)} is gone from the log, which begins at ${String(firstIndex)}: a snapshot covers what came before`,
    );
    this.firstIndex = firstIndex;
  }
}

/** A stored snapshot is damaged, incomplete, or of another version of the format. */
export class CorruptSnapshotError extends RaftError {
  override readonly name = "CorruptSnapshotError";
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
    super("CORRUPT_SNAPSHOT", "not-done", message, options);
    this.file = file;
    this.offset = offset;
    this.otherVersion = options.otherVersion ?? null;
  }
}

/** The directory belongs to another node or another cluster. */
export class WrongIdentityError extends RaftError {
  override readonly name = "WrongIdentityError";
  constructor(message: string) {
    super("WRONG_IDENTITY", "not-done", message);
  }
}

/** Another process is using the directory. */
export class DirectoryLockedError extends RaftError {
  override readonly name = "DirectoryLockedError";
  constructor(message: string, options?: ErrorOptions) {
    super("DIRECTORY_LOCKED", "not-done", message, options);
  }
}

/** Bytes could not be decoded: of a frame, a record or a payload. */
export class DecodeError extends RaftError {
  override readonly name = "DecodeError";
  constructor(message: string, options?: ErrorOptions) {
    super("DECODE", "not-done", message, options);
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

/**
 * The message of something thrown. Never throws itself: user code may throw anything, also objects that can't
 * be made strings, or errors whose message is no string.
 *
 * Node rejects a connection to a name with several addresses with an `AggregateError` without a message. So
 * where the message is empty, the errors inside are named, or the cause, or at least the code or name.
 */
export function textOfThrown(thrown: unknown): string {
  try {
    if (!(thrown instanceof Error)) return String(thrown);
    const text: unknown = thrown.message;
    return text === "" ? textWithoutMessage(thrown, INNER_LEVELS_MAX) : String(text);
  } catch {
    return "something was thrown that has no text";
  }
}

/**
 * How many levels of causes and inner errors are followed. There must be a limit, because they may form a
 * ring.
 */
const INNER_LEVELS_MAX = 4;

function textWithoutMessage(error: Error, levels: number): string {
  const inner =
    error instanceof AggregateError
      ? error.errors
      : [error.cause].filter((cause) => cause !== undefined && cause !== null);
  const texts = levels === 0 ? [] : inner.map((one: unknown) => textAtLevel(one, levels - 1));
  const { code } = error as { readonly code?: unknown };
  return [...new Set(texts)].join("; ") || (typeof code === "string" ? code : error.name);
}

function textAtLevel(thrown: unknown, levels: number): string {
  if (!(thrown instanceof Error)) return String(thrown);
  return thrown.message === "" ? textWithoutMessage(thrown, levels) : thrown.message;
}
