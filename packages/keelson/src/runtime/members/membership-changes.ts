import { REMOVED_MAX, type MemberData, type Membership } from "../../codec/config.ts";
import { configOf, isJoint, membersOf, sameConfig, type ClusterConfig } from "../../core/config.ts";
import type { ConfigRefusal } from "../../core/membership.ts";
import type { RaftNode } from "../../core/node.ts";
import type { LogPosition, NodeId } from "../../core/position.ts";
import {
  CatchUpTimeoutError,
  ChangeRefusedError,
  InvalidOptionError,
  NotLeaderError,
  OutcomeUnknownError,
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
import { toError, checkId } from "../shared/index.ts";
import { checkAddress } from "./addresses.ts";
import type { MembershipHistory } from "./membership-history.ts";

/**
 * A learner is caught up when it lacks at most this many entries: as many as a busy leader sends in a few messages,
 * so that as a voter it would not hold up the commits for longer than a moment.
 */
const CAUGHT_UP_LAG_MAX = 1024;

/** A change of who takes part. All of it happens in one step, or none of it does. */
export interface MembershipChange {
  /**
   * New voters, id to address. Each is a learner first, and becomes a voter when it has caught up. One that is a voter
   * at that address already is left as it is.
   */
  readonly add?: Readonly<Record<NodeId, string>>;
  /** Members that are to leave, voters or learners, the leader too. */
  readonly remove?: readonly NodeId[];
  /** Learners that become voters, once they have caught up. */
  readonly promote?: readonly NodeId[];
  /** Voters that become learners. */
  readonly demote?: readonly NodeId[];
  /** New addresses of members that stay, id to address. */
  readonly addresses?: Readonly<Record<NodeId, string>>;
}

/** One caller's change on its way. */
export interface ChangeAttempt {
  readonly call: Call<undefined>;
  /** New members are catching up: nothing else was done yet. */
  isCatchingUp: boolean;
}

export interface MembershipChangesParts {
  readonly core: RaftNode;
  readonly memberships: MembershipHistory;
  /** Gives the membership to the core, and its record to the log; null: the node stopped. */
  readonly propose: (target: Membership) => LogPosition | ConfigRefusal | null;
  readonly calls: CallRegistry;
  /** Milliseconds that new members have to catch up unless the caller says otherwise. */
  readonly timeoutMs: number;
  readonly leader: () => LeaderHint | null;
  /** The id of a member's store, this node's own included; null: not met yet. */
  readonly storeIdOf: (id: NodeId) => string | null;
}

/** Runs changes of membership (§6), on the leader: one step after another, each until it is committed. */
export class MembershipChanges {
  readonly #parts: MembershipChangesParts;
  /** What the steps under way wait for, each as a function that returns true once its wait is over. */
  #waits: (() => boolean)[] = [];

  constructor(parts: MembershipChangesParts) {
    this.#parts = parts;
  }

  /** Adds a learner, or gives it another address; resolves when it has caught up. */
  addLearner(id: NodeId, address: string, options: CallOptions): Promise<void> {
    return this.#attempt(options, (attempt) => this.#addLearner(id, address, attempt));
  }

  /** Carries out a change; resolves when the new configuration is committed. */
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
          attempt.isCatchingUp
            ? new CatchUpTimeoutError(
                `${describeCancellation(cancellation)}; the new members are learners now and go on catching up: ` +
                  "call again to go on, or remove them",
                causeOf(cancellation),
              )
            : new OutcomeUnknownError(
                `${describeCancellation(cancellation)}; the change may still take place`,
                causeOf(cancellation),
              ),
      },
    );
    const attempt: ChangeAttempt = { call, isCatchingUp: false };
    run(attempt).then(
      () => {
        call.resolve(undefined);
      },
      (error: unknown) => {
        call.reject(error);
      },
    );
    await call.promise;
  }

  async #addLearner(id: NodeId, address: string, attempt: ChangeAttempt): Promise<void> {
    checkId("a member's id", id);
    checkAddress(id, address);
    await this.#prepare({ [id]: address }, attempt);
    await this.#caughtUp([id], attempt);
  }

  async #change(change: MembershipChange, attempt: ChangeAttempt): Promise<void> {
    const add = change.add ?? {};
    for (const [id, address] of Object.entries({ ...add, ...change.addresses })) {
      checkId("a member's id", id);
      checkAddress(id, address);
    }
    this.#checkLeads();
    const promoted = [...Object.keys(add), ...(change.promote ?? [])];
    // Refused now rather than after the new members have caught up.
    targetOf(this.#current, change, add);
    await this.#prepare(add, attempt);
    await this.#caughtUp(promoted, attempt);
    const target = targetOf(this.#current, change, {});
    if (isSame(this.#current, target)) {
      await this.#agreed(attempt);
      return;
    }
    await this.#step(target, attempt);
  }

  /**
   * Writes down which disks the members have, as far as they were met and it is not written yet: a member that
   * comes back with another disk has forgotten its votes, and must not pass for the one it was.
   */
  recordStoreIds(): void {
    const { core, memberships } = this.#parts;
    const membership = memberships.current?.membership;
    if (membership === undefined || core.role !== "leader") return;
    // A change is under way. What it does not write down is written down after it.
    if (isJoint(membership.config)) return;
    const known = this.#withStoreIds(membership);
    // It knows its own in any case; that alone is not worth an entry.
    const isNews = [...known.members].some(
      ([id, { storeId }]) => id !== core.id && storeId !== membership.members.get(id)?.storeId,
    );
    if (isNews) this.#parts.propose(known);
  }

  /** Whether a change is under way that changes nobody's part: it ends by itself, and nobody need hear of it. */
  #isRecording(): boolean {
    const { log, commitIndex } = this.#parts.core;
    const { index, config } = log.configAt(log.last.index);
    return index > commitIndex && sameConfig(config, log.configAt(commitIndex).config);
  }

  #withStoreIds(membership: Membership): Membership {
    const members = new Map<NodeId, MemberData>();
    for (const [id, data] of membership.members) {
      const storeId = data.storeId ?? this.#parts.storeIdOf(id);
      members.set(id, storeId === null ? data : { ...data, storeId });
    }
    return { ...membership, members };
  }

  /** After each input to the core. */
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

  /** Makes learners of those who are no members yet. */
  async #prepare(add: Readonly<Record<NodeId, string>>, attempt: ChangeAttempt): Promise<void> {
    this.#checkLeads();
    const { config, members, removed = [] } = this.#current;
    const back = Object.keys(add).find((id) => removed.includes(id));
    if (back !== undefined) throw reused(back);
    const fresh = Object.entries(add).filter(([id, address]) => members.get(id)?.address !== address);
    if (fresh.length === 0) {
      if (Object.keys(add).length > 0) await this.#agreed(attempt);
      return;
    }
    const known = membersOf(config);
    const learners = [...config.learners, ...fresh.map(([id]) => id).filter((id) => !known.includes(id))];
    const target: Membership = {
      config: configOf(config.voters, learners),
      members: new Map([
        ...members,
        ...fresh.map(([id, address]) => [id, { ...members.get(id), address }] as const),
      ]),
    };
    checkAddresses(target);
    await this.#step(target, attempt);
  }

  /** Nothing is to be done if what is in force stays so: an earlier attempt's entry may not be committed yet. */
  #agreed(attempt: ChangeAttempt): Promise<void> {
    const { core } = this.#parts;
    return this.#wait(attempt, () => {
      this.#checkLeads();
      const { index, config } = core.log.configAt(core.log.last.index);
      return core.termStartCommitted && index <= core.commitIndex && !isJoint(config);
    });
  }

  /** One entry, or two if the voters change, until the last is committed. */
  async #step(target: Membership, attempt: ChangeAttempt): Promise<void> {
    const { core } = this.#parts;
    // A new leader takes changes once an entry of its own term is committed, which is a matter of a round trip.
    await this.#wait(attempt, () => {
      this.#checkLeads();
      return core.termStartCommitted && !this.#isRecording();
    });
    // Its caller has an answer already: this step is not taken.
    if (attempt.call.settled) return;
    const proposed = this.#parts.propose(this.#withStoreIds(target));
    // The node has just stopped, which has ended the call.
    if (proposed === null) return;
    if (typeof proposed === "string") throw refusalOf(proposed, this.#parts.leader());
    const { term } = core;
    await this.#wait(attempt, () => {
      const { index, config } = core.log.configAt(core.commitIndex);
      if (core.term === term && index >= proposed.index && !isJoint(config)) return true;
      if (core.commitStatus(proposed) === "committed" && sameConfig(config, target.config)) return true;
      if (core.commitStatus(proposed) === "rejected") {
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

  #caughtUp(ids: readonly NodeId[], attempt: ChangeAttempt): Promise<void> {
    const { core } = this.#parts;
    const isCaughtUp = (id: NodeId): boolean => {
      if (id === core.id) return true;
      const progress = core.progress(id);
      return (
        progress?.state === "replicate" &&
        progress.recentlyActive &&
        core.log.last.index - progress.match <= CAUGHT_UP_LAG_MAX
      );
    };
    attempt.isCatchingUp = true;
    return this.#wait(attempt, () => {
      this.#checkLeads();
      return ids.every(isCaughtUp);
    }).then(() => {
      attempt.isCatchingUp = false;
    });
  }

  /** Until `isDone`, which may throw; or for ever, if the call ended meanwhile. */
  #wait(attempt: ChangeAttempt, isDone: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const isOver = (): boolean => {
        // Its caller has an answer already: nobody waits for the rest, and the next step is not taken.
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

