import type { RaftNode } from "../../core/node.ts";
import type { NodeId } from "../../core/position.ts";
import type { Environment, Timer } from "../../environment/environment.ts";

/** After a transfer that failed, how many rounds of chores to wait before the next attempt. */
const ROUNDS_BETWEEN_TRANSFERS = 10;

export interface LeaderMaintenanceParts {
  readonly core: RaftNode;
  readonly environment: Environment;
  /** How often to look. */
  readonly everyMs: number;
  readonly priority: number;
  readonly priorityOf: (id: NodeId) => number;
  readonly recordStoreIds: () => void;
  readonly transferTo: (id: NodeId) => void;
}

/** What a leader sees to now and then while it leads: which disks the members have, and whether another should lead. */
export class LeaderMaintenance {
  readonly #parts: LeaderMaintenanceParts;
  #timer: Timer | null = null;
  #roundsToWait = 0;
  #stopped = false;

  constructor(parts: LeaderMaintenanceParts) {
    this.#parts = parts;
  }

  /** After each input to the core. */
  afterCoreInput(): void {
    const isNeeded = this.#parts.core.role === "leader" && !this.#stopped;
    if (isNeeded === (this.#timer !== null)) return;
    if (isNeeded) this.#arm();
    else this.#disarm();
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
    this.#roundsToWait = 0;
  }

  #run(): void {
    const { core, recordStoreIds, transferTo } = this.#parts;
    if (core.role !== "leader" || !core.takesCommands || !core.termStartCommitted) return;
    recordStoreIds();
    const better = this.#better();
    if (better === null) return;
    if (this.#roundsToWait > 0) {
      this.#roundsToWait -= 1;
      return;
    }
    this.#roundsToWait = ROUNDS_BETWEEN_TRANSFERS;
    transferTo(better);
  }

  /** A voter that should lead rather than this node, and could at once: the one that should most. */
  #better(): NodeId | null {
    const { core, priority, priorityOf } = this.#parts;
    const able = core.config.voters.filter((id) => {
      const progress = core.progress(id);
      return progress?.recentlyActive === true && progress.state === "replicate" && priorityOf(id) > priority;
    });
    return able.sort((a, b) => priorityOf(b) - priorityOf(a))[0] ?? null;
  }
}
