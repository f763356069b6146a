/** Makes a failing run smaller, so that a person can read it. */
import type { Fault } from "./plan/faults.ts";
import type { Plan } from "./plan/plan.ts";
import { simulate, type RunResult, type SimulateOptions } from "./simulate.ts";
import type { MakeSubject } from "./subject/subject.ts";

/** What shrinking may cost. */
export interface ShrinkOptions extends Pick<SimulateOptions, "trapsRealTime"> {
  /** The subject of the failing run. Default: that of `simulate`. */
  readonly subject?: MakeSubject | undefined;
  /** How many runs are tried at most. Each takes about as long as the failing one. Default 200. */
  readonly runsMax?: number | undefined;
}

/**
 * Looks for a smaller plan whose run ends with a violation of the same code: with fewer faults, fewer
 * clients, a shorter time. Returns the smallest failing run that was found, which is `failing` itself if
 * there is no other.
 */
export async function shrink(failing: RunResult, options: ShrinkOptions = {}): Promise<RunResult> {
  const { runsMax = 200, ...how } = options;
  const code = failing.violation?.code;
  let best = failing;
  let runs = 0;
  const attempt = async (plan: Plan): Promise<boolean> => {
    if (runs >= runsMax) return false;
    runs += 1;
    const result = await simulate(plan, how);
    if (result.violation?.code !== code) return false;
    best = result;
    return true;
  };
  await shrinkFaults(() => best.plan, attempt);
  while (best.plan.clients > 1 && (await attempt({ ...best.plan, clients: best.plan.clients - 1 })));
  while (await attempt(shorter(best.plan)));
  await shrinkFaults(() => best.plan, attempt);
  return best;
}

/** Leaves out half of the faults, then a quarter, and so on down to single ones (delta debugging). */
async function shrinkFaults(current: () => Plan, attempt: (plan: Plan) => Promise<boolean>): Promise<void> {
  let size = Math.ceil(current().faults.length / 2);
  while (size >= 1) {
    let removed = false;
    for (let from = 0; from < current().faults.length;) {
      const plan = current();
      const faults: Fault[] = plan.faults.filter((_, at) => at < from || at >= from + size);
      if (await attempt({ ...plan, faults })) removed = true;
      else from += size;
    }
    if (size === 1 && !removed) return;
    size = size === 1 ? 1 : Math.ceil(size / 2);
  }
}

function shorter(plan: Plan): Plan {
  const faultyMs = Math.floor(plan.faultyMs * 0.7);
  return { ...plan, faultyMs, faults: plan.faults.filter(({ at }) => at < faultyMs) };
}
