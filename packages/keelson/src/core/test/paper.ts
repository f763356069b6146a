import type { AppendEntries, Message, NodeId, RaftNode, RequestVote } from "../index.ts";
import {
  ABC,
  accepted,
  act,
  at,
  leading,
  logOf,
  restarted,
  allMessagesOf,
  type NodeSetting,
} from "./script.ts";

/** The configuration of a, b and c as a cluster's first entry. */
export const FIRST_CONFIG = [{ index: 1, config: ABC }];
/** Later than the time in which a node that restarted at 0 helps no candidate. */
export const LATER = 1_000;

export function requestVote(from: NodeId, term: number, last: string): RequestVote {
  return { type: "request-vote", from, term, last: at(last), transfer: false };
}

export function votesIn(messages: readonly Message[]): boolean[] {
  return messages.flatMap((message) => (message.type === "request-vote-reply" ? [message.granted] : []));
}

/** A node of a, b and c with this log. */
export function nodeWith(log: string, setting: NodeSetting = {}): RaftNode {
  return restarted({ log: logOf(log, "0@0", FIRST_CONFIG), preVote: false, ...setting });
}

/** All messages that a node sends after it received one. */
export function answer(node: RaftNode, message: Message, now = LATER): Message[] {
  node.handleMessage(message, now);
  return allMessagesOf(node, now);
}

export function appendsTo(to: NodeId, node: RaftNode, now = LATER): AppendEntries[] {
  return act(node, now).messages.flatMap((sent) =>
    sent.to === to && sent.message.type === "append-entries" ? [sent.message] : [],
  );
}

/** A leader of term 2 whose log is 1@1 2@2, and that b and c have answered. */
export function heardLeader(): RaftNode {
  const node = leading();
  for (const id of ["b", "c"]) node.handleMessage(accepted(id, 2, 2), LATER);
  act(node, LATER);
  return node;
}
