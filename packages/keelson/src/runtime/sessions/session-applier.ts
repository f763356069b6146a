// Applies session entries: what the applier does with an entry that opens or closes a session, or carries a
// command of one. Sits between the applier, which owns the state machine, and the session table, which
// decides about duplicates. Encodes results for the table, and turns its verdicts into outcomes for callers.

import { EntryKind } from "../../codec/record.ts";
import {
  decodeCloseSession,
  decodeOpenSession,
  decodeSessionCommand,
  decodeSessionTime,
  type SessionCommandId,
} from "../../codec/session-entry.ts";
import type { LogPosition } from "../../core/position.ts";
import type { Environment } from "../../environment/environment.ts";
import {
  AnswerForgottenError,
  CommandRejectedError,
  OverloadedError,
  ResultUnavailableError,
  SessionExpiredError,
  type RaftError,
} from "../../errors.ts";
import type { AppliedCommand, AppliedEntry } from "../calls/index.ts";
import {
  inTurns,
  rejectionOfText,
  textOfRejection,
  type SessionMetrics,
  type OpenedState,
  type ResultEncoder,
  type SessionRecords,
} from "../shared/index.ts";
import type { Answer } from "./session-records.ts";
import { SessionTable, type CommandVerdict, type SessionLimits } from "./session-table.ts";

/** The kinds of entries that belong to sessions. */
export type SessionKind =
  | typeof EntryKind.openSession
  | typeof EntryKind.sessionCommand
  | typeof EntryKind.closeSession
  | typeof EntryKind.sessionTime;

/** Whether an entry of this kind belongs to a session. */
export function isSessionKind(kind: EntryKind): kind is SessionKind {
  return kind >= EntryKind.openSession;
}

/**
 * What the session table keeps for a command that took effect, and whose result could not be encoded: an
 * answer of the type "rejected" with this text. Part of the replicated state: never change it.
 */
const RESULT_NOT_ENCODED = "it took effect, and its result could not be encoded";

/** Why a node that opened a state on disk without its session records can't apply session entries. */
export const RECORDS_MISSING: string =
  "the state machine keeps its state on disk and not the sessions: flush should store the records " +
  "that it is given, and open should return them as `sessions`";

/** What the applier has to do next about a session entry: nothing, or apply the command in it. */
export type SessionEntryStep<Result> =
  | { readonly type: "settled"; readonly applied: AppliedEntry<Result> }
  | { readonly type: "apply"; readonly id: SessionCommandId; readonly command: Uint8Array };

/** Applies session entries to the session table. */
export class SessionApplier<Result> {
  /**
   * Between two batches it matches the last applied entry. Within a batch it runs ahead of `Applier.applied`,
   * as the state itself does.
   */
  readonly table: SessionTable;
  readonly #results: ResultEncoder<Result>;

  constructor(table: SessionTable, results: ResultEncoder<Result>) {
    this.table = table;
    this.#results = results;
  }

  /** What the state machine lacks to support sessions, and how to add it; null: nothing. */
  get missingSupport(): string | null {
    if (!this.#results.isAvailable) {
      return "sessions keep the results of commands, so stateMachine.codec should have encodeResult and decodeResult";
    }
    return this.table.isKnown ? null : RECORDS_MISSING;
  }

  /** The session table in figures. */
  get metrics(): SessionMetrics {
    return { open: this.table.size, bytes: this.table.bytes, timeMs: this.table.logTimeMs };
  }

