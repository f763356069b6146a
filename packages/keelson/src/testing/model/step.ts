/**
 * The relation between a node's state before an input, the input, and its state after it: `step` returns what
 * the model knows afterwards, and throws `Forbidden` if Raft doesn't allow the step. Raft leaves much open
 * (when to time out, whether to answer, how many entries to send), and so does the model: it is strict only
 * where safety depends on it.
 */
import type { LogView } from "../../core/log.ts";
import { samePosition, type LogPosition, type NodeId } from "../../core/position.ts";
import { checkCommit, leadersLogs } from "./commitment.ts";
import { installed, persisted, truncated } from "./durability.ts";
import { checkRole, checkVote, enterTerm, withAnswers, withPreVote } from "./election.ts";
import { checkMatch, newLeading, withAcknowledgement, withCaughtUp } from "./leading.ts";
import { checkSameLog, configOf, lastOf, showLog, type ModelLog, type NextLog } from "./model-log.ts";
import type { Input, ModelState, Seen, Unsaid } from "./model-state.ts";
import { taken } from "./output.ts";
import { hasVote, sameConfig, showConfig } from "./quorum.ts";
import { checkLeaseRead, withLeaseKept, withoutLeading, withReads } from "./reads.ts";
import { checkKept, leadersMessage, logsAfter, verifiedAfter } from "./replication.ts";
import { rule } from "./rule.ts";

/**
 * Checks one step, and returns the state after it: see the file's header. `seen`: the core after the step.
 */
export function step(state: ModelState, input: Input, seen: Seen): ModelState {
  const before = withInput(state, input);
  if (isQuestion(input)) checkUnchanged(before, input, seen);
  const entered = withPreVote(enterTerm(before, input, seen), input);
  checkVote(before, entered, input, seen);
  checkRole(before, entered, input, seen);
  checkLeader(before, entered, input, seen);
  checkProposal(before, input);
  const next = nextLog(before, entered, input, seen);
  const { log } = next;
  const disk = nextDisk(before, next, input);
  rule(
    seen.durable <= Math.max(disk.durable, log.base.index),
    () => `holds ${String(seen.durable)} to be durable; reported are ${String(disk.durable)}`,
  );
  const verified = verifiedAfter(before, entered, input, log);
  const isElected = seen.role === "leader" && entered.leading === null;
  const changesConfig = configOf(log) !== configOf(before.log);
  const led = changesConfig ? withLeaseKept(entered) : entered;
  const leading = isElected ? newLeading(entered) : led.leading;
  const isSame = log === entered.log && disk === entered.disk && verified === entered.verified;
  const grown =
    isSame && leading === entered.leading ? entered : { ...entered, log, disk, verified, leading };
  const known = withCaughtUp(grown, configOf(log).voters);
  checkCommit(before, known, input, seen);
  checkMatch(known, input, seen);
  const after = withSeen(before, known, input, seen);
  return input.type === "take" ? taken(after, input.actions) : after;
}

/** The state with what the input alone tells the node, before the node acts on it. */
function withInput(state: ModelState, input: Input): ModelState {
  const now = input.type === "take" ? state.now : Math.max(state.now, input.now);
  const disk = input.type === "persisted" ? persisted(state.disk, input.persistId) : state.disk;
  // Each turn of a node ends with taking its actions, which tells it nothing. Keep the same object then: a
  // copy would cost more than all the rest.
  const told = now === state.now && disk === state.disk ? state : { ...state, now, disk };
  const counted = withAcknowledgement(withAnswers(told, input), input);
  const asked = withReads(counted, input);
  if (input.type === "lease-read" && input.answer !== null) checkLeaseRead(asked, input.answer);
  return asked;
}

/**
 * Whether the input only asks something, or takes what was decided before. Such an input must not change the
 * node.
 */
function isQuestion(input: Input): boolean {
  switch (input.type) {
    case "message": {
      const { type } = input.message;
      return type === "pre-vote" || type === "read-index" || type === "read-index-reply";
    }
    case "read":
    case "lease-read":
    case "take":
      return true;
    default:
      return false;
  }
}

function checkUnchanged(before: ModelState, input: Input, seen: Seen): void {
  const what = input.type === "message" ? input.message.type : input.type;
  for (const field of ["term", "votedFor", "role", "leader", "commit", "transferTarget"] as const) {
    // A leader's answer also tells what is committed.
    if (field === "commit" && what === "read-index-reply") continue;
    // Each input tells the time, and so may end a transfer whose time limit is over.
    if (field === "transferTarget" && seen.transferTarget === null) continue;
    rule(
      seen[field] === before[field],
      () => `a ${what} changes ${field} to ${String(seen[field])} (dissertation 6.4, 9.6)`,
    );
  }
}

