// Node's clock, randomness, files and network: the environment of production.
import type { Environment } from "../environment.ts";
import { nodeFiles } from "./node-files.ts";
import { nodeNetwork } from "./node-network.ts";

/** The longest delay of `setTimeout`, 24.8 days. It would take a longer one for 1 ms. */
const TIMER_DELAY_MS_MAX = 2 ** 31 - 1;

/** The environment that production runs on. */
export function nodeEnvironment(): Environment {
  return {
    now: () => performance.now(),
    wallClock: () => Date.now(),
    random: () => Math.random(),
    setTimer(delayMs, callback) {
      const timer = setTimeout(callback, Math.min(Math.max(0, delayMs), TIMER_DELAY_MS_MAX));
      return {
        cancel() {
          clearTimeout(timer);
        },
      };
    },
    // Node runs its check phase, where immediates run, right after it has read all input that is ready.
    defer(callback) {
      setImmediate(callback);
    },
    files: nodeFiles(),
    network: nodeNetwork(),
  };
}
