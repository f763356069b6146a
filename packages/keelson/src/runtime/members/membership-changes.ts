// Runs a caller's change of the membership on the leader, step by step: learners are added, they catch up,
// and the new configuration is committed.
import type { MemberData, Membership } from "../../codec/config.ts";
import { isJoint, sameConfig } from "../../core/config.ts";
import type { ConfigRefusal } from "../../core/membership.ts";
import type { RaftNode } from "../../core/node.ts";
import type { LogPosition, NodeId } from "../../core/position.ts";
import {
  CatchUpTimeoutError,
  ChangeRefusedError,
  InvalidOptionError,
  NotLeaderError,
  OutcomeUnknownError,
  RaftError,
  type LeaderHint,
} from "../../errors.ts";
import {
  causeOf,
  describeCancellation,
  type Call,
  type CallOptions,
  type CallRegistry,
} from "../calls/index.ts";
import { checkId, toError } from "../shared/index.ts";
import { checkAddress } from "./addresses.ts";
import { hasCaughtUp } from "./caught-up.ts";
import { lostStoreId } from "./lost-entries.ts";
import type { MembershipHistory } from "./membership-history.ts";
import {
  isSameMembership,
  membershipAfter,
  withNewLearners,
  type MembershipChange,
} from "./next-membership.ts";

/** A call of `addLearner` or `changeMembership`. */
interface ChangeAttempt {
  readonly call: Call<undefined>;
  /** The new members while they catch up. They are learners by then; nothing else of the change was done. */
  catchingUp: readonly NodeId[] | null;
  /**
   * An entry of this call may be in a log: from here on no error of the call has the outcome "not done",
   * unless the entry is known to be lost (Z6).
   */
  hasProposed: boolean;
}

export interface MembershipChangesParts {
  readonly core: RaftNode;
  readonly memberships: MembershipHistory;
  /**
   * Proposes a configuration, with the addresses and stores for its records; null: the node has just stopped.
   */
  readonly propose: (target: Membership) => LogPosition | ConfigRefusal | null;
  readonly calls: CallRegistry;
  /** The time limit of calls that name none, in milliseconds. */
  readonly timeoutMs: number;
  /** The leader that this node knows, for callers that are refused. */
  readonly leader: () => LeaderHint | null;
  /** The id of a node's store, this node's own included; null: there was no handshake with it. */
  readonly storeIdOf: (id: NodeId) => string | null;
  /** Why the node at this address refuses this one; null: it doesn't, or didn't answer. */
  readonly refusalAt: (id: NodeId, address: string) => Promise<string | null>;
  /** Whether this store of this member lost entries that it had acknowledged as durable. */
  readonly isLostStore: (id: NodeId, storeId: string) => boolean;
}

/**
 * Runs changes of the membership (§6) on the leader. A change has up to three steps, each of which waits for
 * an input to the core that completes it:
 *
 * 1. New nodes become learners: one configuration entry, until it is committed.
 * 2. They catch up, so that commits don't have to wait for them once they are voters.
 * 3. The rest of the change: one entry, or, if voters change, two (the joint configuration, then the new one,
 *    which the core appends), until the last is committed.
 *
 * When the call ends early, no further step is begun, but the core completes a step that was begun. A caller
 * can repeat a change: steps that are done already are skipped.
 */
export class MembershipChanges {
  readonly #parts: MembershipChangesParts;
  /** What the steps under way wait for, each as a function that returns true once its wait is over. */
  #waits: (() => boolean)[] = [];

  constructor(parts: MembershipChangesParts) {
    this.#parts = parts;
  }

  /** Adds a learner, or changes the address of a learner. Resolves when it has caught up. */
  addLearner(id: NodeId, address: string, options: CallOptions): Promise<void> {
    return this.#attempt(options, (attempt) => this.#addLearner(id, address, attempt));
  }

  /** Makes a change. Resolves when the new configuration is committed and no longer joint. */
  change(change: MembershipChange, options: CallOptions): Promise<void> {
    return this.#attempt(options, (attempt) => this.#change(change, attempt));
  }

