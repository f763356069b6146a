import type { LogIndex } from "../../../core/position.ts";
import { assertInvariant } from "../checkers/violation.ts";
import type { SimProcess } from "../world/sim-process.ts";
import type { CallMaker, ClientsParts } from "./client-calls.ts";

type AnyRaft = NonNullable<SimProcess["raft"]>;
type AnyMachine = NonNullable<SimProcess["machine"]>;

/**
 * Makes stale reads, which show some past state.
 *
 * - SMS: every node that shows the state after an entry shows the same; no query runs while a command is
 *   applied (Z14).
 * - ORD: a node's staleness doesn't report more applied than committed.
 *
 * A subject whose digest is a promise isn't compared: its state may change while the promise is pending.
 */
export class StaleReads {
  readonly #parts: ClientsParts;
  readonly #calls: Pick<CallMaker, "watch">;
  /** By index: the state after that entry, as the first node showed it. Grows with the run. */
  readonly #states = new Map<LogIndex, string>();

  constructor(parts: ClientsParts, calls: Pick<CallMaker, "watch">) {
    this.#parts = parts;
    this.#calls = calls;
  }

  /** Makes a stale read at this node and compares what it shows. Rejects with the error of the read. */
  async read(process: SimProcess): Promise<void> {
    const { raft, machine } = process;
    if (raft === null) throw new Error("down");
    await raft.read(
      () => {
        if (machine === null) throw new Error(`${process.id} is down`);
        this.#look(process, raft, machine);
      },
      { consistency: "stale" },
    );
  }

  #look(process: SimProcess, raft: AnyRaft, machine: AnyMachine): void {
    const { checker, subject } = this.#parts;
    const { id } = process;
    this.checkNoHalfCommand(process);
    const index = checker.history.node(id).applied;
    const state = subject.digest(machine);
    if (typeof state !== "string") return;
    this.#calls.watch(() => {
      const { appliedIndex, commitIndex } = raft.staleness();
      assertInvariant(
        appliedIndex <= commitIndex,
        "ORD",
        () => `${id} says it applied what is not committed`,
      );
      const known = this.#states.get(index) ?? state;
      assertInvariant(
        known === state,
        "SMS",
        () => `${id} shows ${state} after ${String(index)}; it was ${known}`,
      );
      this.#states.set(index, known);
    });
  }

  /** SMS: a query, of any consistency, is running now, so no command is being applied (Z14). */
  checkNoHalfCommand({ id, machineConditions }: SimProcess): void {
    this.#calls.watch(() => {
      assertInvariant(!machineConditions.isApplying, "SMS", () => `a query runs at ${id} within a command`);
    });
  }
}
