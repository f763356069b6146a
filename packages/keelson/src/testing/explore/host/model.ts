// The reference model beside an explored node: it is asked after each input whether Raft allows what the core
// did.
import type { NodeId, RaftNode } from "../../../core/index.ts";
import { seenOf, watchCore } from "../../core/watched-core.ts";
import {
  checkRestart,
  Forbidden,
  logOf,
  started,
  step,
  type ModelSettings,
  type ModelState,
} from "../../model/index.ts";
import type { Bounds } from "../shared/bounds.ts";
import { Violation } from "../shared/violation.ts";
import { CLOCK_DRIFT_MAX, ELECTION_MS, LONG_AGO_MS } from "./host-options.ts";

/**
 * What the model knows of a node that was just started from its disk. `before`: its state when it crashed.
 */
export function startedModel(bounds: Bounds, node: RaftNode, before: ModelState | null): ModelState {
  const settings: ModelSettings = {
    electionTimeoutMinMs: ELECTION_MS.min,
    preVote: bounds.preVote,
    checkQuorum: bounds.checkQuorum,
    clockDriftMax: CLOCK_DRIFT_MAX,
  };
  const model = started(node.id, settings, seenOf(node), logOf(node.log), 0);
  if (before !== null) {
    asking(node.id, "a restart", () => {
      checkRestart(before, model);
    });
  }
  return model;
}

/** Asks the model after each input of the core. `set` gets what the model knows then. */
export function watchWithModel(node: RaftNode, model: ModelState, set: (model: ModelState) => void): void {
  let known = model;
  watchCore(node, (input) => {
    asking(node.id, input.type === "message" ? input.message.type : input.type, () => {
      known = step(known, input, seenOf(node));
    });
    set(known);
  });
}

function asking(id: NodeId, what: string, ask: () => void): void {
  try {
    ask();
  } catch (error) {
    if (!(error instanceof Forbidden)) throw error;
    throw new Violation(`MODEL: at ${what}, ${id} ${error.message}`);
  }
}

/** What the model knows when all clocks have advanced by the shortest election timeout. */
export function agedModel(model: ModelState): ModelState {
  const { leading } = model;
  return {
    ...model,
    leaderHeardAt: LONG_AGO_MS,
    leading: leading && {
      ...leading,
      leaseFrom: -Infinity,
      roundSentAt: new Map([...leading.roundSentAt].map(([round]) => [round, LONG_AGO_MS])),
    },
  };
}

/**
 * The same knowledge without what no later step looks at: clock readings, answers to finished campaigns and
 * reads, and without leases the times of rounds. `rank` numbers batches anew.
 */
export function normaliseModel(
  { leases, preVote, checkQuorum }: Bounds,
  model: ModelState,
  rank: (persistId: number) => number,
): ModelState {
  const { role, now, leaderHeardAt, reads, disk, leading } = model;
  const hears = (preVote || checkQuorum) && role !== "leader" && now < leaderHeardAt + ELECTION_MS.min;
  const isAsking = role === "pre-candidate";
  const isOpen = (id: number): boolean => reads.pending.has(`own ${String(id)}`);
  return {
    ...model,
    now: 0,
    leaderHeardAt: hears ? 0 : LONG_AGO_MS,
    votes: role === "candidate" ? model.votes : NO_NODES,
    preVotes: isAsking ? model.preVotes : NO_NODES,
    preVoteRound: isAsking ? model.preVoteRound : null,
    campaign: model.campaign !== null && mayStillAsk(model) ? model.campaign : null,
    disk: { ...disk, inFlight: disk.inFlight.map((one) => ({ ...one, persistId: rank(one.persistId) })) },
    leading: leading && {
      ...leading,
      leaseFrom: leases && leading.leaseFrom >= 0 ? 0 : -Infinity,
      roundSentAt: new Map(
        leases
          ? [...leading.roundSentAt].flatMap(([round, at]) => (at >= 0 ? [[round, 0] as const] : []))
          : [],
      ),
    },
    reads: {
      pending: reads.pending,
      answers: new Map(
        [...reads.answers]
          .filter(([id]) => isOpen(id))
          .map(([id, indexes]) => [id, [...new Set(indexes)].sort((a, b) => a - b)]),
      ),
    },
  };
}

/**
 * Whether a request for a vote may still be sent. It may after the campaign, too, as long as the actions that
 * hold it weren't taken.
 */
function mayStillAsk({ role, unsaid }: ModelState): boolean {
  return role === "candidate" || unsaid.earlier.length > 0;
}

const NO_NODES: ReadonlySet<NodeId> = new Set();

/**
 * The model's knowledge as text, without what is always equal to the core's: equal texts mean equal
 * knowledge.
 */
export function encodeModel(model: ModelState): string {
  const { leaderOfTerm, verified, roundHeard, preVoteRound, preVotes, votes, campaign, leading } = model;
  const { leaderHeardAt, disk, unsaid, reads } = model;
  const elections = [leaderOfTerm, verified, roundHeard, preVoteRound, preVotes, votes, campaign];
  return JSON.stringify([elections, leading, leaderHeardAt, disk, unsaid, reads], (_, value: unknown) => {
    if (value === -Infinity) return "-";
    if (value instanceof Set) return [...(value as Set<unknown>)].sort();
    if (value instanceof Map) {
      return [...(value as Map<string | number, unknown>)].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    }
    return value;
  });
}

/**
 * The same knowledge after nodes have exchanged their names. The log stays as it is, because the explorer
 * only uses renamings that leave all configurations unchanged.
 */
export function renameModel(name: (old: NodeId) => NodeId, model: ModelState): ModelState {
  const { settings, log } = model;
  return { ...(renameIn(name, { ...model, settings: null, log: null }) as ModelState), settings, log };
}

const NAME = /\bn\d\b/g;

function renameIn(name: (old: NodeId) => NodeId, value: unknown): unknown {
  if (typeof value === "string") return value.replace(NAME, name);
  if (typeof value !== "object" || value === null) return value;
  const inner = (part: unknown): unknown => renameIn(name, part);
  if (value instanceof Set) return new Set([...(value as Set<unknown>)].map(inner));
  if (value instanceof Map) {
    return new Map([...(value as Map<unknown, unknown>)].map(([key, part]) => [inner(key), inner(part)]));
  }
  if (Array.isArray(value)) return value.map(inner);
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, inner(part)]));
}
