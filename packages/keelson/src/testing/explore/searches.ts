// The searches: each has the events and bounds in which one part of the algorithm is worth exploring.
import { SMALL, type Bounds } from "./shared/bounds.ts";

/** One exploration with a name, in a long version and in a short one for continuous integration. */
export interface Search {
  readonly name: string;
  readonly title: string;
  readonly bounds: Bounds;
  /** The long version stops at this number of states. */
  readonly states: number;
  /** What the short version changes: it has fewer events, so that it gets as deep with fewer states. */
  readonly short: { readonly states: number; readonly bounds?: Partial<Bounds> };
}

/** What a search visits in one of its versions. */
export interface Version {
  readonly bounds: Bounds;
  readonly states: number;
  /** If the exploration visits fewer states, some of its events no longer happen. */
  readonly statesMin: number;
}

/** One leader, which every member knows, and one more election. */
const LED: Bounds = { ...SMALL, start: "led", terms: 2, proposals: 0 };
const MILLION = 1_000_000;

/** All searches. Their names are arguments of `npm run explore -- --search`. */
export const SEARCHES: readonly Search[] = [
  {
    name: "election",
    title: "one election, one proposal, one crash",
    bounds: { ...SMALL, crashes: 1 },
    states: MILLION,
    short: { states: 100_000, bounds: { crashes: 0 } },
  },
  {
    name: "terms",
    title: "two elections, one proposal, one crash",
    bounds: { ...SMALL, terms: 2, crashes: 1 },
    states: 3 * MILLION,
    short: { states: 80_000, bounds: { start: "figure-8", terms: 4 } },
  },
  {
    name: "restarts",
    title: "a leader and its followers restart, twice in all, and lose what isn't durable",
    bounds: { ...LED, proposals: 1, crashes: 2, heartbeats: 1 },
    states: 3 * MILLION,
    short: { states: 80_000, bounds: { heartbeats: 0 } },
  },
  {
    name: "pre-votes",
    title: "three rounds of pre-votes on each of four nodes, with check-quorum",
    bounds: { ...LED, preVote: true, checkQuorum: true, preVoteRounds: 3, nodes: 4, initializedNodes: 4 },
    states: 3 * MILLION,
    short: { states: 80_000 },
  },
  {
    name: "reads",
    title: "read indexes, asked for on any node, under two leaders",
    bounds: { ...LED, proposals: 1, reads: 2, crashes: 1, heartbeats: 1 },
    states: 3 * MILLION,
    short: { states: 80_000, bounds: { proposals: 0, reads: 1, crashes: 0, heartbeats: 0 } },
  },
  {
    name: "leases",
    title: "lease reads in every state, one transfer of leadership, one crash, a common clock",
    bounds: { ...LED, checkQuorum: true, leases: true, transfers: 1, crashes: 1, heartbeats: 1 },
    states: 3 * MILLION,
    short: { states: 80_000, bounds: { crashes: 0, heartbeats: 2 } },
  },
  {
    name: "transfers",
    title: "two transfers of leadership, with pre-vote and check-quorum, one proposal",
    bounds: { ...LED, preVote: true, checkQuorum: true, transfers: 2, proposals: 1, heartbeats: 1 },
    states: 3 * MILLION,
    short: { states: 80_000, bounds: { transfers: 1 } },
  },
  {
    name: "membership",
    title: "a voter of two, perhaps the leader, is replaced in two steps, with a read and one crash",
    bounds: { ...LED, change: "replace-any", changes: 1, reads: 1, crashes: 1 },
    states: 3 * MILLION,
    short: { states: 80_000, bounds: { crashes: 0 } },
  },
  {
    name: "learners",
    title: "a learner comes and takes the place of a voter, with a read and a proposal",
    bounds: { ...LED, change: "swap", changes: 2, proposals: 1, reads: 1, heartbeats: 1 },
    states: 3 * MILLION,
    short: { states: 80_000, bounds: { change: "promote", changes: 1, heartbeats: 0 } },
  },
  {
    name: "snapshots",
    title: "a leader compacts its log, and a node that lacks the entries installs its snapshot; one crash",
    bounds: { ...LED, initializedNodes: 2, proposals: 1, snapshots: 1, crashes: 1, heartbeats: 1 },
    states: 3 * MILLION,
    short: { states: 80_000, bounds: { start: "fresh", terms: 1, proposals: 0, crashes: 0 } },
  },
];

/** A search's long or short version. */
export function versionOf(search: Search, isShort: boolean): Version {
  const { bounds, states, short } = search;
  const version = isShort
    ? { bounds: { ...bounds, ...short.bounds }, states: short.states }
    : { bounds, states };
  return { ...version, statesMin: STATES_MIN * version.states };
}

/**
 * Each version must visit at least this share of `states`. Most searches have more states than they may
 * visit, and so reach all of it.
 */
const STATES_MIN = 0.7;
