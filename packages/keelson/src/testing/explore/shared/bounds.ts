import { configOf, type ClusterConfig, type NodeId } from "../../../core/index.ts";

/** How far to explore: every state within these bounds is visited, and none beyond them. */
export interface Bounds {
  /** The state at which the exploration starts: one of `STARTS`. */
  readonly start: string;
  /** The number of nodes. All are voters, unless `change` says otherwise. */
  readonly nodes: number;
  /**
   * How many voters have the first configuration on their disks at the start; the others have empty disks.
   */
  readonly initializedNodes: number;
  /** Terms in which nodes may campaign, the first being 2: nobody ever leads term 1. */
  readonly terms: number;
  readonly proposals: number;
  /** How many crashes there are, counted over all nodes. Each is followed by a restart. */
  readonly crashes: number;
  /** Which changes of membership are possible: one of `CHANGES`, or `none`. */
  readonly change: string;
  readonly changes: number;
  /** Snapshots that nodes take. After each, the node compacts its log up to what is committed and durable. */
  readonly snapshots: number;
  /**
   * Linearizable reads that clients ask for. A follower's request to its leader arrives at most twice as
   * often as reads are asked for: each arrival begins a heartbeat round, so the number of states needs this
   * limit.
   */
  readonly reads: number;
  /** Transfers of leadership that leaders are asked for. */
  readonly transfers: number;
  /** Rounds of pre-votes that each node begins. */
  readonly preVoteRounds: number;
  /**
   * Whether any message that was sent may arrive at any later time, any number of times, or never. This
   * covers every loss, delay, reordering and duplication at once; `messages` and `duplicates` have no effect
   * then.
   */
  readonly redelivery: boolean;
  /** Messages that arrive and stay in transit, so that they may arrive again. */
  readonly duplicates: number;
  /** Heartbeats of leaders. They make a leader send again what may have been lost. */
  readonly heartbeats: number;
  /** Messages in transit at the same time. If there is no room for another one, one is lost. */
  readonly messages: number;
  /** Writes of one node that are unfinished at the same time. */
  readonly writes: number;
  /** The nodes' options with these names. */
  readonly preVote: boolean;
  readonly checkQuorum: boolean;
  /** Whether a node may get several inputs before the driver takes its actions. */
  readonly batching: boolean;
  /**
   * Whether the state machine keeps what it applied when the node restarts, so that the node restarts with
   * that commit index.
   */
  readonly durableMachine: boolean;
  /**
   * Whether all clocks advance together, by the shortest election timeout at a time, and every leader is
   * asked for a lease read in every state. Otherwise each node's timeouts pass at any time, and there are no
   * lease reads: a lease relies on the clocks of several nodes. Needs `checkQuorum`.
   */
  readonly leases: boolean;
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
  "reads",
  "transfers",
  "preVoteRounds",
  "duplicates",
  "heartbeats",
  "messages",
  "writes",
] as const;
export const SWITCHES = [
  "redelivery",
  "preVote",
  "checkQuorum",
  "batching",
  "durableMachine",
  "leases",
] as const;

/** The smallest interesting exploration: one election and one proposal. */
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
  reads: 0,
  transfers: 0,
  preVoteRounds: 2,
  duplicates: 0,
  heartbeats: 0,
  messages: 8,
  writes: 2,
  redelivery: true,
  preVote: false,
  checkQuorum: false,
  batching: false,
  durableMachine: false,
  leases: false,
};

/** Bounds by name. */
export const PROFILES: Readonly<Record<string, Bounds>> = {
  /** One election, one proposal and one crash: few enough states to visit all in continuous integration. */
  ci: { ...SMALL, crashes: 1 },
  /** One election and one proposal, with pre-vote and check-quorum. */
  "pre-vote": { ...SMALL, preVote: true, checkQuorum: true },
  /** Several inputs before the driver takes the actions, so that actions merge. */
  batching: { ...SMALL, batching: true },
  /** One voter of two, perhaps the leader, is replaced, under one leader or two. */
  membership: { ...SMALL, terms: 2, proposals: 0, change: "replace", changes: 1 },
  /** One of three voters is removed, and one node crashes. */
  removal: { ...SMALL, proposals: 0, crashes: 1, change: "remove", changes: 1 },
  /** A leader compacts its log, and another node needs its snapshot. */
  snapshot: { ...SMALL, proposals: 0, snapshots: 1, initializedNodes: 2 },
  /** Two elections and one crash. */
  long: { ...SMALL, terms: 2, crashes: 1 },
  /** The bounds in which the bugs of `BREAKS` are looked for, unless a bug names others. */
  breaks: { ...SMALL, terms: 2 },
};

