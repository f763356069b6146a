/**
 * Notices that this node was removed from its cluster. A removed node hears from no leader, so reads of
 * clients that still know its address would wait until they time out. The servers ask here first, and refuse
 * such reads at once.
 */
import { RemovedError, type RaftChange } from "keelson";

/** Whether this node was removed from its cluster, as of the last change of members that it has seen. */
export class RemovalWatch {
  readonly #id: string;
  /** Written by `follow` only. */
  #isRemoved = false;

  /** `id`: this node's. */
  constructor(id: string) {
    this.#id = id;
  }

  /** @throws RemovedError */
  throwIfRemoved(): void {
    if (this.#isRemoved) throw new RemovedError(this.#id);
  }

  /**
   * Follows the node's changes until it stops. A configuration counts as soon as it is in the log; if the
   * entry is truncated later, the node reports the earlier configuration, and the removal is undone here.
   */
  async follow(changes: AsyncIterable<RaftChange>): Promise<void> {
    let wasMember = false;
    for await (const change of changes) {
      if (change.type !== "membership") continue;
      const { voters, outgoingVoters, learners } = change.config;
      const isMember = [...voters, ...outgoingVoters, ...learners].includes(this.#id);
      // A joining node receives configurations from before it was a member. Those didn't remove it.
      wasMember ||= isMember;
      this.#isRemoved = wasMember && !isMember;
    }
  }
}
