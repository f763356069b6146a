/**
 * Checks each step of each node's core against the reference model (`testing/model`), which is written from
 * the paper and shares no code with the core.
 *
 * - MODEL: the step is one that Raft allows: given the state before it and the input, the state after it,
 *   what is written, and what is sent.
 *
 * The model knows only what this node has received and what was reported to it as durable, and believes it.
 * It compares no two nodes, and sees neither the runtime nor the store. Checkers that have some of its rules
 * have them for that reason; their headers say what each sees that the model doesn't.
 */
import type { NodeId } from "../../../core/position.ts";
import {
  checkRestart,
  Forbidden,
  logOf,
  started,
  step,
  type Input,
  type ModelSettings,
  type ModelState,
  type Seen,
} from "../../model/index.ts";
import { Violation } from "./violation.ts";

/** See the file's header. */
export class ModelChecker {
  /** By node: its state after its last step. It outlives the node's process, for `started`. */
  readonly #states = new Map<NodeId, ModelState>();

  /**
   * Begins to follow a node's core that was made from what its store held. `keepsDisk`: nothing has damaged
   * what was durable, so checks that it is all still there.
   */
  started(id: NodeId, settings: ModelSettings, seen: Seen, now: number, keepsDisk: boolean): void {
    const before = this.#states.get(id);
    const state = started(id, settings, seen, logOf(seen.log), now);
    this.#states.set(id, state);
    this.#check(id, "starts", () => {
      if (before !== undefined && keepsDisk) checkRestart(before, state);
    });
  }

  /** Checks the step that the core made at this input. `seen`: the core after it. */
  stepped(id: NodeId, input: Input, seen: Seen): void {
    const before = this.#states.get(id);
    if (before === undefined) return;
    this.#check(id, input, () => {
      this.#states.set(id, step(before, input, seen));
    });
  }

  /**
   * The node's disk is gone or was replaced: what its next process holds isn't compared with what was
   * durable.
   */
  diskLost(id: NodeId): void {
    this.#states.delete(id);
  }

  #check(id: NodeId, input: Input | string, check: () => void): void {
    try {
      check();
    } catch (error) {
      if (!(error instanceof Forbidden)) throw error;
      const what = typeof input === "string" ? input : describe(input);
      throw new Violation(
        "MODEL",
        `${id} ${error.message}, at the step "${what}"${showState(this.#states.get(id))}`,
      );
    }
  }
}

function describe(input: Input): string {
  const { now: _now, ...rest } = { now: 0, ...input };
  return input.type === "message" ? JSON.stringify(input.message) : JSON.stringify(rest);
}

function showState(state: ModelState | undefined): string {
  if (state === undefined) return "";
  const { role, term, votedFor, commit, log } = state;
  return (
    ` of a ${role} of term ${String(term)}, vote ${String(votedFor)}, commit ${String(commit)}, ` +
    `log (${String(log.base.index)}, ${String(log.lastIndex)}]`
  );
}
