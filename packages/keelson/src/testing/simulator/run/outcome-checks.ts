/**
 * Checks what clients were told against what state machines did. A command takes part if the subject gives it
 * a name.
 *
 * - ONCE: a command takes effect at one index, the same on every node, however often it was sent.
 * - DUR: a command that was acknowledged was applied.
 * - KNOWN: a command that was reported as not done was never applied.
 * - LIN: the history of all calls has an order that explains every answer.
 */
import type { LogIndex } from "../../../core/position.ts";
import { assertInvariant, Violation } from "../checkers/violation.ts";
import type { SimClients } from "../clients/sim-clients.ts";
import { checkLinearizability } from "../../linearizability/index.ts";
import type { AnySubject } from "../subject/subject.ts";

/** See the file's header. */
export class OutcomeChecks {
  /** The linearizability checker gave up on the history: it is shown to be neither right nor wrong. */
  undecided = false;
  /** By name: the index at which the command was first seen to be applied. Grows with the run. */
  readonly #appliedAt = new Map<string, LogIndex>();

  /** ONCE: a state machine is about to apply the command with this name. */
  applying(name: string, index: LogIndex): void {
    const known = this.#appliedAt.get(name) ?? index;
    assertInvariant(
      known === index,
      "ONCE",
      () => `${name} takes effect at ${String(index)}, and did at ${String(known)}`,
    );
    this.#appliedAt.set(name, index);
  }

  /** DUR and KNOWN, once all calls have ended and all nodes have applied the same. */
  checkOutcomes(clients: SimClients): void {
    for (const name of clients.acknowledged) {
      assertInvariant(this.#appliedAt.has(name), "DUR", () => `${name} was acknowledged and is nowhere`);
    }
    for (const name of clients.notDone) {
      assertInvariant(
        !this.#appliedAt.has(name),
        "KNOWN",
        () => `${name} was surely not done, and was applied`,
      );
    }
  }
  /** LIN. */
  checkHistory({ model }: AnySubject, { history }: SimClients): void {
    const result = checkLinearizability(model, history.operations());
    if (result.verdict === "illegal") throw new Violation("LIN", result.text);
    this.undecided = result.verdict === "undecided";
  }
}
