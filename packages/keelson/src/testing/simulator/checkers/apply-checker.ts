/**
 * Checks the order in which commands reach state machines and readers of the committed stream.
 *
 * - SMS: at each index every node applies the same command; no node leaves one out or applies one twice.
 * - ORD: an applied entry is durable on the node that applies it.
 *
 * It compares commands by their descriptions (`Subject.describe`), and doesn't look at the states that
 * result: the simulation compares these at the end (`checkStates`), and the checker of stale reads compares
 * what they return while it runs.
 */
import type { LogIndex, LogPosition, NodeId } from "../../../core/position.ts";
import type { ClusterHistory, NodeHistory } from "./cluster-history.ts";
import { assertInvariant } from "./violation.ts";

/** A command that some node has applied. */
export interface AppliedCommand {
  readonly term: number;
  readonly command: string;
}

/** See the file's header. */
export class ApplyChecker {
  readonly #history: ClusterHistory;
  /** By index: what was first applied there. Grows with the run. */
  readonly #applied = new Map<LogIndex, AppliedCommand>();

  constructor(history: ClusterHistory) {
    this.#history = history;
  }

  /** The commands that any node has applied, by index. */
  get applied(): ReadonlyMap<LogIndex, AppliedCommand> {
    return this.#applied;
  }

  /**
   * A node's state machine was opened, or restored from a snapshot, and holds the state after this entry: the
   * node must apply every later command.
   */
  restored(id: NodeId, applied: LogIndex): void {
    this.#history.node(id).applied = applied;
  }

  /** Checks SMS and ORD for a command that a node's state machine is given. */
  applying(id: NodeId, at: LogPosition, command: string): void {
    const node = this.#history.node(id);
    assertInvariant(
      at.index > node.applied,
      "SMS",
      () => `${id} applies ${String(at.index)} after ${String(node.applied)}`,
    );
    checkNoCommandBetween(
      node,
      node.applied,
      at.index,
      (index) => `${id} applies ${String(at.index)} and has left out the command at ${String(index)}`,
    );
    node.applied = at.index;
    const known = this.#applied.get(at.index);
    assertInvariant(
      known === undefined || (known.term === at.term && known.command === command),
      "SMS",
      () =>
        `${id} applies ${command} of term ${String(at.term)} at ${String(at.index)}; ` +
        `${known?.command ?? ""} of term ${String(known?.term)} was applied there before`,
    );
    this.#applied.set(at.index, { term: at.term, command });
    assertInvariant(
      node.durable[at.index - 1]?.term === at.term,
      "ORD",
      () => `${id} applies ${String(at.index)}, which is not durable there`,
    );
  }

  /**
   * Checks SMS for a command that a node's committed stream yields. The command before it was at `before`.
   */
  delivered(id: NodeId, at: LogPosition, command: string, before: LogIndex): void {
    const known = this.#applied.get(at.index);
    assertInvariant(
      known?.term === at.term && known.command === command,
      "SMS",
      () =>
        `${id} tells of ${command} at ${String(at.index)}, where ${known?.command ?? "nothing"} was applied`,
    );
    checkNoCommandBetween(
      this.#history.node(id),
      before,
      at.index,
      (index) => `${id} tells of ${String(at.index)} and has left out the command at ${String(index)}`,
    );
    assertInvariant(
      at.index > before,
      "SMS",
      () => `${id} tells of ${String(at.index)} after ${String(before)}`,
    );
  }
}

/** SMS: the node's durable log holds no command between these indexes, both excluded. */
function checkNoCommandBetween(
  { durable }: NodeHistory,
  after: LogIndex,
  before: LogIndex,
  text: (index: LogIndex) => string,
): void {
  for (let index = after + 1; index < before; index++) {
    assertInvariant(durable[index - 1]?.isCommand !== true, "SMS", () => text(index));
  }
}
