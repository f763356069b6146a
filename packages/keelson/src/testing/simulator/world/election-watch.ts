/** Watches a node's core, and calls back within the turn of the event loop in which it becomes leader. */
import type { RaftNode } from "../../../core/node.ts";
import { watchCore } from "../../core/watched-core.ts";

/**
 * Calls `elected` after each election that the core wins: when the input that decided it has been handled,
 * and before the node carries out what follows from it. A program that gets requests from users in that turn
 * calls the node then.
 */
export function watchElections(core: RaftNode, elected: () => void): void {
  let wasLeader = core.role === "leader";
  watchCore(core, () => {
    const isLeader = core.role === "leader";
    // In a microtask, which runs once the core has handled its input: what `elected` does may call the core
    // again.
    if (isLeader && !wasLeader) queueMicrotask(elected);
    wasLeader = isLeader;
  });
}
