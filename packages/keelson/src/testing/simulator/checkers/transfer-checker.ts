/**
 * Checks that no snapshot is transferred in vain.
 *
 * - BOUND: a node doesn't ask for parts of a snapshot of which its state holds everything already.
 * - LIVE: a node that has fetched its leader's snapshot can go on from it with that leader's log. Otherwise
 *   it would need another snapshot as soon as it had this one, and under steady writes again and again (S12).
 *   Checked in runs whose leaders may keep all of the log for receivers.
 */
import { isRuntimeMessage, type RuntimeMessage } from "../../../codec/frame-runtime-message.ts";
import type { Message } from "../../../core/message.ts";
import type { RaftNode } from "../../../core/node.ts";
import type { LogIndex, NodeId, Term } from "../../../core/position.ts";
import { assertInvariant } from "./violation.ts";

/**
 * How many milliseconds a leader keeps the log for a node that has fetched a snapshot: somewhat less than the
 * runtime's own constant, as clocks drift.
 */
const KEPT_MS = 25_000;

/** What a receiver has fetched from a node. */
interface Fetched {
  /** The term that the source led. */
  readonly term: Term;
  readonly index: LogIndex;
  readonly at: number;
}

/** The node that sends a message. */
export interface Sender {
  readonly id: NodeId;
  readonly core: RaftNode | null;
  /** The last entry that it has applied; null: it isn't open. */
  appliedIndex(): LogIndex | null;
  /** The time on its clock. */
  now(): number;
}

/** See the file's header. */
export class TransferChecker {
  readonly #keepsLog: boolean;
  /**
   * The index that the receiver's requests named last, by source and receiver: the least that it needs. The
   * snapshot that it gets may be a newer one.
   */
  readonly #requested = new Map<string, LogIndex>();
  /** The last transfer that ended well, by source and receiver. */
  readonly #fetched = new Map<string, Fetched>();

  /** `keepsLog`: nothing limits how much of the log is kept for receivers. */
  constructor(keepsLog: boolean) {
    this.#keepsLog = keepsLog;
  }

  /** Checks BOUND for a request and LIVE for an offer, and notes what was fetched. */
  sending(sender: Sender, to: NodeId, message: Message | RuntimeMessage): void {
    if (!isRuntimeMessage(message)) {
      if (message.type === "install-snapshot") this.#offering(sender, to, message.last.index);
      return;
    }
    const link = `${to} ${sender.id}`;
    if (message.type === "snapshot-request") {
      this.#requested.set(link, message.index);
      const appliedIndex = message.bytes === 0 ? null : sender.appliedIndex();
      assertInvariant(
        appliedIndex === null || appliedIndex < message.index,
        "BOUND",
        () =>
          `${sender.id} asks ${to} for a snapshot up to ${String(message.index)}, and has applied ` +
          String(appliedIndex),
      );
    } else if (message.type === "snapshot-end" && message.intact) {
      const requested = this.#requested.get(link);
      const { core } = sender;
      if (requested === undefined || core?.leader !== to) this.#fetched.delete(link);
      else {
        // Its log begins after the snapshot that it has installed.
        const index = Math.max(requested, core.log.base.index);
        this.#fetched.set(link, { term: core.term, index, at: sender.now() });
      }
    }
  }

  #offering(sender: Sender, to: NodeId, index: LogIndex): void {
    const { id, core } = sender;
    const fetched = this.#fetched.get(`${id} ${to}`);
    if (!this.#keepsLog || fetched === undefined || core === null) return;
    const hasGoneOn = (core.progress(to)?.match ?? 0) > fetched.index;
    if (core.term !== fetched.term || hasGoneOn || sender.now() - fetched.at > KEPT_MS) return;
    assertInvariant(
      core.log.base.index <= fetched.index,
      "LIVE",
      () =>
        `${to} has fetched the snapshot of ${id} up to ${String(fetched.index)}, and needs that up to ${String(index)}: ` +
        `the log of ${id} begins after ${String(core.log.base.index)}`,
    );
  }
}
