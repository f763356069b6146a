import type { RaftNode } from "../../core/node.ts";
import type { NodeId } from "../../core/position.ts";
import type { Environment, Timer } from "../../environment/environment.ts";

/**
 * After a leader began a transfer and still leads, it waits this many runs of its maintenance before the next
 * one to the same voter, and twice as many after each further one: the voter can't take over, perhaps because
 * its disk or its state machine hangs, and during each attempt no commands are accepted.
 */
const RUNS_BETWEEN_TRANSFERS = 10;

/** The leader waits no more runs than this: the voter may be able to lead again. */
const RUNS_BETWEEN_TRANSFERS_MAX = 320;

export interface LeaderMaintenanceParts {
  readonly core: RaftNode;
  readonly environment: Environment;
  /** Milliseconds between two runs. */
  readonly everyMs: number;
  /** This node's own priority. */
  readonly priority: number;
  /** Another node's priority; 0 if it is not known. */
  readonly priorityOf: (id: NodeId) => number;
  /**
   * Records the members' store ids in the log, as far as they are known and not recorded yet. From then on
   * every node notices a member that comes back with another disk.
   */
  readonly recordStoreIds: () => void;
  /** Called when the node begins to lead. From the first call in each term on, the leader counts log time. */
  readonly beginTime: () => void;
  /**
   * Proposes an entry that moves log time forward, if anything depends on it and no entry has moved it lately
   * (`LogClock.isTickDue`): without it sessions would never expire in a cluster that gets no session entries.
   */
  readonly tellTime: () => void;
  /** Tells members that have lost entries that they have. It repeats this, because a message may be lost. */
  readonly tellLostMembers: () => void;
  readonly transferTo: (id: NodeId) => void;
}

/**
 * What a leader does every `everyMs`, and what is never urgent: it tells members that they lost entries,
 * records the members' store ids, moves log time forward, and transfers leadership to a voter with a higher
 * priority. Its timer runs only while the node leads.
 */
export class LeaderMaintenance {
  readonly #parts: LeaderMaintenanceParts;
  /** Set while this node leads. */
  #timer: Timer | null = null;
  /** How many of the next runs ask for no transfer. Reset when the node stops leading. */
  #runsToWait = 0;
  /** The voter that leadership was transferred to last, in vain; null: none since this node leads. */
  #lastSuccessor: NodeId | null = null;
  /** How many runs to wait after the next transfer to `#lastSuccessor`. */
  #runsAfterTransfer = RUNS_BETWEEN_TRANSFERS;
  #stopped = false;

  constructor(parts: LeaderMaintenanceParts) {
    this.#parts = parts;
  }

  /** The node may have begun or stopped leading. */
  afterCoreInput(): void {
    const isNeeded = this.#parts.core.role === "leader" && !this.#stopped;
    if (isNeeded === (this.#timer !== null)) return;
    if (isNeeded) {
      this.#parts.beginTime();
      this.#arm();
    } else this.#disarm();
  }

  stop(): void {
    this.#stopped = true;
    this.#disarm();
  }

  #arm(): void {
    const { environment, everyMs } = this.#parts;
    this.#timer = environment.setTimer(everyMs, () => {
      this.#timer = null;
      this.#run();
      this.afterCoreInput();
    });
  }

  #disarm(): void {
    this.#timer?.cancel();
    this.#timer = null;
    this.#runsToWait = 0;
    this.#lastSuccessor = null;
  }

  #run(): void {
    const { core, recordStoreIds, tellTime, tellLostMembers, transferTo } = this.#parts;
    tellLostMembers();
    // The core takes no entry during a transfer. And it begins no change of the membership, such as recording
    // store ids, before an entry of the leader's own term is committed.
    if (core.role !== "leader" || !core.takesCommands || !core.termStartCommitted) return;
    recordStoreIds();
    tellTime();
    const successor = this.#preferredLeader();
    if (successor === null) return;
    if (successor !== this.#lastSuccessor) {
      this.#lastSuccessor = successor;
      this.#runsToWait = 0;
      this.#runsAfterTransfer = RUNS_BETWEEN_TRANSFERS;
    }
    if (this.#runsToWait > 0) {
      this.#runsToWait -= 1;
      return;
    }
    this.#runsToWait = this.#runsAfterTransfer;
    this.#runsAfterTransfer = Math.min(2 * this.#runsAfterTransfer, RUNS_BETWEEN_TRANSFERS_MAX);
    transferTo(successor);
  }

  /**
   * Of the voters that are up and up to date, the one with the highest priority above this node's; null:
   * there is none.
   */
  #preferredLeader(): NodeId | null {
    const { core, priority, priorityOf } = this.#parts;
    const able = core.config.voters.filter((id) => {
      const progress = core.progress(id);
      return progress?.recentlyActive === true && progress.state === "replicate" && priorityOf(id) > priority;
    });
    return able.sort((a, b) => priorityOf(b) - priorityOf(a))[0] ?? null;
  }
}
