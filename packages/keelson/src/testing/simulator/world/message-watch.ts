/**
 * Watches one process's messages: what it sends is checked as it leaves, and a TimeoutNow may strike a fault;
 * of what it receives, the checkers note what it entitles or binds the node to, and check what the node does
 * with it.
 *
 * - LM: an AppendEntries message carries exactly the records that it names.
 * - ES: a member whose disk was lost doesn't vote or acknowledge as if it were the old one (M11).
 * - CQ: a leader doesn't count an acknowledgement that was given to it as leader of an earlier term (R7).
 * - LIVE: see `GrantChecker`.
 * - STABLE: a pre-vote, and a request for a vote that comes while the leader is heard, change nothing.
 * - LIVE, BOUND: see `ChainChecker` and `TransferChecker`.
 * - PBR, CFG, STABLE: see `MessageChecker`, `EntitlementChecker` and `LeaseChecker`.
 * - BOUND: see `WindowChecker`.
 * - ONCE, KNOWN, BOUND: see `RuntimeMessageChecker`.
 *
 * The reference model is stricter about what an acknowledgement or a pre-vote may change. But it lets a
 * leader step down at any input, so that a refused request for a vote leaves the role alone is checked only
 * here.
 */
import { isRuntimeMessage, type RuntimeMessage } from "../../../codec/frame-runtime-message.ts";
import type { Message } from "../../../core/message.ts";
import type { LogIndex, NodeId } from "../../../core/position.ts";
import { membersOf } from "../../../core/config.ts";
import type { RaftNode } from "../../../core/node.ts";
import type { Role } from "../../../core/role.ts";
import type { TransportMessage } from "../../../transport/transport.ts";
import { GrantChecker, type Voter } from "../checkers/grant-checker.ts";
import { LeaseChecker, type ReceiverState } from "../checkers/lease-checker.ts";
import type { ClusterChecker } from "../checkers/cluster-checker.ts";
import { assertInvariant } from "../checkers/violation.ts";
import { WindowChecker } from "../checkers/window-checker.ts";
import type { Plan } from "../plan/plan.ts";
import type { TransportObserver } from "./observed-transport.ts";

/**
 * What a node sends to others as a candidate or as a leader. A node answers such a message even if its sender
 * is no member for it, so it may keep a connection to the sender until the membership changes again.
 */
const OF_CANDIDATES_AND_LEADERS: ReadonlySet<Message["type"]> = new Set([
  "pre-vote",
  "request-vote",
  "append-entries",
  "install-snapshot",
]);

/** The process whose messages are watched. */
export interface WatchedProcess {
  readonly id: NodeId;
  /** null: its node has none yet, or has ended. */
  readonly core: RaftNode | null;
  readonly hasLostDisk: boolean;
  readonly onTimeoutNowSent: ((to: NodeId) => void) | null;
  /** The last entry that the node has applied; null: it isn't open. */
  appliedIndex(): LogIndex | null;
  /** The time on its own clock. */
  now(): number;
  /** The node's state; null: it isn't open. A node that closes or has failed is "stopped". */
  state(): { readonly role: Role | "stopped" } | null;
  /** Milliseconds on the node's clock since its core last heard from a leader, or since it started. */
  sinceLeaderMs(): number;
}

export interface MessageWatchParts {
  readonly process: WatchedProcess;
  readonly plan: Plan;
  readonly checker: ClusterChecker;
  readonly report: (error: unknown) => void;
  /** Told of every message that leaves, of cores and runtimes. */
  readonly sending: (from: NodeId, to: NodeId, transportMessage: TransportMessage) => void;
}

/** See the file's header. Made anew for each start of the process. */
export class MessageWatch implements TransportObserver {
  readonly #parts: MessageWatchParts;
  readonly #lease: LeaseChecker;
  readonly #grants: GrantChecker;
  readonly #window: WindowChecker;
  /**
   * While an acknowledgement for an earlier term is handled: what the leader knew of its followers before;
   * else null.
   */
  #matchesBefore: string | null = null;
  /**
   * While a message is handled that must change nothing: the node's state before it, from `#changeable`; else
   * null.
   */
  #unchanged: string | null = null;

  constructor(parts: MessageWatchParts) {
    const { electionTimeoutMs, checkQuorum, start, window } = parts.plan;
    this.#parts = parts;
    // The lease checker counts from 0, and the node from the clock's start: near 2^53 it rounds to
    // milliseconds.
    const roundingMs = 2 * start.clockMs * Number.EPSILON;
    this.#lease = new LeaseChecker(electionTimeoutMs.min - roundingMs, checkQuorum);
    this.#grants = new GrantChecker(electionTimeoutMs.min);
    this.#window = new WindowChecker(parts.process.id, window);
  }

