import type { LogIndex, NodeId } from "./core/position.ts";

/**
 * What a failed call did: `not-done`: nothing, now or later, so it may be repeated freely;
 * `unknown`: perhaps something, perhaps later; `done`: it took effect.
 */
export type Outcome = "not-done" | "unknown" | "done";

/** Every error that Keelson throws or rejects with on purpose. Tell them apart by `code`, which is stable. */
export class RaftError extends Error {
  override readonly name: string = "RaftError";
  readonly code: string;
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
  /** Its address for other nodes; null: not known. */
  readonly address: string | null;
  /** What it says of itself (`RaftOptions.data`), such as addresses for clients; null: not met yet. */
  readonly data: string | null;
}

/** Only the leader takes this call. Nothing was done; ask the leader. */
export class NotLeaderError extends RaftError {
  override readonly name = "NotLeaderError";
  /** null: no leader is known at the moment; try again a little later. */
  readonly leader: LeaderHint | null;

  constructor(leader: LeaderHint | null, options?: ErrorOptions) {
    super(
      "NOT_LEADER",
      "not-done",
      leader === null ? "no leader is known at the moment" : `the leader is ${leader.id}`,
      options,
    );
    this.leader = leader;
  }
}

/** Leadership is being handed over, or the leader is on its way out of the cluster. Nothing was done; try again in a moment. */
export class TransferringError extends RaftError {
  override readonly name = "TransferringError";
  constructor(message: string) {
    super("TRANSFERRING", "not-done", message);
  }
}

/** Leadership was not handed over: this node leads on. */
export class TransferFailedError extends RaftError {
  override readonly name = "TransferFailedError";
  constructor(message: string, options?: ErrorOptions) {
    super("TRANSFER_FAILED", "not-done", message, options);
  }
}

/** The change of membership did not begin, or came to nothing. The message says why, and when to try again. */
export class ChangeRefusedError extends RaftError {
  override readonly name = "ChangeRefusedError";
  constructor(message: string) {
    super("CHANGE_REFUSED", "not-done", message);
  }
}

/**
 * New members did not catch up in time. They are learners, and go on catching up; the rest of the change was not
 * done. Call again to go on, or remove them.
 */
export class CatchUpTimeoutError extends RaftError {
  override readonly name = "CatchUpTimeoutError";
  constructor(message: string, options?: ErrorOptions) {
    super("CATCH_UP_TIMEOUT", "not-done", message, options);
  }
}

/** The command was proposed, and what became of it cannot be told: it may take effect, or may never. */
export class OutcomeUnknownError extends RaftError {
  override readonly name = "OutcomeUnknownError";
  constructor(message: string, options?: ErrorOptions) {
    super("OUTCOME_UNKNOWN", "unknown", message, options);
  }
}

/** The command was overwritten by another leader's entry: it will never take effect. */
export class CommandLostError extends RaftError {
  override readonly name = "CommandLostError";
  constructor(message: string, options?: ErrorOptions) {
    super("COMMAND_LOST", "not-done", message, options);
  }
}

/** Too much is under way already. Nothing was done; slow down and try again. */
export class OverloadedError extends RaftError {
  override readonly name = "OverloadedError";
  constructor(message: string, options?: ErrorOptions) {
    super("OVERLOADED", "not-done", message, options);
  }
}

/** The command is larger than the limit. Nothing was done, and repeating it will not help. */
export class CommandTooLargeError extends RaftError {
  override readonly name = "CommandTooLargeError";
  readonly bytes: number;
  readonly bytesMax: number;
  constructor(bytes: number, bytesMax: number) {
    super(
      "COMMAND_TOO_LARGE",
      "not-done",
      `the command has ${String(bytes)} bytes; the limit is ${String(bytesMax)} (limits.commandBytesMax)`,
    );
    this.bytes = bytes;
    this.bytesMax = bytesMax;
  }
}

/** The state machine refused the command, on every node alike; `cause` is what it threw. */
export class CommandRejectedError extends RaftError {
  override readonly name = "CommandRejectedError";
  constructor(cause: unknown) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    super("COMMAND_REJECTED", "done", `the state machine rejected the command: ${reason}`, { cause });
  }
}

/**
 * The session has ended: it was not used for longer than its time to live, or gave way to others,
 * or was closed. This call did nothing; an earlier attempt of the same command may have. Open
 * another session.
 */
