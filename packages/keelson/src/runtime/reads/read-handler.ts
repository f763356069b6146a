// Behind `raft.read()`: runs a caller's query on this node's state, once that is as new as the caller asks
// for.
import type { RaftNode } from "../../core/node.ts";
import type { LogIndex } from "../../core/position.ts";
import type { Environment } from "../../environment/environment.ts";
import type { NotLeaderError } from "../../errors.ts";
import { AbortedError, InvalidOptionError } from "../../errors.ts";
import {
  causeOf,
  describeCancellation,
  type Call,
  type CallOptions,
  type CallRegistry,
  type RemovalStatus,
} from "../calls/index.ts";
import { stateMachineFailure, StateMachineFailure, type Failure } from "../shared/index.ts";
import type { QueuedRead, ReadIndexQueue } from "./read-index-queue.ts";

/**
 * How a read relates to the writes before it.
 *
 * - `linearizable`: it sees every write that was answered before it began, anywhere in the cluster. The
 *   leader confirms with a majority that it still leads (dissertation 6.4).
 * - `lease`: if this node leads and holds a lease, the read needs no message (dissertation 6.4.1); if not, it
 *   is a linearizable read. It sees the same only while no clock drifts by more than `clockDriftMax`, and if
 *   all nodes have `checkQuorum` on: nothing notices a larger drift, and the read may then miss a write.
 * - `stale`: it sees the state of this node after the last entry that the node applied, without a leader;
 *   `staleness()` says how old it may be. It runs at once, or, while a batch of commands is applied or a
 *   snapshot is restored, at the end of that: no query sees half a command. If the state machine hangs, the
 *   read ends at its time limit.
 */
export type Consistency = "linearizable" | "lease" | "stale";

const CONSISTENCIES: readonly Consistency[] = ["linearizable", "lease", "stale"];

/** What a node knows about the age of its own state. */
export interface Staleness {
  /** The last entry that the state holds. */
  readonly appliedIndex: LogIndex;
  /** The last entry that this node knows to be committed. */
  readonly commitIndex: LogIndex;
  /**
   * Milliseconds since this node heard from a leader, or since it was opened if it has heard from none since;
   * 0 on a leader; null: neither counts, on a sole voter that doesn't lead yet.
   */
  readonly leaderHeardMsAgo: number | null;
}

/** How one read is made. */
export interface ReadOptions extends CallOptions {
  /** Default `linearizable`. */
  readonly consistency?: Consistency | undefined;
}

/** The state that queries run on, as the applier tells of it. */
interface AppliedState {
  readonly applied: { readonly index: LogIndex };
  /** False while a batch is applied, or a snapshot restored: the state may then be half of a command. */
  readonly isReadable: boolean;
}

export interface ReadHandlerParts {
  readonly core: RaftNode;
  readonly environment: Environment;
  readonly calls: CallRegistry;
  readonly queue: ReadIndexQueue;
  readonly state: AppliedState;
  /** Why the node serves stale reads only; null: it serves all. */
  readonly removal: RemovalStatus;
  /** The error of a read that waited for a leader in vain. */
  readonly noLeaderError: () => NotLeaderError;
  /** Called when a query threw a `StateMachineFailure`: the state can't be used, so this stops the node. */
  readonly failed: (failure: Failure) => void;
}

/**
 * Decides what a read has to wait for, and ends its call with what the query returns. The query always runs
 * on this node's own state, also on a follower: only the read index comes from the leader.
 */
export class ReadHandler {
  readonly #parts: ReadHandlerParts;
  #count = 0;

  constructor(parts: ReadHandlerParts) {
    this.#parts = parts;
  }

  /** How many reads were accepted, of any consistency. */
  get count(): number {
    return this.#count;
  }

  get staleness(): Staleness {
    const { core, environment, state } = this.#parts;
    const now = environment.now();
    const heardAt = core.role === "leader" ? now : core.leaderHeardAt;
    return {
      appliedIndex: state.applied.index,
      commitIndex: core.commitIndex,
      leaderHeardMsAgo: Number.isFinite(heardAt) ? now - heardAt : null,
    };
  }

  /** Throws if the read is refused; then nothing was done. */
  read<T>(query: () => T | Promise<T>, options: ReadOptions): Promise<T> {
    const { core, calls, environment, noLeaderError, queue, removal, failed } = this.#parts;
    calls.check(options);
    const consistency = checkedConsistency(options);
    const isStale = consistency === "stale";
    const refusal = (isStale ? null : removal.refusal) ?? queue.refusal();
    if (refusal !== null) throw refusal;
    this.#count += 1;
    // A read changes nothing, so its outcome is "not done" however its wait ends.
    const call = calls.begin<T>("read", options, {
      onCancel: (cancellation) => {
        if (cancellation.type === "timed-out" && !isStale && core.leader === null) return noLeaderError();
        return new AbortedError("not-done", describeCancellation(cancellation), causeOf(cancellation));
      },
    });
    const read: QueuedRead = {
      run: () => runQuery(query, call, failed),
      isSettled: () => call.settled,
      reject: (error) => {
        call.reject(error);
      },
    };
    // With a lease no other leader can have committed anything, so this leader's own commit index is the read
    // index.
    const leaseIndex = consistency === "lease" ? core.leaseIndex(environment.now()) : null;
    // A stale read needs no index, but it waits for the end of a batch or a restore like every other: until
    // then the state may hold half a command (Z14).
    const index = isStale ? 0 : leaseIndex;
    if (index === null) queue.add(read);
    else {
      queue.addAt(index, read);
      this.runReady();
    }
    return call.promise;
  }

  /**
   * Runs the reads whose index is applied, but not within a batch: the state may be in the middle of a
   * command.
   */
  runReady(): void {
    const { queue, state } = this.#parts;
    if (state.isReadable) queue.runReady(state.applied.index);
  }
}

function checkedConsistency({ consistency = "linearizable" }: ReadOptions): Consistency {
  if (CONSISTENCIES.includes(consistency)) return consistency;
  throw new InvalidOptionError(
    `consistency is ${JSON.stringify(consistency)}; it should be one of ${CONSISTENCIES.join(", ")}`,
  );
}

/**
 * Settles the call with what the query returns or throws. Resolves after that; undefined: it is settled
 * already. A `StateMachineFailure` stops the node: other reads must not be served from the same state.
 */
function runQuery<T>(
  query: () => T | Promise<T>,
  call: Call<T>,
  failed: (failure: Failure) => void,
): Promise<void> | undefined {
  const reject = (error: unknown): void => {
    if (error instanceof StateMachineFailure) failed(stateMachineFailure("it could not be read", error));
    call.reject(error);
  };
  try {
    const answer = query();
    if (!(answer instanceof Promise)) {
      call.resolve(answer);
      return undefined;
    }
    return answer.then((value) => {
      call.resolve(value);
    }, reject);
  } catch (error) {
    reject(error);
    return undefined;
  }
}
