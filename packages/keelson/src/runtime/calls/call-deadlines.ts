import type { Environment, Timer } from "../../environment/environment.ts";

/** How late a deadline may be noticed, in milliseconds: calls wait seconds, so nobody will tell. */
const STEP_MS = 20;

/** Something that gives up at a time. */
export interface Expiring {
  /** On the environment's clock; Infinity: never. */
  readonly deadline: number;
  expire(): void;
}

/**
 * The deadlines of all calls of a node under one timer: a timer for each of many thousand calls a
 * second would cost more than the calls. Deadlines are gathered in steps of `STEP_MS`, so there
 * are few steps, and adding and removing take the same time however many calls wait.
 */
export class CallDeadlines {
  readonly #environment: Environment;
  readonly #steps = new Map<number, Set<Expiring>>();
  #timer: { readonly step: number; readonly handle: Timer } | null = null;

  constructor(environment: Environment) {
    this.#environment = environment;
  }

  /** How many are waited for. */
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
    // The timer stays as it is: at worst it wakes up once for nobody.
    if (items.size === 0) this.#steps.delete(step);
  }

  /** Forgets all of them, and the timer. */
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
    for (const [step, items] of [...this.#steps]) {
      if (step * STEP_MS > now) continue;
      this.#steps.delete(step);
      for (const item of items) item.expire();
    }
    // What expired may have begun something new, and armed the timer for it.
    if (this.#steps.size > 0) this.#arm(Math.min(...this.#steps.keys()));
  }
}

/** Rounded up: a deadline is noticed a little late, never early. */
function stepOf(item: Expiring): number {
  return Math.ceil(item.deadline / STEP_MS);
}
