import { seededRandom } from "../../../environment/simulated/simulated-clock.ts";

/** A source of chance with the few questions that a simulation asks. The same seed gives the same answers. */
export class Chance {
  readonly random: () => number;

  constructor(seed: number) {
    this.random = seededRandom(seed);
    // The first numbers of neighbouring seeds look alike; some steps apart they do not.
    for (let i = 0; i < 4; i++) this.random();
  }

  /** A source of its own for one purpose, so that what one part asks does not change what another is told. */
  fork(): Chance {
    return new Chance(Math.floor(this.random() * 0x1_0000_0000));
  }

  /** Whether something that happens this often (0 never, 1 always) happens now. */
  happens(probability: number): boolean {
    return this.random() < probability;
  }

  /** A number in [min, max). */
  between(min: number, max: number): number {
    return min + this.random() * (max - min);
  }

  /** A whole number in [min, max]. */
  whole(min: number, max: number): number {
    return min + Math.floor(this.random() * (max - min + 1));
  }

  pick<T>(items: readonly T[]): T {
    const item = items[Math.floor(this.random() * items.length)];
    if (item === undefined) throw new Error("there is nothing to pick from");
    return item;
  }

  /** All of them, in any order. */
  shuffled<T>(items: readonly T[]): T[] {
    const left = [...items];
    return items.flatMap(() => left.splice(this.whole(0, left.length - 1), 1));
  }

  /** Each item with this probability. */
  some<T>(items: readonly T[], probability: number): T[] {
    return items.filter(() => this.happens(probability));
  }

  /** A time with this mean; short ones are common and long ones happen. */
  time(meanMs: number): number {
    return -Math.log(1 - this.random()) * meanMs;
  }
}
