/** A stage about leaders that hand over, and whom they choose. */
import type { Chance } from "./chance.ts";
import { byTime } from "./draw-faults.ts";
import type { Fault } from "./faults.ts";
import type { Plan } from "./plan.ts";
import { busyClients, cluster } from "./stage-cluster.ts";

/**
 * Leaders hand over while a voter has been silent for long and yet holds as much as the others, because
 * nobody writes (Q23); or to a voter that hears of it when the transfer is over and it has no vote any more
 * (T2).
 */
export function handOverStage(plan: Plan, chance: Chance): Plan {
  const isTooLate = chance.happens(0.5);
  const staged = cluster(plan, isTooLate ? 3 : chance.pick([3, 3, 5]), chance, isTooLate ? 1 : 0);
  const { max } = staged.electionTimeoutMs;
  const faultyMs = isTooLate ? 8_000 : 4_000;
  const everyMs = max * (isTooLate ? 5 : 4);
  const faults: Fault[] = [];
  for (let at = everyMs / 2; at < faultyMs; at += everyMs) {
    if (isTooLate) {
      const ms = max * chance.between(2, 3);
      faults.push({ type: "deaf-handover", at, target: "hears too late", ms });
      faults.push({ type: "change", at: at + 4 * max, how: "promote", crashLeaderAfterMs: null });
      continue;
    }
    const side = [chance.whole(0, staged.nodes - 1)];
    faults.push({ type: "quiet", at: at - 50, ms: 2 * max });
    faults.push({ type: "partition", at, side, oneWay: false, ms: 2 * max });
    faults.push({ type: "transfer", at: at + max * chance.between(1.1, 1.9), toAnyone: true });
  }
  return {
    ...staged,
    faultyMs,
    transport: isTooLate ? "datagrams" : chance.pick(["tcp", "datagrams"]),
    preVote: true,
    linkDelayMs: { min: 0, max: 1 },
    pendingEntriesMax: 65_536,
    pendingBytesMax: 65_536,
    ...busyClients(3, 0.3, faultyMs),
    faults: byTime(faults),
  };
}
