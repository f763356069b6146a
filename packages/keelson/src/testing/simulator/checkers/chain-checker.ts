/**
 * LIVE: messages don't cause messages without end while nothing advances. Two nodes that answer each other's
 * answers make no progress, keep both machines and the network busy, and soon there are more of their
 * messages than of all others. In the simulator such a run takes minutes of real time and shows nothing.
 *
 * A message that a node sends because of one that it received continues that one's chain. A chain is broken
 * off where its message has another reason to be sent:
 *
 * - time: a timer of the node fired in the same turn;
 * - use: a client, the operator or a fault did something since;
 * - progress: the node's term, log, commit index or durable index rose, its log was compacted, a follower
 *   acknowledged more, the leader went further back to where two logs agree, or a new part of a snapshot
 *   came.
 *
 * What only changes to and fro isn't progress: each of these must pass its highest value (or lowest, where
 * the leader goes back) so far. A turn in which only the disk answers, or only a deferred callback runs,
 * leaves the causes of the turn before in place, so a loop through the disk is found too.
 */
import { isRuntimeMessage, type RuntimeMessage } from "../../../codec/frame-runtime-message.ts";
import { membersOf } from "../../../core/config.ts";
import type { Message } from "../../../core/message.ts";
import type { RaftNode } from "../../../core/node.ts";
import type { LogIndex, LogPosition, NodeId, Term } from "../../../core/position.ts";
import { assertInvariant } from "./violation.ts";

/**
 * Messages of one chain. The longest that the protocol needs is shorter than half of this: a heartbeat, its
 * refusal, the offer of a snapshot, the request for it, the answer that it is gone; or a forwarded read, the
 * round of heartbeats that confirms it, an acknowledgement, and the answer. In a thousand runs the longest
 * had six.
 */
export const CHAIN_MESSAGES_MAX = 16;

/**
 * Chains of up to this many messages aren't checked for progress, because the check costs more than counting.
 */
const UNCHECKED_MESSAGES = 4;

/**
 * For how many messages of each link the checker remembers the chain, so that its memory stays bounded. An
 * older message that arrives after all counts as the beginning of a new chain.
 */
const MESSAGES_KNOWN_MAX = 512;

/** A chain up to one message. */
interface Chain {
  /** Messages in it. */
  readonly length: number;
  /** `#uses` when the message was sent: a chain goes on only while it stays the same. */
  readonly uses: number;
}

/** The best that a leader has known of one follower's log in its term. */
interface FollowerMark {
  match: LogIndex;
  /** The lowest `next` entry to send to the follower since `match` rose. */
  nextMin: LogIndex;
}

/** What is known of one process, from its start on. */
interface NodeChains {
  /** The turn in which the causes below were recorded. Causes of earlier turns have been dropped. */
  turn: number;
  /** `#uses` in that turn. */
  uses: number;
  /** A timer fired in that turn. */
  wasWoken: boolean;
  /** The shortest chain of a message received in that turn, by sender. */
  readonly causes: Map<NodeId, number>;
  /** The highest values so far. */
  term: Term;
  last: LogPosition;
  commit: LogIndex;
  durable: LogIndex;
  base: LogIndex;
  /** In the present term. */
  readonly followers: Map<NodeId, FollowerMark>;
  /** Parts of the snapshot that is being fetched, as they came; each counts as progress once. */
  readonly parts: Set<string>;
  /** A new part of a snapshot came since progress was last looked for. */
  gotPart: boolean;
}

/** See the file's header. */
export class ChainChecker {
  readonly #nodes = new Map<NodeId, NodeChains>();
  /** The chain that each sent message ended: by link, and then by what the message says. */
  readonly #sent = new Map<string, Map<string, Chain>>();
  /** Counts turns of the event loop. */
  #turn = 0;
  /** Counts what clients, the operator and faults do. */
  #uses = 0;

  /** A turn of the event loop has ended: what is received from now on belongs to the next turn. */
  turnEnded(): void {
    this.#turn += 1;
  }

  /** A client, the operator or a fault did something, or a call ended: no chain goes on across it. */
  used(): void {
    this.#uses += 1;
  }

  /** A process starts: what an earlier process of the node received and reached no longer counts. */
  started(id: NodeId): void {
    this.#nodes.delete(id);
  }

  /**
   * A timer of the process fired after time had passed since it was set: what the node sends in this turn
   * continues no chain.
   */
  woken(id: NodeId): void {
    this.#nodeInTurn(id).wasWoken = true;
  }

  /** Notes the chain of a message that the process is given: what it sends in this turn may continue it. */
  receiving(id: NodeId, message: Message | RuntimeMessage): void {
    const { from } = message;
    const node = this.#nodeInTurn(id);
    const chain = this.#sent.get(`${from} ${id}`)?.get(contentOf(message));
    const length = chain?.uses === this.#uses ? chain.length : 0;
    node.causes.set(from, Math.min(length, node.causes.get(from) ?? Infinity));
    if (message.type !== "snapshot-chunk" || message.payload.length === 0) return;
    const part = `${message.id} ${String(message.offset)}`;
    node.gotPart ||= !node.parts.has(part);
    node.parts.add(part);
  }

