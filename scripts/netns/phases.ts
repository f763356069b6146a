/** The faults of the suite, as a table: what happens to the network, and who must go on in spite of it. */
import type { Link } from "../torture/network.ts";
import type { NetnsNetwork } from "./netns-network.ts";
import type { Impairment } from "./relay.ts";

/** The nodes as they are when a phase begins. */
export interface Cast {
  readonly leader: string;
  /** The other nodes, in the order of their ids. */
  readonly followers: readonly string[];
}

export interface Phase {
  readonly name: string;
  /** Whether it is a part of `--short`. */
  readonly isShort?: boolean;
  readonly apply: (network: NetnsNetwork, cast: Cast) => Promise<void>;
  /**
   * Nodes that must be able to write with each other's help, or at least one of them, while the fault lasts.
   */
  readonly writers: (cast: Cast) => readonly string[];
  /** Nodes that reach no majority, and so may acknowledge nothing and answer no linearizable read. */
  readonly refusers: (cast: Cast) => readonly string[];
}

const all = ({ leader, followers }: Cast): readonly string[] => [leader, ...followers];
const none = (): readonly string[] => [];
const followers = (cast: Cast): readonly string[] => cast.followers;
const first = (cast: Cast): string => cast.followers[0] ?? "";
/** The largest part of the followers that is a minority of all nodes. */
const fewFollowers = (cast: Cast): readonly string[] =>
  cast.followers.slice(0, Math.floor(cast.followers.length / 2));

/** Both directions between the members of two groups. */
function between(some: readonly string[], others: readonly string[]): Link[] {
  return [...oneWay(some, others), ...oneWay(others, some)];
}

function oneWay(senders: readonly string[], receivers: readonly string[]): Link[] {
  return senders.flatMap((from) => receivers.filter((to) => to !== from).map((to) => ({ from, to })));
}

/** A phase in which every link has the same condition, and all nodes must go on. */
function impaired(name: string, impairment: Impairment, isShort = false): Phase {
  return {
    name,
    isShort,
    apply: (network, cast) => network.impair(oneWay(all(cast), all(cast)), impairment),
    writers: all,
    refusers: none,
  };
}

export const PHASES: readonly Phase[] = [
  {
    name: "the leader is cut off, both ways",
    isShort: true,
    apply: (network, cast) => network.cut(between([cast.leader], cast.followers)),
    writers: followers,
    refusers: ({ leader }) => [leader],
  },
  {
    name: "the leader's cable is unplugged",
    apply: (network, { leader }) => network.unplug([leader]),
    writers: followers,
    refusers: ({ leader }) => [leader],
  },
  {
    name: "a minority of followers is cut off, both ways",
    apply: (network, cast) =>
      network.cut(
        between(
          fewFollowers(cast),
          all(cast).filter((id) => !fewFollowers(cast).includes(id)),
        ),
      ),
    writers: (cast) => all(cast).filter((id) => !fewFollowers(cast).includes(id)),
    refusers: fewFollowers,
  },
  {
    name: "no node reaches another",
    apply: (network, cast) => network.unplug(all(cast)),
    writers: none,
    refusers: all,
  },
  {
    name: "one way: the leader hears nothing",
    isShort: true,
    apply: (network, cast) => network.cut(oneWay(cast.followers, [cast.leader])),
    writers: followers,
    refusers: ({ leader }) => [leader],
  },
  {
    name: "one way: the leader is not heard",
    apply: (network, cast) => network.cut(oneWay([cast.leader], cast.followers)),
    writers: followers,
    // It hears the new leader, and cannot ask it anything.
    refusers: ({ leader }) => [leader],
  },
  {
    name: "one way: a follower hears nothing",
    apply: (network, cast) => network.cut(oneWay(all(cast), [first(cast)])),
    writers: (cast) => all(cast).filter((id) => id !== first(cast)),
    refusers: (cast) => [first(cast)],
  },
  {
    name: "one way: a follower is not heard",
    apply: (network, cast) => network.cut(oneWay([first(cast)], all(cast))),
    writers: (cast) => all(cast).filter((id) => id !== first(cast)),
    refusers: (cast) => [first(cast)],
  },
  {
    name: "a bridge: the leader and one half lose each other, and the rest reaches both",
    apply: (network, cast) => network.cut(between([cast.leader], fewFollowers(cast))),
    writers: all,
    refusers: none,
  },
  impaired("delay: 60 ms, 20 more or less", { delayMs: 60, jitterMs: 20, loss: 0, duplicate: 0, reorder: 0 }),
  impaired("loss: one packet in ten", { delayMs: 0, jitterMs: 0, loss: 0.1, duplicate: 0, reorder: 0 }),
  impaired("reordering: one packet in four arrives late", {
    ...{ delayMs: 2, jitterMs: 0, loss: 0, duplicate: 0, reorder: 0.25 },
  }),
  impaired(
    "delay, loss, reordering and duplicates",
    { delayMs: 30, jitterMs: 20, loss: 0.05, duplicate: 0.05, reorder: 0.2 },
    true,
  ),
];
