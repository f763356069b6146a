import { membersOf, type ClusterConfig, type NodeId } from "../../../core/index.ts";
import type { Bounds } from "../shared/bounds.ts";
import { configsOf, nameOf, placeOf } from "../shared/bounds.ts";
import { EMPTY_HISTORY, type GroupHistory } from "./group-history.ts";
import { invariant } from "../shared/violation.ts";
import { BLANK, payloadOf, type Entry } from "../host/entry.ts";
import { newHost, restartedHost, step } from "../host/host.ts";
import type { Host, HostEvent, MessageInTransit } from "../host/host-state.ts";

/** The state at which an exploration starts. */
export interface Start {
  readonly hosts: readonly Host[];
  readonly history: GroupHistory;
  readonly messages: readonly MessageInTransit[];
}

/**
 * A disk, described by its term, its vote, and the terms of its entries. The first entry is the first
 * configuration. Of the entries after it, a term's first is blank, and its second a command.
 */
interface DiskOutline {
  readonly term: number;
  readonly votedFor: NodeId | null;
  readonly terms: readonly number[];
  /**
   * How many of the last entries belong to the first change of membership that the bounds allow: C_old,new,
   * then C_new.
   */
  readonly steps?: number;
}

interface Outline {
  /** The nodes' disks. All nodes have just been restarted. */
  readonly disks: readonly DiskOutline[];
  /**
   * How many entries of the first disk are committed (`committed`), and the node that led each term
   * (`leaders`).
   */
  readonly committed: number;
  readonly leaders: readonly (NodeId | null)[];
  readonly messages: readonly MessageInTransit[];
}

const THREE: ClusterConfig = { voters: ["n1", "n2", "n3"], outgoingVoters: [], learners: [] };

/**
 * States that a group of three can reach, but only after so many steps that an exploration from the beginning
 * seldom gets there.
 */