  /**
   * Checks the length of the chain of a message that the process sends. `core`: its core; null: it has none
   * yet.
   */
  sending(id: NodeId, core: RaftNode | null, to: NodeId, message: Message | RuntimeMessage): void {
    const node = this.#node(id);
    // A new transfer, for which the parts that came before are of no use.
    if (message.type === "snapshot-request" && message.id === null) node.parts.clear();
    let length = this.#causeOf(node, to) + 1;
    if (length > UNCHECKED_MESSAGES && core !== null && advance(node, core)) {
      // What else the node sends in this turn may follow from the same progress, so it begins new chains too.
      node.causes.clear();
      length = 1;
    }
    assertInvariant(
      length <= CHAIN_MESSAGES_MAX,
      "LIVE",
      () =>
        `${id} sends ${to} a message of type ${message.type}: one message has led to the next ${String(length)} ` +
        `times, and nothing advances`,
    );
    const link = `${id} ${to}`;
    const sent = this.#sent.get(link) ?? new Map<string, Chain>();
    this.#sent.set(link, sent);
    const content = contentOf(message);
    sent.delete(content);
    sent.set(content, { length, uses: this.#uses });
    const [oldest] = sent.keys();
    if (sent.size > MESSAGES_KNOWN_MAX && oldest !== undefined) sent.delete(oldest);
  }

  /** The length of the chain that a message to `to` continues; 0: none. */
  #causeOf({ wasWoken, causes, uses }: NodeChains, to: NodeId): number {
    if (wasWoken || causes.size === 0 || uses !== this.#uses) return 0;
    // Continue the chain of messages from `to`, if there is one. A message from another node in the same turn
    // could have a shorter chain, and would break off the one between these two.
    return causes.get(to) ?? Math.min(...causes.values());
  }

  /** The node, with the causes of this turn alone. */
  #nodeInTurn(id: NodeId): NodeChains {
    const node = this.#node(id);
    if (node.turn !== this.#turn) {
      node.turn = this.#turn;
      node.uses = this.#uses;
      node.wasWoken = false;
      node.causes.clear();
    }
    return node;
  }

  #node(id: NodeId): NodeChains {
    const known = this.#nodes.get(id);
    if (known !== undefined) return known;
    const node: NodeChains = {
      ...{ turn: -1, uses: this.#uses, wasWoken: true, causes: new Map(), followers: new Map() },
      ...{ term: 0, last: { term: 0, index: 0 }, commit: 0, durable: 0, base: 0 },
      ...{ parts: new Set(), gotPart: false },
    };
    this.#nodes.set(id, node);
    return node;
  }
}

/** Whether the node has advanced since this was last asked. Raises its marks. */
function advance(node: NodeChains, core: RaftNode): boolean {
  let hasAdvanced = node.gotPart;
  node.gotPart = false;
  const raise = (mark: "term" | "commit" | "durable" | "base", value: number): void => {
    if (value <= node[mark]) return;
    node[mark] = value;
    hasAdvanced = true;
    if (mark === "term") node.followers.clear();
  };
  raise("term", core.term);
  raise("commit", core.commitIndex);
  raise("durable", core.durableIndex);
  raise("base", core.log.base.index);
  const { last } = core.log;
  if (last.term > node.last.term || (last.term === node.last.term && last.index > node.last.index)) {
    node.last = last;
    hasAdvanced = true;
  }
  for (const id of membersOf(core.config)) {
    const progress = core.progress(id);
    if (progress !== undefined && advanceFollower(node, id, progress)) hasAdvanced = true;
  }
  return hasAdvanced;
}

function advanceFollower(
  node: NodeChains,
  id: NodeId,
  { match, next }: { readonly match: LogIndex; readonly next: LogIndex },
): boolean {
  const mark = node.followers.get(id);
  if (mark === undefined || match > mark.match) {
    node.followers.set(id, { match, nextMin: next });
    return true;
  }
  if (next >= mark.nextMin) return false;
  mark.nextMin = next;
  return true;
}

/** What a message says, as far as it tells messages of the same link apart. */
function contentOf(message: Message | RuntimeMessage): string {
  if (isRuntimeMessage(message)) return runtimeContentOf(message);
  const { type, term } = message;
  const about = `${type} ${String(term)}`;
  switch (message.type) {
    case "append-entries": {
      const { entries, commit, round } = message;
      return `${about} ${String(entries.prev.index)} ${String(entries.lastIndex)} ${String(commit)} ${String(round)}`;
    }
    case "append-entries-reply": {
      const { round, outcome } = message;
      const position = outcome.accepted ? outcome.match : -1 - outcome.refused;
      return `${about} ${String(round)} ${String(position)}`;
    }
    case "install-snapshot":
      return `${about} ${String(message.round)} ${String(message.last.index)}`;
    case "pre-vote":
    case "pre-vote-reply":
      return `${about} ${String(message.round)}`;
    case "read-index":
    case "read-index-reply":
      return `${about} ${String(message.id)}`;
    case "request-vote":
    case "request-vote-reply":
    case "timeout-now":
      return about;
  }
}

function runtimeContentOf(message: RuntimeMessage): string {
  const { type } = message;
  switch (message.type) {
    case "snapshot-request":
      return `${type} ${String(message.id)} ${String(message.offset)} ${String(message.bytes)}`;
    case "snapshot-chunk":
      return `${type} ${message.id} ${String(message.offset)}`;
    case "snapshot-gone":
    case "snapshot-end":
    case "forward-request":
    case "forward-reply":
      return `${type} ${String(message.id)}`;
    case "entries-lost":
      return `${type} ${String(message.acknowledged.index)}`;
    case "forward-progress":
      return `${type} ${message.ids.join(" ")}`;
  }
}
