/**
 * Checks the messages that runtimes send each other, beside those of their cores: forwarded calls, and parts
 * of snapshots. Each of them needs an event that entitles its sender to it.
 *
 * - ONCE: each attempt of a forwarded call has a number of its own, in all processes of its node. The leader
 *   tells duplicates by it, and the node that forwards tells answers to earlier attempts (K1).
 * - KNOWN: a call is forwarded to the leader that the node knows, as the leader of that term. A leader
 *   answers only what it was asked, once; and it answers, or says from time to time that the call is under
 *   way, as the node that waits can't know otherwise (K4).
 * - BOUND: parts of a snapshot are asked of the node that offered one last, and not again while the answer
 *   may be under way. Asking a leader that is gone lasts until a time limit, and shows in nothing else (Q3).
 */
import type {
  ForwardRequest,
  RuntimeMessage,
  SnapshotRequest,
} from "../../../codec/frame-runtime-message.ts";
import type { RaftNode } from "../../../core/node.ts";
import type { LogIndex, NodeId } from "../../../core/position.ts";
import { assertInvariant } from "./violation.ts";

/**
 * A request for a part of a snapshot is repeated after so many milliseconds: the runtime's own constant, less
 * what a clock near 2^53 rounds.
 */
const RETRY_MS = 1_000 - 2;

/** How late a leader's word on a forwarded call may be, in milliseconds and as a share of the interval. */
const PROGRESS_GRACE_MS = 100;
const PROGRESS_INTERVALS = 1.5;

/** A node whose messages are checked. */
export interface Messenger {
  readonly id: NodeId;
  readonly core: Pick<RaftNode, "role" | "term" | "leader"> | null;
  /** The last entry that it has applied; null: it isn't open. */
  appliedIndex(): LogIndex | null;
  /** The time on its clock. */
  now(): number;
}

/** What is known of one process. Times are on its own clock; sets and maps grow with the run. */
interface ProcessMessages {
  /** The number that its attempts share; null: it has forwarded nothing. */
  incarnation: number | null;
  /** The numbers of its attempts. */
  readonly attempts: Set<number>;
  /** The forwarded calls that it was given, and those that it has answered. */
  readonly given: Set<string>;
  readonly answered: Set<string>;
  /** The calls that it was given as leader of their term and has not answered: when it last spoke of each. */
  readonly running: Map<string, number>;
  /**
   * The snapshot that its core was offered last and that it needs; null: none was, or the plan's runs go
   * without an observer of the core, which tells of offers.
   */
  offer: { readonly from: NodeId; readonly at: number } | null;
  /** Whom it asks for parts of a snapshot; and when it asked for each part last, by snapshot and offset. */
  source: NodeId | null;
  readonly requestedAt: Map<string, number>;
}

/** See the file's header. */
export class RuntimeMessageChecker {
  readonly #processes = new Map<NodeId, ProcessMessages>();
  /** The incarnations of each node's earlier processes. */
  readonly #incarnations = new Map<NodeId, Set<number>>();
  /** How often a leader says which calls are under way, in milliseconds. */
  readonly #progressMs: number;

  constructor(progressMs: number) {
    this.#progressMs = progressMs;
  }

  /** A process of the node begins. */
  started(id: NodeId): void {
    const incarnation = this.#processes.get(id)?.incarnation ?? null;
    if (incarnation !== null)
      this.#incarnations.set(id, (this.#incarnations.get(id) ?? new Set()).add(incarnation));
    this.#processes.delete(id);
  }

  /** The node's core tells its runtime that `from` offers a snapshot up to this index. */
  offered(node: Messenger, from: NodeId, index: LogIndex): void {
    const applied = node.appliedIndex();
    if (applied !== null && index > applied) this.#of(node.id).offer = { from, at: node.now() };
  }

  receiving(node: Messenger, message: RuntimeMessage): void {
    if (message.type !== "forward-request") return;
    const { id, core } = node;
    const { given, running } = this.#of(id);
    const key = keyOf(message.from, message.incarnation, message.id);
    if (given.has(key)) return;
    given.add(key);
    if (core?.role === "leader" && core.term === message.term) running.set(key, node.now());
  }

  sending(node: Messenger, to: NodeId, message: RuntimeMessage): void {
    switch (message.type) {
      case "forward-request":
        this.#checkForwarding(node, to, message);
        return;
      case "forward-reply":
        this.#checkAnswer(node.id, keyOf(to, message.incarnation, message.id));
        return;
      case "forward-progress":
        for (const id of message.ids) this.#checkProgress(node, keyOf(to, message.incarnation, id));
        return;
      case "snapshot-request":
        this.#checkRequest(node, to, message);
        return;
      default:
    }
  }

