/** What a node of the run is to its cluster. */
export type NodeState =
  /** It asks to be taken in, and may be a voter by now. */
  | "joining"
  | "member"
  /** Its removal has been asked for, and may be done. */
  | "leaving"
  /** Its disk is gone for good; only its removal is left to do. */
  | "lost";

export interface Standing {
  readonly id: string;
  readonly state: NodeState;
}

/**
 * Sees to it that never more than a minority of the voters is faulty at once: killed, stopped, paused, without room on
 * the disk, or without the disk. While members change, that holds in every configuration that may be in force.
 */
export class FaultQuota {
  readonly #nodes: () => readonly Standing[];
  readonly #claimed = new Set<string>();

  constructor(nodes: () => readonly Standing[]) {
    this.#nodes = nodes;
  }

  /** Takes the nodes for a fault, which must release them; false: they are taken, or it would be too many. */
  claim(ids: readonly string[]): boolean {
    if (ids.some((id) => this.isFaulty(id)) || !this.#isBearable([...this.#faulty(), ...ids])) return false;
    for (const id of ids) this.#claimed.add(id);
    return true;
  }

  /** Takes all that are there, if none is faulty. Only for what damages nobody's disk and is over soon. */
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

  /** Whether the nodes that are faulty now would still be a minority without this voter. */
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

/** The sets of voters that may be in force: those who leave may have left, and those who join may have joined. */
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
