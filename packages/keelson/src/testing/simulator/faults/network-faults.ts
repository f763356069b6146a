/**
 * The faults that links have at the moment: cuts, loss, delays and late copies, for byte streams and
 * datagrams.
 */
import type { SimulatedNetwork } from "../../../environment/simulated/simulated-network.ts";
import type { MemoryNetwork } from "../../../transport/memory/memory-network.ts";
import type { Chance } from "../plan/chance.ts";
import type { Fault } from "../plan/faults.ts";
import type { Plan } from "../plan/plan.ts";
import type { SimProcess } from "../world/sim-process.ts";
import { Overlapping } from "./overlapping.ts";

const NO_LOSS: Loss = { drop: 0, duplicate: 0 };

const NO_LATE_MESSAGES: LateShare = { share: 0, byMs: 0 };

/** Probabilities, for each message of a link. */
interface Loss {
  readonly drop: number;
  readonly duplicate: number;
}

/** A share of the datagrams is late by up to so many milliseconds. */
interface LateShare {
  readonly share: number;
  readonly byMs: number;
}

export interface NetworkFaultsParts {
  readonly plan: Pick<Plan, "linkDelayMs">;
  readonly chance: Chance;
  readonly processes: readonly SimProcess[];
  readonly streams: SimulatedNetwork;
  readonly datagrams: MemoryNetwork;
}

/**
 * Keeps the faults of all links, and sets them on both networks; a change takes effect at once. Cuts that
 * overlap are counted, so a link works again when the last of them ends. Of other faults that overlap, the
 * one that began last counts.
 */
export class NetworkFaults {
  readonly #parts: NetworkFaultsParts;
  /** By "from>to": how many faults cut this direction. */
  readonly #cuts = new Map<string, number>();
  /** By "from>to": how many faults let attempts to connect in this direction fail at once. */
  readonly #unreachable = new Map<string, number>();
  /** By "from>to"; "" is for all links without an entry of their own. */
  readonly #loss = new Map<string, Overlapping<Loss | null>>();
  /** How much longer every message takes at most. */
  readonly #extraDelayMs = new Overlapping(0);
  /** By receiver: how much longer every message to it takes. */
  readonly #extraDelayTo = new Map<string, Overlapping<number>>();
  /** Datagrams of which a second copy arrives late, and datagrams that are late themselves. */
  readonly #lateCopies = new Overlapping(NO_LATE_MESSAGES);
  readonly #delayedShare = new Overlapping(NO_LATE_MESSAGES);

  constructor(parts: NetworkFaultsParts) {
    this.#parts = parts;
    this.#applyToStreams();
    parts.datagrams.deliveryDelaysMs = (from, to) => this.#datagramDelays(from, to);
  }

  /** Ends all faults. */
  heal(): void {
    this.#cuts.clear();
    this.#unreachable.clear();
    this.#loss.clear();
    this.#extraDelayMs.endAll();
    this.#extraDelayTo.clear();
    this.#lateCopies.endAll();
    this.#delayedShare.endAll();
    this.#applyToStreams();
  }

  /** Cuts these directions of links. The returned function ends it, here and below. */
  cut(links: readonly (readonly [from: number, to: number])[]): () => void {
    return this.#count(this.#cuts, links);
  }

