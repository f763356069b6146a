import type { NodeId } from "../../core/index.ts";

/** How far to explore: everything within these bounds is visited, nothing beyond them. */
export interface Bounds {
  /** The moment at which it begins: one of `STARTS`. */
  readonly start: string;
  /** Nodes of the group, all of them voters. */
  readonly nodes: number;
  /** Nodes that wrote the first configuration before it begins; the others have nothing at all. */
  readonly founders: number;
  /** Terms in which nodes may campaign, the first being 2: nobody ever leads term 1. */
  readonly terms: number;
  readonly proposals: number;
  /** Crashes, each followed by a restart, of all nodes together. */
  readonly crashes: number;
  /**
   * Whether whatever was sent may arrive at any later time, again and again or never: every loss, delay,
   * reordering and number of duplicates at once. The two limits on messages have no meaning then.
   */
  readonly echo: boolean;
  /** Messages that arrive and are still under way. */
  readonly duplicates: number;
  /** Heartbeats: they repeat what may have been lost. */
  readonly heartbeats: number;
  /** Messages under way at once; when there is no room left for more, some are lost. */
  readonly messages: number;
  /** Writes that one node has under way at once. */
  readonly writes: number;
  /** The nodes' options of these names. */
  readonly preVote: boolean;
  readonly checkQuorum: boolean;
  /** Whether a node takes in several inputs before its actions are taken; otherwise one. */
  readonly batching: boolean;
  /** Whether the state machine keeps over a restart what it applied, so that the node restarts with its commit index. */
  readonly durableMachine: boolean;
}

/** The bounds that are numbers, and those that are on or off. */
export const COUNTED = [
  "nodes",
  "founders",
  "terms",
  "proposals",
  "crashes",
  "duplicates",
  "heartbeats",
  "messages",
  "writes",
] as const;
export const SWITCHES = ["echo", "preVote", "checkQuorum", "batching", "durableMachine"] as const;

/** The least that is of interest: one election, one proposal. */
export const SMALL: Bounds = {
  start: "fresh",
  nodes: 3,
  founders: 3,
  terms: 1,
  proposals: 1,
  crashes: 0,
  duplicates: 0,
  heartbeats: 0,
  messages: 8,
  writes: 2,
  echo: true,
  preVote: false,
  checkQuorum: false,
  batching: false,
  durableMachine: false,
};

/** Bounds by name. */
export const PROFILES: Readonly<Record<string, Bounds>> = {
  /** One election, one proposal and one crash; small enough to be finished with each change. */
  ci: { ...SMALL, crashes: 1 },
  /** The same with the questions before an election, the leases that they respect, and no crash. */
  "pre-vote": { ...SMALL, preVote: true, checkQuorum: true },
  /** Several inputs before the actions are taken, so that they merge. */
  batching: { ...SMALL, batching: true },
  /** Two elections, two leaders, and what they may do to each other. */
  long: { ...SMALL, terms: 2, crashes: 1 },
  /** Where the bugs of `BREAKS` show, unless they say otherwise. */
  breaks: { ...SMALL, terms: 2 },
};

const NAMES: readonly NodeId[] = ["n1", "n2", "n3", "n4", "n5"];

/** The most nodes that have a name; five have 120 renamings, which is plenty. */
export const NODES_MAX = NAMES.length;

/** Counts share one integer, four bits each. */
export const COUNT_MAX = 15;

/** The name of the node at a place, and the place of a name. */
export function nameOf(place: number): NodeId {
  const name = NAMES[place];
  if (name === undefined) throw new RangeError(`there is no node at place ${place}`);
  return name;
}

export function placeOf(name: NodeId): number {
  return NAMES.indexOf(name);
}

export function namesOf(bounds: Bounds): NodeId[] {
  return NAMES.slice(0, bounds.nodes);
}

/** Throws if the bounds are not such as can be explored. */
export function checkBounds(bounds: Bounds): void {
  const whole = (name: keyof Bounds, min: number, max: number): void => {
    const value = bounds[name];
    if (!Number.isInteger(value) || Number(value) < min || Number(value) > max) {
      throw new RangeError(`${name} is a whole number from ${min} to ${max}, not ${String(value)}`);
    }
  };
  whole("nodes", 1, NODES_MAX);
  whole("founders", 1, bounds.nodes);
  whole("terms", 1, COUNT_MAX);
  whole("proposals", 0, COUNT_MAX);
  whole("crashes", 0, COUNT_MAX);
  whole("duplicates", 0, COUNT_MAX);
  whole("heartbeats", 0, COUNT_MAX);
  // A write that is done may let both a campaign's questions and a new leader's first messages go.
  whole("messages", Math.max(1, 2 * (bounds.nodes - 1)), 64);
  whole("writes", 1, 8);
}
