/**
 * Random decisions for plans, clients and faults. Each part that draws has a source of its own, so that its
 * draws don't change what others draw.
 */
import { seededRandom } from "../../../environment/simulated/simulated-clock.ts";

/** A seeded random source with the questions that a simulation asks. The same seed gives the same answers. */
export class Chance {
  /** A number in [0, 1). */
  readonly random: () => number;

  constructor(seed: number) {
    this.random = seededRandom(seed);
    // The first numbers of neighbouring seeds are alike. A few steps later they aren't.
    for (let i = 0; i < 4; i++) this.random();
  }

  /** A new source for another purpose: what it draws doesn't change what this one draws next. */
  fork(): Chance {
    return new Chance(Math.floor(this.random() * 0x1_0000_0000));
  }

  /** True with this probability. */
  happens(probability: number): boolean {
    return this.random() < probability;
  }

  /** A number in [min, max). */
  between(min: number, max: number): number {
    return min + this.random() * (max - min);
  }

  /** An integer in [min, max], both included. */
  whole(min: number, max: number): number {
    return min + Math.floor(this.random() * (max - min + 1));
  }

  /** One of the items, all equally likely. */
  pick<T>(items: readonly T[]): T {
    const item = items[Math.floor(this.random() * items.length)];
    if (item === undefined) throw new Error("there is nothing to pick from");
    return item;
  }

  /** All items in random order. */
  shuffled<T>(items: readonly T[]): T[] {
    const left = [...items];
    return items.flatMap(() => left.splice(this.whole(0, left.length - 1), 1));
  }

  /** Each item with this probability, in order. */
  some<T>(items: readonly T[], probability: number): T[] {
    return items.filter(() => this.happens(probability));
  }

  /** A time with this mean, exponentially distributed: mostly short, sometimes long. */
  time(meanMs: number): number {
    return -Math.log(1 - this.random()) * meanMs;
  }
}
