// Notices that this node was removed from its cluster. Nobody answers a removed node any more, so without
// this its calls would wait in vain until their time limit.
import { assert } from "../../core/assert.ts";
import type { RaftNode } from "../../core/node.ts";
import type { LogIndex, NodeId } from "../../core/position.ts";
import type { Environment } from "../../environment/environment.ts";
import { RemovedError } from "../../errors.ts";
import type { RemovalStatus } from "../calls/index.ts";
import type { MembershipAt, MembershipHistory } from "./membership-history.ts";

/** How a node knows that it was removed. */
export interface RemovalEvidence {
  /** The entry of its own log that removed it, which is committed; null: its log doesn't show its removal. */
  readonly index: LogIndex | null;
  /** The member that said so when it refused this node's connection; null: its own log shows it. */
  readonly toldBy: NodeId | null;
}

export interface RemovalWatchParts {
  readonly core: RaftNode;
  readonly memberships: MembershipHistory;
  readonly environment: Environment;
}

/** What the watch tells the rest of the node. */
export interface RemovalHost {
  /**
   * This node learned that it was removed. Called at most once for what members say, however often that turns
   * out to be wrong, and once when the node's log shows it.
   */
  removed(evidence: RemovalEvidence): void;
  /** Ends the calls that wait for a leader. Called whenever this node learns that it was removed. */
  refuseCalls(): void;
}

/**
 * Whether this node was removed. It learns it in one of two ways:
 *
 * 1. **From its log**: the last configuration that is committed, as far as this node knows, names its id as
 *    removed. A configuration that isn't committed doesn't count, although it is in force (§6): a later
 *    leader may truncate it, and until it is committed, this node may be needed for a majority. A committed
 *    one can't be undone, and an id isn't used again (M10), so this is final. The leader sends a removed
 *    member its removal and the commit of it, but only for some time, and not to one that needs a snapshot
 *    first (`endRemovalNotices`).
 * 2. **From a member**: a node that didn't hear of the commit goes on connecting to the members that it
 *    knows. One that knows the removal to be committed refuses the handshake, and names this reason (M9).
 *    That is a word of another node and not in this node's log, so it counts only until a leader is heard
 *    again. It costs no safety: a node that believes it refuses calls, and does nothing else.
 *
 * A removed node that hears neither (all links are cut) can't know, and its calls wait as on every node that
 * hears no leader.
 */
export class RemovalWatch implements RemovalStatus {
  readonly #parts: RemovalWatchParts;
  /** The committed membership that was looked at last; null: none was. */
  #seen: MembershipAt | null = null;
  /** The committed entry that removed this node; null: none that it knows. Never reset. */
  #index: LogIndex | null = null;
  /** The last member that said that this node was removed, and when, in ms; null: none did. */
  #told: { readonly by: NodeId; readonly at: number } | null = null;
  /** Whether the word of a member was reported. */
  #isWordReported = false;
  /** Set once, by `attach`. */
  #attachedHost: RemovalHost | null = null;

  constructor(parts: RemovalWatchParts) {
    this.#parts = parts;
  }

  /** Called once, before the first input to the core. */
  attach(host: RemovalHost): void {
    this.#attachedHost = host;
  }

  /** Whether this node was removed, as far as it knows. */
  get isRemoved(): boolean {
    return this.evidence !== null;
  }

  /** How this node knows that it was removed; null: it wasn't, as far as it knows. */
  get evidence(): RemovalEvidence | null {
    if (this.#index !== null) return { index: this.#index, toldBy: null };
    if (this.#told === null) return null;
    const { core } = this.#parts;
    // A leader sends to members only, so one that was heard since shows that this node is a member.
    const isRefuted = core.role === "leader" || core.leaderHeardAt > this.#told.at;
    return isRefuted ? null : { index: null, toldBy: this.#told.by };
  }

  /** The error of a call that needs a leader; null: this node wasn't removed. */
  get refusal(): RemovedError | null {
    return this.isRemoved ? new RemovedError(this.#parts.core.id) : null;
  }

  /**
   * After each input to the core, and when the node is opened: the commit index, or the membership in force,
   * may be another one.
   */
  afterCoreInput(): void {
    if (this.#index !== null) return;
    const { core, memberships } = this.#parts;
    const { current } = memberships;
    // Nearly always the last membership is committed, and known.
    if (current === this.#seen || current === null) return;
    const committed = current.index <= core.commitIndex ? current : memberships.at(core.commitIndex);
    if (committed === null || committed === this.#seen) return;
    this.#seen = committed;
    const { members, removed = [] } = committed.membership;
    if (members.has(core.id) || !removed.includes(core.id)) return;
    this.#index = committed.index;
    this.#host.removed({ index: this.#index, toldBy: null });
    this.#host.refuseCalls();
  }

  /** The member `by` refused this node's connection, because this node was removed. */
  told(by: NodeId): void {
    if (this.#index !== null) return;
    this.#told = { by, at: this.#parts.environment.now() };
    // A leader knows better.
    if (!this.isRemoved) return;
    if (!this.#isWordReported) {
      this.#isWordReported = true;
      this.#host.removed({ index: null, toldBy: by });
    }
    this.#host.refuseCalls();
  }

  get #host(): RemovalHost {
    assert(this.#attachedHost !== null, "the host is attached before the first input");
    return this.#attachedHost;
  }
}
