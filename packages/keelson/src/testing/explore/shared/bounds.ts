import { configOf, type ClusterConfig, type NodeId } from "../../../core/index.ts";

/** How far to explore: everything within these bounds is visited, nothing beyond them. */
export interface Bounds {
  /** The moment at which it begins: one of `STARTS`. */
  readonly start: string;
  /** Nodes there are; all of them voters, unless `change` says otherwise. */
  readonly nodes: number;
  /** Voters that wrote the first configuration before it begins; the others have nothing at all. */
  readonly initializedNodes: number;
  /** Terms in which nodes may campaign, the first being 2: nobody ever leads term 1. Each node begins one more round of
   * pre-votes than this at most. */
  readonly terms: number;
  readonly proposals: number;
  /** Crashes, each followed by a restart, of all nodes together. */
  readonly crashes: number;
  /** The changes of membership that are possible: one of `CHANGES`; and how many may be begun. */
  readonly change: string;
  readonly changes: number;
  /** Snapshots of a node's own, after each of which it forgets all that is committed and durable. */
  readonly snapshots: number;
  /**
   * Whether whatever was sent may arrive at any later time, again and again or never: every loss, delay,
   * reordering and number of duplicates at once. The two limits on messages have no meaning then.
   */
  readonly redelivery: boolean;
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
  "initializedNodes",
  "terms",
  "proposals",
  "crashes",
  "changes",
  "snapshots",
  "duplicates",
  "heartbeats",
  "messages",
  "writes",
] as const;
export const SWITCHES = ["redelivery", "preVote", "checkQuorum", "batching", "durableMachine"] as const;

/** The least that is of interest: one election, one proposal. */
export const SMALL: Bounds = {
  start: "fresh",
  nodes: 3,
  initializedNodes: 3,
  terms: 1,
  proposals: 1,
  crashes: 0,
  change: "none",
  changes: 0,
  snapshots: 0,
  duplicates: 0,
  heartbeats: 0,
  messages: 8,
  writes: 2,
  redelivery: true,
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
  /** One voter of two is replaced, perhaps the leader, under one leader or two. */
  membership: { ...SMALL, terms: 2, proposals: 0, change: "replace", changes: 1 },
  /** One of three voters is removed, and one node crashes. */
  removal: { ...SMALL, proposals: 0, crashes: 1, change: "remove", changes: 1 },
  /** A leader forgets its log, and somebody else needs it. */
  snapshot: { ...SMALL, proposals: 0, snapshots: 1, initializedNodes: 2 },
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

/** Voters at first, and the voters of each configuration that may be changed to; by place. */
interface ChangeOutline {
  readonly from: readonly number[];
  readonly to: readonly (readonly number[])[];
}

/** The changes of membership by name, for as many nodes as they name. */
export const CHANGES: Readonly<Record<string, ChangeOutline>> = {
  remove: { from: [0, 1, 2], to: [[0, 1]] },
  add: { from: [0, 1], to: [[0, 1, 2]] },
  replace: { from: [0, 1], to: [[0, 2]] },
  "replace-all": { from: [0], to: [[1]] },
  /** Two leaders may want different things. */
  either: {
    from: [0, 1, 2],
    to: [
      [0, 1],
      [1, 2],
    ],
  },
};

/** The configuration that a group begins with, and those that it may be changed to. */
export function configsOf(bounds: Bounds): { first: ClusterConfig; targets: readonly ClusterConfig[] } {
  const change = CHANGES[bounds.change];
  if (change === undefined) return { first: configOf(namesOf(bounds)), targets: [] };
  const named = (places: readonly number[]): ClusterConfig => configOf(places.map(nameOf));
  return { first: named(change.from), targets: change.to.map(named) };
}

/** Whether a renaming leaves every configuration as it is, so that a state renamed is the same state. */
export function keepsConfigs(bounds: Bounds, renaming: readonly number[]): boolean {
  const change = CHANGES[bounds.change];
  if (change === undefined) return true;
  return [change.from, ...change.to].every((places) =>
    places.every((place) => places.includes(renaming[place] ?? -1)),
  );
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
  whole("initializedNodes", 1, bounds.nodes);
  whole("terms", 1, COUNT_MAX);
  whole("proposals", 0, COUNT_MAX);
  whole("crashes", 0, COUNT_MAX);
  whole("changes", 0, COUNT_MAX);
  whole("snapshots", 0, COUNT_MAX);
  whole("duplicates", 0, COUNT_MAX);
  whole("heartbeats", 0, COUNT_MAX);
  // A write that is done may let both a campaign's questions and a new leader's first messages go.
  whole("messages", Math.max(1, 2 * (bounds.nodes - 1)), 64);
  whole("writes", 1, 8);
  const change = CHANGES[bounds.change];
  if (change === undefined && bounds.change !== "none") {
    throw new RangeError(`change is none or one of ${Object.keys(CHANGES).join(", ")}, not ${bounds.change}`);
  }
  const named = 1 + Math.max(-1, ...(change === undefined ? [] : [change.from, ...change.to].flat()));
  if (named > bounds.nodes) throw new RangeError(`the change ${bounds.change} takes ${named} nodes`);
  if (bounds.changes > 0 && change === undefined) throw new RangeError("changes above 0 ask for a change");
}
