/**
 * The environment of one simulated process: what happens outside reaches it only through its `EventDelivery`.
 */
import type { Environment, Network, Timer } from "../../../environment/environment.ts";
import type { SimulatedClock } from "../../../environment/simulated/simulated-clock.ts";
import { SIMULATED_EPOCH_MS } from "../../../environment/simulated/simulated-environment.ts";
import type { SimulatedMount } from "../../../environment/simulated/simulated-files.ts";
import type { ClockConditions, DiskConditions } from "./conditions.ts";
import type { EventDelivery } from "./event-delivery.ts";
import { ProcessFiles } from "./process-files.ts";
import { processNetwork } from "./process-network.ts";

/** The parts of the simulated world that the process uses. */
export interface EnvironmentParts {
  readonly clock: SimulatedClock;
  readonly random: () => number;
  readonly files: SimulatedMount;
  readonly network: Network;
}

/**
 * Makes the environment of a process that is about to start. Its clock may drift, its timers and disk may be
 * late. `woken` is called before each timer that was set for a later time.
 */
export function processEnvironment(
  { clock, random, files, network }: EnvironmentParts,
  delivery: EventDelivery,
  clockConditions: ClockConditions,
  diskConditions: DiskConditions,
  woken: () => void,
): Environment {
  const origin = clock.now();
  return {
    now: () => origin + (clock.now() - origin) * clockConditions.rate,
    wallClock: () => Math.floor(SIMULATED_EPOCH_MS + clockConditions.wallOffsetMs + clock.elapsedMs),
    random,
    randomBytes: (count) => Uint8Array.from({ length: count }, () => Math.floor(random() * 256)),
    setTimer: (delayMs, callback) => {
      const dueInMs = delayMs / clockConditions.rate + lateMs(delayMs, clock, random, clockConditions);
      const fire = (): void => {
        if (dueInMs >= TIME_PASSES_MS) woken();
        callback();
      };
      return countedTimer(dueInMs, fire, clock, delivery);
    },
    defer: (callback) => {
      clock.defer(() => {
        delivery.deliver(callback);
      });
    },
    files: new ProcessFiles(files, delivery, clock, diskConditions),
    network: processNetwork(network, delivery),
  };
}

/**
 * A timer that is due sooner, in milliseconds, only lets other events come first, and doesn't count as waking
 * the process.
 */
const TIME_PASSES_MS = 1;

/** How late a timer that is set now fires. */
function lateMs(
  delayMs: number,
  clock: SimulatedClock,
  random: () => number,
  conditions: ClockConditions,
): number {
  const { timersLateByMsMax, timersLateShareMin, rate } = conditions;
  if (timersLateByMsMax <= 0) return 0;
  const late = (timersLateShareMin + random() * (1 - timersLateShareMin)) * timersLateByMsMax;
  if (late > 0) {
    conditions.timersLateUntil = Math.max(conditions.timersLateUntil, clock.now() + delayMs / rate + late);
  }
  return late;
}

/** A timer of the process, counted in `delivery.pendingTimers` until it has fired or is cancelled. */
function countedTimer(
  dueInMs: number,
  callback: () => void,
  clock: SimulatedClock,
  delivery: EventDelivery,
): Timer {
  let isOver = false;
  delivery.pendingTimers += 1;
  const end = (): boolean => {
    if (isOver) return false;
    isOver = true;
    delivery.pendingTimers -= 1;
    return true;
  };
  const timer = clock.setTimer(dueInMs, () => {
    delivery.deliver(() => {
      if (end()) callback();
    });
  });
  return {
    cancel: () => {
      end();
      timer.cancel();
    },
  };
}