/** A node takes for the leader only the sender of this term's messages, or itself. */
function checkLeader(before: ModelState, entered: ModelState, input: Input, { leader, role }: Seen): void {
  if (leader === null || (leader === before.leader && entered.term === before.term)) return;
  const isHeard = leader === leadersMessage(entered, input)?.from;
  rule(
    isHeard || (leader === entered.id && role === "leader"),
    () => `takes ${leader} for the leader of term ${String(entered.term)} (§5.2)`,
  );
}

/** §5.3: only a leader appends commands. During a transfer it takes none (dissertation 3.10). */
function checkProposal(before: ModelState, input: Input): void {
  if (input.type === "create") {
    // The first entry is the same on every node that creates the cluster. So a node may write it although it
    // has heard of the cluster's elections already, as if a leader had sent it.
    const isBlank = before.log.lastIndex === 0;
    rule(isBlank && input.voters.includes(before.id), () => "creates a cluster on a node that has a log");
  }
  if ((input.type !== "propose" && input.type !== "change") || input.answer === null) return;
  if (typeof input.answer === "string") return;
  rule(before.leading !== null, () => `takes a ${input.type} and doesn't lead (§5.3)`);
  if (input.type === "change") return;
  rule(before.transferTarget === null, () => "takes a command during a transfer (dissertation 3.10)");
  rule(hasVote(configOf(before.log), before.id), () => "takes a command and has no vote (§6)");
}

/** The log after the step: one of those that the input, and the leader's own entries, lead to. */
function nextLog(before: ModelState, entered: ModelState, input: Input, seen: Seen): NextLog {
  const allowed: NextLog[] = [];
  for (const next of logsAfter(entered, input)) {
    for (const log of leadersLogs(before, entered, next.log, input, seen)) allowed.push({ ...next, log });
  }
  const next = allowed.find(({ log }) => isWhere(log, seen.log));
  rule(next !== undefined, () => {
    const { base, last } = seen.log;
    const logs = allowed.map(({ log }) => showLog(log)).join(" or ");
    return `the log is (${String(base.index)}, ${String(last.index)}@${String(last.term)}]; allowed: ${logs} (§5.3)`;
  });
  checkKept(entered, next, input);
  // If the only log that is allowed is the one before the step, comparing its ends was enough.
  if (next.log !== before.log || allowed.length > 1) checkSameLog(next.log, seen.log);
  rule(
    sameConfig(seen.config, configOf(next.log)),
    () => `acts on ${showConfig(seen.config)}, not on its log's ${showConfig(configOf(next.log))} (§6)`,
  );
  return next;
}

/** Whether both logs begin and end at the same positions. */
function isWhere(log: ModelLog, { base, last }: LogView): boolean {
  const own = lastOf(log);
  const isBase = base.index === log.base.index && base.term === log.base.term;
  return isBase && last.index === own.index && last.term === own.term;
}

function nextDisk({ disk, log }: ModelState, { kept }: NextLog, input: Input) {
  if (input.type === "installed") return installed(disk, log, input.position);
  return kept < log.lastIndex ? truncated(disk, kept) : disk;
}

/**
 * Notes where the log of a pre-candidate ends: a request for pre-votes that is handed out later may name it.
 */
function withPreCampaign(unsaid: Unsaid, last: LogPosition): Unsaid {
  const isKnown = unsaid.preCampaigns.some((known) => samePosition(known, last));
  return isKnown ? unsaid : { ...unsaid, preCampaigns: [...unsaid.preCampaigns, last] };
}

function withSeen(before: ModelState, known: ModelState, input: Input, seen: Seen): ModelState {
  const { term, votedFor, role, leader, commit, transferTarget, log } = seen;
  const { unsaid } = known;
  rule(
    transferTarget === null || hasVote(configOf(known.log), transferTarget),
    () => `transfers leadership to ${String(transferTarget)}, which has no vote (dissertation 3.10)`,
  );
  // What a leader has confirmed may still be said after it has stepped down.
  const isFormer = role !== "leader" && known.leading !== null;
  const { reads, leading } = isFormer ? withoutLeading({ ...known, commit }) : known;
  const heard = leadersMessage(known, input);
  const begins = role === "pre-candidate" && before.role !== "pre-candidate";
  return {
    ...known,
    term,
    votedFor,
    role,
    leader,
    commit,
    transferTarget,
    reads,
    leading,
    leaderOfTerm: leader ?? known.leaderOfTerm,
    leaderHeardAt: heard === null ? known.leaderHeardAt : known.now,
    roundHeard: Math.max(known.roundHeard, heard?.round ?? 0),
    preVotes: begins ? NO_NODES : known.preVotes,
    preVoteRound: begins ? null : known.preVoteRound,
    unsaid: role === "pre-candidate" ? withPreCampaign(unsaid, log.last) : unsaid,
  };
}

const NO_NODES: ReadonlySet<NodeId> = new Set();
