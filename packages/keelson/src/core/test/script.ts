import {
  configOf,
  RaftNode,
  type Actions,
  type AppendEntries,
  type AppendEntriesReply,
  type ConfigAt,
  type EntryRange,
  type InstallSnapshot,
  type LogImage,
  type LogPosition,
  type Message,
  type NodeId,
  type RaftNodeOptions,
  type TermRun,
} from "../index.ts";
import type { PreVoteReply } from "../message.ts";
import type { LeaderImage } from "../role.ts";

export const ABC = configOf(["a", "b", "c"]);

/** `"5@2"`: index 5 of term 2. */
export function at(text: string): LogPosition {
  const [index = NaN, term = NaN] = text.split("@").map(Number);
  return { term, index };
}

/** `"3-5@1 6@2"`: indexes 3 to 5 of term 1, then 6 of term 2. */
function runs(text: string): { terms: TermRun[]; lastIndex: number } {
  const terms: TermRun[] = [];
  let lastIndex = 0;
  for (const part of text.split(" ").filter((word) => word !== "")) {
    const [indexes = "", term] = part.split("@");
    const [first, last] = indexes.split("-").map(Number);
    terms.push({ index: first ?? NaN, term: Number(term) });
    lastIndex = last ?? first ?? NaN;
  }
  return { terms, lastIndex };
}

/** Entries after `prev`, in the notation of `runs`. */
export function range(prev: string, entries: string, configs: readonly ConfigAt[] = []): EntryRange {
  const { terms, lastIndex } = runs(entries);
  return { prev: at(prev), terms, lastIndex: entries === "" ? at(prev).index : lastIndex, configs };
}

/** A log that begins at 1, or after `base`. */
export function logOf(entries: string, base = "0@0", configs: readonly ConfigAt[] = []): LogImage {
  const { prev, ...rest } = range(base, entries, configs);
  return { base: prev, baseConfig: ABC, ...rest };
}

export interface NodeSetting extends Partial<RaftNodeOptions> {
  readonly log?: LogImage;
  readonly term?: number;
  readonly votedFor?: NodeId | null;
  readonly commitIndex?: number;
}

/** A node of the cluster a, b, c that was restarted at time 0. */
export function restarted({ log, term, votedFor, commitIndex, ...options }: NodeSetting = {}): RaftNode {
  const image = log ?? logOf("");
  const last = image.terms.at(-1)?.term ?? image.base.term;
  return RaftNode.restart({
    id: "a",
    random: () => 0.5,
    ...options,
    now: 0,
    hardState: { term: term ?? last, votedFor: votedFor ?? null },
    log: image,
    ...(commitIndex === undefined ? {} : { commitIndex }),
  });
}

/** Takes the actions and reports them durable at once; returns them. */
export function act(node: RaftNode, now = 0): Actions {
  const actions = node.takeActions();
  node.handlePersisted(actions.persistId, now);
  return actions;
}

/** All messages that a node sends until it has nothing left to write. */
export function allMessagesOf(node: RaftNode, now = 0): Message[] {
  const said: Message[] = [];
  for (;;) {
    const actions = act(node, now);
    for (const { message } of [...actions.messages, ...actions.messagesAfterPersist]) said.push(message);
    if (!actions.needsPersist && actions.messages.length === 0) return said;
  }
}

/** The acknowledgements and refusals among messages. */
export function repliesIn(messages: readonly Message[]): AppendEntriesReply[] {
  return messages.filter((message) => message.type === "append-entries-reply");
}

export function appendEntries(
  setting: Partial<AppendEntries> & { term: number; entries: EntryRange },
): AppendEntries {
  return { type: "append-entries", from: "b", commit: 0, round: 1, ...setting };
}

export function offer(last: string, setting: Partial<InstallSnapshot> & { term: number }): InstallSnapshot {
  return { type: "install-snapshot", from: "b", last: at(last), config: ABC, round: 1, ...setting };
}

export function accepted(from: NodeId, term: number, match: number, round = 1): AppendEntriesReply {
  return { type: "append-entries-reply", from, term, round, outcome: { accepted: true, match } };
}

export function refused(
  from: NodeId,
  term: number,
  about: number,
  hint: string,
  round = 1,
): AppendEntriesReply {
  const outcome = { accepted: false, refused: about, hint: at(hint) } as const;
  return { type: "append-entries-reply", from, term, round, outcome };
}

/** A leader of the given configuration, elected by `voters`; its actions so far are taken and durable. */
export function leading(setting: NodeSetting = {}, voters: readonly NodeId[] = ["b", "c"]): RaftNode {
  const node = restarted({
    log: logOf("1@1", "0@0", [{ index: 1, config: ABC }]),
    preVote: false,
    ...setting,
  });
  const { id } = node;
  node.handleTimeout(1000);
  act(node, 1000);
  for (const from of voters) {
    node.handleMessage({ type: "request-vote-reply", from, term: node.term, granted: true }, 1000);
  }
  if (node.role !== "leader") throw new Error(`${id} does not lead`);
  act(node, 1000);
  return node;
}

/** The number of the heartbeat round that a leader started last. */
export function roundOf(node: RaftNode): number {
  return leaderImage(node).heartbeatRound;
}

/** What a leader captures of its role. */
export function leaderImage(node: RaftNode): LeaderImage {
  const { role } = node.capture();
  if (role.type !== "leader") throw new Error(`${node.id} does not lead`);
  return role;
}

/** The number of a node's first round of pre-votes, with the random numbers of `restarted`. */
export const FIRST_ROUND = 2 ** 47 + 1;

/** An answer to a pre-vote of that round. */
export function preVoteReply(from: NodeId, term: number, granted = true, round = FIRST_ROUND): PreVoteReply {
  return { type: "pre-vote-reply", from, term, round, granted };
}