/** What `change` makes of `current`; those in `added` count as learners already. */
function targetOf(
  { config, members, removed = [] }: Membership,
  change: MembershipChange,
  added: Readonly<Record<NodeId, string>>,
): Membership {
  const { add = {}, remove = [], promote = [], demote = [], addresses = {} } = change;
  const named = [...Object.keys(add), ...remove, ...promote, ...demote];
  const twice = named.find((id, at) => named.indexOf(id) !== at);
  if (twice !== undefined) throw new InvalidOptionError(`${twice} is named twice in one change`);
  const known = [...membersOf(config), ...Object.keys(added)];
  for (const id of [...remove, ...promote, ...demote, ...Object.keys(addresses)]) {
    if (!known.includes(id)) {
      throw new InvalidOptionError(`${id} is not a member; the members are ${membersOf(config).join(", ")}`);
    }
  }
  const back = Object.keys(add).find((id) => removed.includes(id));
  if (back !== undefined) throw reused(back);
  for (const [id, address] of Object.entries(add)) {
    const known = config.voters.includes(id) ? (members.get(id)?.address ?? address) : address;
    if (known !== address) {
      throw new InvalidOptionError(
        `${id} is a voter already, at ${known}: give the new node another id; or, if ${id} itself is to be found ` +
          `at ${address} now, name that in \`addresses\``,
      );
    }
  }
  const isLearner = (id: NodeId): boolean => config.learners.includes(id);
  const noLearner = promote.find((id) => !isLearner(id) && !Object.hasOwn(added, id));
  if (noLearner !== undefined) throw new InvalidOptionError(`${noLearner} is a voter already`);
  const noVoter = demote.find((id) => !config.voters.includes(id));
  if (noVoter !== undefined) throw new InvalidOptionError(`${noVoter} is not a voter`);
  const stays = (id: NodeId): boolean => !remove.includes(id) && !demote.includes(id);
  const voters = [...config.voters.filter(stays), ...promote, ...Object.keys(add)];
  if (voters.length === 0) {
    throw new InvalidOptionError("the change would leave no voters, and nothing could ever be decided again");
  }
  const next = configOf(voters, [
    ...config.learners.filter((id) => !voters.includes(id) && !remove.includes(id)),
    ...demote,
  ]);
  const data = new Map<NodeId, MemberData>();
  for (const id of membersOf(next)) {
    const before = members.get(id);
    const address = addresses[id] ?? add[id] ?? added[id] ?? before?.address ?? "";
    data.set(id, { ...before, address });
  }
  const target = { config: next, members: data };
  checkAddresses(target);
  return target;
}

