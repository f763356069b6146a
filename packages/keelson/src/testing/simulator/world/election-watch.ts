/** Watches a node's core, and calls back within the turn of the event loop in which it becomes leader. */
import type { RaftNode } from "../../../core/node.ts";
import type { Role } from "../../../core/role.ts";

/** The inputs by which a candidate can become leader. */
const INPUTS = ["handleMessage", "handlePersisted", "handleTimeout"] as const satisfies (keyof RaftNode)[];

/**
 * Calls `elected` after each election that the core wins: when the input that decided it has been handled, and
 * before the node carries out what follows from it. A program that gets requests from users in that turn
 * calls the node then.
 */
export function watchElections(core: RaftNode, elected: () => void): void {
  for (const name of INPUTS) {
    const run = (core[name] as (...args: unknown[]) => unknown).bind(core);
    const value = (...args: unknown[]): unknown => {
      const before: Role = core.role;
      const answer = run(...args);
      // Not within the input, which a call from outside can't interrupt.
      if (before !== "leader" && core.role === "leader") queueMicrotask(elected);
      return answer;
    };
    Object.defineProperty(core, name, { value, configurable: true });
  }
}