export class SessionExpiredError extends RaftError {
  override readonly name = "SessionExpiredError";
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
 * The command was not applied again, and its answer is no longer known: `done`: it took effect, and
 * its result was too large to keep; `unknown`: the client has said before that it has the answers
 * up to this one.
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

/** The node is closing or closed. */
export class ClosedError extends RaftError {
  override readonly name = "ClosedError";
  constructor(outcome: Outcome = "not-done", options?: ErrorOptions) {
    super("CLOSED", outcome, "the node is closed or closing", options);
  }
}

/** The caller's signal or time limit ended the wait. */
export class AbortedError extends RaftError {
  override readonly name = "AbortedError";
  constructor(outcome: Outcome, message: string, options?: ErrorOptions) {
    super("ABORTED", outcome, message, options);
  }
}

/** The log could not be written, so the node stopped: nothing is acknowledged after that (fail-stop). */
export class StorageFailedError extends RaftError {
  override readonly name = "StorageFailedError";
  constructor(message: string, outcome: Outcome, options?: ErrorOptions) {
    super("STORAGE_FAILED", outcome, message, options);
  }
}

/** The state machine failed for reasons of its own (its disk, say), so the node stopped. */
export class StateMachineFailedError extends RaftError {
  override readonly name = "StateMachineFailedError";
  constructor(message: string, outcome: Outcome, options?: ErrorOptions) {
    super("STATE_MACHINE_FAILED", outcome, message, options);
  }
}

/** Something that the protocol rules out was seen, so the node stopped rather than "repair" it. */
export class NodeFailedError extends RaftError {
  override readonly name = "NodeFailedError";
  constructor(message: string, outcome: Outcome, options?: ErrorOptions) {
    super("NODE_FAILED", outcome, message, options);
  }
}

/** `initialize` on a node that belongs to a cluster already, with other members. */
export class AlreadyInitializedError extends RaftError {
  override readonly name = "AlreadyInitializedError";
  constructor(message: string) {
    super("ALREADY_INITIALIZED", "not-done", message);
  }
}

/** An option or argument that cannot be right; the message names it and says what would be. */
export class InvalidOptionError extends RaftError {
  override readonly name = "InvalidOptionError";
  constructor(message: string) {
    super("INVALID_OPTION", "not-done", message);
  }
}

/** Stored data that was once acknowledged is damaged. The node refuses to start, or stops. */
export class CorruptLogError extends RaftError {
  override readonly name = "CorruptLogError";
  readonly file: string;
  /** Where in the file, in bytes. */
  readonly offset: number;
  /** The first entry that is affected, if it can be told. */
  readonly index: number | null;
  constructor(file: string, offset: number, index: number | null, message: string, options?: ErrorOptions) {
    super("CORRUPT_LOG", "not-done", message, options);
    this.file = file;
    this.offset = offset;
    this.index = index;
  }
}

/** No snapshot could be taken; the node goes on without. */
export class SnapshotFailedError extends RaftError {
  override readonly name = "SnapshotFailedError";
  constructor(message: string, options?: ErrorOptions) {
    super("SNAPSHOT_FAILED", "not-done", message, options);
  }
}

/** The log was compacted past the entry that was asked for: a snapshot covers it, and its command is gone. */
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

/** A snapshot is not what it was when it was written, or not all of it is there. */
export class CorruptSnapshotError extends RaftError {
  override readonly name = "CorruptSnapshotError";
  readonly file: string;
  /** Where in the file, in bytes. */
  readonly offset: number;
  constructor(file: string, offset: number, message: string, options?: ErrorOptions) {
    super("CORRUPT_SNAPSHOT", "not-done", message, options);
    this.file = file;
    this.offset = offset;
  }
}

/** The directory belongs to another node or another cluster. */
export class WrongIdentityError extends RaftError {
  override readonly name = "WrongIdentityError";
  constructor(message: string) {
    super("WRONG_IDENTITY", "not-done", message);
  }
}

/** Another process holds the directory. */
export class DirectoryLockedError extends RaftError {
  override readonly name = "DirectoryLockedError";
  constructor(message: string, options?: ErrorOptions) {
    super("DIRECTORY_LOCKED", "not-done", message, options);
  }
}

/** Bytes that are not what they should be: a frame, a record, a payload. */
export class DecodeError extends RaftError {
  override readonly name = "DecodeError";
  constructor(message: string, options?: ErrorOptions) {
    super("DECODE", "not-done", message, options);
  }
}
