/** A node's relation to its cluster. */
export type NodeState =
  /** The node asked to join, and may already be a voter. */
  | "joining"
  | "member"
  /** Its removal was requested, and may already be done. */
  | "leaving"
  /** Its disk is lost for good; it will be removed. */
  | "lost";

export interface Standing {
  readonly id: string;
  readonly state: NodeState;
}

/**
 * Limits the faults so that at any time only a minority of the voters is faulty: killed, stopped, paused,
 * with a full disk, or without a disk. During a change of members this holds in every configuration that may
 * be in force.
 */
export class FaultQuota {
  readonly #nodes: () => readonly Standing[];
  readonly #claimed = new Set<string>();

  constructor(nodes: () => readonly Standing[]) {
    this.#nodes = nodes;
  }

  /**
   * Reserves the nodes for a fault, which must release them. Returns false if one is reserved already, or too
   * many would be faulty.
   */
  claim(ids: readonly string[]): boolean {
    if (ids.some((id) => this.isFaulty(id)) || !this.#isBearable([...this.#faulty(), ...ids])) return false;
    for (const id of ids) this.#claimed.add(id);
    return true;
  }

  /** Reserves all nodes, if none is faulty. Only for short faults that damage no disk. */
  claimAll(): readonly string[] | null {
    if (this.#faulty().length > 0) return null;
    const ids = this.#nodes().map(({ id }) => id);
    for (const id of ids) this.#claimed.add(id);
    return ids;
  }

  release(ids: readonly string[]): void {
    for (const id of ids) this.#claimed.delete(id);
  }

  isFaulty(id: string): boolean {
    return this.#faulty().includes(id);
  }

  /** Whether the faulty nodes would still be a minority without this voter. */
  mayLeave(id: string): boolean {
    const rest = this.#nodes().filter((node) => node.id !== id);
    return configurationsOf(rest).every((voters) => isMinority(this.#faulty(), voters));
  }

  #faulty(): string[] {
    return this.#nodes()
      .filter(({ id, state }) => state === "lost" || this.#claimed.has(id))
      .map(({ id }) => id);
  }

  #isBearable(faulty: readonly string[]): boolean {
    return configurationsOf(this.#nodes()).every((voters) => isMinority(faulty, voters));
  }
}

/**
 * The sets of voters that may be in force: each leaving node may have left, and each joining node may have
 * joined.
 */
function configurationsOf(nodes: readonly Standing[]): (readonly string[])[] {
  const those = (...states: readonly NodeState[]): string[] =>
    nodes.filter(({ state }) => states.includes(state)).map(({ id }) => id);
  return [
    those("member"),
    those("member", "joining"),
    those("member", "leaving", "lost"),
    those("member", "leaving", "lost", "joining"),
  ];
}

function isMinority(faulty: readonly string[], voters: readonly string[]): boolean {
  return 2 * voters.filter((id) => faulty.includes(id)).length < voters.length;
}
