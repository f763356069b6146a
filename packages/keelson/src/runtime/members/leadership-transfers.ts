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

/** How long a leader that closes waits for its successor; an idle cluster needs two round trips and a sync. */
const HAND_OVER_MS_MAX = 400;

export interface LeadershipTransfersParts {
  readonly calls: CallRegistry;
  /** null: the node stopped. */
  readonly begin: (to: NodeId | null) => { readonly to: NodeId } | TransferRefusal | null;
  readonly leader: () => LeaderHint | null;
}

interface PendingTransfer {
  readonly to: NodeId;
  /** The term in which this node led. */
  readonly term: Term;
  readonly call: Call<NodeId>;
}

/** Hands leadership over (dissertation 3.10), and tells the caller who got it. */
export class LeadershipTransfers {
  readonly #core: RaftNode;
  readonly #host: LeadershipTransfersParts;
  /** One at a time: the core refuses a second one. */
  #pending: PendingTransfer | null = null;

  constructor(core: RaftNode, host: LeadershipTransfersParts) {
    this.#core = core;
    this.#host = host;
  }

  /** Hands leadership to `to`, or, null, to whoever is closest; resolves with the next leader. */
  async transfer(to: NodeId | null, options: CallOptions): Promise<NodeId> {
    this.#host.calls.check(options);
    const call = this.#host.calls.begin<NodeId>("transfer", options, {
      onCancel: (cancellation) =>
        new OutcomeUnknownError(
          `${describeCancellation(cancellation)}; leadership may still be handed over`,
          causeOf(cancellation),
        ),
    });
    const begun = this.#host.begin(to);
    // null: the node has just stopped, which has ended the call.
    if (typeof begun === "string") call.reject(this.#refusalOf(begun, to));
    else if (begun !== null) this.#watch(begun.to, call);
    return call.promise;
  }

  /** Before the node closes: resolves when another leads, or it took too long; null: there is nothing to hand over. */
  handOver(): Promise<void> | null {
    if (this.#core.role !== "leader") return null;
    const begun = this.#host.begin(null);
    if (begun === null || typeof begun === "string") return null;
    const { calls } = this.#host;
    const options = { timeoutMs: HAND_OVER_MS_MAX };
    const call = calls.begin<NodeId>("transfer", options, {
      onCancel: () => new TransferFailedError("nobody took over in time"),
    });
    this.#watch(begun.to, call);
    return call.promise.then(
      () => undefined,
      () => undefined,
    );
  }

  /** Settles the call when a transfer that has begun is over. */
  #watch(to: NodeId, call: Call<NodeId>): void {
    this.#pending = { to, term: this.#core.term, call };
    this.afterCoreInput();
  }

  /** After each input to the core. */
  afterCoreInput(): void {
    const pending = this.#pending;
    if (pending === null) return;
    const { role, term, leader, transferTarget } = this.#core;
    if (role === "leader" && term === pending.term) {
      if (transferTarget !== null) return;
      this.#end(() => {
        pending.call.reject(
          new TransferFailedError(`${pending.to} did not take over in time; this node leads on`),
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
        return new NotLeaderError(this.#host.leader());
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