  /** The transport has refused this message, and told the node so: it may send it again. */
  notSent({ id }: Messenger, message: RuntimeMessage): void {
    if (message.type === "forward-request") this.#of(id).attempts.delete(message.id);
  }

  /** The node was paused or its timers were late: what it had to say by now is due from now on. */
  excuse(id: NodeId, now: number): void {
    const running = this.#processes.get(id)?.running;
    if (running !== undefined) for (const key of running.keys()) running.set(key, now);
  }

  /** The node has stopped, and answers nothing any more. */
  stopped(id: NodeId): void {
    this.#processes.get(id)?.running.clear();
  }

  /** KNOWN: the node, which may have done something, has spoken of each call that it is running. */
  checkDue(id: NodeId, now: number): void {
    const running = this.#processes.get(id)?.running;
    if (running === undefined || running.size === 0) return;
    const limitMs = PROGRESS_INTERVALS * this.#progressMs + PROGRESS_GRACE_MS;
    for (const [key, at] of running)
      assertInvariant(
        now - at <= limitMs,
        "KNOWN",
        () =>
          `${id} was asked for the call ${key}, and says nothing of it for ${String(Math.round(now - at))} ms`,
      );
  }

  #checkForwarding({ id, core }: Messenger, to: NodeId, message: ForwardRequest): void {
    const process = this.#of(id);
    const { incarnation, term } = message;
    assertInvariant(
      (process.incarnation ?? incarnation) === incarnation && !this.#incarnations.get(id)?.has(incarnation),
      "ONCE",
      () => `${id} numbers its forwarded calls like another of its processes, as ${String(incarnation)}`,
    );
    process.incarnation = incarnation;
    assertInvariant(
      !process.attempts.has(message.id),
      "ONCE",
      () => `${id} gives two attempts of forwarded calls the number ${String(message.id)}`,
    );
    process.attempts.add(message.id);
    assertInvariant(
      core === null || (core.leader === to && core.term === term),
      "KNOWN",
      () =>
        `${id} forwards a call to ${to} as leader of term ${String(term)}; for it, ` +
        `${String(core?.leader)} leads term ${String(core?.term)}`,
    );
  }

  #checkAnswer(id: NodeId, key: string): void {
    const { given, answered, running } = this.#of(id);
    assertInvariant(
      given.has(key),
      "KNOWN",
      () => `${id} answers the call ${key}, which it was not asked for`,
    );
    assertInvariant(!answered.has(key), "KNOWN", () => `${id} answers the call ${key} twice`);
    answered.add(key);
    running.delete(key);
  }

  #checkProgress(node: Messenger, key: string): void {
    const { id } = node;
    const { given, answered, running } = this.#of(id);
    assertInvariant(
      given.has(key) && !answered.has(key),
      "KNOWN",
      () => `${id} says that the call ${key} is under way, and it has ended or was never asked for`,
    );
    if (running.has(key)) running.set(key, node.now());
  }

  #checkRequest(node: Messenger, to: NodeId, { id: snapshot, offset, bytes }: SnapshotRequest): void {
    const { id } = node;
    const now = node.now();
    const process = this.#of(id);
    const { offer, requestedAt } = process;
    // All parts have come: it only says that it still needs the log after them.
    const onlySays = bytes === 0 && snapshot !== null;
    assertInvariant(
      onlySays || offer === null || offer.from === to || now <= offer.at,
      "BOUND",
      () => `${id} asks ${to} for a part of a snapshot, and ${String(offer?.from)} offered one last`,
    );
    if (process.source !== to || snapshot === null) requestedAt.clear();
    process.source = to;
    if (snapshot === null) return;
    const part = `${snapshot} ${String(offset)}`;
    const waitedMs = now - (requestedAt.get(part) ?? -Infinity);
    assertInvariant(
      waitedMs >= RETRY_MS,
      "BOUND",
      () =>
        `${id} asks ${to} again for the part of a snapshot at ${String(offset)}, after ${String(waitedMs)} ms`,
    );
    requestedAt.set(part, now);
  }

  #of(id: NodeId): ProcessMessages {
    let process = this.#processes.get(id);
    if (process === undefined) {
      process = {
        ...{ incarnation: null, attempts: new Set(), given: new Set(), answered: new Set() },
        ...{ running: new Map(), offer: null, source: null, requestedAt: new Map() },
      };
      this.#processes.set(id, process);
    }
    return process;
  }
}

/** A forwarded call, by the node that asks, its process, and the number of the attempt. */
function keyOf(from: NodeId, incarnation: number, id: number): string {
  return `${from}/${String(incarnation)}/${String(id)}`;
}