const NAMES: readonly NodeId[] = ["n1", "n2", "n3", "n4", "n5"];

/** The most nodes of a group. Five nodes have 120 renamings, which is already slow. */
export const NODES_MAX: number = NAMES.length;

/** The highest count of an event. An explored state keeps several counts in one integer, four bits each. */
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

/** A configuration, with nodes given by their places. */
interface Parts {
  readonly voters: readonly number[];
  readonly learners?: readonly number[];
}

/** The first configuration, and each possible target. */
interface ChangeOutline {
  readonly from: Parts;
  readonly to: readonly Parts[];
}

/** The changes of membership by name. */
export const CHANGES: Readonly<Record<string, ChangeOutline>> = {
  remove: { from: { voters: [0, 1, 2] }, to: [{ voters: [0, 1] }] },
  add: { from: { voters: [0, 1] }, to: [{ voters: [0, 1, 2] }] },
  replace: { from: { voters: [0, 1] }, to: [{ voters: [0, 2] }] },
  "replace-all": { from: { voters: [0] }, to: [{ voters: [1] }] },
  /** Two targets: two leaders may want different ones. */
  either: { from: { voters: [0, 1, 2] }, to: [{ voters: [0, 1] }, { voters: [1, 2] }] },
  /**
   * One voter of two is replaced: by one target the second, by the other the first, which leads at the start
   * `led`.
   */
  "replace-any": { from: { voters: [0, 1] }, to: [{ voters: [0, 2] }, { voters: [1, 2] }] },
  /** A learner that becomes a voter. */
  promote: { from: { voters: [0, 1], learners: [2] }, to: [{ voters: [0, 1, 2] }] },
  /** A voter, perhaps the leader, becomes a learner. */
  demote: { from: { voters: [0, 1, 2] }, to: [{ voters: [0, 1], learners: [2] }] },
  /** A learner comes, and takes the place of a voter. */
  swap: {
    from: { voters: [0, 1] },
    to: [
      { voters: [0, 1], learners: [2] },
      { voters: [0, 2], learners: [1] },
    ],
  },
};

/** The first configuration, and the possible targets of a change. */
export function configsOf(bounds: Bounds): { first: ClusterConfig; targets: readonly ClusterConfig[] } {
  const change = CHANGES[bounds.change];
  if (change === undefined) return { first: configOf(namesOf(bounds)), targets: [] };
  const named = ({ voters, learners = [] }: Parts): ClusterConfig =>
    configOf(voters.map(nameOf), learners.map(nameOf));
  return { first: named(change.from), targets: change.to.map(named) };
}

/** Whether a renaming leaves every configuration unchanged: only then a renamed state is the same state. */
export function keepsConfigs(bounds: Bounds, renaming: readonly number[]): boolean {
  const change = CHANGES[bounds.change];
  if (change === undefined) return true;
  return [change.from, ...change.to]
    .flatMap(({ voters, learners = [] }) => [voters, learners])
    .every((places) => places.every((place) => places.includes(renaming[place] ?? -1)));
}

/** Throws a `RangeError` if the bounds can't be explored. */
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
  whole("reads", 0, COUNT_MAX >> 1);
  whole("transfers", 0, COUNT_MAX);
  whole("preVoteRounds", 1, COUNT_MAX);
  whole("duplicates", 0, COUNT_MAX);
  whole("heartbeats", 0, COUNT_MAX);
  // When one write becomes durable, a node may send each other node two messages: a request for its vote, and
  // a new leader's first message.
  whole("messages", Math.max(1, 2 * (bounds.nodes - 1)), 64);
  whole("writes", 1, 8);
  const change = CHANGES[bounds.change];
  if (change === undefined && bounds.change !== "none") {
    throw new RangeError(`change is none or one of ${Object.keys(CHANGES).join(", ")}, not ${bounds.change}`);
  }
  const parts = change === undefined ? [] : [change.from, ...change.to];
  const named = 1 + Math.max(-1, ...parts.flatMap(({ voters, learners = [] }) => [...voters, ...learners]));
  if (named > bounds.nodes) throw new RangeError(`the change ${bounds.change} takes ${named} nodes`);
  if (bounds.leases && !bounds.checkQuorum) throw new RangeError("leases need checkQuorum");
  if (bounds.changes > 0 && change === undefined) throw new RangeError("changes above 0 ask for a change");
}