  /**
   * Cuts these directions of links, and makes attempts to connect over them fail at once instead of waiting.
   */
  makeUnreachable(links: readonly (readonly [from: number, to: number])[]): () => void {
    const ends = [this.#count(this.#cuts, links), this.#count(this.#unreachable, links)];
    return () => {
      for (const end of ends) end();
    };
  }

  /** Counts one more fault on each of the links. */
  #count(faults: Map<string, number>, links: readonly (readonly [from: number, to: number])[]): () => void {
    const keys = links.map((link) => this.#keyOf(link));
    const add = (count: number): void => {
      for (const key of keys) faults.set(key, (faults.get(key) ?? 0) + count);
      this.#applyToStreams();
    };
    add(1);
    return () => {
      add(-1);
    };
  }

  /** Loses and duplicates datagrams of one direction of a link, or of all links (null). */
  lose(link: readonly [from: number, to: number] | null, loss: Loss): () => void {
    const key = link === null ? "" : this.#keyOf(link);
    return lastingOf(this.#loss, key, null).begin(loss);
  }

  /** Every message takes up to so much longer. */
  delayAll(ms: number): () => void {
    return this.#andApply(this.#extraDelayMs.begin(ms));
  }

  /** Delays every message to one process. */
  delayTo({ id }: SimProcess, ms: number): () => void {
    return this.#andApply(lastingOf(this.#extraDelayTo, id, 0).begin(ms));
  }

  /** A second copy of some datagrams arrives later, perhaps in another term. */
  duplicateLate(lateness: LateShare): () => void {
    return this.#lateCopies.begin(lateness);
  }

  /** Some datagrams arrive much later than others. */
  delaySome(lateness: LateShare): () => void {
    return this.#delayedShare.begin(lateness);
  }

  /** Applies a change that has begun, and its end. */
  #andApply(end: () => void): () => void {
    this.#applyToStreams();
    return () => {
      end();
      this.#applyToStreams();
    };
  }

  /** The delay of each copy of a datagram that arrives; none: it is lost. */
  #datagramDelays(from: string, to: string): number[] {
    const { plan, chance } = this.#parts;
    const { drop, duplicate } =
      this.#loss.get(linkKey(from, to))?.value ?? this.#loss.get("")?.value ?? NO_LOSS;
    if (this.#isCut(from, to) || chance.happens(drop)) return [];
    const delay = (): number =>
      (this.#extraDelayTo.get(to)?.value ?? 0) +
      chance.between(plan.linkDelayMs.min, plan.linkDelayMs.max + this.#extraDelayMs.value);
    const delays = chance.happens(duplicate) ? [delay(), delay()] : [delay()];
    const copies = this.#lateCopies.value;
    if (copies.share > 0 && chance.happens(copies.share))
      delays.push(delay() + chance.between(0, copies.byMs));
    const late = this.#delayedShare.value;
    if (late.share === 0) return delays;
    return delays.map((ms) => (chance.happens(late.share) ? ms + chance.between(0, late.byMs) : ms));
  }

  #applyToStreams(): void {
    const { streams, plan, processes } = this.#parts;
    streams.setEveryLink({
      delayMinMs: plan.linkDelayMs.min,
      delayMaxMs: plan.linkDelayMs.max + this.#extraDelayMs.value,
      splitProbability: 0.05,
      cut: false,
      unreachable: false,
    });
    for (const { id: from } of processes) {
      for (const { id: to } of processes) {
        const slowMs = this.#extraDelayTo.get(to)?.value ?? 0;
        if (slowMs > 0) {
          const delayMaxMs = slowMs + plan.linkDelayMs.max + this.#extraDelayMs.value;
          streams.setLink(from, to, { delayMinMs: slowMs + plan.linkDelayMs.min, delayMaxMs });
        }
        if (this.#isCut(from, to)) streams.setLink(from, to, { cut: true });
        const isUnreachable = (this.#unreachable.get(linkKey(from, to)) ?? 0) > 0;
        if (isUnreachable) streams.setLink(from, to, { unreachable: true });
      }
    }
  }

  #isCut(from: string, to: string): boolean {
    return (this.#cuts.get(linkKey(from, to)) ?? 0) > 0;
  }

  #keyOf([from, to]: readonly [number, number]): string {
    return linkKey(processOf(this.#parts.processes, from).id, processOf(this.#parts.processes, to).id);
  }
}

/** The process of a node's number in the plan. */
export function processOf(processes: readonly SimProcess[], node: number): SimProcess {
  const process = processes[node];
  if (process === undefined) throw new Error(`the plan names node ${String(node)}, which there is not`);
  return process;
}

/** The map's element, which is made if there is none. */
function lastingOf<V>(map: Map<string, Overlapping<V>>, key: string, none: V): Overlapping<V> {
  let lasting = map.get(key);
  if (lasting === undefined) map.set(key, (lasting = new Overlapping(none)));
  return lasting;
}

function linkKey(from: string, to: string): string {
  return `${from}>${to}`;
}

/** The directions that a fault cuts. */
export function linksOf(
  fault: Extract<Fault, { type: "cut" | "partition" | "bridge" }>,
  nodes: number,
): (readonly [number, number])[] {
  if (fault.type === "cut") return [[fault.from, fault.to]];
  const links: [number, number][] = [];
  const inSide = (node: number): boolean => fault.side.includes(node);
  for (let from = 0; from < nodes; from++) {
    for (let to = 0; to < nodes; to++) {
      if (inSide(from) === inSide(to)) continue;
      // Both sides reach the bridge, and it reaches both.
      if (fault.type === "bridge" && (from === fault.bridge || to === fault.bridge)) continue;
      if (fault.type === "partition" && fault.oneWay && !inSide(from)) continue;
      links.push([from, to]);
    }
  }
  return links;
}
