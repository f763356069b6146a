/**
 * Calls that overlap the end of a node, and calls that come after it. A program that waits for one of them
 * would hang: the node does nothing any more that could wake it.
 *
 * - KNOWN: each call of a stopped node ends, and each reader of its streams, however many wait at once.
 */
import type { Raft } from "../../../runtime/raft.ts";

/** More calls of `next` than a stream of changes has to tell at once: its role, leader and membership. */
const READERS = 6;

/** Names of calls that have not ended. */
export class StoppedCalls {
  readonly #open = new Set<string>();

  get open(): readonly string[] {
    return [...this.#open];
  }

  /** Several readers wait for each stream of the node, which is about to be closed. */
  waitAt(id: string, raft: Raft<unknown, unknown>): void {
    const changes = raft.changes();
    const committed = raft.committed({ from: raft.metrics().lastIndex + 1 });
    for (let reader = 1; reader <= READERS; reader++) {
      this.#note(`reader ${String(reader)} of ${id}'s changes`, () => changes.next());
      this.#note(`reader ${String(reader)} of ${id}'s committed commands`, () => committed.next());
    }
  }

  /** The node has closed: makes each kind of call. */
  askAfter(id: string, raft: Raft<unknown, unknown>): void {
    const calls: Readonly<Record<string, () => Promise<unknown>>> = {
      write: () => raft.write(null),
      read: () => raft.read(() => 0),
      "lease read": () => raft.read(() => 0, { consistency: "lease" }),
      "stale read": () => raft.read(() => 0, { consistency: "stale" }),
      openSession: () => raft.openSession(),
      endSession: () => raft.endSession(1),
      snapshot: () => raft.snapshot(),
      addLearner: () => raft.addLearner("late", "late:1"),
      changeMembership: () => raft.changeMembership({ remove: ["late"] }),
      transferLeadership: () => raft.transferLeadership(),
      changes: () => endOf(raft.changes()),
      committed: () => endOf(raft.committed()),
      close: () => raft.close(),
      stopped: () => raft.stopped,
    };
    for (const [what, call] of Object.entries(calls)) this.#note(`${what} at ${id}, which has stopped`, call);
  }

  #note(name: string, call: () => Promise<unknown>): void {
    this.#open.add(name);
    const ended = (): void => {
      this.#open.delete(name);
    };
    // How a call is refused is the unit tests' business: by a rejection, or by throwing at once.
    try {
      call().then(ended, ended);
    } catch {
      ended();
    }
  }
}

/** Resolves when the stream ends. */
async function endOf(stream: AsyncIterator<unknown>): Promise<void> {
  while ((await stream.next()).done !== true);
}
