// Sessions (§8; dissertation 6.3): the replicated table that makes retries safe, how its entries are applied,
// and the `Session` that callers use.
export { LogClock } from "./log-clock.ts";
export {
  isSessionKind,
  RECORDS_MISSING,
  SessionApplier,
  sessionTableOf,
  type SessionKind,
} from "./session-applier.ts";
export { countSessions, encodeRecords, readRecords, writeRecords } from "./session-records.ts";
export {
  ANSWER_OVERHEAD_BYTES,
  SESSION_LIMITS,
  SESSION_OVERHEAD_BYTES,
  SessionTable,
  type SessionLimits,
  type SessionProgress,
  type SessionTableView,
} from "./session-table.ts";
export {
  openResumableSession,
  ResumableSession,
  resumeSession,
  type ResumeHost,
  type SessionState,
} from "./resumable-session.ts";
export {
  openSession,
  Session,
  type OpenedSession,
  type OpenSessionOptions,
  type SessionHost,
} from "./session.ts";