  sending(to: NodeId, transportMessage: TransportMessage): void {
    const { process, sending } = this.#parts;
    this.#check(() => {
      this.#checkSending(to, transportMessage);
    });
    sending(process.id, to, transportMessage);
  }

  #checkSending(to: NodeId, transportMessage: TransportMessage): void {
    const { process, checker } = this.#parts;
    const { message } = transportMessage;
    checkRecords(transportMessage);
    checker.transfers.sending(process, to, message);
    checker.chains.sending(process.id, process.core, to, message);
    if (isRuntimeMessage(message)) {
      checker.runtimeMessages.sending(process, to, message);
      return;
    }
    if (OF_CANDIDATES_AND_LEADERS.has(message.type)) checker.history.campaigners.add(process.id);
    checker.messages.sending(process.id, to, message);
    checker.reads.sending(to, message);
    checker.leaseReads.sending(message);
    checker.entitlements.sending(process.id, message, () => process.core?.config ?? null);
    assertInvariant(
      !process.hasLostDisk || !assertsDurableState(message),
      "ES",
      () => `${process.id} lost its disk, and ${to} has a ${message.type} of it as of a member`,
    );
    if (message.type === "append-entries")
      this.#window.sending(to, message, transportMessage.records, process.core?.progress(to));
    this.#lease.sending(to, message);
    this.#grants.sending(to, message);
    if (message.type === "timeout-now") process.onTimeoutNowSent?.(to);
  }

  notSent(message: Message | RuntimeMessage): void {
    const { process, checker } = this.#parts;
    if (isRuntimeMessage(message)) checker.runtimeMessages.notSent(process, message);
  }

  receiving(message: Message | RuntimeMessage): void {
    this.#parts.checker.chains.receiving(this.#parts.process.id, message);
    if (isRuntimeMessage(message)) {
      this.#parts.checker.runtimeMessages.receiving(this.#parts.process, message);
      return;
    }
    this.#parts.checker.entitlements.receiving(this.#parts.process.id, message);
    this.#matchesBefore = message.type === "append-entries-reply" ? this.#matchesAfter(message.term) : null;
    const asksForVote = message.type === "pre-vote" || message.type === "request-vote";
    const state = asksForVote ? this.#receiverState() : null;
    // Once it is known that a node lost durable entries, no vote is given to it.
    const mayBeLost = this.#parts.checker.history.rolledBack.has(message.from);
    const voter = asksForVote && !mayBeLost ? this.#voter() : null;
    if (voter !== null) this.#grants.receiving(message, voter);
    const mustRefuse = state !== null && this.#lease.receiving(message, state);
    this.#unchanged = message.type === "pre-vote" || mustRefuse ? this.#changeable() : null;
  }

  received(message: Message | RuntimeMessage): void {
    if (isRuntimeMessage(message)) return;
    const before = this.#matchesBefore;
    const unchanged = this.#unchanged;
    this.#check(() => {
      assertInvariant(
        before === null || before === this.#matchesAfter(message.term),
        "CQ",
        () =>
          `${this.#parts.process.id} counts an answer of ${message.from} to a leader of the earlier term ${String(message.term)}`,
      );
    });
    this.#check(() => {
      assertInvariant(
        unchanged === null || unchanged === this.#changeable(),
        "STABLE",
        () =>
          `${this.#parts.process.id} is changed by a ${message.type} of ${message.from} that it only answers`,
      );
    });
    const voter = message.type === "request-vote" ? this.#voter() : null;
    this.#check(() => {
      if (voter !== null) this.#grants.received(message, voter);
    });
    const state = message.type === "append-entries" ? this.#receiverState() : null;
    if (state !== null) this.#lease.received(message, state);
  }

  /** Everything that a node could change, but must not when it only answers a question. */
  #changeable(): string | null {
    const { core } = this.#parts.process;
    if (core === null) return null;
    const { role, term, leader, commitIndex, log } = core;
    return [role, term, leader, commitIndex, log.last.index].join(" ");
  }

  /**
   * The node's state, as far as it decides about a vote; null: there is no core, or the node is closing or
   * has failed, and takes no message any more.
   */
  #voter(): Voter | null {
    const { process } = this.#parts;
    if (process.core === null || process.state()?.role === "stopped") return null;
    const { id, term, votedFor, leader, role, log } = process.core;
    const sinceLeaderMs = process.sinceLeaderMs();
    return { id, term, votedFor, leader, isLeader: role === "leader", last: log.last, sinceLeaderMs };
  }

  #receiverState(): ReceiverState | null {
    const { process } = this.#parts;
    if (process.core === null) return null;
    const { role, term, votedFor } = process.core;
    return { isLeader: role === "leader", term, hasVoted: votedFor !== null, now: process.now() };
  }

  /**
   * What the node knows of its followers as leader of a term later than this; null: it leads no such term.
   */
  #matchesAfter(term: number): string | null {
    const { core } = this.#parts.process;
    if (core?.role !== "leader" || core.term <= term) return null;
    return JSON.stringify(
      membersOf(core.config).map((id) => {
        const { match, lostAfter } = core.progress(id) ?? {};
        return [match, lostAfter];
      }),
    );
  }

  #check(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.#parts.report(error);
    }
  }
}

function assertsDurableState(message: Message): boolean {
  if (message.type === "append-entries-reply") return message.outcome.accepted;
  return message.type === "request-vote-reply" && message.granted;
}

/** LM. */
function checkRecords({ message, records }: TransportMessage): void {
  const count =
    message.type === "append-entries" ? message.entries.lastIndex - message.entries.prev.index : 0;
  assertInvariant(
    records.length === count,
    "LM",
    () => `${message.from} sends ${String(records.length)} records for ${String(count)} entries`,
  );
}
