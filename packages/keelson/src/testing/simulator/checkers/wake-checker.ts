/**
 * DUTY: the runtime wakes its core when the core asked for it. A timer that is set for too late a time shows
 * seldom: on a busy node the next message comes first, and on an idle one an election or a heartbeat is a
 * little late.
 *
 * A core that was to be woken at a time is given `handleTimeout` before any other input that comes later. It
 * is excused where the process was paused since, or its timers are late by a fault.
 */
import type { NodeId } from "../../../core/position.ts";
import type { Input } from "../../model/index.ts";
import { duty } from "./duty.ts";

/** Timers fire in whole milliseconds, and others' events may come first in the same one. */
const SLACK_MS = 2;

/** What is known of the process at an input. Times are true ones. */
export interface WakeTimes {
  readonly now: number;
  /** When the process last went on after a pause; Infinity: it is paused. */
  readonly resumedAt: number;
  /** Timers are late by a fault. */
  readonly timersAreLate: boolean;
}

/** See the file's header. Made anew for each process of a node. */
export class WakeChecker {
  readonly #id: NodeId;
  /** When the core wants to be woken, on the node's clock, and when it said so, in true time; null: never. */
  #wanted: { readonly at: number; readonly saidAt: number } | null = null;

  /** The time of the last input, on the node's clock. */
  #inputAt = -Infinity;

  constructor(id: NodeId) {
    this.#id = id;
  }

  stepped(input: Input, { now, resumedAt, timersAreLate }: WakeTimes): void {
    const wanted = this.#wanted;
    if (input.type === "take") {
      const { timer } = input.actions;
      // A deadline may be over when it arises: the core is then woken after this turn.
      this.#wanted = timer === null ? null : { at: Math.max(timer, this.#inputAt), saidAt: now };
      return;
    }
    this.#inputAt = input.now;
    if (input.type === "timeout") this.#wanted = null;
    if (wanted === null || input.now <= wanted.at + SLACK_MS) return;
    duty(
      timersAreLate || resumedAt >= wanted.saidAt,
      () =>
        `${this.#id} was to be woken at ${String(wanted.at)} ms, and at ${String(input.now)} ms gets ${input.type}`,
    );
  }
}
