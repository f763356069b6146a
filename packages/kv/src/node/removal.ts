import { RaftError, type RaftChange } from "keelson";

/** The node was removed from its cluster: it will never answer this. Nothing was done; ask a member. */
export class RemovedError extends RaftError {
  override readonly name = "RemovedError";
  constructor(id: string) {
    super("REMOVED", "not-done", `${id} is no member of the cluster any more; ask another node`);
  }
}

/**
 * Whether the node was removed from its cluster. Then it would wait for a leader in vain, and so would every client that
 * still knows its address: reads are refused at once instead.
 */
export class Removal {
  readonly #id: string;
  #isRemoved = false;

  constructor(id: string) {
    this.#id = id;
  }

  /** Throws if the node was removed. */
  check(): void {
    if (this.#isRemoved) throw new RemovedError(this.#id);
  }

  /** Until the node stops. A removal that was not agreed on after all is taken back here too. */
  async follow(changes: AsyncIterable<RaftChange>): Promise<void> {
    let wasMember = false;
    for await (const change of changes) {
      if (change.type !== "membership") continue;
      const { voters, outgoingVoters, learners } = change.config;
      const isMember = [...voters, ...outgoingVoters, ...learners].includes(this.#id);
      // A node that joins reads of memberships before its own first: it was not removed from those.
      wasMember ||= isMember;
      this.#isRemoved = wasMember && !isMember;
    }
  }
}