  /**
   * Applies a session entry, except for a command that is to be applied: the applier then does that, and
   * calls `recordAnswer` before the next entry.
   *
   * @throws Error the state machine doesn't support sessions, so this node can't keep the table; DecodeError
   *   the payload is damaged
   */
  beginEntry(kind: SessionKind, payload: Uint8Array, position: LogPosition): SessionEntryStep<Result> {
    const { index } = position;
    if (kind === EntryKind.sessionTime) {
      // It moves log time and keeps no result, so a codec without `encodeResult` is no obstacle.
      if (!this.table.isKnown) throw new Error(RECORDS_MISSING);
      this.table.passTime(decodeSessionTime(payload).clock);
      return { type: "settled", applied: { position, type: "time-passed" } };
    }
    const table = this.#requireTable();
    switch (kind) {
      case EntryKind.openSession: {
        const { clock, ttlMs } = decodeOpenSession(payload);
        table.open(index, clock, ttlMs);
        return { type: "settled", applied: { position, type: "session-opened" } };
      }
      case EntryKind.closeSession: {
        const { clock, id } = decodeCloseSession(payload);
        table.close(clock, id);
        return { type: "settled", applied: { position, type: "session-closed" } };
      }
      case EntryKind.sessionCommand: {
        const entry = decodeSessionCommand(payload);
        const verdict = table.beginCommand(index, entry.clock, entry);
        if (verdict.type === "apply") return { type: "apply", id: entry, command: entry.command };
        return { type: "settled", applied: this.#settleWithoutApplying(verdict, entry, position) };
      }
    }
  }

  /** Keeps the outcome of a command for its retries. Returns the outcome for the caller who waits now. */
  recordAnswer({ id, sequence }: SessionCommandId, applied: AppliedCommand<Result>): AppliedEntry<Result> {
    const table = this.#requireTable();
    const { position } = applied;
    const { index } = position;
    if (applied.type === "done") {
      const encoded = this.#results.encode(applied.result);
      if (encoded.type === "encoded") {
        const { bytes } = encoded;
        table.recordAnswer(id, sequence, { index, type: "done", bytes });
        return { position, type: "done", index, bytes, result: () => this.#results.decode(bytes) };
      }
      // The command has taken effect. To stop here would stop every node, and again at each start (Z12).
      // Only fixed text is kept: what was thrown may read differently on another node.
      const bytes = new TextEncoder().encode(RESULT_NOT_ENCODED);
      table.recordAnswer(id, sequence, { index, type: "rejected", bytes });
      return { position, type: "rejected", error: unencodedResult(encoded.reason) };
    }
    const bytes = new TextEncoder().encode(textOfRejection(applied.error.cause));
    table.recordAnswer(id, sequence, { index, type: "rejected", bytes });
    return applied;
  }

  /** The outcome of a command that isn't applied, for the caller of this attempt. */
  #settleWithoutApplying(
    verdict: Exclude<CommandVerdict, { type: "apply" }>,
    { id, sequence }: SessionCommandId,
    position: LogPosition,
  ): AppliedEntry<Result> {
    const refused = (error: RaftError): AppliedEntry<Result> => ({ position, type: "rejected", error });
    switch (verdict.type) {
      case "duplicate":
        return this.#answerDuplicate(verdict.answer, id, sequence, position);
      case "expired":
        // A session's id is the index of the entry that opened it. If that index isn't applied before this
        // entry, there never was such a session. Otherwise an earlier attempt may have taken effect before
        // the session ended, and only the ended session knew (Z6).
        return refused(new SessionExpiredError(id, id >= position.index ? "not-done" : "unknown"));
      case "answer-discarded":
        return refused(new AnswerForgottenError(id, sequence, "unknown"));
      case "window-exceeded":
        return refused(
          new OverloadedError(
            `command ${String(sequence)} of session ${String(id)} is ${String(verdict.windowMax)} or more after the lowest unanswered; wait for answers`,
          ),
        );
    }
  }

  #answerDuplicate(
    answer: Answer,
    id: number,
    sequence: number,
    position: LogPosition,
  ): AppliedEntry<Result> {
    const { index, type, bytes } = answer;
    switch (type) {
      case "done":
        // Decoded only if a caller waits on this node, and then for that caller: a result that can't be
        // decoded fails one call, and must not stop every node.
        return { position, type, index, bytes, result: () => this.#results.decode(bytes) };
      case "rejected": {
        const text = new TextDecoder().decode(bytes);
        const error =
          text === RESULT_NOT_ENCODED ? unencodedResult() : new CommandRejectedError(rejectionOfText(text));
        return { position, type, error };
      }
      case "forgotten":
        return { position, type: "rejected", error: new AnswerForgottenError(id, sequence, "done") };
    }
  }

  /** @throws Error the state machine doesn't support sessions */
  #requireTable(): SessionTable {
    const { missingSupport, table } = this;
    if (missingSupport !== null) throw new Error(missingSupport);
    return table;
  }
}

/**
 * The same message for each attempt, on every node; only the first attempt, on its own node, knows the cause.
 */
function unencodedResult(cause?: unknown): ResultUnavailableError {
  return new ResultUnavailableError("the command took effect, and its result could not be encoded", {
    cause,
  });
}

/**
 * The session table that matches a state, whether the state machine opened with it or it was restored from a
 * snapshot. A state of no entries has no sessions. For any other state, the records that came with it say
 * which sessions it has.
 */
export async function sessionTableOf(
  { index, sessions }: OpenedState,
  environment: Environment,
  limits: SessionLimits | undefined,
): Promise<SessionTable> {
  if (index === 0) return new SessionTable(limits);
  return inTurns(SessionTable.load(sessions ?? NO_RECORDS, limits), environment);
}

const NO_RECORDS: SessionRecords = new Map();
