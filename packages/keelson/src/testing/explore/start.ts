import type { NodeId } from "../../core/index.ts";
import type { Bounds } from "./bounds.ts";
import { nameOf } from "./bounds.ts";
import { NO_PAST, type Ghost } from "./ghost.ts";
import { BLANK, CONFIG, newHost, restartedHost, type Entry, type Host, type Letter } from "./host.ts";

/** A group at some moment of its life. */
export interface Start {
  readonly hosts: readonly Host[];
  readonly ghost: Ghost;
  readonly letters: readonly Letter[];
}

/** A disk by its term, its vote, and the terms of its entries; the second entry of a term holds a proposal. */
interface DiskOutline {
  readonly term: number;
  readonly votedFor: NodeId | null;
  readonly terms: readonly number[];
}

interface Outline {
  /** All nodes have just been restarted. */
  readonly disks: readonly DiskOutline[];
  /** How many entries of the first disk were committed, and who led which term. */
  readonly committed: number;
  readonly leaders: readonly (NodeId | null)[];
  readonly letters: readonly Letter[];
}

/**
 * Moments that a group of three can come to and that lie too deep to be found anew each time:
 * what happens from there on is explored as from the beginning.
 */
const OUTLINES: Readonly<Record<string, Outline>> = {
  // A leader of term 2 wrote what nobody got; a leader of term 3 committed another entry with n1.
  "deposed-leader": {
    disks: [
      { term: 3, votedFor: "n2", terms: [1, 3] },
      { term: 3, votedFor: "n2", terms: [1, 3] },
      { term: 3, votedFor: null, terms: [1, 2, 2] },
    ],
    committed: 2,
    leaders: [null, null, "n3", "n2"],
    letters: [],
  },
  // A leader of term 2 replicated one entry and wrote a second one alone.
  "stale-tail": {
    disks: [
      { term: 2, votedFor: "n1", terms: [1, 2, 2] },
      { term: 2, votedFor: "n1", terms: [1, 2] },
      { term: 2, votedFor: null, terms: [1, 2] },
    ],
    committed: 2,
    leaders: [null, null, "n1"],
    letters: [],
  },
  // Figure 8 (c), before the election of term 4: 2@2 on n1 and n2, 2@3 on n3, nothing committed.
  "figure-8": {
    disks: [
      { term: 3, votedFor: null, terms: [1, 2] },
      { term: 3, votedFor: "n3", terms: [1, 2] },
      { term: 3, votedFor: "n3", terms: [1, 3] },
    ],
    committed: 1,
    leaders: [null, null, "n1", "n3"],
    letters: [],
  },
  // n3 acknowledged two entries of term 2, which are gone since; the acknowledgement is still under way.
  "late-answer": {
    disks: [
      { term: 3, votedFor: "n2", terms: [1, 3] },
      { term: 3, votedFor: "n2", terms: [1, 3] },
      { term: 3, votedFor: null, terms: [1, 3] },
    ],
    committed: 1,
    leaders: [null, null, "n1", "n2"],
    letters: [
      {
        to: "n1",
        message: {
          type: "append-entries-reply",
          from: "n3",
          term: 2,
          round: 1,
          outcome: { accepted: true, match: 3 },
        },
        entries: [],
      },
    ],
  },
  // n3, leading term 2, sent an entry to n1, crashed before its own disk had it, and was restarted.
  "lost-write": {
    disks: [
      { term: 2, votedFor: "n3", terms: [1] },
      { term: 2, votedFor: null, terms: [1] },
      { term: 2, votedFor: "n3", terms: [1] },
    ],
    committed: 0,
    leaders: [null, null, "n3"],
    letters: [
      {
        to: "n1",
        message: {
          type: "append-entries",
          from: "n3",
          term: 2,
          entries: { prev: { term: 1, index: 1 }, lastIndex: 2, terms: [{ index: 2, term: 2 }], configs: [] },
          commit: 0,
          round: 1,
        },
        entries: [{ term: 2, payload: BLANK }],
      },
    ],
  },
};

/** The names of all beginnings; `fresh` is the first configuration alone. */
export const STARTS: readonly string[] = ["fresh", ...Object.keys(OUTLINES)];

export function startOf(bounds: Bounds): Start {
  if (!STARTS.includes(bounds.start)) {
    throw new RangeError(`start is one of ${STARTS.join(", ")}, not ${bounds.start}`);
  }
  const outline = OUTLINES[bounds.start];
  if (outline === undefined) {
    const hosts = Array.from({ length: bounds.nodes }, (_, place) =>
      newHost(bounds, nameOf(place), place < bounds.founders),
    );
    return { hosts, ghost: NO_PAST, letters: [] };
  }
  const { disks, committed, leaders, letters } = outline;
  if (bounds.nodes !== disks.length) {
    throw new RangeError(`${bounds.start} is a moment of ${disks.length} nodes, not of ${bounds.nodes}`);
  }
  const hosts = disks.map(({ term, votedFor, terms }, place) =>
    restartedHost(bounds, nameOf(place), { hardState: { term, votedFor }, log: logOf(terms) }),
  );
  const entries = logOf(disks[0]?.terms ?? []).slice(0, committed);
  const seen = entries.map((entry) => ({ ...entry, seenInTerm: entries.at(-1)?.term ?? 1 }));
  return { hosts, ghost: { leaders, committed: seen }, letters };
}

function logOf(terms: readonly number[]): Entry[] {
  return terms.map((term, at) => {
    if (at === 0) return { term, payload: CONFIG };
    // Proposals of the past have numbers that none to come will have.
    return { term, payload: terms[at - 1] === term ? 100 + term : BLANK };
  });
}
