// Logs elections, and which node leads.
import type { RaftNode } from "../../core/node.ts";
import type { NodeId, Term } from "../../core/position.ts";
import type { Role } from "../../core/role.ts";
import type { Environment } from "../../environment/environment.ts";
import type { ComponentLog, LogFields } from "../../log-event.ts";

/**
 * Lines in one window at most. A node that is cut off may stand for election twice a second for as long as
 * that lasts, and must not fill a disk with it.
 */
const LINES_MAX = 20;
const WINDOW_MS = 10_000;

export interface ElectionLogParts {
  readonly core: Pick<RaftNode, "id" | "role" | "term" | "leader">;
  readonly environment: Pick<Environment, "now">;
  readonly log: ComponentLog;
}

/** What the last call saw. */
interface Seen {
  readonly role: Role;
  readonly term: Term;
  readonly leader: NodeId | null;
}

/** Says in the log what an input to the core changed about leadership. Asking for pre-votes isn't logged. */
export class ElectionLog {
  readonly #parts: ElectionLogParts;
  #seen: Seen;
  /** When the present window began, in ms. */
  #windowAt = -Infinity;
  #linesInWindow = 0;
  /** Lines left out since the last one that was written. */
  #leftOut = 0;

  constructor(parts: ElectionLogParts) {
    this.#parts = parts;
    const { role, term, leader } = parts.core;
    this.#seen = { role, term, leader };
  }

  /** Role, term or leader may have changed. */
  changed(): void {
    const { id, role, term, leader } = this.#parts.core;
    const before = this.#seen;
    this.#seen = { role, term, leader };
    const isNewTerm = term !== before.term;
    const fields: LogFields = { role, term, leader };
    if (before.role === "leader" && (role !== "leader" || isNewTerm)) {
      this.#write(`${id} no longer leads, after term ${String(before.term)}`, fields);
    }
    if (role === "leader" && (before.role !== "leader" || isNewTerm)) {
      this.#write(`${id} leads in term ${String(term)}`, fields);
    } else if (role === "candidate" && (before.role !== "candidate" || isNewTerm)) {
      this.#write(`${id} hears no leader, and stands for election in term ${String(term)}`, fields);
    } else if (leader !== null && (leader !== before.leader || isNewTerm)) {
      this.#write(`${id} follows ${leader} in term ${String(term)}`, fields);
    } else if (leader === null && before.leader !== null && before.leader !== id) {
      this.#write(`${id} no longer hears its leader, ${before.leader}`, fields);
    }
  }

  #write(text: string, fields: LogFields): void {
    const { environment, log } = this.#parts;
    const now = environment.now();
    if (now - this.#windowAt >= WINDOW_MS) {
      this.#windowAt = now;
      this.#linesInWindow = 0;
    }
    if (this.#linesInWindow >= LINES_MAX) {
      this.#leftOut += 1;
      return;
    }
    this.#linesInWindow += 1;
    const more = this.#leftOut === 0 ? "" : ` (${String(this.#leftOut)} lines about elections were left out)`;
    this.#leftOut = 0;
    log("info", `${text}${more}`, fields);
  }
}
