import type { RaftNode } from "../../core/node.ts";
import type { NodeId, Term } from "../../core/position.ts";
import type { TransferRefusal } from "../../core/transfer.ts";
import {
  InvalidOptionError,
  NotLeaderError,
  OutcomeUnknownError,
  TransferFailedError,
  type LeaderHint,
  type RaftError,
} from "../../errors.ts";
import {
  causeOf,
  describeCancellation,
  type Call,
  type CallOptions,
  type CallRegistry,
} from "../calls/index.ts";

/**
 * Milliseconds that a closing leader waits for its successor: enough for an idle cluster, which needs two
 * round trips and a sync, and short, because the program waits for the node to close.
 */
const HAND_OVER_MS_MAX = 400;

export interface LeadershipTransfersParts {
  readonly calls: CallRegistry;
  /**
   * Starts a transfer in the core; returns its target, or why it was refused; null: the node has just
   * stopped.
   */
  readonly begin: (to: NodeId | null) => { readonly to: NodeId } | TransferRefusal | null;
  /** The leader that this node knows, for callers that are refused. */
  readonly leader: () => LeaderHint | null;
}

interface PendingTransfer {
  /** The node that shall lead. */
  readonly to: NodeId;
  /** The term in which this node led. */
  readonly term: Term;
  readonly call: Call<NodeId>;
}

/**
 * Runs transfers of leadership (dissertation 3.10) for callers, and before the node closes. The core does the
 * transfer; this class waits for its end and settles the call. Transfers that the core or `LeaderMaintenance`
 * starts are not its concern.
 */
export class LeadershipTransfers {
  readonly #core: RaftNode;
  readonly #parts: LeadershipTransfersParts;
  /** The transfer whose call is open; null: none. There is one at most: the core refuses a second one. */
  #pending: PendingTransfer | null = null;

  constructor(core: RaftNode, parts: LeadershipTransfersParts) {
    this.#core = core;
    this.#parts = parts;
  }

  /**
   * Transfers leadership to `to`, or, if null, to the most up-to-date voter. Resolves with the next leader.
   */
  async transfer(to: NodeId | null, options: CallOptions): Promise<NodeId> {
    this.#parts.calls.check(options);
    const call = this.#parts.calls.begin<NodeId>("transfer", options, {
      onCancel: (cancellation) =>
        new OutcomeUnknownError(
          `${describeCancellation(cancellation)}; leadership may still be handed over`,
          causeOf(cancellation),
        ),
    });
    const begun = this.#parts.begin(to);
    // null: the node has just stopped, which has ended the call.
    if (typeof begun === "string") call.reject(this.#refusalOf(begun, to));
    else if (begun !== null) this.#watch(begun.to, call);
    return call.promise;
  }

  /**
   * Transfers leadership before the node closes, so that the cluster need not wait for an election timeout.
   * Resolves when another node leads or the time is over. null: this node doesn't lead, or the core refused.
   */
  handOver(): Promise<void> | null {
    if (this.#core.role !== "leader") return null;
    const begun = this.#parts.begin(null);
    if (begun === null || typeof begun === "string") return null;
    const { calls } = this.#parts;
    const options = { timeoutMs: HAND_OVER_MS_MAX };
    const call = calls.begin<NodeId>("transfer", options, {
      onCancel: () => new TransferFailedError("nobody took over in time", "unknown"),
    });
    this.#watch(begun.to, call);
    return call.promise.then(
      () => undefined,
      () => undefined,
    );
  }

  /** Waits for the end of a transfer that has begun. */
  #watch(to: NodeId, call: Call<NodeId>): void {
    this.#pending = { to, term: this.#core.term, call };
    this.afterCoreInput();
  }

  /** The transfer may have ended: it was given up, or another node leads. */
  afterCoreInput(): void {
    const pending = this.#pending;
    if (pending === null) return;
    const { role, term, leader, transferTarget } = this.#core;
    if (role === "leader" && term === pending.term) {
      if (transferTarget !== null) return;
      this.#end(() => {
        pending.call.reject(
          // The outcome is unknown: the message that asks the target to start an election may still be on its
          // way.
          new TransferFailedError(`${pending.to} did not take over in time; this node leads on`, "unknown"),
        );
      });
    } else if (leader !== null) {
      this.#end(() => {
        pending.call.resolve(leader);
      });
    }
  }

  /** The node stops. The registry of calls has ended the call. */
  stop(): void {
    this.#pending = null;
  }

  #end(settle: () => void): void {
    this.#pending = null;
    settle();
  }

  #refusalOf(refusal: TransferRefusal, to: NodeId | null): RaftError {
    switch (refusal) {
      case "not-leader":
        return new NotLeaderError(this.#parts.leader());
      case "transferring":
        return new TransferFailedError("leadership is being handed over already; wait for that to end");
      case "not-a-voter":
        return new InvalidOptionError(
          `${String(to)} is not a voter; the voters are ${this.#core.config.voters.join(", ")}`,
        );
      case "is-leader":
        return new InvalidOptionError(`${String(to)} leads already`);
      case "nobody":
        return new TransferFailedError(
          "there is no other voter that has answered lately; this node leads on",
        );
    }
  }
}
