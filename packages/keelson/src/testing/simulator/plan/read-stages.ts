/**
 * Stages about reads: of leaders that hear only nodes without a vote, of sole voters that restart, and of
 * leases that end.
 */
import type { Chance } from "./chance.ts";
import { byTime, drawFaults } from "./draw-faults.ts";
import type { Fault } from "./faults.ts";
import type { Plan } from "./plan.ts";
import { busyClients, cluster } from "./stage-cluster.ts";

/**
 * Leaders are cut off with nodes that have no vote, while clients read from them: with their learners, or
 * with the members that they are removing (Q6). So many of these nodes answer that they would be a majority
 * if they counted.
 */
export function readQuorumStage(plan: Plan, chance: Chance): Plan {
  const hears = chance.pick(["learners", "removed"] as const);
  const staged = cluster(plan, 3, chance, hears === "learners" ? 2 : 3);
  const { max } = staged.electionTimeoutMs;
  const faults: Fault[] = [];
  const change = (at: number, how: "learn" | "add"): Fault => ({
    ...{ type: "change", at, how, crashLeaderAfterMs: null },
  });
  if (hears === "learners") faults.push(change(0, "learn"), change(max / 2, "learn"));
  const everyMs = max * chance.pick([3, 5]);
  for (let at = everyMs; at < staged.faultyMs; at += everyMs) {
    faults.push({ type: "leader-without-voters", at, hears, ms: max * chance.between(1, 2.5) });
    // The removed one's place is taken, so that another can be removed.
    if (hears === "removed") faults.push(change(at + everyMs * chance.between(0.3, 0.9), "add"));
  }
  return {
    ...staged,
    // Without it, a leader that hears no voter goes on leading until it hears of a later term.
    checkQuorum: chance.happens(0.5),
    keys: 2,
    ...busyClients(4, 0.5, staged.faultyMs),
    faults: byTime(faults),
  };
}

/**
 * A sole voter restarts again and again, and is asked as soon as it runs: it wins its election alone, but
 * what it had committed counts as committed only when an entry of its new term is durable (Q6, L1).
 */
export function soleVoterStage(plan: Plan, chance: Chance): Plan {
  const staged = cluster(plan, 1, chance);
  const everyMs = chance.pick([400, 700]);
  return {
    ...staged,
    durableState: chance.happens(0.3),
    diskMs: chance.pick([0.5, 2, 5]),
    keys: 2,
    leaseShare: chance.pick([0, 0.5]),
    ...busyClients(4, 0.5, staged.faultyMs),
    faults: drawFaults(chance, { everyMs, untilMs: staged.faultyMs }, (at) => ({
      ...{ type: "restart-under-reads", at, node: 0, ms: chance.pick([1, 20]), readsMs: everyMs / 2 },
    })),
  };
}

/**
 * Leases end while clients read under them, with clocks that drift as far as they may (L5, L6):
 *
 * - `cut`: the leader is cut off, and read from until it notices.
 * - `contest`: the leader is cut off until two voters ask for votes, and messages of their elections are
 *   late. When the voters hear it again, they have promised their votes to others already.
 * - `lost-handover`: the leader asks another node to take over, which never hears of it, and leads on.
 * - `slow-answers`: rounds for other reads begin faster than they are answered.
 */
export function leaseEndStage(plan: Plan, chance: Chance): Plan {
  const about = chance.pick(["cut", "contest", "contest", "lost-handover", "slow-answers"] as const);
  const staged = cluster(plan, about === "contest" ? 5 : chance.pick([3, 3, 5]), chance);
  const { min, max } = staged.electionTimeoutMs;
  const drift = chance.pick([0.05, 0.1]);
  const { faultyMs } = staged;
  const faults: Fault[] = [];
  const everyMs = max * (about === "contest" ? 1.5 : 4);
  for (let at = everyMs; at < faultyMs && about !== "slow-answers"; at += everyMs) {
    if (about === "lost-handover")
      faults.push({ type: "deaf-handover", at, target: "never hears", ms: max * chance.between(1.5, 3) });
    else {
      const isCut = about === "cut";
      faults.push({
        ...{ type: "strand-leader", at, companions: 0, writes: 0 },
        readsAfterMs: isCut ? min * chance.between(0.6, 0.9) : 0,
        ...{ lateTimers: isCut && chance.happens(0.3), answersMs: 0, stunned: false },
        ms: isCut ? 2 * max : max,
        ...(isCut ? {} : { untilAsking: 2 }),
      });
    }
  }
  const late = { share: chance.pick([0.2, 0.4]), byMs: max };
  if (about === "contest") faults.push({ type: "stragglers", at: 0, ms: faultyMs, ...late });
  const linkDelays = { min: 0, max: about === "contest" ? chance.pick([1, 20]) : 1 };
  const readShare = about === "slow-answers" ? 0.95 : 0.8;
  return {
    ...staged,
    replayOldMessages: about === "contest",
    transport: about === "contest" ? "datagrams" : chance.pick(["tcp", "datagrams"]),
    preVote: chance.happens(0.9),
    checkQuorum: true,
    clockDriftMax: drift,
    clockRates: staged.clockRates.map(() => chance.pick([1 - drift, 1, 1 + drift])),
    linkDelayMs: about === "slow-answers" ? { min: 8, max: 20 } : linkDelays,
    keys: 1,
    ...busyClients(5, readShare, faultyMs),
    leaseShare: about === "slow-answers" ? 0.5 : 1,
    faults: byTime(faults),
  };
}
