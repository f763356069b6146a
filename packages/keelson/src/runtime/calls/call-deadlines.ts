import type { Environment, Timer } from "../../environment/environment.ts";

/**
 * Deadlines are rounded up to multiples of this, in milliseconds. So a call may end this much late; calls
 * wait seconds.
 */
const STEP_MS = 20;

/**
 * Items that expire in one turn of the event loop; the rest follows in the next turns. Many thousand calls
 * that were made together reach their limits together, and all in one turn would delay heartbeats (Z19).
 */
const EXPIRATIONS_PER_TURN = 128;

/** Something that ends at a time limit. */
export interface Expiring {
  /**
   * In milliseconds of the environment's clock; Infinity: never. It must not change while the item is in
   * `CallDeadlines`.
   */
  readonly deadline: number;
  /** Called once, at the deadline or up to `STEP_MS` later, unless the item was deleted before. */
  expire(): void;
}

/**
 * The time limits of all calls under one timer: a timer for each of many thousand calls a second would cost
 * more than the calls do. Items are kept in sets by their deadline in steps of `STEP_MS`. So there are few
 * sets, and adding and deleting an item take constant time.
 */
export class CallDeadlines {
  readonly #environment: Environment;
  /** The items by their deadline, in steps (see `stepOf`). No set is empty. */
  readonly #steps = new Map<number, Set<Expiring>>();
  /** Fires at the earliest step in `#steps`, or earlier; null only if there is none. */
  #timer: { readonly step: number; readonly handle: Timer } | null = null;

  constructor(environment: Environment) {
    this.#environment = environment;
  }

  /** How many items there are. */
  get size(): number {
    let size = 0;
    for (const step of this.#steps.values()) size += step.size;
    return size;
  }

  add(item: Expiring): void {
    if (item.deadline === Infinity) return;
    const step = stepOf(item);
    const items = this.#steps.get(step);
    if (items !== undefined) {
      items.add(item);
      return;
    }
    this.#steps.set(step, new Set([item]));
    if (this.#timer === null || step < this.#timer.step) this.#arm(step);
  }

  delete(item: Expiring): void {
    const step = stepOf(item);
    const items = this.#steps.get(step);
    if (items === undefined) return;
    items.delete(item);
    // The timer stays as it is: at worst it fires once for nothing.
    if (items.size === 0) this.#steps.delete(step);
  }

  /** Drops all items without calling `expire`, and stops the timer. */
  stop(): void {
    this.#steps.clear();
    this.#timer?.handle.cancel();
    this.#timer = null;
  }

  #arm(step: number): void {
    this.#timer?.handle.cancel();
    const delay = Math.max(0, step * STEP_MS - this.#environment.now());
    const handle = this.#environment.setTimer(delay, () => {
      this.#expire();
    });
    this.#timer = { step, handle };
  }

  #expire(): void {
    this.#timer = null;
    const now = this.#environment.now();
    let left = EXPIRATIONS_PER_TURN;
    for (const [step, items] of [...this.#steps]) {
      if (step * STEP_MS > now) continue;
      for (const item of items) {
        if (left-- === 0) {
          // The timer is due at once, and fires in a later turn.
          this.#arm(step);
          return;
        }
        this.delete(item);
        item.expire();
      }
    }
    // An item that expired may have led to a new one, whose `add` has armed the timer already.
    if (this.#steps.size > 0) this.#arm(Math.min(...this.#steps.keys()));
  }
}

/** The item's deadline in steps, rounded up: a call may end a little late, but never early. */
function stepOf(item: Expiring): number {
  return Math.ceil(item.deadline / STEP_MS);
}
