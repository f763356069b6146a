/**
 * DUTY: the runtime carries out what its core has decided in the same turn of the event loop in which the
 * core was given an input. A wake-up that is lost shows in no other way: the next input of any kind, such as
 * a heartbeat, makes up for it, and a node that gets none waits for a timer. A call, a vote or a commit is
 * then late by up to an election timeout, on an idle cluster only.
 *
 * An input is excused where the process was paused after it, and while the node installs a snapshot: then the
 * runtime takes nothing on purpose, since the core's actions were made for the log that is being replaced.
 */
import type { NodeId } from "../../../core/position.ts";
import type { Input } from "../../model/index.ts";
import { duty } from "./duty.ts";

/**
 * Inputs after which the core may have nothing new to do, or which are given only just before it is asked.
 */
const QUESTIONS: ReadonlySet<Input["type"]> = new Set(["read", "lease-read"]);

/** What one node's core was given and nobody has taken the consequences of. */
interface Untaken {
  /** The first such input. */
  readonly type: Input["type"];
  /** The true time at which it was given. */
  readonly at: number;
}

/** See the file's header. All times are true ones, in milliseconds. */
export class TurnChecker {
  readonly #untaken = new Map<NodeId, Untaken>();
  /** When each node was last seen to install a snapshot. */
  readonly #installingAt = new Map<NodeId, number>();

  /** A process of the node begins. */
  started(id: NodeId): void {
    this.#untaken.delete(id);
  }

  /** The node installs a snapshot at the end of a turn. */
  installing(id: NodeId, now: number): void {
    this.#installingAt.set(id, now);
  }

  /**
   * The core was given an input, or its actions were taken. `resumedAt`: when the process last went on after
   * a pause; Infinity: it is paused, and clients call it all the same.
   */
  stepped(id: NodeId, { type }: Input, now: number, resumedAt: number): void {
    const untaken = this.#untaken.get(id);
    if (type === "take") this.#untaken.delete(id);
    else if (untaken === undefined && !QUESTIONS.has(type)) this.#untaken.set(id, { type, at: now });
    if (untaken === undefined || now <= untaken.at) return;
    const excusedAt = Math.max(resumedAt, this.#installingAt.get(id) ?? -Infinity);
    duty(
      excusedAt >= untaken.at,
      () =>
        `${id} was given an input (${untaken.type}), and did nothing about it for ${String(now - untaken.at)} ms`,
    );
  }
}