  async #attempt(options: CallOptions, run: (attempt: ChangeAttempt) => Promise<void>): Promise<void> {
    const { calls, timeoutMs } = this.#parts;
    calls.check(options);
    const call = calls.begin<undefined>(
      "membership-change",
      { timeoutMs, ...options },
      {
        onCancel: (cancellation) =>
          attempt.catchingUp !== null
            ? new CatchUpTimeoutError(
                `${describeCancellation(cancellation)}; the new members are learners now and go on catching up: ` +
                  `call again to go on, or remove them${this.#silenceOf(attempt.catchingUp)}`,
                attempt.hasProposed ? "unknown" : "not-done",
                causeOf(cancellation),
              )
            : new OutcomeUnknownError(
                `${describeCancellation(cancellation)}; the change may still take place`,
                causeOf(cancellation),
              ),
      },
    );
    const attempt: ChangeAttempt = { call, catchingUp: null, hasProposed: false };
    run(attempt).then(
      () => {
        call.resolve(undefined);
      },
      (error: unknown) => {
        call.reject(withOutcomeOfAllSteps(toError(error), attempt));
      },
    );
    await call.promise;
  }

  async #addLearner(id: NodeId, address: string, attempt: ChangeAttempt): Promise<void> {
    checkId("a member's id", id);
    checkAddress(id, address);
    await this.#addLearners({ [id]: address }, attempt);
    await this.#caughtUp([id], attempt);
  }

  async #change(change: MembershipChange, attempt: ChangeAttempt): Promise<void> {
    const add = change.add ?? {};
    // One after the other: a node may have an address in both.
    for (const [id, address] of [...Object.entries(add), ...Object.entries(change.addresses ?? {})]) {
      checkId("a member's id", id);
      checkAddress(id, address);
    }
    this.#checkLeads();
    const promoted = [...Object.keys(add), ...(change.promote ?? [])];
    // A change that is invalid is refused now, and not after the new members have caught up.
    membershipAfter(this.#current, change, add);
    await this.#addLearners(add, attempt);
    await this.#caughtUp(promoted, attempt);
    const target = membershipAfter(this.#current, change);
    if (isSameMembership(this.#current, target)) {
      await this.#currentCommitted(attempt);
      return;
    }
    await this.#commit(target, attempt);
  }

  /**
   * Records the members' store ids in the log, as far as they are known and not recorded yet. A member that
   * returns with another store has forgotten its votes and acknowledgements; the recorded id shows that
   * (M11). For a store that lost entries, a mark is recorded in place of its id, so that every node refuses
   * it like a replaced one. Called by `LeaderMaintenance`. No call waits for it.
   */
  recordStoreIds(): void {
    const { core, memberships } = this.#parts;
    const membership = memberships.current?.membership;
    if (membership === undefined || core.role !== "leader") return;
    // A change is under way. Its entries record the store ids that are known; the rest follows after it.
    if (isJoint(membership.config)) return;
    const known = this.#withStoreIds(membership);
    // If only the leader's own id is missing, that isn't worth an entry: the next configuration entry records
    // it too.
    const isNews = [...known.members].some(
      ([id, { storeId }]) => id !== core.id && storeId !== membership.members.get(id)?.storeId,
    );
    if (isNews) this.#parts.propose(known);
  }

  /** Whether an entry that only records store ids is being committed. A caller's change waits for it. */
  #isRecordingStoreIds(): boolean {
    const { log, commitIndex } = this.#parts.core;
    const { index, config } = log.configAt(log.last.index);
    return index > commitIndex && sameConfig(config, log.configAt(commitIndex).config);
  }

  #withStoreIds(membership: Membership): Membership {
    const { storeIdOf, isLostStore } = this.#parts;
    const members = new Map<NodeId, MemberData>();
    for (const [id, data] of membership.members) {
      const storeId = data.storeId ?? storeIdOf(id);
      const written = storeId !== null && isLostStore(id, storeId) ? lostStoreId(storeId) : storeId;
      members.set(id, written === null ? data : { ...data, storeId: written });
    }
    return { ...membership, members };
  }

  /**
   * Completes the waits that are over: the commit index, the role or a follower's progress may have moved.
   */
  afterCoreInput(): void {
    if (this.#waits.length > 0) this.#waits = this.#waits.filter((isOver) => !isOver());
  }

  /** The node stops. The registry of calls has ended the calls. */
  stop(): void {
    this.#waits = [];
  }

  get #current(): Membership {
    const current = this.#parts.memberships.current;
    if (current === null) throw new NotLeaderError(null);
    return current.membership;
  }

  #checkLeads(): void {
    if (this.#parts.core.role !== "leader") throw new NotLeaderError(this.#parts.leader());
  }

  /** Step 1. Nodes that are members already at the right address need nothing. */
  async #addLearners(add: Readonly<Record<NodeId, string>>, attempt: ChangeAttempt): Promise<void> {
    this.#checkLeads();
    if (Object.keys(add).length > 0) {
      await this.#checkNotRefused(add);
      this.#checkLeads();
    }
    const target = withNewLearners(this.#current, add);
    if (target !== null) await this.#commit(target, attempt);
    else if (Object.keys(add).length > 0) await this.#currentCommitted(attempt);
  }

  /**
   * Refuses nodes that would never take part, because they belong to another cluster or have another id.
   * Otherwise they would stay learners that don't answer, and their ids would be used up (Z21).
   */
  async #checkNotRefused(add: Readonly<Record<NodeId, string>>): Promise<void> {
    const added = Object.entries(add).filter(([id]) => !this.#current.members.has(id));
    const refusals = await Promise.all(added.map(([id, address]) => this.#parts.refusalAt(id, address)));
    for (const [at, [id, address]] of added.entries()) {
      const refusal = refusals[at] ?? null;
      if (refusal !== null) throw new InvalidOptionError(`${id} can't be added at ${address}: ${refusal}`);
    }
  }

  /**
   * The current membership is the wanted one: waits until it is committed. An earlier attempt may have
   * written it to the log, from where it may still be removed.
   */
  #currentCommitted(attempt: ChangeAttempt): Promise<void> {
    const { core } = this.#parts;
    return this.#wait(attempt, () => {
      this.#checkLeads();
      const { index, config } = core.log.configAt(core.log.last.index);
      return core.termStartCommitted && index <= core.commitIndex && !isJoint(config);
    });
  }

  /** Steps 1 and 3: proposes the membership, and waits until it is committed and no longer joint. */
  async #commit(target: Membership, attempt: ChangeAttempt): Promise<void> {
    const { core } = this.#parts;
    // The core refuses changes before an entry of the leader's own term is committed, which takes about a
    // round trip.
    await this.#wait(attempt, () => {
      this.#checkLeads();
      return core.termStartCommitted && !this.#isRecordingStoreIds();
    });
    // Its caller has stopped waiting.
    if (attempt.call.settled) return;
    const proposed = this.#parts.propose(this.#withStoreIds(target));
    // The node has just stopped, which has ended the call.
    if (proposed === null) return;
    if (typeof proposed === "string") throw refusalOf(proposed, this.#parts.leader());
    const isFirstStep = !attempt.hasProposed;
    attempt.hasProposed = true;
    const { term } = core;
    await this.#wait(attempt, () => {
      const { index, config } = core.log.configAt(core.commitIndex);
      if (core.term === term && index >= proposed.index && !isJoint(config)) return true;
      if (core.commitStatus(proposed) === "committed" && sameConfig(config, target.config)) return true;
      if (core.commitStatus(proposed) === "rejected") {
        attempt.hasProposed = !isFirstStep;
        throw new ChangeRefusedError(
          "another leader took over before the change was agreed on; nothing changed",
        );
      }
      if (core.role === "leader" && core.term === term) return false;
      throw new OutcomeUnknownError(
        "this node stopped leading during the change, which may still take place; ask for the members to see",
      );
    });
  }

  /** Step 2: waits until all of these have caught up at the same moment. */
  #caughtUp(ids: readonly NodeId[], attempt: ChangeAttempt): Promise<void> {
    const { core } = this.#parts;
    attempt.catchingUp = ids;
    return this.#wait(attempt, () => {
      this.#checkLeads();
      return ids.every((id) => hasCaughtUp(core, id));
    }).then(() => {
      attempt.catchingUp = null;
    });
  }

  /**
   * Which of these never answered this leader, for an error's text. A node that didn't run when it was
   * added may belong to another cluster: then it refuses this one and never answers (Z21).
   */
  #silenceOf(ids: readonly NodeId[]): string {
    const { core } = this.#parts;
    const silent = ids.filter((id) => {
      const progress = core.progress(id);
      return progress?.match === 0 && !progress.recentlyActive;
    });
    if (silent.length === 0) return "";
    return `. ${silent.join(", ")} never answered: check that it runs at its address and belongs to no other cluster`;
  }

  /**
   * Resolves when `isDone`, checked after each input to the core, returns true; rejects with what it throws.
   * Never settles if the call ended meanwhile: then the change goes no further.
   */
  #wait(attempt: ChangeAttempt, isDone: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const isOver = (): boolean => {
        if (attempt.call.settled) return true;
        try {
          if (!isDone()) return false;
          resolve();
        } catch (error) {
          reject(toError(error));
        }
        return true;
      };
      if (!isOver()) this.#waits.push(isOver);
    });
  }
}

/**
 * An error's outcome covers all steps of a call. What ends a later step may have done nothing itself, but an
 * earlier step made learners of the new members, or may have (Z6).
 */
function withOutcomeOfAllSteps(error: Error, { hasProposed, catchingUp }: ChangeAttempt): Error {
  if (!hasProposed) return error;
  if (error instanceof RaftError && error.outcome !== "not-done") return error;
  const done =
    catchingUp !== null
      ? "the new members are learners now, and the rest of the change was not made"
      : "a part of the change may have been made";
  return new OutcomeUnknownError(
    `${done}: ${error.message}. Make the same call again at the leader to go on, or ask for the members to see`,
    { cause: error },
  );
}

function refusalOf(refusal: ConfigRefusal, leader: LeaderHint | null): RaftError {
  switch (refusal) {
    case "not-leader":
      return new NotLeaderError(leader);
    case "term-not-started":
      return new ChangeRefusedError("this leader lost its start of term; try again in a moment");
    case "change-under-way":
      return new ChangeRefusedError("another change of membership is under way; wait for it to end");
    case "transferring":
      return new ChangeRefusedError("leadership is being handed over; ask the next leader");
  }
}