function reused(id: NodeId): InvalidOptionError {
  return new InvalidOptionError(
    `${id} was a member once, and an id is not used again: give the new node an id and a directory of its own`,
  );
}

function checkAddresses({ members }: Membership): void {
  const owners = new Map<string, NodeId>();
  for (const [id, { address }] of members) {
    const owner = owners.get(address);
    if (owner !== undefined) {
      throw new InvalidOptionError(`members ${owner} and ${id} would have the same address, ${address}`);
    }
    owners.set(address, id);
  }
}

function isSame(a: Membership, b: Membership): boolean {
  return (
    sameConfig(a.config, b.config) &&
    [...a.members].every(([id, { address, storeId }]) => {
      const other = b.members.get(id);
      return other?.address === address && other.storeId === storeId;
    })
  );
}

/**
 * The membership of a step on the way to `target`: everyone in `config`, the old ones with what is known of them. Who
 * is a member no more is remembered as removed (M10: an id that came back would be counted where it was counted once).
 */
export function membershipIn(config: ClusterConfig, current: Membership, target = current): Membership {
  const members = new Map<NodeId, MemberData>();
  for (const id of membersOf(config)) {
    const data = target.members.get(id) ?? current.members.get(id);
    if (data !== undefined) members.set(id, data);
  }
  const gone = [...current.members.keys()].filter((id) => !members.has(id));
  const removed = [...(current.removed ?? []), ...gone].slice(-REMOVED_MAX);
  return removed.length === 0 ? { config, members } : { config, members, removed };
}
