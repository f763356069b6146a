import type { RaftNode } from "../../core/node.ts";
import type { LogIndex } from "../../core/position.ts";
import type { Environment } from "../../environment/environment.ts";
import { AbortedError, InvalidOptionError, NotLeaderError } from "../../errors.ts";
import { causeOf, describeCancellation, type Call, type CallOptions, type Calls } from "../calls/index.ts";
import type { QueuedRead, ReadIndexQueue } from "./read-index-queue.ts";

/**
 * How a read relates to the writes before it. `linearizable`: it sees every write that was answered
 * before it began, anywhere in the cluster. `lease`: the same, without asking anybody if this node leads, provided
 * that no clock drifts by more than `clockDriftMax` (dissertation 6.4.1). `stale`: it sees some past state of this
 * node, at once, whoever leads; `staleness()` says how old it may be.
 */
export type Consistency = "linearizable" | "lease" | "stale";

const CONSISTENCIES: readonly Consistency[] = ["linearizable", "lease", "stale"];

/** What a node knows of the age of its own state. */
export interface Staleness {
  /** The last entry that the state holds. */
  readonly appliedIndex: LogIndex;
  /** The last entry that this node knows to be committed. */
  readonly commitIndex: LogIndex;
  /** Milliseconds since it heard from a leader; 0 on a leader; null: never. */
  readonly leaderHeardMsAgo: number | null;
}

/** How one read is made. */
export interface ReadOptions extends CallOptions {
  /** Default `linearizable`. */
  readonly consistency?: Consistency;
}

/** What reads need of the applier. */
interface State {
  readonly applied: { readonly index: LogIndex };
  /** False while a batch is being applied, or a snapshot restored: the state may then be half of a command. */
  readonly isReadable: boolean;
  /** Whether a snapshot is being restored. */
  readonly isRestoring: boolean;
}

export interface ReadHandlerParts {
  readonly core: RaftNode;
  readonly environment: Environment;
  readonly calls: Calls;
  readonly reads: ReadIndexQueue;
  readonly state: State;
  /** Whether the node knows its cluster: before, there is nobody to ask. */
  readonly isMember: () => boolean;
}

/** Runs callers' queries on this node's own state, when it is as new as they ask for. */
export class ReadHandler {
  readonly #parts: ReadHandlerParts;
  #count = 0;

  constructor(parts: ReadHandlerParts) {
    this.#parts = parts;
  }

  /** How many reads were asked for. */
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

  read<T>(query: () => T | Promise<T>, options: ReadOptions): Promise<T> {
    const { core, calls, environment, isMember, reads, state } = this.#parts;
    calls.check(options);
    const consistency = checkedConsistency(options);
    const isStale = consistency === "stale";
    if (!isStale && !isMember()) throw new NotLeaderError(null);
    const refusal = reads.refusal();
    if (refusal !== null) throw refusal;
    this.#count += 1;
    const call = calls.begin<T>(options, (cancellation) => {
      if (cancellation.type === "timed-out" && !isStale && core.leader === null)
        return new NotLeaderError(null);
      return new AbortedError("not-done", describeCancellation(cancellation), causeOf(cancellation));
    });
    const read: QueuedRead = {
      run: () => runQuery(query, call),
      isSettled: () => call.settled,
      reject: (error) => {
        call.reject(error);
      },
    };
    const leaseIndex = consistency === "lease" ? core.leaseIndex(environment.now()) : null;
    if (isStale && state.isRestoring) reads.await(0, read);
    else if (isStale) reads.runNow(read);
    else if (leaseIndex === null) reads.add(read);
    else {
      reads.await(leaseIndex, read);
      this.serve();
    }
    return call.promise;
  }

  /** Between two batches only: within one the state may be in the middle of a command. */
  serve(): void {
    const { reads, state } = this.#parts;
    if (state.isReadable) reads.serve(state.applied.index);
  }
}

function checkedConsistency({ consistency = "linearizable" }: ReadOptions): Consistency {
  if (CONSISTENCIES.includes(consistency)) return consistency;
  throw new InvalidOptionError(
    `consistency is ${JSON.stringify(consistency)}; it should be one of ${CONSISTENCIES.join(", ")}`,
  );
}

/** Settles the call with what the query returns or throws. */
function runQuery<T>(query: () => T | Promise<T>, call: Call<T>): Promise<void> | undefined {
  try {
    const answer = query();
    if (!(answer instanceof Promise)) {
      call.resolve(answer);
      return undefined;
    }
    return answer.then(
      (value) => {
        call.resolve(value);
      },
      (error: unknown) => {
        call.reject(error);
      },
    );
  } catch (error) {
    call.reject(error);
    return undefined;
  }
}
