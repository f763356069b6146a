/**
 * The core's debug trace: messages, effects and nodes as short lines for people. It only reads. The expected
 * traces of the plays in `plays/` are made of these lines, and a driver can log them.
 */
import type { Actions, Action } from "./action.ts";
import type { ClusterConfig } from "./config.ts";
import type { EntryRange, Message } from "./message.ts";
import type { RaftNode } from "./node.ts";
import type { LogPosition } from "./position.ts";

/** A position as `index@term`, such as `5@2`. */
export function describePosition({ index, term }: LogPosition): string {
  return `${String(index)}@${String(term)}`;
}

/** A configuration, such as `a,b,c`, `a,b,c learners d`, or `a,b,d outgoing a,b,c` while it is joint (§6). */
export function describeConfig({ voters, outgoingVoters, learners }: ClusterConfig): string {
  const parts = [voters.length === 0 ? "none" : voters.join(",")];
  if (outgoingVoters.length > 0) parts.push(`outgoing ${outgoingVoters.join(",")}`);
  if (learners.length > 0) parts.push(`learners ${learners.join(",")}`);
  return parts.join(" ");
}

/** A message without its sender, such as `request-vote term=2 last=1@1`. */
export function describeMessage(message: Message): string {
  const head = `${message.type} term=${String(message.term)}`;
  switch (message.type) {
    case "pre-vote":
      return `${head} last=${describePosition(message.last)}`;
    case "request-vote":
      return `${head} last=${describePosition(message.last)}${message.transfer ? " transfer" : ""}`;
    case "pre-vote-reply":
    case "request-vote-reply":
      return `${head} ${message.granted ? "granted" : "refused"}`;
    case "append-entries": {
      const { entries, commit, round } = message;
      return `${head} prev=${describePosition(entries.prev)} entries=${describeEntries(entries)} commit=${String(commit)} round=${String(round)}`;
    }
    case "append-entries-reply": {
      const { outcome, round } = message;
      const verdict = outcome.accepted
        ? `accepted match=${String(outcome.match)}`
        : `refused prev=${String(outcome.refused)} hint=${describePosition(outcome.hint)}`;
      return `${head} ${verdict} round=${String(round)}`;
    }
    case "install-snapshot":
      return `${head} last=${describePosition(message.last)} config=${describeConfig(message.config)}`;
    case "read-index":
      return `${head} id=${String(message.id)}`;
    case "read-index-reply":
      return `${head} id=${String(message.id)} index=${message.index === null ? "none" : String(message.index)}`;
    case "timeout-now":
      return head;
  }
}

/** One effect, such as `append 2-4` or `send to b: timeout-now term=2`. */
export function describeAction(action: Action): string {
  switch (action.type) {
    case "set-timer":
      return `set the timer to ${action.deadline === null ? "never" : String(action.deadline)}`;
    case "save-hard-state":
      return `save term=${String(action.term)} vote=${action.votedFor ?? "none"}`;
    case "append-entries": {
      const { truncateFrom, from, to } = action;
      const parts = truncateFrom === null ? [] : [`truncate from ${String(truncateFrom)}`];
      if (to > from) parts.push(`append ${span(from, to - 1)}`);
      return parts.join(", ");
    }
    case "send":
      return `send to ${action.to}: ${describeMessage(action.message)}`;
    case "send-after-persist":
      return `once durable, send to ${action.to}: ${describeMessage(action.message)}`;
    case "commit":
      return `commit up to ${describePosition(action.position)}`;
    case "read":
      return action.index === null
        ? `read ${String(action.id)} failed: ask again`
        : `read ${String(action.id)} may be served at index ${String(action.index)}`;
    case "send-snapshot":
      return `${action.to} needs a snapshot`;
    case "install-snapshot":
      return `install the snapshot of ${describePosition(action.offer.last)} from ${action.offer.from}`;
  }
}

/** The effects in the order in which to carry them out, a line each, without the timer. */
export function describeActions(actions: Actions): string[] {
  return [...actions].filter(({ type }) => type !== "set-timer").map(describeAction);
}

/** What a node is and knows, in a line. */
export function describeNode(node: RaftNode): string {
  const { id, role, term, votedFor, leader, log, commitIndex, durableIndex, config } = node;
  return [
    `${id} ${role} term=${String(term)} vote=${votedFor ?? "none"} leader=${leader ?? "none"}`,
    `last=${describePosition(log.last)} durable=${String(durableIndex)} commit=${String(commitIndex)}`,
    `config=${describeConfig(config)}`,
  ].join(" ");
}

/** The entries of a range as runs of one term, with configurations named: `2@2 3-5@3 config(5)`. */
function describeEntries({ terms, lastIndex, configs }: EntryRange): string {
  if (terms.length === 0) return "none";
  const runs = terms.map(({ index, term }, at) => {
    const next = terms[at + 1]?.index ?? lastIndex + 1;
    return `${span(index, next - 1)}@${String(term)}`;
  });
  for (const { index } of configs) runs.push(`config(${String(index)})`);
  return runs.join(",");
}

function span(from: number, to: number): string {
  return from === to ? String(from) : `${String(from)}-${String(to)}`;
}
