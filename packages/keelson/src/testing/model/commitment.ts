/** When an entry is committed (§5.3, §5.4.2), and which configuration entries a leader may add (§6). */
import type { ClusterConfig } from "../../core/config.ts";
import type { LogIndex } from "../../core/position.ts";
import { configAt, configOf, termAt, withConfig, withEntries, type ModelLog } from "./model-log.ts";
import type { Input, ModelState, Seen } from "./model-state.ts";
import { isQuorum, sameNodes } from "./quorum.ts";
import { leadersMessage } from "./replication.ts";
import { rule } from "./rule.ts";

/**
 * Checks how the step moved the commit index. `state` has the log and the knowledge after the step; `before`
 * is the state before it.
 */
export function checkCommit(before: ModelState, state: ModelState, input: Input, { commit }: Seen): void {
  if (commit === before.commit) return;
  rule(commit > before.commit, () => `the commit index falls to ${String(commit)}`);
  const isLeaders = before.leading !== null && state.leading !== null;
  if (isLeaders) checkLeadersCommit(before, state, commit);
  else
    rule(
      commit <= followersCommit(state, input),
      () => `the commit index rises to ${String(commit)} on a ${input.type} (Figure 2)`,
    );
}

/** Figure 2, AppendEntries 5: at most the leader's commit index, and what was verified to equal its log. */
function followersCommit(state: ModelState, input: Input): LogIndex {
  if (input.type === "installed") return Math.max(state.commit, input.position.index);
  if (input.type === "message" && input.message.type === "read-index-reply") {
    // The answer's index was committed in this term or an earlier one, so the leader of this term holds it
    // (Leader Completeness).
    const { index, term } = input.message;
    return index !== null && term <= state.term ? Math.min(index, state.verified) : state.commit;
  }
  const message = leadersMessage(state, input);
  if (message === null) return state.commit;
  if (message.type === "install-snapshot") return Math.min(message.last.index, state.verified);
  return Math.min(message.commit, state.verified);
}

/**
 * Figure 2, Leaders: a majority holds the entry durably, and it is of the leader's own term (§5.4.2). The
 * majority is that of the configuration in force before the step, or after it if the step changed that.
 */
function checkLeadersCommit(
  before: ModelState,
  { log, term, leading, disk, id }: ModelState,
  commit: LogIndex,
): void {
  rule(
    termAt(log, commit) === term,
    () => `commits ${String(commit)} of an earlier term by counting (§5.4.2)`,
  );
  const holds = (voter: string): boolean =>
    (voter === id ? disk.durable : (leading?.match.get(voter) ?? 0)) >= commit;
  rule(
    isQuorum(configOf(before.log), holds) || isQuorum(configOf(log), holds),
    () => `commits ${String(commit)} without a majority (§5.3)`,
  );
}

/** The logs that `log` may become because a leader adds entries of its own. */
export function leadersLogs(
  before: ModelState,
  state: ModelState,
  log: ModelLog,
  input: Input,
  seen: Seen,
): ModelLog[] {
  if (seen.role === "leader" && state.leading === null) {
    // §8: a new leader begins its term with a blank entry.
    const begun = withEntries(log, state.term, 1);
    return [begun, ...leavingJoint(begun, state, seen.commit)];
  }
  if (state.leading === null || before.leading === null) return [log];
  if (input.type === "change" && typeof input.answer !== "string") {
    checkChange(before, input.target);
    const changed = withConfig(log, state.term, firstStep(configOf(log), input.target));
    return [changed, ...leavingJoint(changed, state, seen.commit)];
  }
  return [log, ...leavingJoint(log, state, seen.commit)];
}

/** §6: once C_old,new is committed, the leader appends C_new. */
function leavingJoint(log: ModelLog, { term }: ModelState, commit: LogIndex): ModelLog[] {
  const { index, config } = configAt(log, log.lastIndex);
  if (config.outgoingVoters.length === 0 || index > commit) return [];
  return [withConfig(log, term, { ...config, outgoingVoters: [] })];
}

/**
 * §6: a change of voters begins with C_old,new. Learners count in no majority, so they change in one step.
 */
function firstStep(current: ClusterConfig, target: ClusterConfig): ClusterConfig {
  const outgoingVoters = sameNodes(current.voters, target.voters) ? [] : current.voters;
  return { voters: target.voters, outgoingVoters, learners: target.learners };
}

/**
 * A change begins only when the one before it is committed (§6), and when the leader has committed an entry
 * of its own term: else two leaders' changes could have majorities that don't overlap.
 */
function checkChange({ log, commit, leading }: ModelState, target: ClusterConfig): void {
  const { index, config } = configAt(log, log.lastIndex);
  rule(
    index <= commit && config.outgoingVoters.length === 0,
    () => `changes the configuration while the change at ${String(index)} is under way (§6)`,
  );
  rule(
    leading !== null && leading.termStart <= commit,
    () => "changes the configuration before an entry of its own term is committed",
  );
  rule(target.voters.length > 0, () => "changes to a configuration without voters");
}
