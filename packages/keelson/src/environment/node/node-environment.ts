import type { Environment } from "../environment.ts";
import { nodeFiles } from "./node-files.ts";
import { nodeNetwork } from "./node-network.ts";

/** The longest delay that `setTimeout` keeps; it takes a longer one for 1 ms. */
const TIMER_DELAY_MS_MAX = 2 ** 31 - 1;

/** Node's clock, chance, disk and network: what production runs on. */
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
    // The check phase comes right after all input that is ready has been read.
    defer(callback) {
      setImmediate(callback);
    },
    files: nodeFiles(),
    network: nodeNetwork(),
  };
}
