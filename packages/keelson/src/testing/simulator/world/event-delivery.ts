import type { SimulatedClock } from "../../../environment/simulated/simulated-clock.ts";

/**
 * Delivers events from outside to one simulated process: timers, answers of the disk, data from the network.
 * A running process gets each event at once; a paused one gets it when it goes on, in order; a dead one
 * never.
 */
export class EventDelivery {
  readonly #clock: SimulatedClock;
  #state: "running" | "paused" | "catching-up" | "dead" = "running";
  /** The pauses that last. */
  readonly #pauses = new Set<object>();
  /**
   * Events for a process that is paused or catching up, the oldest first. There is no limit of its own: they
   * are no more than those that are under way in the simulation.
   */
  #waiting: (() => void)[] = [];
  /** Whether an event was delivered since `takeActivity`. */
  #wasActive = false;
  /** The process's timers that have neither fired nor been cancelled. Written by `processEnvironment`. */
  pendingTimers = 0;

  constructor(clock: SimulatedClock) {
    this.#clock = clock;
  }

  /**
   * A method and not a getter: the compiler takes a getter's answer for the same across other calls, and any
   * call may change this one.
   */
  isDead(): boolean {
    return this.#state === "dead";
  }

  get isPaused(): boolean {
    return this.#state === "paused";
  }

  /** Delivers an event: now, later, or never. */
  deliver(event: () => void): void {
    if (this.#state === "running") {
      this.#wasActive = true;
      event();
    } else if (this.#state !== "dead") this.#waiting.push(event);
  }

  /** Whether the process got an event since the last call. */
  takeActivity(): boolean {
    const wasActive = this.#wasActive;
    this.#wasActive = false;
    return wasActive;
  }

  /**
   * Begins a pause, and returns a function that ends it. Events are held back until all pauses that overlap
   * have ended.
   */
  pause(): () => void {
    if (this.isDead()) return () => undefined;
    const pause = {};
    this.#pauses.add(pause);
    this.#state = "paused";
    return () => {
      if (this.#pauses.delete(pause) && this.#pauses.size === 0) this.resume();
    };
  }

  /**
   * Ends all pauses. Delivers what waited, in order and within one turn: an event loop that was held up reads
   * every socket before it runs what was deferred. What arrives meanwhile waits behind it, or bytes of one
   * stream would overtake each other.
   */
  resume(): void {
    this.#pauses.clear();
    if (this.#state !== "paused") return;
    this.#state = "catching-up";
    this.#catchUp();
  }

  #catchUp(): void {
    this.#clock.setTimer(0, () => {
      if (this.#state !== "catching-up") return;
      const event = this.#waiting.shift();
      if (event === undefined) {
        this.#state = "running";
        return;
      }
      this.#wasActive = true;
      event();
      this.#catchUp();
    });
  }

  kill(): void {
    this.#state = "dead";
    this.#waiting = [];
  }
}