const OUTLINES: Readonly<Record<string, Outline>> = {
  // n1 leads term 2. It committed both entries with n2, compacted its log, and offered n3 a snapshot.
  "late-offer": {
    disks: [
      { term: 2, votedFor: "n1", terms: [1, 2] },
      { term: 2, votedFor: "n1", terms: [1, 2] },
      { term: 2, votedFor: null, terms: [1] },
    ],
    committed: 2,
    leaders: [null, null, "n1"],
    messages: [
      {
        to: "n3",
        message: {
          type: "install-snapshot",
          from: "n1",
          term: 2,
          last: { term: 2, index: 2 },
          config: THREE,
          round: 0,
        },
        entries: [
          { term: 1, payload: payloadOf(THREE) },
          { term: 2, payload: BLANK },
        ],
      },
    ],
  },
  // n3 led term 2 and wrote entries that it sent to no one. n2 leads term 3 and committed another entry with
  // n1.
  "deposed-leader": {
    disks: [
      { term: 3, votedFor: "n2", terms: [1, 3] },
      { term: 3, votedFor: "n2", terms: [1, 3] },
      { term: 3, votedFor: null, terms: [1, 2, 2] },
    ],
    committed: 2,
    leaders: [null, null, "n3", "n2"],
    messages: [],
  },
  // n1 led term 2. It replicated one entry, and wrote a second one that it sent to no one.
  "stale-tail": {
    disks: [
      { term: 2, votedFor: "n1", terms: [1, 2, 2] },
      { term: 2, votedFor: "n1", terms: [1, 2] },
      { term: 2, votedFor: null, terms: [1, 2] },
    ],
    committed: 2,
    leaders: [null, null, "n1"],
    messages: [],
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
    messages: [],
  },
  // n3 acknowledged two entries of term 2, which have been overwritten since. The acknowledgement is still in
  // transit.
  "late-answer": {
    disks: [
      { term: 3, votedFor: "n2", terms: [1, 3] },
      { term: 3, votedFor: "n2", terms: [1, 3] },
      { term: 3, votedFor: null, terms: [1, 3] },
    ],
    committed: 1,
    leaders: [null, null, "n1", "n2"],
    messages: [
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
  // n3 led term 2, sent an entry to n1, crashed before the entry was on its own disk, and was restarted.
  "lost-write": {
    disks: [
      { term: 2, votedFor: "n3", terms: [1] },
      { term: 2, votedFor: null, terms: [1] },
      { term: 2, votedFor: "n3", terms: [1] },
    ],
    committed: 0,
    leaders: [null, null, "n3"],
    messages: [
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

/** States in the middle of a change of membership, each with the change. */
const CHANGING: Readonly<Record<string, Outline & { readonly change: string }>> = {
  // n1 led term 2 and began a change that it sent to no one. n2 leads term 3 and doesn't know of the change.
  "lone-change": {
    change: "remove",
    disks: [
      { term: 2, votedFor: "n1", terms: [1, 2, 2], steps: 1 },
      { term: 3, votedFor: "n2", terms: [1, 2, 3] },
      { term: 3, votedFor: "n2", terms: [1, 2] },
    ],
    committed: 2,
    leaders: [null, null, "n1", "n2"],
    messages: [],
  },
  // n2 leads term 2 and is being replaced by n3: both steps are in its log, and the first is committed.
  "half-changed": {
    change: "replace",
    disks: [
      { term: 2, votedFor: "n2", terms: [1, 2, 2], steps: 1 },
      { term: 2, votedFor: "n2", terms: [1, 2, 2, 2], steps: 2 },
      { term: 2, votedFor: null, terms: [1, 2, 2], steps: 1 },
    ],
    committed: 3,
    leaders: [null, null, "n2"],
    messages: [],
  },
};

/**
 * The names of all starts. `fresh` has only the first configuration. `led` is the moment at which n1 leads
 * term 2, every member has its log and knows it to be committed, and all messages were either received or
 * lost.
 */
export const STARTS: readonly string[] = ["fresh", "led", ...Object.keys(OUTLINES), ...Object.keys(CHANGING)];

/** The change of membership that is in progress at a start; `none`: no change. */
export function changeOf(start: string): string {
  return CHANGING[start]?.change ?? "none";
}

/** Throws a `RangeError` if the bounds have no such start. */
export function checkStart({ start, nodes, change }: Bounds): void {
  if (!STARTS.includes(start)) {
    throw new RangeError(`start is one of ${STARTS.join(", ")}, not ${start}`);
  }
  const changing = CHANGING[start];
  const { disks } = changing ?? OUTLINES[start] ?? {};
  if (disks !== undefined && nodes !== disks.length) {
    throw new RangeError(`${start} is a moment of ${disks.length} nodes, not of ${nodes}`);
  }
  if (changing !== undefined && changing.change !== change) {
    throw new RangeError(`${start} is a moment of the change ${changing.change}`);
  }
}

export function startOf(bounds: Bounds): Start {
  checkStart(bounds);
  const { first } = configsOf(bounds);
  const outline = CHANGING[bounds.start] ?? OUTLINES[bounds.start];
  if (outline === undefined) {
    const hosts = Array.from({ length: bounds.nodes }, (_, place) =>
      newHost(
        bounds,
        nameOf(place),
        place < bounds.initializedNodes && membersOf(first).includes(nameOf(place)),
      ),
    );
    return bounds.start === "led" ? led(bounds, hosts) : { hosts, history: EMPTY_HISTORY, messages: [] };
  }
  const { disks, committed, leaders, messages } = outline;
  const hosts = disks.map((disk, place) =>
    restartedHost(bounds, nameOf(place), {
      hardState: { term: disk.term, votedFor: disk.votedFor },
      log: logOf(bounds, disk),
      covered: 0,
    }),
  );
  const [firstDisk] = disks;
  const entries = firstDisk === undefined ? [] : logOf(bounds, firstDisk).slice(0, committed);
  const seen = entries.map((entry) => ({ ...entry, seenInTerm: entries.at(-1)?.term ?? 1 }));
  return { hosts, history: { leaders, committed: seen }, messages };
}

/**
 * The start `led`: n1's election timeout passes, and all messages and writes that follow from it are carried
 * out in order, without losses.
 */
function led(bounds: Bounds, fresh: readonly Host[]): Start {
  const hosts = fresh.slice();
  const underWay: MessageInTransit[] = [];
  const happen = (place: number, event: HostEvent): void => {
    const before = hosts[place];
    if (before === undefined) return;
    const after = step({ ...bounds, batching: false }, before, event);
    hosts[place] = after.host;
    underWay.push(...after.sent.map(({ message }) => message));
    if (after.host.writes.length > 0) happen(place, { type: "persist" });
  };
  // With leases, an election is due only once the clocks have advanced.
  if (bounds.leases) for (const place of hosts.keys()) happen(place, { type: "tick" });
  happen(0, { type: "timeout" });
  for (let heartbeats = 0; heartbeats < 2; heartbeats++) {
    for (let next = underWay.shift(); next !== undefined; next = underWay.shift()) {
      happen(placeOf(next.to), { type: "deliver", message: next });
    }
    // The heartbeat tells the others what is committed.
    if (heartbeats === 0) happen(0, { type: "heartbeat" });
  }
  for (const { id, node, memory } of hosts.filter(({ memory }) => memory.length > 0)) {
    invariant(
      node.leaderId === nameOf(0) && node.commitIndex === memory.length,
      () => `LIVE: although nothing is lost, ${id} doesn't commit the log of the leader n1`,
    );
  }
  const [leader] = hosts;
  const entries = leader?.memory.slice(0, leader.node.commitIndex) ?? [];
  const committed = entries.map((entry) => ({ ...entry, seenInTerm: LED_TERM }));
  return { hosts, history: { leaders: [null, null, nameOf(0)], committed }, messages: [] };
}

/** The term that n1 leads at the start `led`. */
const LED_TERM = 2;

function logOf(bounds: Bounds, { terms, steps = 0 }: DiskOutline): Entry[] {
  const { first, targets } = configsOf(bounds);
  const [target = first] = targets;
  const change = [{ ...target, outgoingVoters: first.voters }, target];
  return terms.map((term, at) => {
    if (at === 0) return { term, payload: payloadOf(first) };
    const step = change[at - (terms.length - steps)];
    if (step !== undefined) return { term, payload: payloadOf(step) };
    // Number the commands before the start so that explored proposals get other numbers.
    return { term, payload: terms[at - 1] === term ? 100 + term : BLANK };
  });
}
