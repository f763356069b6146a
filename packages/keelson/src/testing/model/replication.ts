/** AppendEntries (§5.3), snapshots (§7), and how far a log is known to equal the leader's. */
import type { AppendEntries, InstallSnapshot } from "../../core/message.ts";
import type { LogIndex } from "../../core/position.ts";
import {
  accepting,
  contains,
  logAfter,
  suffix,
  withConfig,
  withEntries,
  type ModelLog,
  type NextLog,
} from "./model-log.ts";
import type { Input, ModelState } from "./model-state.ts";
import { rule } from "./rule.ts";

/** A message of the leader of the term that the node is in after the step; null: the input is another one. */
export function leadersMessage({ term }: ModelState, input: Input): AppendEntries | InstallSnapshot | null {
  if (input.type !== "message" || input.message.term !== term) return null;
  const { message } = input;
  return message.type === "append-entries" || message.type === "install-snapshot" ? message : null;
}

/**
 * The logs that the input itself may lead to, before a leader adds entries of its own. Refusing is always
 * allowed; what is accepted is accepted as a whole.
 */
export function logsAfter(state: ModelState, input: Input): readonly NextLog[] {
  const { log, term } = state;
  const next = (longer: ModelLog): NextLog[] => [{ log: longer, kept: log.lastIndex }];
  switch (input.type) {
    case "message": {
      const message = leadersMessage(state, input);
      const accepted = message?.type === "append-entries" ? accepting(log, message.entries) : null;
      return accepted === null || accepted.log === log ? next(log) : [...next(log), accepted];
    }
    case "propose":
      return next(input.answer === null ? log : withEntries(log, term, input.count));
    case "create":
      return next(withConfig(log, 1, { voters: input.voters, outgoingVoters: [], learners: [] }));
    case "compacted":
      return next(suffix(log, input.index));
    case "installed": {
      const { position, config } = input;
      // Figure 13, 6 and 7: entries after the snapshot stay only if the log holds its last entry.
      if (position.index <= log.base.index || contains(log, position))
        return next(suffix(log, position.index));
      return [{ log: logAfter(position, config), kept: 0 }];
    }
    case "change":
    case "timeout":
    case "persisted":
    case "transfer":
    case "stall":
    case "read":
    case "lease-read":
    case "take":
      return next(log);
  }
}

/**
 * §5.4, Leader Completeness: what is committed is in the log of every later leader, so it is never removed.
 */
export function checkKept({ log, commit }: ModelState, { kept }: NextLog, input: Input): void {
  const isCovered = input.type === "installed" && input.position.index >= commit;
  rule(
    kept >= log.lastIndex || kept >= commit || isCovered,
    () => `removes entries from ${String(kept + 1)}, and ${String(commit)} is committed (§5.4)`,
  );
}

/** How far the log equals that of the term's leader after this input. */
export function verifiedAfter(before: ModelState, state: ModelState, input: Input, log: ModelLog): LogIndex {
  const { verified } = state;
  if (input.type === "installed") return Math.max(verified, input.position.index);
  const message = leadersMessage(state, input);
  if (message === null) return verified;
  // A snapshot covers committed entries, which the leader's log holds (Leader Completeness).
  if (message.type === "install-snapshot")
    return contains(log, message.last) ? Math.max(verified, message.last.index) : verified;
  const accepted = accepting(before.log, message.entries);
  const isTaken = accepted !== null && (accepted.log === before.log || log !== before.log);
  return isTaken ? Math.max(verified, message.entries.lastIndex) : verified;
}
